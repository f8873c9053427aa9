//! Files that are written, synced, and read back from the disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use guest::{pattern, sys};

use super::Work;

/// Files in a folder; each is replaced again and again.
const RING: u64 = 24;
/// Files are of so many KiB at most.
const LARGEST: u64 = 48;
const KIB: u64 = 1024;
/// What blocks of the disk are aligned to.
const BLOCK: usize = 4096;

/// Replaces one file after the other, by a new one that is synced before it gets the name, and reads another one back; in the end, all.
pub(super) fn write(work: &Work, folder: &Path) -> io::Result<()> {
    // What was written last as each file.
    let mut last = Vec::new();
    let mut number = 0;
    while work.goes_on() {
        let place = usize::try_from(number % RING).unwrap_or(0);
        replace(folder, number)?;
        match last.get_mut(place) {
            Some(last) => *last = number,
            None => last.push(number),
        }
        // Some that was written long ago.
        let other = usize::try_from(number * 7 % RING).unwrap_or(0);
        compare(folder, *last.get(other).unwrap_or(&number))?;
        number += 1;
        work.files.fetch_add(1, Ordering::SeqCst);
    }
    last.iter().try_for_each(|number| compare(folder, *number))
}

/// The contents of a file tell which one it is.
fn contents(number: u64) -> Vec<u8> {
    let length = usize::try_from((number * 7919 % LARGEST + 1) * KIB).unwrap_or(0);
    let mut contents = vec![0; length];
    pattern::fill(&mut contents, 0, number);
    contents
}

fn replace(folder: &Path, number: u64) -> io::Result<()> {
    let new = folder.join("new");
    let mut file = File::create(&new)?;
    file.write_all(&contents(number))?;
    file.sync_all()?;
    fs::rename(new, folder.join((number % RING).to_string()))?;
    File::open(folder)?.sync_all()
}

/// Reads past the page cache.
fn compare(folder: &Path, number: u64) -> io::Result<()> {
    let name = folder.join((number % RING).to_string());
    let mut file = File::options().read(true).custom_flags(libc::O_DIRECT).open(&name)?;
    let room = usize::try_from(LARGEST * KIB).unwrap_or(0) + BLOCK;
    let mut memory = vec![0; room + BLOCK];
    let buffer = sys::aligned(&mut memory, room).ok_or_else(|| io::Error::other("no room"))?;
    let length = file.read(buffer)?;
    if buffer.get(..length) == Some(contents(number).as_slice()) {
        return Ok(());
    }
    Err(io::Error::other(format!("{} has not what was written to it as number {number}", name.display())))
}
