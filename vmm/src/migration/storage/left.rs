//! Disks that the source has given up, and may have to take back.
//!
//! Whoever has run a machine on them in between has written to them, most likely, and the memory that is here does not go with them any
//! more. Files tell when they were last written to; devices do not.

use std::sync::Arc;

use block::{Disk, MarkedDisk};
use devices::{chain, say};

/// Who says that the machine has not run elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The destination, which knows.
    Destination,
    /// An operator, who may be wrong: not if a disk says otherwise.
    Operator,
}

/// The disks that were given up, and were not taken back yet.
#[derive(Debug, Default)]
pub struct LeftDisks(Vec<LeftDisk>);

#[derive(Debug)]
struct LeftDisk {
    name: String,
    disk: Arc<MarkedDisk>,
    /// When it was last written to, if that is known and nobody else may write to it.
    modified: Option<i64>,
}

impl LeftDisks {
    /// Gives these disks up. Of each it is said whether others may write to it at any time.
    ///
    /// # Errors
    /// What the host says; some of them may have been given up.
    pub fn leave<'a>(
        disks: impl Iterator<Item = (&'a str, &'a Arc<MarkedDisk>, bool)>,
    ) -> Result<Self, String> {
        let leave = |(name, disk, is_shared): (&str, &Arc<MarkedDisk>, bool)| {
            disk.let_go().map_err(|error| format!("disk {name}: {}", chain(&error)))?;
            // Only now: a qcow2 image is put in order before.
            let modified = if is_shared { None } else { modified(disk) };
            Ok(LeftDisk { name: name.to_owned(), disk: Arc::clone(disk), modified })
        };
        disks.map(leave).collect::<Result<_, _>>().map(Self)
    }

    /// Takes all of them back.
    ///
    /// # Errors
    /// Somebody else has one of them; or has had it, where only an operator says that this cannot be.
    pub fn take_back(&mut self, trust: Trust) -> Result<(), String> {
        if trust == Trust::Operator
            && let Some(changed) = self.0.iter().find(|left| left.has_changed())
        {
            return Err(format!(
                "disk {} was written to since it was given up: the machine has run elsewhere, and what is here does not go with its disks \
                 any more. End this one: kubevmm stop --force",
                changed.name
            ));
        }
        while let Some(left) = self.0.last() {
            // Before it is held: an image that is opened anew may be written to.
            let has_changed = left.has_changed();
            take(&left.name, left.disk.as_ref())?;
            if has_changed {
                say!(
                    "kubevmm: somebody has written to disk {} while nobody had it: its contents may not be what the guest knows",
                    left.name
                );
            }
            self.0.pop();
        }
        Ok(())
    }
}

impl LeftDisk {
    fn has_changed(&self) -> bool {
        self.modified.is_some() && modified(&self.disk) != self.modified
    }
}

/// Takes the lock of the disk called `name`.
///
/// # Errors
/// Somebody else has it.
pub fn take(name: &str, disk: &dyn Disk) -> Result<(), String> {
    disk.hold().map_err(|error| format!("disk {name}: {}", chain(&error)))
}

/// When the file of a disk was last written to.
fn modified(disk: &MarkedDisk) -> Option<i64> {
    let file = disk.host_file()?;
    matches!(file.identity(), Ok(block::Identity::File { .. })).then_some(())?;
    file.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use block::{RawDisk, RawOptions};

    use super::*;

    #[test]
    fn disks_that_somebody_has_written_to_are_taken_back_if_the_destination_says_that_it_did_not_run() {
        for (is_shared, trust, is_taken) in [
            (false, Trust::Operator, false),
            (false, Trust::Destination, true),
            (true, Trust::Operator, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk");
            std::fs::write(&path, [0; 4096]).unwrap();
            let open = || RawDisk::open(&path, RawOptions::default());
            let disk = Arc::new(MarkedDisk::new(Arc::new(open().unwrap())));
            let mut left = LeftDisks::leave([("data", &disk, is_shared)].into_iter()).unwrap();
            let other = open().unwrap();
            assert!(left.take_back(trust).unwrap_err().contains("disk data"), "somebody has it");
            File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            drop(other);
            let taken = left.take_back(trust);
            assert_eq!(taken.is_ok(), is_taken, "{trust:?}: {taken:?}");
            assert!(is_taken || taken.unwrap_err().contains("has run elsewhere"));
            assert_eq!(open().is_err(), is_taken, "one that is not taken back is nobody's");
        }
    }
}
