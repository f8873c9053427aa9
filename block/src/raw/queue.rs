//! Requests on a raw disk: one operation each.

use std::io;

use super::Shared;
use crate::disk::{DiskInfo, Request};
use crate::engine::What;
use crate::queue::{Format, Ops};

impl Format for Shared {
    fn info(&self) -> DiskInfo {
        self.info()
    }

    fn start(&self, request: Request, ops: &mut Ops<'_>) -> io::Result<()> {
        let what = match request {
            Request::Read { offset, bufs } => What::Read { offset, bufs },
            Request::Write { offset, bufs } => What::Write { offset, bufs },
            Request::Flush => What::Sync,
            Request::Discard { len: 0, .. } | Request::WriteZeroes { len: 0, .. } => return Ok(()),
            Request::Discard { offset, len } => What::Discard { offset, len },
            Request::WriteZeroes { offset, len, unmap } => What::Zero { offset, len, unmap },
        };
        ops.start(0, what);
        Ok(())
    }
}
