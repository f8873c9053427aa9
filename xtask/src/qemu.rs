//! The emulator that the test host runs under.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::debian::{self, With};
use crate::error::Result;
use crate::process;
use crate::store::Store;

/// The release whose instruction counting is known to repeat and not to hang.
const GOOD: &str = "version 7.2";

/// A QEMU that can be run.
#[derive(Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    libraries: Option<OsString>,
}

impl Qemu {
    /// The installed one if it is of the wanted release, else Debian's, else whatever is installed.
    pub(crate) fn find(store: &Store) -> Result<Self> {
        let installed = process::find("qemu-system-x86_64");
        if let Some(program) = installed.clone() {
            let qemu = Self { program, libraries: None };
            if qemu.version()?.contains(GOOD) {
                return Ok(qemu);
            }
        }
        match (Self::unpacked(store), installed) {
            (Ok(qemu), _) => Ok(qemu),
            (Err(error), Some(program)) => {
                eprintln!("{error}\nusing {} instead", program.display());
                Ok(Self { program, libraries: None })
            }
            (Err(error), None) => Err(error),
        }
    }

    fn unpacked(store: &Store) -> Result<Self> {
        let tree = debian::unpack(store, "qemu-system-x86", With::Dependencies)?;
        let folders =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.root.join(folder));
        let libraries = std::env::join_paths(folders).map_err(|error| error.to_string())?;
        let qemu = Self { program: tree.root.join("usr/bin/qemu-system-x86_64"), libraries: Some(libraries) };
        qemu.version()?;
        Ok(qemu)
    }

    fn version(&self) -> Result<String> {
        process::output(self.command().arg("--version"))
    }

    /// A command without arguments. QEMU finds its firmware relative to itself; it ends when this process does.
    pub(crate) fn command(&self) -> Command {
        let mut command = match process::find("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}
