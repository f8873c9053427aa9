//! Supervisors of this host, found by their fleets' folders.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use net::socket;
use serde_json::Value;

use super::ClientError;
use super::http::{Answer, Connection};
use crate::api;
use crate::fleet;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Its name.
    pub name: String,
    folder: PathBuf,
}

/// An object of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A VirtualMachine.
    Machine,
    /// A VirtualMachineInstanceReplicaSet.
    Set,
    /// A VirtualMachinePool.
    Pool,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Machine, Self::Set, Self::Pool];

    /// By the name that kubectl takes for it, in full, in the plural or in short.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "vm" | "vms" | "virtualmachine" | "virtualmachines" | "VirtualMachine" => Some(Self::Machine),
            "vmirs"
            | "vmirss"
            | "virtualmachineinstancereplicaset"
            | "virtualmachineinstancereplicasets"
            | "VirtualMachineInstanceReplicaSet" => Some(Self::Set),
            "vmpool" | "vmpools" | "virtualmachinepool" | "virtualmachinepools" | "VirtualMachinePool" => {
                Some(Self::Pool)
            }
            _ => None,
        }
    }

    /// Its short name.
    pub fn short(self) -> &'static str {
        match self {
            Self::Machine => "vm",
            Self::Set => "vmirs",
            Self::Pool => "vmpool",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Machine | Self::Set => "kubevirt.io/v1",
            Self::Pool => "pool.kubevirt.io/v1beta1",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Machine => "virtualmachines",
            Self::Set => "virtualmachineinstancereplicasets",
            Self::Pool => "virtualmachinepools",
        }
    }

    /// Path of an object of this kind.
    pub fn path(self, namespace: &str, name: &str) -> String {
        format!("/apis/{}/namespaces/{namespace}/{}/{name}", self.group(), self.plural())
    }

    /// Path of all objects of this kind.
    pub fn list_path(self) -> String {
        format!("/apis/{}/{}", self.group(), self.plural())
    }
}

/// All fleets below `root` that have a supervisor, by name.
pub fn fleets(root: &Path) -> Vec<Fleet> {
    let up = |name: String| {
        let folder = fleet::path(root, &name).ok()?;
        fleet::supervisor(&folder)?;
        Some(Fleet { name, folder })
    };
    fleet::names(root).into_iter().filter_map(up).collect()
}

/// The fleet that has the object, if one has.
///
/// # Errors
/// A supervisor cannot be asked.
pub fn keeper(root: &Path, kind: Kind, namespace: &str, name: &str) -> Result<Option<Fleet>, ClientError> {
    for fleet in fleets(root) {
        match fleet.ask("GET", &kind.path(namespace, name), "") {
            Ok(_) => return Ok(Some(fleet)),
            // Its supervisor has ended since, or it has no such object.
            Err(ClientError::Ended(_) | ClientError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Fleet {
    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// The supervisor cannot be reached, or refuses.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer, ClientError> {
        let socket = self.folder.join(api::SOCKET);
        let called = format!("fleet {}", self.name);
        let stream = match socket::connect(&socket) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Err(ClientError::Ended(called));
            }
            Err(source) => return Err(ClientError::Unreachable { name: called, socket, source }),
        };
        Connection::new(stream, called, Some(PATIENCE))?.request(method, path, body)?.read()
    }

    /// All its objects of a kind.
    ///
    /// # Errors
    /// The supervisor cannot be asked.
    pub fn objects(&self, kind: Kind) -> Result<Vec<Value>, ClientError> {
        let mut list = self.ask("GET", &kind.list_path(), "")?.json()?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(ClientError::Nonsense(format!("fleet {}", self.name))),
        }
    }
}
