//! The destination's side.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{Blocking, Disk, HostFile, Identity, MarkedDisk};
use devices::chain;
use ram::PAGE;

use super::sameness::{Sameness, compare, is_same_host};
use super::verdict::{Known, decide};
use super::{Answer, BaseNote, Devices, DiskKind, DiskNote, Verdict, samples};
use crate::migration::wire::Batch;

const PAGE_BYTES: u64 = PAGE as u64;
/// Bytes that are written to a disk before they are made durable: what comes faster than that waits, and the end of a round does not
/// take long.
const DURABLE: u64 = 64 << 20;

/// A disk that is here for the machine to come.
#[derive(Clone, Debug)]
pub struct OurDisk {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: DiskKind,
    /// The disk.
    pub disk: Arc<MarkedDisk>,
    /// By what the file below it is told from all others on any host, if it is.
    pub content: Option<String>,
    /// Its image was made for this machine, at this place: its size is whatever the source's is.
    pub made: Option<PathBuf>,
}

/// A disk of files whose contents are yet to come: to be written, and as the guest sees it.
pub type FilesDisk = (Arc<dyn Disk>, Arc<dyn Disk>);

/// What was agreed on.
pub struct Agreed {
    /// What the source is told.
    pub answers: Vec<Answer>,
    /// Where what it sends goes.
    pub sinks: Sinks,
    /// Disks in whose place others have come.
    pub replaced: Vec<(String, Arc<MarkedDisk>)>,
}

/// Where what the source sends of disks goes, in the order in which it told of them.
#[derive(Debug, Default)]
pub struct Sinks(Vec<Sink>);

/// Where what comes of a disk goes.
enum Sink {
    /// Nothing is to come.
    None,
    /// Its contents.
    Disk { name: String, io: Blocking, disk: Arc<dyn Disk>, made: Option<PathBuf>, unsynced: u64 },
    /// Blocks to be compared.
    File { name: String, file: HostFile, is_alike: bool },
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Disk { name, .. } | Self::File { name, .. } => f.write_str(name),
        }
    }
}

/// Decides what is to become of each of the source's disks. Those that are to be written over are locked from here on. `replace` makes a disk of
/// so many bytes in the place of one of files, to be written and to be read.
///
/// # Errors
/// They do not fit, or somebody else has one.
pub fn accept(
    devices: &Devices,
    ours: &[OurDisk],
    takes_copies: bool,
    replace: &dyn Fn(&str, u64) -> Result<FilesDisk, String>,
) -> Result<Agreed, String> {
    let same_host = is_same_host(&devices.host);
    let mut agreed = Agreed { answers: Vec::new(), sinks: Sinks::default(), replaced: Vec::new() };
    if let Some(more) = ours.iter().find(|our| !devices.disks.iter().any(|note| note.name == our.name)) {
        return Err(format!("the source has no disk {}", more.name));
    }
    for note in &devices.disks {
        let our = ours.iter().find(|our| our.name == note.name && our.kind == note.kind);
        let our = our.ok_or_else(|| format!("the machine here has no such disk {}", note.name))?;
        let known = Known {
            sameness: sameness(note, our, same_host, devices.secret),
            same_base: (same_host && has_same_base(note, our)) || has_same_content(note, our),
            takes_copies,
        };
        let verdict = decide(note, known)?;
        agreed.sinks.0.push(match verdict {
            Verdict::Shared => Sink::None,
            Verdict::Compare => {
                let here = our.disk.info().size_bytes;
                // One that is shared may have grown since the source looked at it.
                let may_grow = known.sameness == Sameness::Likely && here > note.bytes;
                if here != note.bytes && !may_grow {
                    return Err(format!(
                        "disk {} has {here} bytes here and {} at the source: it is not the same storage",
                        note.name, note.bytes
                    ));
                }
                let file = our.disk.host_file();
                let file = file.ok_or_else(|| format!("disk {} cannot be compared", our.name))?;
                Sink::File { name: our.name.clone(), file, is_alike: false }
            }
            Verdict::Copy | Verdict::CopyDifferences if our.kind == DiskKind::Files => {
                let (sink, shown) = replace(&our.name, note.bytes)?;
                agreed.replaced.push((our.name.clone(), Arc::new(MarkedDisk::new(shown))));
                Sink::over(&our.name, sink, None)?
            }
            Verdict::Copy | Verdict::CopyDifferences => {
                let disk: Arc<dyn Disk> = Arc::clone(&our.disk) as _;
                disk.hold().map_err(|error| chain(&error))?;
                fit(note, our)?;
                Sink::over(&our.name, disk, our.made.clone())?
            }
        });
        agreed.answers.push(Answer { name: note.name.clone(), verdict });
    }
    Ok(agreed)
}

fn sameness(note: &DiskNote, our: &OurDisk, same_host: bool, secret: u64) -> Sameness {
    match (&note.file, our.disk.host_file()) {
        _ if our.made.is_some() => Sameness::Other,
        (Some(theirs), Some(file)) => compare(theirs, same_host, &file, secret),
        _ => Sameness::Unknown,
    }
}

fn has_same_base(note: &DiskNote, our: &OurDisk) -> bool {
    let bases = our.disk.bases();
    let ours: Option<Vec<_>> = bases.iter().map(BaseNote::of).collect();
    !note.bases.is_empty() && ours.as_ref() == Some(&note.bases)
}

/// Whether what is below both was taken out of the same container image.
fn has_same_content(note: &DiskNote, our: &OurDisk) -> bool {
    note.content.is_some() && note.content == our.content && note.bytes == our.disk.info().size_bytes
}

/// Makes a disk as long as the source's, if it was made for that; else it has to be, or a device that is longer.
fn fit(note: &DiskNote, our: &OurDisk) -> Result<(), String> {
    let here = our.disk.info().size_bytes;
    let is_device =
        || our.disk.host_file().is_some_and(|file| matches!(file.identity(), Ok(Identity::Device(_))));
    if here == note.bytes || (here > note.bytes && is_device()) {
        return Ok(());
    }
    let fail = |error: &dyn std::error::Error| format!("disk {}: {}", note.name, chain(&error));
    let Some(path) = &our.made else {
        return Err(format!(
            "disk {} has {here} bytes here and {} at the source: make it as long as that",
            note.name, note.bytes
        ));
    };
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_len(note.bytes)).map_err(|error| fail(&error))?;
    our.disk.refresh().map(drop).map_err(|error| fail(&error))
}

impl Sink {
    fn over(name: &str, disk: Arc<dyn Disk>, made: Option<PathBuf>) -> Result<Self, String> {
        let io = Blocking::open(disk.as_ref()).map_err(|error| format!("disk {name}: {}", chain(&error)))?;
        Ok(Self::Disk { name: name.to_owned(), io, disk, made, unsynced: 0 })
    }
}

impl Sinks {
    /// Writes blocks to a disk.
    ///
    /// # Errors
    /// They do not belong there, or the host does not take them.
    pub fn put(&mut self, number: u32, batch: &Batch) -> Result<(), String> {
        let Some(Sink::Disk { name, io, disk, unsynced, .. }) = self.at(number) else {
            return Err("the source sends a disk that it was not to send".into());
        };
        let fail = |error: &dyn std::error::Error| format!("disk {name}: {}", chain(&error));
        let bytes = disk.info().size_bytes;
        for (run, data) in batch.runs() {
            let fits = run.start.saturating_add(run.bytes()) <= bytes.next_multiple_of(PAGE_BYTES);
            let len = bytes.saturating_sub(run.start).min(run.bytes());
            if !fits || len == 0 {
                return Err(format!("the source sends what is behind the end of disk {name}"));
            }
            if run.zero {
                zero(io, disk.as_ref(), run.start, len).map_err(|error| fail(&error))?;
            } else {
                let data = usize::try_from(len).ok().and_then(|len| data.get(..len)).unwrap_or_default();
                io.write(run.start, data).map_err(|error| fail(&error))?;
            }
            *unsynced = unsynced.saturating_add(len);
        }
        if *unsynced >= DURABLE {
            *unsynced = 0;
            disk.sync().map_err(|error| fail(&error))?;
        }
        Ok(())
    }

    /// Compares blocks of a disk that both sides have.
    ///
    /// # Errors
    /// It is another one.
    pub fn compare(&mut self, number: u32, batch: &Batch) -> Result<(), String> {
        let Some(Sink::File { name, file, is_alike }) = self.at(number) else {
            return Err("the source compares a disk that it was not to compare".into());
        };
        match samples::are_in(file, batch) {
            Ok(true) if !batch.is_empty() => {
                *is_alike = true;
                Ok(())
            }
            Ok(_) => {
                Err(format!("disk {name} has other contents here than at the source: it is another one"))
            }
            Err(error) => Err(format!("disk {name}: {}", chain(&error))),
        }
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// What the host says.
    pub fn sync(&mut self) -> Result<(), String> {
        for sink in &mut self.0 {
            let Sink::Disk { name, disk, made, unsynced, .. } = sink else { continue };
            let fail = |error: &dyn std::error::Error| format!("disk {name}: {}", chain(&error));
            if *unsynced > 0 {
                disk.sync().map_err(|error| fail(&error))?;
                *unsynced = 0;
            }
            // An image that was made is not there before its folder says so.
            if let Some(folder) = made.as_deref().and_then(Path::parent) {
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| fail(&error))?;
                *made = None;
            }
        }
        Ok(())
    }

    /// All has come: whether that was enough.
    ///
    /// # Errors
    /// Something is missing, or cannot be made durable.
    pub fn finish(&mut self) -> Result<(), String> {
        let missing = self.0.iter().find_map(|sink| match sink {
            Sink::File { name, is_alike: false, .. } => Some(name),
            _ => None,
        });
        match missing {
            Some(name) => Err(format!("the source has sent nothing by which disk {name} can be known")),
            None => self.sync(),
        }
    }

    fn at(&mut self, number: u32) -> Option<&mut Sink> {
        usize::try_from(number).ok().and_then(|at| self.0.get_mut(at))
    }
}

/// Makes a range read as zeroes, in pieces that the disk takes.
fn zero(io: &mut Blocking, disk: &dyn Disk, start: u64, len: u64) -> io::Result<()> {
    let limits = disk.info().write_zeroes.ok_or(io::ErrorKind::Unsupported)?;
    let most = (limits.max_bytes / PAGE_BYTES * PAGE_BYTES).max(PAGE_BYTES);
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(most);
        io.write_zeroes(start.saturating_add(done), piece, true)?;
        done += piece;
    }
    Ok(())
}
