//! Proof that no disk is written by two machines: who wrote to its file, as the kernel tells it, and what is in it.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use guest::sys;

use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};

/// Sectors that the payload writes to in turn.
pub const SECTORS: u32 = 1024;
/// How often it is looked who has written.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of a sector.
const SECTOR: usize = 512;

/// Takes down which processes write to a file, in their order.
#[derive(Debug)]
pub struct Witness {
    writers: Arc<Mutex<Vec<i32>>>,
}

impl Witness {
    /// Watches the file from now on, until it is dropped.
    ///
    /// # Errors
    /// If the kernel does not let it: that takes root.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let mut events = sys::watch_writers(path).doing("watching who writes to the disk")?;
        let writers = Arc::new(Mutex::new(Vec::new()));
        let (weak, mut buffer) = (Arc::downgrade(&writers), [0; 4096]);
        thread::spawn(move || {
            // It ends with the witness.
            while let Some(writers) = weak.upgrade() {
                let Ok(length) = events.read(&mut buffer) else {
                    drop(writers);
                    thread::sleep(LOOK);
                    continue;
                };
                let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
                for process in sys::writers(buffer.get(..length).unwrap_or_default()) {
                    // A worker of the kernel finishes what a process that was killed had asked for; the file's locks are held so long.
                    if writers.last() != Some(&process) && !is_of_kernel(process) {
                        writers.push(process);
                    }
                }
            }
        });
        Ok(Self { writers })
    }

    /// Whether these processes alone have written, one after the other and in this order; the last ones need not have, and if not
    /// `has_to_be`, none of them.
    ///
    /// # Errors
    /// If somebody else has, or in another order.
    pub fn check(&self, known: &[u32], has_to_be: bool) -> Outcome {
        // What was written last is heard of by then.
        thread::sleep(LOOK.saturating_mul(4));
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known: Vec<_> = known.iter().filter_map(|process| i32::try_from(*process).ok()).collect();
        ensure!(
            !(has_to_be && writers.is_empty()) && known.starts_with(&writers),
            "{writers:?} have written to the disk, which is that of {known:?}, one after the other"
        );
        Ok(())
    }
}

/// Whether a process is a thread of the kernel (`PF_KTHREAD`). One that has ended was none.
fn is_of_kernel(process: i32) -> bool {
    const FLAGS: usize = 6;
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may have anything in it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let flags = rest.split_whitespace().nth(FLAGS).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// The greatest number in the disk that the payload has written to, if it was written without a gap: each sector has the greatest
/// number that is its own and not greater than this. If it is not the number that the guest is at, somebody else has written, too.
///
/// # Errors
/// If there is something else in it.
pub fn last_number(disk: &Path) -> Result<u32, Failure> {
    let bytes = fs::read(disk).doing("reading the disk")?;
    let numbers: Vec<u32> = bytes.chunks_exact(SECTOR).map(first_word).take(SECTORS as usize).collect();
    let last = numbers.iter().copied().max().unwrap_or(0);
    for (sector, found) in (0..).zip(&numbers) {
        let behind = (last % SECTORS + SECTORS - sector) % SECTORS;
        let wanted = last.saturating_sub(behind);
        ensure!(
            *found == wanted,
            "sector {sector} has {found} instead of {wanted}; the last number is {last}"
        );
    }
    Ok(last)
}

fn first_word(sector: &[u8]) -> u32 {
    sector.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

/// Makes the disk, with no number in it. It takes all its room at once, and as a copy, too: no sector that the payload writes to is
/// all zeroes.
///
/// # Errors
/// If it cannot be written.
pub fn fresh_disk(path: &Path) -> Outcome {
    let folder = path.parent().ok_or("a disk has a folder")?;
    fs::create_dir_all(folder)?;
    let mut disk = vec![0; 1 << 20];
    disk.chunks_exact_mut(SECTOR).take(SECTORS as usize).for_each(|sector| sector[SECTOR - 1] = 1);
    fs::write(path, disk).doing("making a disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, numbers: impl Iterator<Item = u32>) -> Result<u32, Failure> {
        let path = std::env::temp_dir().join(format!("kubevmm-log-{name}-{}", std::process::id()));
        fresh_disk(&path).unwrap();
        let mut disk = fs::read(&path).unwrap();
        for number in numbers {
            let at = (number % SECTORS) as usize * SECTOR;
            disk[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        fs::write(&path, disk).unwrap();
        let last = last_number(&path);
        fs::remove_file(&path).unwrap();
        last
    }

    #[test]
    fn threads_of_the_kernel_are_told_apart() {
        assert!(!is_of_kernel(i32::try_from(std::process::id()).unwrap()));
        assert!(!is_of_kernel(i32::MAX));
        // Elsewhere than in a container, the second process is the parent of all threads of the kernel.
        if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
            assert!(is_of_kernel(2));
        }
    }

    #[test]
    fn one_writer_after_the_other_leaves_no_gap() {
        for last in [0, 1, 5, SECTORS - 1, SECTORS, 3 * SECTORS + 7] {
            assert_eq!(written("whole", 0..=last).unwrap(), last);
        }
    }

    #[test]
    fn an_old_memory_over_a_newer_disk_is_seen() {
        // One has come to 1500; another, which began again at 400, has come to 600, and finds numbers that it never wrote.
        let last = written("old", (0..=1500).chain(400..=600));
        assert!(last.is_err() || last.unwrap() > 601);
        assert!(written("gap", (0..=10).chain(13..=20)).is_err());
    }
}
