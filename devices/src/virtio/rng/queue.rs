//! The one queue of an entropy source.

use std::sync::Arc;

use super::{RngCounters, sys};
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Buffers, total, write_at};
use crate::virtio::responder::Responder;

/// Most bytes that one request gets; the driver asks again for more.
const MAX_BYTES: u64 = 64 << 10;
/// Bytes fetched at a time. The kernel fills up to 256 without interruption (getrandom(2)).
const STEP: usize = 256;

pub(super) struct RandomBytes(pub(super) Arc<RngCounters>);

impl Responder for RandomBytes {
    const NAME: &'static str = "virtio-rng queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        let written = request.and_then(|buffers| fill(mem, buffers)).unwrap_or_else(|_| {
            self.0.rejected.bump();
            0
        });
        self.0.bytes.add(u64::from(written));
        written
    }
}

/// Fills the chain's writable part, or as much as the host gives.
fn fill(mem: &GuestRam, buffers: &Buffers) -> Result<u32, BadChain> {
    let wanted = total(&buffers.writable).min(MAX_BYTES);
    let mut written = 0u32;
    while u64::from(written) < wanted {
        let mut bytes = [0; STEP];
        let left = usize::try_from(wanted - u64::from(written)).unwrap_or(STEP);
        let step = bytes.get_mut(..left.min(STEP)).unwrap_or_default();
        let count = sys::random(step).unwrap_or(0);
        if count == 0 {
            break;
        }
        let fresh = step.get(..count).unwrap_or_default();
        write_at(mem, &buffers.writable, u64::from(written), fresh)?;
        written = written.saturating_add(u32::try_from(count).unwrap_or(0));
    }
    if written == 0 { Err(BadChain::TooShort) } else { Ok(written) }
}
