//! The source's side.

use std::io;
use std::sync::Arc;

use block::{Disk, HostFile, MarkedDisk, Written};
use devices::{chain, say};

use super::copy::Copy;
use super::sameness::{host, is_local};
use super::{Added, Answer, BaseNote, Devices, DiskKind, DiskNote, FileNote, Verdict, Wish, samples};
use crate::migration::options::CopyWishes;
use crate::migration::wire::Batch;

/// A disk of a machine that is to move.
#[derive(Clone, Debug)]
pub struct LeavingDisk {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: DiskKind,
    /// By what the file below it is told from all others on any host, if it is.
    pub content: Option<String>,
    /// Several machines write to it.
    pub shareable: bool,
    /// The disk.
    pub disk: Arc<MarkedDisk>,
}

/// What is sent of a disk, by its place among those that were told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its contents.
    Blocks(u32),
    /// Some of them, to be compared.
    Samples(u32),
}

/// Sends something of a disk, and empties the batch.
pub type Send<'a, E> = dyn FnMut(Part, &mut Batch) -> Result<(), E> + 'a;

/// The disks of a machine that is to move.
#[derive(Default)]
pub struct Leaving {
    disks: Vec<LeavingDisk>,
    added: Vec<Added>,
    secret: u64,
    /// Files with signs in their locks.
    signed: Vec<HostFile>,
    copies: Vec<(u32, Copy)>,
    compared: Vec<Compared>,
    batch: Batch,
}

/// A disk of which some blocks are to be compared.
struct Compared {
    number: u32,
    disk: Arc<MarkedDisk>,
    file: HostFile,
    written: Written,
}

impl Drop for Compared {
    fn drop(&mut self) {
        self.disk.marks().end();
    }
}

impl Leaving {
    /// The disks of a machine, and the devices that came while it ran; `secret` is a number that nobody can guess.
    pub fn new(disks: Vec<LeavingDisk>, added: Vec<Added>, secret: u64) -> Self {
        let mut leaving = Self::default();
        (leaving.disks, leaving.added, leaving.secret) = (disks, added, secret);
        leaving
    }

    /// What the destination is told. Locks have signs from here on.
    pub fn tell(&mut self, wishes: &CopyWishes) -> Devices {
        let mut notes = Vec::new();
        for leaving in &self.disks {
            let info = leaving.disk.info();
            let file = leaving.disk.host_file().filter(|_| leaving.kind == DiskKind::Storage);
            let file = file.and_then(|file| {
                // Without a sign there are other ways to know a disk.
                let signed = file.sign(self.secret).unwrap_or(false);
                let note =
                    FileNote { identity: file.identity().ok()?.into(), signed, local: is_local(&file) };
                if signed {
                    self.signed.push(file);
                }
                Some(note)
            });
            // One that says nothing of itself is not known on the other side.
            let bases = leaving.disk.bases();
            let bases = bases.iter().map(BaseNote::of).collect::<Option<_>>().unwrap_or_default();
            let wish = if leaving.shareable { Wish::Share } else { wishes.of(&leaving.name) };
            notes.push(DiskNote {
                name: leaving.name.clone(),
                bytes: info.size_bytes,
                read_only: info.read_only,
                kind: leaving.kind,
                wish,
                file,
                bases,
                content: leaving.content.clone(),
            });
        }
        Devices { host: host(), secret: self.secret, added: self.added.clone(), disks: notes }
    }

    /// Does what the destination has said of each disk.
    ///
    /// # Errors
    /// It makes no sense, or a disk cannot be read.
    pub fn settle(&mut self, answers: &[Answer]) -> Result<(), String> {
        self.take_signs_back()?;
        let names = self.disks.iter().map(|leaving| &leaving.name);
        if !names.eq(answers.iter().map(|answer| &answer.name)) {
            return Err("the destination speaks of other disks".into());
        }
        for ((number, leaving), answer) in (0u32..).zip(&self.disks).zip(answers) {
            let fail = |error: io::Error| format!("disk {}: {}", leaving.name, chain(&error));
            let differences = answer.verdict == Verdict::CopyDifferences;
            match answer.verdict {
                Verdict::Shared => {}
                Verdict::Compare => {
                    let file = leaving.disk.host_file();
                    let nothing = || format!("disk {} cannot be compared", leaving.name);
                    let (file, disk) = (file.ok_or_else(nothing)?, Arc::clone(&leaving.disk));
                    disk.marks().begin(disk.info().size_bytes);
                    self.compared.push(Compared { number, disk, file, written: Written::default() });
                }
                Verdict::Copy | Verdict::CopyDifferences => {
                    say!("kubevmm: disk {} is being copied", leaving.name);
                    self.copies.push((number, Copy::begin(&leaving.disk, differences).map_err(fail)?));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Bytes of all disks that are copied.
    pub fn bytes(&self) -> u64 {
        self.copies.iter().map(|(_, copy)| copy.bytes()).sum()
    }

    /// Bytes that are known to be left.
    pub fn left(&self) -> u64 {
        self.copies.iter().map(|(_, copy)| copy.left()).sum()
    }

    /// Adds what was written since the last time to what is left.
    pub fn look(&mut self) {
        self.copies.iter_mut().for_each(|(_, copy)| copy.look());
        for compared in &mut self.compared {
            compared.written.add(&compared.disk.marks().take());
        }
    }

    /// Gives zeroes that were not told yet to `send`, up to `most` bytes of all disks together. Whether that was any; data comes when it was none.
    ///
    /// # Errors
    /// What `send` says.
    pub fn send_zeroes<E>(&mut self, most: u64, send: &mut Send<'_, E>) -> Result<bool, E> {
        let mut left = most;
        for (number, copy) in &mut self.copies {
            let told = copy.send_zeroes(left, &mut self.batch, |batch| send(Part::Blocks(*number), batch))?;
            left = left.saturating_sub(told);
        }
        Ok(left < most)
    }

    /// Gives all that is left to `send`.
    ///
    /// # Errors
    /// A disk cannot be read, or what `send` says.
    pub fn send<E: From<io::Error>>(&mut self, send: &mut Send<'_, E>) -> Result<(), E> {
        for (number, copy) in &mut self.copies {
            copy.send(&mut self.batch, |batch| send(Part::Blocks(*number), batch))?;
        }
        Ok(())
    }

    /// Gives blocks that are to be compared to `send`. The guest stands still, and all that it wrote is in its files.
    ///
    /// # Errors
    /// As [`Leaving::send`].
    pub fn send_samples<E: From<io::Error>>(&mut self, send: &mut Send<'_, E>) -> Result<(), E> {
        for compared in &self.compared {
            let Compared { disk, file, written, .. } = compared;
            let mut samples = samples::take(disk.as_ref(), file, self.secret, written)?;
            send(Part::Samples(compared.number), &mut samples)?;
        }
        Ok(())
    }

    fn take_signs_back(&mut self) -> Result<(), String> {
        let signed = std::mem::take(&mut self.signed);
        signed.iter().try_for_each(|file| file.take_sign_back(self.secret).map_err(|error| chain(&error)))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // One that stays keeps nobody but those away who are to stay away.
        let _ = self.take_signs_back();
    }
}
