//! The queues by which pages go into the balloon and come out of it (virtio 1.3 §5.5.6).

use std::sync::Arc;

use super::{BalloonCounters, pages};
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Buffers, read_at, total};
use crate::virtio::responder::Responder;

/// Most page numbers taken out of one request; Linux sends 256. Pages beyond stay with the guest, who loses nothing by it.
const MOST_NUMBERS: u64 = 16 << 10;
/// Bytes of a page number.
const NUMBER: u64 = 4;

/// Pages that the guest gives up.
pub(super) struct Inflate(pub(super) Arc<BalloonCounters>);

impl Responder for Inflate {
    const NAME: &'static str = "virtio-balloon's inflate queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        match request.and_then(|buffers| numbers(mem, buffers)) {
            Ok(mut numbers) => {
                pages::release_all(mem, &mut numbers, &self.0);
                self.0.inflated_pages.add(numbers.len() as u64);
            }
            Err(_) => self.0.rejected.bump(),
        }
        0
    }
}

/// Pages that the guest takes back. They are there as soon as it touches them.
pub(super) struct Deflate(pub(super) Arc<BalloonCounters>);

impl Responder for Deflate {
    const NAME: &'static str = "virtio-balloon's deflate queue";

    fn respond(&mut self, _mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        match request {
            Ok(buffers) => self.0.deflated_pages.add(total(&buffers.readable) / NUMBER),
            Err(_) => self.0.rejected.bump(),
        }
        0
    }
}

/// Free pages that the guest reports, to get them back as soon as it touches them (virtio 1.3 §5.5.6.7).
pub(super) struct Report(pub(super) Arc<BalloonCounters>);

impl Responder for Report {
    const NAME: &'static str = "virtio-balloon's reporting queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        match request {
            Ok(buffers) => {
                for segment in &buffers.writable {
                    pages::release(mem, segment.address.0, segment.len.into(), &self.0);
                }
                self.0.reported_bytes.add(total(&buffers.writable));
            }
            Err(_) => self.0.rejected.bump(),
        }
        0
    }
}

/// The page numbers of a request.
fn numbers(mem: &GuestRam, buffers: &Buffers) -> Result<Vec<u32>, BadChain> {
    let count = (total(&buffers.readable) / NUMBER).min(MOST_NUMBERS);
    let mut bytes = vec![0; usize::try_from(count * NUMBER).unwrap_or(0)];
    if bytes.is_empty() {
        return Err(BadChain::TooShort);
    }
    read_at(mem, &buffers.readable, 0, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks();
    Ok(numbers.iter().map(|number| u32::from_le_bytes(*number)).collect())
}
