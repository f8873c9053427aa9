//! Block operations, past the page cache.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;

use guest::pattern;
use guest::protocol::Extent;
use guest::{stamps, sys};

/// Largest single request, in bytes.
const CHUNK: u64 = 1 << 20;
/// How many blocks are stamped at a time.
const WRITERS: u64 = 8;

/// The device with this serial number or kernel name.
fn device(disk: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if entry.file_name() == disk || serial.trim() == disk {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no disk {disk}")))
}

fn open(disk: &str, write: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).custom_flags(libc::O_DIRECT).open(device(disk)?)
}

/// Calls `step` with an aligned buffer and the offset for each piece of `extent`; the sum is over all pieces.
fn each_piece(extent: &Extent, mut step: impl FnMut(&mut [u8], u64) -> io::Result<()>) -> io::Result<u64> {
    let largest = usize::try_from(CHUNK).unwrap_or(0);
    let mut store = vec![0u8; largest.saturating_add(4096)];
    let mut all = Vec::new();
    let mut done = 0;
    while done < extent.length {
        let length = usize::try_from(CHUNK.min(extent.length - done)).unwrap_or(0);
        let buffer = sys::aligned(&mut store, length).ok_or_else(|| io::Error::other("no aligned buffer"))?;
        step(buffer, extent.offset.saturating_add(done))?;
        all.extend_from_slice(buffer);
        done = done.saturating_add(CHUNK);
    }
    Ok(pattern::checksum(&all))
}

pub(crate) fn read(extent: &Extent) -> io::Result<u64> {
    let device = open(&extent.disk, false)?;
    each_piece(extent, |buffer, offset| device.read_exact_at(buffer, offset))
}

pub(crate) fn write(extent: &Extent, seed: u64) -> io::Result<u64> {
    let device = open(&extent.disk, true)?;
    each_piece(extent, |buffer, offset| {
        pattern::fill(buffer, offset, seed);
        device.write_all_at(buffer, offset)
    })
}

pub(crate) fn flush(disk: &str) -> io::Result<()> {
    open(disk, true)?.sync_all()
}

pub(crate) fn discard(extent: &Extent) -> io::Result<()> {
    sys::discard(&open(&extent.disk, true)?, extent.offset, extent.length)
}

pub(crate) fn zero(extent: &Extent) -> io::Result<()> {
    sys::zero_out(&open(&extent.disk, true)?, extent.offset, extent.length)
}

/// Writes numbered blocks, each by one of several threads, and makes them durable.
pub(crate) fn stamp(disk: &str, first: u64, count: u64) -> io::Result<()> {
    let device = open(disk, true)?;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let device = &device;
                scope.spawn(move || stamp_as(writer, device, first..first.saturating_add(count)))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err(io::Error::other("a writer has panicked")))
        })
    })?;
    device.sync_all()
}

/// Writes those of the numbers that are this writer's: a place always has the same one, so that the last number stays.
fn stamp_as(writer: u64, device: &File, numbers: std::ops::Range<u64>) -> io::Result<()> {
    let mut store = vec![0u8; 2 * stamps::BLOCK];
    let buffer =
        sys::aligned(&mut store, stamps::BLOCK).ok_or_else(|| io::Error::other("no aligned buffer"))?;
    for number in numbers.filter(|number| stamps::place(*number) % WRITERS == writer) {
        stamps::fill(buffer, number);
        device.write_all_at(buffer, stamps::offset(stamps::place(number)))?;
    }
    Ok(())
}

pub(crate) fn stamps(disk: &str) -> io::Result<Vec<u64>> {
    let device = open(disk, false)?;
    let mut store = vec![0u8; 2 * stamps::BLOCK];
    let buffer =
        sys::aligned(&mut store, stamps::BLOCK).ok_or_else(|| io::Error::other("no aligned buffer"))?;
    (0..stamps::PLACES)
        .map(|place| {
            device.read_exact_at(buffer, stamps::offset(place))?;
            stamps::read(buffer).ok_or_else(|| io::Error::other(format!("place {place} is torn")))
        })
        .collect()
}
