//! Requests on a copy-on-write disk: an operation for each run of clusters that are in the same file.

use std::io;

use super::{CLUSTER, Fill, Shared};
use crate::buf::Bufs;
use crate::disk::{DiskInfo, Request};
use crate::engine::{FileIndex, What};
use crate::queue::{Format, Ops};

const BASE: FileIndex = 0;
const OVERLAY: FileIndex = 1;

/// A part of a request whose clusters are all in the same file.
pub(super) struct Run {
    offset: u64,
    pub(super) len: u64,
    pub(super) written: bool,
}

impl Format for Shared {
    fn info(&self) -> DiskInfo {
        self.info
    }

    fn start(&self, request: Request, ops: &mut Ops<'_>) -> io::Result<()> {
        match request {
            Request::Read { offset, bufs } => {
                self.read(offset, &bufs, ops);
                Ok(())
            }
            Request::Write { offset, bufs } => self.write(offset, &bufs, ops),
            Request::Flush => Ok(()),
            Request::Discard { offset, len } => self.zero(offset, len, true),
            Request::WriteZeroes { offset, len, .. } => self.zero(offset, len, false),
        }
    }
}

impl Shared {
    pub(super) fn run(&self, offset: u64, len: u64) -> Run {
        let clusters = (offset % CLUSTER).saturating_add(len).div_ceil(CLUSTER);
        let (written, same) = self.written.run(offset / CLUSTER, clusters);
        let len = len.min((same * CLUSTER).saturating_sub(offset % CLUSTER));
        Run { offset, len, written }
    }

    fn read(&self, offset: u64, bufs: &Bufs, ops: &mut Ops<'_>) {
        self.each_run(offset, bufs, |run, bufs| {
            let file = if run.written { OVERLAY } else { BASE };
            ops.start(file, What::Read { offset: run.offset, bufs });
        });
    }

    fn write(&self, offset: u64, bufs: &Bufs, ops: &mut Ops<'_>) -> io::Result<()> {
        let mut result = Ok(());
        self.each_run(offset, bufs, |run, bufs| {
            if run.written {
                ops.start(OVERLAY, What::Write { offset: run.offset, bufs });
            } else if result.is_ok() {
                result = self.write_new(run.offset, &bufs);
            }
        });
        result
    }

    fn each_run(&self, offset: u64, bufs: &Bufs, mut each: impl FnMut(&Run, Bufs)) {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let run = self.run(offset.saturating_add(done), total - done);
            each(&run, bufs.part(done, run.len));
            done += run.len;
        }
    }

    /// Writes to clusters that the overlay does not hold yet, in this thread.
    fn write_new(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset.saturating_add(done);
            let piece = (total - done).min(CLUSTER - at % CLUSTER);
            self.put(at, piece, Fill::Data(&bufs.part(done, piece)))?;
            done += piece;
        }
        Ok(())
    }
}
