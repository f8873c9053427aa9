//! The emulator that the test host runs under.

mod repair;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::debian::{self, With};
use crate::error::{Error, Result};
use crate::process;
use crate::store::Store;

/// A QEMU that can be run.
#[derive(Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    libraries: Option<OsString>,
}

impl Qemu {
    /// Debian's of the release that is known, or else whatever is installed.
    pub(crate) fn find(store: &Store) -> Result<Self> {
        Self::unpacked(store).or_else(|error| {
            let program = process::find("qemu-system-x86_64").ok_or_else(|| Error(error.0.clone()))?;
            eprintln!("{}\nusing {} instead", error.0, program.display());
            Ok(Self { program, libraries: None })
        })
    }

    fn unpacked(store: &Store) -> Result<Self> {
        let tree = debian::unpack(store, "qemu-system-x86", With::Dependencies)?;
        let folders =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.root.join(folder));
        let libraries = std::env::join_paths(folders).map_err(|error| error.to_string())?;
        let program = repair::repaired(&tree.root.join("usr/bin/qemu-system-x86_64"))?;
        let qemu = Self { program, libraries: Some(libraries) };
        // A program without its libraries would only fail later.
        process::output(qemu.command().arg("--version"))?;
        Ok(qemu)
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
