//! The directory of a snapshot.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::SnapshotError;
use super::crc::Summed;
use super::index::Index;
use super::layout::Layout;
use super::leftovers;
use super::manifest::{KeptDisk, Manifest, VERSION};
use super::saved::SavedMemory;
use super::server::is_memory;
use super::sums::{Sum, Sums, list_of};
use crate::machine::MachineState;
use crate::sys::lock::Locked;

/// What a snapshot is made of, besides its disks.
pub(super) mod name {
    /// Lengths and checksums of the others.
    pub(in super::super) const SUMS: &str = "sums";
    /// The manifest.
    pub(in super::super) const MANIFEST: &str = "snapshot.json";
    /// The VirtualMachineInstance.
    pub(in super::super) const MACHINE: &str = "machine.json";
    /// vCPUs and devices.
    pub(in super::super) const STATE: &str = "state.json";
    /// Guest memory.
    pub(in super::super) const MEMORY: &str = "memory";
    /// Which pages of it are data.
    pub(in super::super) const INDEX: &str = "memory.index";
}

/// Bytes of a file that is kept as a whole, at most. The index of memory may be longer: it has a record for each run of pages.
const WHOLE: u64 = 256 << 20;

/// A snapshot that is being written, under a hidden name. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct NewSnapshot {
    /// Where it is: under a hidden name until it is whole.
    at: PathBuf,
    path: PathBuf,
    sums: Sums,
    is_done: bool,
    /// Says to others that somebody is at work on it.
    _lock: Option<Locked>,
}

impl NewSnapshot {
    /// Begins the snapshot that is to be at `path`, where there must be nothing.
    pub(super) fn create(path: &Path) -> Result<Self, SnapshotError> {
        let path = std::path::absolute(path).map_err(SnapshotError::file("found", path))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(SnapshotError::Exists(path));
        };
        if path.symlink_metadata().is_ok() {
            return Err(SnapshotError::Exists(path));
        }
        let name = name.to_string_lossy();
        // In a container, processes have the same number again and again.
        leftovers::remove(parent, &name);
        let partial = parent.join(leftovers::name(&name, std::process::id()));
        // Guest memory has secrets in it.
        let made = DirBuilder::new().mode(0o700).create(&partial);
        made.map_err(SnapshotError::file("made", &partial))?;
        let lock = leftovers::lock(&partial);
        Ok(Self { at: partial, path, sums: Sums::default(), is_done: false, _lock: lock })
    }

    /// A new, empty file in it.
    pub(super) fn file(&self, name: &str) -> Result<File, SnapshotError> {
        let path = self.at.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(&path).map_err(SnapshotError::file("made", &path))
    }

    /// Adds a file with these contents.
    pub(super) fn add(&mut self, name: &str, contents: &[u8]) -> Result<(), SnapshotError> {
        if name != name::INDEX && contents.len() as u64 > WHOLE {
            return Err(SnapshotError::file("written", &self.place(name))(too_long()));
        }
        let mut file = self.file(name)?;
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        written.map_err(SnapshotError::file("written", &self.at.join(name)))?;
        self.sums.add(name, contents.len() as u64, Some(crc32fast::hash(contents)));
        Ok(())
    }

    /// Counts a file in that was written, and made durable, by somebody else.
    pub(super) fn note(&mut self, name: &str, bytes: u64, crc: Option<u32>) {
        self.sums.add(name, bytes, crc);
    }

    /// For messages: where a file of it will be.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it durable, and gives it its name.
    pub(super) fn finish(self) -> Result<PathBuf, SnapshotError> {
        let text = self.sums.to_text();
        self.adopt(text.as_bytes(), |_| Ok(()))
    }

    /// The same with a list of checksums that is there already, and if `is_good` finds nothing wrong with it all.
    pub(super) fn adopt(
        mut self,
        sums: &[u8],
        is_good: impl FnOnce(&Path) -> Result<(), SnapshotError>,
    ) -> Result<PathBuf, SnapshotError> {
        let path = self.at.join(name::SUMS);
        let mut file = self.file(name::SUMS)?;
        let written = file.write_all(sums).and_then(|()| file.sync_all());
        written.map_err(SnapshotError::file("written", &path))?;
        is_good(&self.at)?;
        let open = |path: &Path| File::open(path).map_err(SnapshotError::file("opened", path));
        let sync =
            |file: &File, path: &Path| file.sync_all().map_err(SnapshotError::file("made durable", path));
        let around = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let parent = open(&around)?;
        sync(&open(&self.at)?, &self.at)?;
        // An empty directory of that name may have come meanwhile, which this replaces; anything else refuses.
        fs::rename(&self.at, &self.path).map_err(SnapshotError::file("given its name", &self.path))?;
        // Should its name not be durable, it goes all the same: whoever has it taken goes on without.
        self.at.clone_from(&self.path);
        sync(&parent, &around)?;
        self.is_done = true;
        Ok(self.path.clone())
    }
}

impl Drop for NewSnapshot {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed stays under a name that says what it is.
            let _ = fs::remove_dir_all(&self.at);
        }
    }
}

/// A snapshot whose small files were read and checked.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) path: PathBuf,
    pub(super) sums: Sums,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Opens the snapshot at `path`: lengths of all files and the manifest are checked.
    ///
    /// # Errors
    /// It is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        Self::open_with(path, |_| true)
    }

    /// The same of one whose memory is elsewhere.
    pub(super) fn open_without_memory(path: &Path) -> Result<Self, SnapshotError> {
        Self::open_with(path, |file| !is_memory(file))
    }

    /// The same of one that has these of its files here.
    fn open_with(path: &Path, is_here: impl Fn(&str) -> bool) -> Result<Self, SnapshotError> {
        let path = fs::canonicalize(path).map_err(SnapshotError::file("opened", path))?;
        let sums = read(&path.join(name::SUMS)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                SnapshotError::Unknown { path: path.clone(), why: "it has no file `sums`".into() }
            }
            _ => SnapshotError::File { doing: "read", path: path.join(name::SUMS), source },
        })?;
        let sums = list_of(&path, &sums)?;
        for Sum { name, bytes, .. } in sums.all().iter().filter(|sum| is_here(&sum.name)) {
            let found = fs::symlink_metadata(path.join(name));
            let found = found.map_err(SnapshotError::file("found", &path.join(name)))?;
            if !found.is_file() || found.len() != *bytes {
                let why = format!("{name} has {} bytes instead of {bytes}", found.len());
                return Err(SnapshotError::Damaged { path, why });
            }
        }
        let bytes = checked(&path, &sums, name::MANIFEST)?;
        let unknown = |why| SnapshotError::Unknown { path: path.clone(), why };
        // Its version first: a later layout need not be readable at all.
        #[derive(serde::Deserialize)]
        struct Version {
            version: u32,
        }
        let version =
            serde_json::from_slice::<Version>(&bytes).map_err(|error| unknown(error.to_string()))?;
        if !(1..=VERSION).contains(&version.version) {
            let why = format!("its layout is {}, up to {VERSION} is read", version.version);
            return Err(unknown(why));
        }
        let manifest = serde_json::from_slice(&bytes).map_err(|error| unknown(error.to_string()))?;
        Ok(Self { path, sums, manifest })
    }

    /// The contents of a small file, which are as they were written.
    pub(super) fn contents(&self, name: &str) -> Result<Vec<u8>, SnapshotError> {
        checked(&self.path, &self.sums, name)
    }

    /// The machine's state.
    pub(super) fn state(&self) -> Result<MachineState, SnapshotError> {
        let state = serde_json::from_slice(&self.contents(name::STATE)?);
        state.map_err(|error| SnapshotError::Unknown {
            path: self.path.clone(),
            why: format!("the machine's state: {error}"),
        })
    }

    /// Its memory file, and which pages of it are data.
    pub(super) fn memory(&self) -> Result<SavedMemory, SnapshotError> {
        let path = self.path.join(name::MEMORY);
        let file = File::open(&path).map_err(SnapshotError::file("opened", &path))?;
        let length = Layout::of(&self.manifest.plan.memory.ram).bytes();
        let found = file.metadata().map_err(SnapshotError::file("looked at", &path))?.len();
        if found != length || self.sums.get(name::MEMORY).is_none() {
            return Err(self.damaged(format!("memory has {found} bytes instead of {length}")));
        }
        Ok(SavedMemory { snapshot: self.path.clone(), file, index: self.index(length)? })
    }

    /// Which pages of its memory file, which has `length` bytes, are data.
    fn index(&self, length: u64) -> Result<Index, SnapshotError> {
        let sum = self.sums.get(name::INDEX);
        let sum = sum.ok_or_else(|| self.damaged("it has no index of its memory".to_owned()))?;
        let path = self.path.join(name::INDEX);
        let file = File::open(&path).map_err(SnapshotError::file("opened", &path))?;
        let mut summed = Summed::new(file.take(sum.bytes));
        let index = Index::read(&mut summed, length).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.damaged(error.to_string()),
            _ => SnapshotError::file("read", &path)(error),
        })?;
        if sum.crc != Some(summed.crc()) {
            return Err(self.damaged(format!("{} was altered", name::INDEX)));
        }
        Ok(index)
    }

    /// How long a file of this name can be; `None` if it is no part of the snapshot.
    pub(super) fn longest(&self, name: &str) -> Option<u64> {
        let memory = Layout::of(&self.manifest.plan.memory.ram).bytes();
        match name {
            name::MANIFEST | name::MACHINE | name::STATE => Some(WHOLE),
            name::MEMORY => Some(memory),
            name::INDEX => Some(Index::longest(memory)),
            _ => self.manifest.disks.iter().find_map(|disk| match &disk.contents {
                KeptDisk::Copied { file } if file == name => Some(disk.bytes),
                _ => None,
            }),
        }
    }

    /// The snapshot that this one adds to, if any.
    pub(super) fn parent(&self) -> Result<Option<Self>, SnapshotError> {
        let Some(parent) = &self.manifest.parent else { return Ok(None) };
        let beside = self.path.parent().unwrap_or(Path::new("/")).join(&parent.path);
        let opened = Self::open(&beside)?;
        if opened.manifest.id != parent.id {
            let why =
                format!("it adds to the snapshot {}, and {} is another one", parent.id, beside.display());
            return Err(self.damaged(why));
        }
        if opened.manifest.plan.memory != self.manifest.plan.memory {
            return Err(self.damaged("it adds to a snapshot of other memory".to_owned()));
        }
        Ok(Some(opened))
    }

    pub(super) fn damaged(&self, why: String) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), why }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(WHOLE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > WHOLE { Err(too_long()) } else { Ok(bytes) }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {} MiB", WHOLE >> 20))
}

fn checked(path: &Path, sums: &Sums, name: &str) -> Result<Vec<u8>, SnapshotError> {
    let damaged = |why| SnapshotError::Damaged { path: path.to_owned(), why };
    let sum = sums.get(name).ok_or_else(|| damaged(format!("it has no {name}")))?;
    let bytes = read(&path.join(name)).map_err(SnapshotError::file("read", &path.join(name)))?;
    if sum.crc != Some(crc32fast::hash(&bytes)) {
        return Err(damaged(format!("{name} was altered")));
    }
    Ok(bytes)
}
