//! The io_uring engine: one ring a queue, one `io_uring_enter` a batch.
#![expect(unsafe_code, reason = "entries of the ring hold raw pointers")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use super::{Done, Event, Op, What, run};
use crate::buf::IoBuf;
use crate::sys::IOV_MAX;
use crate::target::{Kind, PUNCH, Target, retry, unsupported};

/// Most entries in a ring; what does not fit is submitted in several batches.
const MAX_ENTRIES: u16 = 128;

#[derive(Debug)]
struct Slot {
    user: u64,
    /// What the kernel works on; `None` when the slot is free.
    op: Option<Op>,
}

pub(crate) struct Uring {
    ring: IoUring,
    files: Vec<Arc<Target>>,
    /// Boxed, since the kernel is given addresses inside; a slot, once made, is used again.
    #[expect(clippy::vec_box, reason = "the vector grows while the kernel holds addresses of slots")]
    slots: Vec<Box<Slot>>,
    free: Vec<usize>,
    /// Operations done in this thread, because the kernel cannot do them from a ring.
    ready: VecDeque<Done>,
    pub(super) event: Event,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("files", &self.files)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

/// Whether an error of [`Uring::open`] says that this host has no io_uring for us.
pub(super) fn missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES))
}

impl Uring {
    pub(super) fn open(depth: u16, files: Vec<Arc<Target>>) -> io::Result<Uring> {
        let entries = u32::from(depth.clamp(1, MAX_ENTRIES)).next_power_of_two();
        let ring = IoUring::builder().setup_coop_taskrun().build(entries).or_else(|error| {
            match error.raw_os_error() {
                // Kernels before 5.19 do not know the flag.
                Some(libc::EINVAL) => IoUring::builder().build(entries),
                _ => Err(error),
            }
        })?;
        // Since 5.6, with which the operations we use came. No overflow is lost since 5.5.
        if !ring.params().is_feature_rw_cur_pos() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let event = Event::new()?;
        ring.submitter().register_eventfd(event.0.as_raw_fd())?;
        // The files are not registered: the kernel lets go of a ring, and of files registered with
        // it, some time after the process has closed it, and a file's lock would linger as long.
        Ok(Uring { ring, files, slots: Vec::new(), free: Vec::new(), ready: VecDeque::new(), event })
    }

    /// Slots that the kernel works on.
    fn held(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn push(&mut self, op: Op, user: u64) {
        let index = self.take_slot(user, op);
        let Some(slot) = self.slots.get(index) else { return };
        let entry = slot.op.as_ref().and_then(|op| entry(self.files.get(op.file)?, op));
        let pushed = entry.is_some_and(|entry| self.push_entry(&entry.user_data(index as u64)));
        if !pushed && let Some((user, op)) = self.give_slot(index) {
            let result = run(&self.files, &op);
            self.ready.push_back(Done { user, result });
        }
    }

    fn take_slot(&mut self, user: u64, op: Op) -> usize {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index)
        {
            slot.user = user;
            slot.op = Some(op);
            return index;
        }
        self.slots.push(Box::new(Slot { user, op: Some(op) }));
        self.slots.len() - 1
    }

    fn give_slot(&mut self, index: usize) -> Option<(u64, Op)> {
        let slot = self.slots.get_mut(index)?;
        let op = slot.op.take()?;
        self.free.push(index);
        Some((slot.user, op))
    }

    fn push_entry(&mut self, entry: &squeue::Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: what the entry points to is in a boxed slot, or is memory that the slot's
            // buffers name; both live until the operation ends, which `drop` waits for.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            self.submit();
        }
        false
    }

    /// Hands the ring's entries to the kernel. What it will not take now (EBUSY: completions must
    /// be taken first; EAGAIN: no memory) stays in the ring, and the event brings us back here.
    fn submit(&mut self) {
        while let Err(error) = self.ring.submit() {
            if error.raw_os_error() != Some(libc::EINTR) {
                self.event.signal();
                break;
            }
        }
    }

    pub(super) fn flush(&mut self) {
        if !self.ring.submission().is_empty() {
            self.submit();
        }
        if !self.ready.is_empty() {
            self.event.signal();
        }
    }

    pub(super) fn next(&mut self) -> Option<Done> {
        if let Some(done) = self.ready.pop_front() {
            return Some(done);
        }
        loop {
            let Some(completion) = self.ring.completion().next() else {
                if self.ring.submission().cq_overflow() || !self.ring.submission().is_empty() {
                    self.submit();
                    if !self.ring.completion().is_empty() {
                        continue;
                    }
                }
                return None;
            };
            let Some((user, op)) = self.index(completion.user_data()).and_then(|i| self.give_slot(i)) else {
                continue;
            };
            let result = self.finish(op, completion.result());
            return Some(Done { user, result });
        }
    }

    fn index(&self, user_data: u64) -> Option<usize> {
        usize::try_from(user_data).ok()
    }

    /// Turns the kernel's result into ours; what it did not finish is finished in this thread.
    fn finish(&self, op: Op, result: i32) -> io::Result<()> {
        let file = self.files.get(op.file).filter(|_| matches!(op.what, What::Sync)).cloned();
        let result = self.end(op, result);
        match file {
            Some(file) => file.synced(result),
            None => result,
        }
    }

    fn end(&self, op: Op, result: i32) -> io::Result<()> {
        match u64::try_from(result) {
            Ok(done) => match rest(op, done) {
                Some(rest) => run(&self.files, &rest),
                None => Ok(()),
            },
            Err(_) => {
                let error = io::Error::from_raw_os_error(result.saturating_neg());
                if retry(&error) || unsupported(&error) { run(&self.files, &op) } else { Err(error) }
            }
        }
    }

    pub(super) fn wait(&mut self) {
        while self.ready.is_empty() && self.held() > 0 && self.ring.completion().is_empty() {
            if let Err(error) = self.ring.submit_and_wait(1)
                && !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
            {
                break;
            }
        }
    }
}

impl Drop for Uring {
    /// The kernel must be done with all memory before the buffers' owner takes it back.
    fn drop(&mut self) {
        while self.held() > 0 {
            self.wait();
            while self.next().is_some() {}
        }
    }
}

/// What is left of a read or write after `done` bytes.
fn rest(op: Op, done: u64) -> Option<Op> {
    let (offset, bufs, read) = match &op.what {
        What::Read { offset, bufs } => (*offset, bufs, true),
        What::Write { offset, bufs } => (*offset, bufs, false),
        _ => return None,
    };
    let left = bufs.total_len().saturating_sub(done);
    if left == 0 {
        return None;
    }
    let (offset, bufs) = (offset.saturating_add(done), bufs.part(done, left));
    let what = if read { What::Read { offset, bufs } } else { What::Write { offset, bufs } };
    Some(Op { file: op.file, what })
}

/// The ring's entry for an operation, or `None` where the ring cannot do it.
fn entry(target: &Target, op: &Op) -> Option<squeue::Entry> {
    let fd = types::Fd(target.file.as_raw_fd());
    Some(match &op.what {
        What::Read { bufs, .. } | What::Write { bufs, .. }
            if !target.takes(bufs) || bufs.as_slice().len() > IOV_MAX =>
        {
            return None;
        }
        // Linux hands writes to the page cache of a file to a worker thread, which costs several
        // times what the copy does.
        What::Write { .. } if target.kind == Kind::Regular && target.direct.is_none() && !target.dsync => {
            return None;
        }
        What::Read { offset, bufs } => match bufs.as_slice() {
            [] => return None,
            [one] => opcode::Read::new(fd, one.as_ptr(), len(one)?).offset(*offset).build(),
            many => opcode::Readv::new(fd, many.as_ptr().cast(), count(many)?).offset(*offset).build(),
        },
        What::Write { offset, bufs } => {
            let flags = if target.dsync { libc::RWF_DSYNC } else { 0 };
            match bufs.as_slice() {
                [] => return None,
                [one] => {
                    opcode::Write::new(fd, one.as_ptr(), len(one)?).offset(*offset).rw_flags(flags).build()
                }
                many => opcode::Writev::new(fd, many.as_ptr().cast(), count(many)?)
                    .offset(*offset)
                    .rw_flags(flags)
                    .build(),
            }
        }
        What::Sync if target.nosync => return None,
        What::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        What::Discard { offset, len } if target.kind == Kind::Regular => {
            opcode::Fallocate::new(fd, *len).offset(*offset).mode(PUNCH).build()
        }
        // A writethrough file needs a sync after zeroing: two steps, so not from the ring.
        What::Zero { offset, len, unmap } if !target.dsync => {
            opcode::Fallocate::new(fd, *len).offset(*offset).mode(target.zero_mode(*unmap)?).build()
        }
        What::Discard { .. } | What::Zero { .. } | What::Nothing => return None,
    })
}

fn len(buf: &IoBuf) -> Option<u32> {
    u32::try_from(buf.len()).ok()
}

fn count(bufs: &[IoBuf]) -> Option<u32> {
    u32::try_from(bufs.len()).ok()
}
