//! The console in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Listener;

/// The console's file in the runtime directory, where `logSerialConsole` asks for one.
pub const LOG_FILE: &str = "console.log";
/// What was in it before.
pub const OLD_LOG_FILE: &str = "console.log.old";
/// Both, which outlive the machine.
pub const LOG_FILES: [&str; 2] = [LOG_FILE, OLD_LOG_FILE];
/// Length at which a new file begins; no more than twice as much is kept.
const LONGEST: u64 = 4 << 20;

/// A file that holds what the guest says.
#[derive(Debug)]
pub struct ConsoleLog {
    path: PathBuf,
    file: File,
    length: u64,
    /// It could not be written, which was said already.
    is_lost: bool,
}

impl ConsoleLog {
    /// A log in the file `path`, after what is there already.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, is_lost: false })
    }

    /// Writes all that `listener` has not read.
    pub(super) fn write_all_of(&mut self, listener: &mut Listener) {
        let mut said = Vec::new();
        if listener.read(usize::MAX, &mut said).bytes == 0 {
            return;
        }
        let written = self.write(&said);
        match written {
            Ok(()) => self.is_lost = false,
            Err(error) if !self.is_lost => {
                self.is_lost = true;
                devices::say!(
                    "kubevmm: the console's log {} cannot be written: {error}",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, said: &[u8]) -> io::Result<()> {
        if self.length >= LONGEST {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            fs::rename(&self.path, old)?;
            *self = Self { is_lost: self.is_lost, ..Self::open(&self.path)? };
        }
        self.file.write_all(said)?;
        self.length += said.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::console::hub::tests::{plugged, say};
    use crate::console::{ConsoleHub, Keyboard};
    use devices::platform::serial::ConsoleRing;

    #[test]
    fn a_log_begins_anew_before_it_grows_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOG_FILE);
        let hub = ConsoleHub::new().unwrap();
        let ring = Arc::new(ConsoleRing::new(1 << 20).unwrap());
        let _port = plugged(&hub, &ring);
        let mut listener = hub.listen(Keyboard::No, 0, None);
        fs::write(&path, "before\n").unwrap();
        let mut log = ConsoleLog::open(&path).unwrap();
        for _ in 0..100 {
            say(&hub, &ring, &[b'x'; 100_000]);
            log.write_all_of(&mut listener);
        }
        let length = |name| fs::metadata(folder.path().join(name)).unwrap().len();
        let (now, old) = (length(LOG_FILE), length(OLD_LOG_FILE));
        assert!(now < LONGEST + 100_000 && (LONGEST..LONGEST + 100_000).contains(&old), "{now} {old}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
