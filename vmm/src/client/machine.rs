//! Machines of this host, found by their runtime directories.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use net::socket;
use serde_json::Value;

use super::ClientError;
use super::http::{Answer, Connection, Lines};
use crate::api;
use crate::migration::record;
use crate::open::RuntimeDir;
use crate::status::{EVENTS_FILE, VMI_FILE};

/// How long an answer may take. Whatever takes longer than a moment is only begun before it is answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// What all paths of a machine begin with.
const MACHINES: &str = "/apis/kubevirt.io/v1/namespaces";
const SUBRESOURCES: &str = "/apis/subresources.kubevirt.io/v1/namespaces";

/// A machine that runs, or ended and left its status behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its runtime directory.
    pub directory: PathBuf,
}

/// All machines below `root`, by namespace and name. What cannot be read is left out.
pub fn all(root: &Path) -> Vec<Machine> {
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
    };
    let mut machines: Vec<_> = folders(root)
        // No namespace begins with a dot: fleets are kept there.
        .filter(|(namespace, _)| !namespace.starts_with('.'))
        .flat_map(|(namespace, path)| {
            folders(&path).map(move |(name, directory)| Machine {
                namespace: namespace.clone(),
                name,
                directory,
            })
        })
        .filter(|machine| machine.directory.join(VMI_FILE).exists() || machine.socket().exists())
        .collect();
    machines.sort();
    machines
}

impl Machine {
    /// The machine `namespace`/`name` below `root`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(root: &Path, namespace: &str, name: &str) -> Result<Self, ClientError> {
        let directory = root.join(namespace).join(name);
        let machine = Self { namespace: namespace.into(), name: name.into(), directory };
        let is_name = |text: &str| !text.is_empty() && !text.contains('/') && !text.starts_with('.');
        if is_name(namespace) && is_name(name) && machine.directory.is_dir() {
            return Ok(machine);
        }
        let others = all(root);
        let same = others.iter().filter(|other| other.name == name).map(Self::to_string);
        let same: Vec<_> = same.collect();
        let hint = match same.as_slice() {
            [] => "; kubevmm ps lists all".into(),
            same => format!("; did you mean {}?", same.join(" or ")),
        };
        let Self { namespace, name, directory } = machine;
        Err(ClientError::NoMachine { namespace, name, directory, hint })
    }

    /// Where its API is.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(api::SOCKET)
    }

    /// Number of its process.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.directory.join("lock")).ok()?.trim().parse().ok()
    }

    /// Connects to it.
    ///
    /// # Errors
    /// It has ended, or cannot be reached.
    pub fn connect(&self) -> Result<UnixStream, ClientError> {
        match socket::connect(&self.socket()) {
            Ok(stream) => Ok(stream),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Err(ClientError::Ended(self.to_string()))
            }
            Err(source) => {
                Err(ClientError::Unreachable { name: self.to_string(), socket: self.socket(), source })
            }
        }
    }

    /// Whether its process is there.
    pub fn runs(&self) -> bool {
        !matches!(self.connect(), Err(ClientError::Ended(_)))
    }

    /// Where it was handed over to, in words, if its process has not told that it arrived there.
    pub fn handed_over_to(&self) -> Option<String> {
        record::elsewhere(&self.directory)
    }

    /// Removes what it left. One that runs is left alone.
    ///
    /// # Errors
    /// It runs, or its files cannot be removed.
    pub fn forget(&self) -> Result<(), ClientError> {
        let root = self.directory.ancestors().nth(2).unwrap_or(&self.directory);
        RuntimeDir::remove(root, &self.namespace, &self.name).map(drop).map_err(ClientError::Left)
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer, ClientError> {
        self.ask_within(method, path, body, PATIENCE)
    }

    /// The same of an answer that may take so long.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    pub fn ask_within(
        &self,
        method: &str,
        path: &str,
        body: &str,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let connection = Connection::new(self.connect()?, self.to_string(), Some(patience))?;
        connection.request(method, path, body)?.read()
    }

    /// Changes its object by a JSON Patch.
    ///
    /// # Errors
    /// As [`Machine::ask`].
    pub fn patch(&self, patch: &str) -> Result<Answer, ClientError> {
        let connection = Connection::new(self.connect()?, self.to_string(), Some(PATIENCE))?;
        let kind = [("Content-Type", "application/json-patch+json")];
        connection.request_with("PATCH", &self.path(), &kind, patch)?.read()
    }

    /// Sends a request whose answer is lines without end.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub fn stream(&self, path: &str) -> Result<Lines, ClientError> {
        let connection = Connection::new(self.connect()?, self.to_string(), None)?;
        connection.request("GET", path, "")?.lines()
    }

    /// Path of its object.
    pub fn path(&self) -> String {
        format!("{MACHINES}/{}/virtualmachineinstances/{}", self.namespace, self.name)
    }

    /// Path of the list that it is in.
    pub fn list_path(&self) -> String {
        format!("{MACHINES}/{}/virtualmachineinstances", self.namespace)
    }

    /// Path of a subresource.
    pub fn subresource(&self, verb: &str) -> String {
        format!("{SUBRESOURCES}/{}/virtualmachineinstances/{}/{verb}", self.namespace, self.name)
    }

    /// Path of a subresource of the VirtualMachine of the same name.
    pub fn vm_subresource(&self, verb: &str) -> String {
        format!("{SUBRESOURCES}/{}/virtualmachines/{}/{verb}", self.namespace, self.name)
    }

    /// Path of its events.
    pub fn events_path(&self) -> String {
        format!("/api/v1/namespaces/{}/events", self.namespace)
    }

    /// The object as it is, or as it was at its end.
    ///
    /// # Errors
    /// It can neither be asked nor has it left anything.
    pub fn object(&self) -> Result<Value, ClientError> {
        match self.ask("GET", &self.path(), "") {
            Ok(answer) => answer.json(),
            Err(ClientError::Ended(name)) => self.left(VMI_FILE).ok_or(ClientError::Ended(name)),
            Err(error) => Err(error),
        }
    }

    /// Its events, the oldest first.
    ///
    /// # Errors
    /// It can neither be asked nor has it left anything.
    pub fn events(&self) -> Result<Vec<Value>, ClientError> {
        match self.ask("GET", &self.events_path(), "") {
            Ok(answer) => match answer.json()?.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => Ok(items),
                _ => Err(ClientError::Nonsense(self.to_string())),
            },
            Err(ClientError::Ended(_)) => {
                let text = fs::read_to_string(self.directory.join(EVENTS_FILE)).unwrap_or_default();
                Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// A JSON file that it left.
    fn left(&self, file: &str) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.directory.join(file)).ok()?).ok()
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
