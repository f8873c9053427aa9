//! Disks, as far as they are copied.

use std::time::{Duration, Instant};

use devices::chain;

use super::super::copy::CopyError;
use super::super::options::CopyWishes;
use super::super::ownership::SourceEvent as Event;
use super::super::storage::{Leaving, Part};
use super::super::transport::Stream;
use super::super::wire::{Batch, Message, Reader, Writer};
use super::{Departure, Phase};

/// How often it is told how far the copy is.
const TELL: Duration = Duration::from_millis(200);
/// Disks are copied by themselves until no more than this is left, or no less after a round than before.
const LITTLE: u64 = 64 << 20;

/// Zeroes of all disks that are told before it is waited until they are there: storage that has to write them may write no more than 10 MiB
/// a second, and nobody is to be silent for too long.
const ZEROES: u64 = 256 << 20;

/// What of disks was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Bytes on the wire.
    pub(super) sent: u64,
    /// How long reading and sending took.
    pub(super) took: Duration,
}

/// Tells the destination of the disks, and does what it says of each.
pub(super) fn agree(
    disks: &mut Leaving,
    wishes: &CopyWishes,
    writer: &mut Writer<Stream>,
    reader: &mut Reader<Stream>,
) -> Result<(), String> {
    writer.write(&Message::Devices(disks.tell(wishes))).map_err(|error| chain(&error))?;
    match reader.read().map_err(|error| chain(&error))? {
        Message::DevicesTaken(answers) => disks.settle(&answers),
        Message::Failed(message) => Err(format!("the destination refuses: {message}")),
        _ => Err("the destination answers what makes no sense".into()),
    }
}

impl Departure<'_> {
    /// Copies disks before memory, which changes faster, until little of them is left.
    pub(super) fn copy_disks(&mut self) -> Result<(), Event> {
        if self.disks.is_empty() {
            return Ok(());
        }
        while self.send_zeroes()? {
            self.barrier()?;
        }
        let mut before = u64::MAX;
        while self.disks.left() < before {
            before = self.disks.left();
            self.send_disks()?;
            self.barrier()?;
            self.disks.look();
            if self.disks.left() <= LITTLE {
                break;
            }
            // A tenth less is progress; else it would never end.
            before = before / 10 * 9;
        }
        // All of memory is sent next, whatever was written to it meanwhile.
        self.machine.written().map(drop).map_err(|why| self.because(Event::Cancel, why))
    }

    /// Tells some of what is zero; whether that was any.
    fn send_zeroes(&mut self) -> Result<bool, Event> {
        let Self { disks, sender, cancel, .. } = self;
        let mut send = |part: Part, batch: &mut Batch| {
            if cancel.is_asked() {
                Err(CopyError::Cancelled)
            } else {
                sender.send_blocks(part, batch).map(drop)
            }
        };
        disks.send_zeroes(ZEROES, &mut send).map_err(|error| self.not_copied(&error))
    }

    /// Sends what is left of disks.
    pub(super) fn send_disks(&mut self) -> Result<Sent, Event> {
        let began = Instant::now();
        let mut sent = 0;
        let Self { disks, sender, progress, machine, cancel, .. } = self;
        let mut told = began;
        let mut send = |part: Part, batch: &mut Batch| {
            if cancel.is_asked() {
                return Err(CopyError::Cancelled);
            }
            let contents = batch.bytes();
            sent += sender.send_blocks(part, batch)?;
            progress.left = progress.left.saturating_sub(contents);
            if told.elapsed() >= TELL && progress.phase == Phase::Copying {
                told = Instant::now();
                machine.note(progress);
            }
            Ok(())
        };
        let result = disks.send(&mut send);
        self.progress.sent = self.progress.sent.saturating_add(sent);
        match result {
            Ok(()) => Ok(Sent { sent, took: began.elapsed() }),
            Err(error) => Err(self.not_copied(&error)),
        }
    }

    /// Sends blocks of disks by which the destination sees that it has the same.
    pub(super) fn send_samples(&mut self) -> Result<(), Event> {
        self.disks.look();
        let Self { disks, sender, .. } = self;
        let mut send = |part: Part, batch: &mut Batch| sender.send_blocks(part, batch).map(drop);
        let result: Result<(), CopyError> = disks.send_samples(&mut send);
        result.map_err(|error| self.not_copied(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PATIENCE;
    use super::*;

    #[test]
    fn slow_storage_writes_the_zeroes_of_one_barrier_before_it_is_given_up() {
        assert!(ZEROES / PATIENCE.as_secs() < 10 << 20);
    }
}
