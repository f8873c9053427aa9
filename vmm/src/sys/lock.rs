//! Files that are locked (flock(2)).

use std::fs::{File, TryLockError};
use std::io;

/// A file that this process has locked, until this is dropped.
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Waits until nobody else has the lock.
    ///
    /// # Errors
    /// The file system knows no locks.
    pub fn wait(file: File) -> io::Result<Self> {
        file.lock().map(|()| Self(file))
    }

    /// Locks it for this process alone; nothing if somebody else has it locked.
    ///
    /// # Errors
    /// As of [`Self::wait`].
    pub fn alone(file: File) -> io::Result<Option<Self>> {
        let tried = file.try_lock();
        Self::of(file, tried)
    }

    /// The same beside others who do this; nothing if somebody has it for himself.
    ///
    /// # Errors
    /// As of [`Self::wait`].
    pub fn beside_others(file: File) -> io::Result<Option<Self>> {
        let tried = file.try_lock_shared();
        Self::of(file, tried)
    }

    fn of(file: File, tried: Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match tried {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // By more than closing it: a program that another thread is just starting has it open, too, until it runs. Closing it does the
        // rest should this fail.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_up_though_a_program_that_is_being_started_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open =
            || File::options().create(true).truncate(false).write(true).read(true).open(&path).unwrap();
        let is_free = || Locked::beside_others(open()).unwrap().is_some();
        let (alone, other) = (Locked::alone(open()).unwrap().unwrap(), Locked::beside_others(open()));
        assert!(other.unwrap().is_none() && Locked::alone(open()).unwrap().is_none());
        // As such a program has it.
        let copy = alone.file().try_clone().unwrap();
        drop(alone);
        assert!(is_free());
        let together = (Locked::beside_others(open()).unwrap(), Locked::beside_others(open()).unwrap());
        assert!(together.0.is_some() && together.1.is_some() && Locked::alone(open()).unwrap().is_none());
        drop(together);
        drop(Locked::wait(open()).unwrap());
        assert!(is_free());
        drop(copy);
    }
}
