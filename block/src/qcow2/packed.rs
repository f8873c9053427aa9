//! Compressed clusters.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};
use zstd::zstd_safe::{DCtx, find_frame_compressed_size};

use super::entry::{Geometry, Packed};
use super::error::QcowError;
use super::header::Compression;
use crate::storage::Storage;

/// Unpacked clusters kept, for guests that read them piece by piece.
const KEPT: usize = 4;

/// Unpacks clusters, remembering the last few.
#[derive(Debug)]
pub(super) struct Unpacker {
    kind: Compression,
    kept: Mutex<Vec<(Packed, Arc<[u8]>)>>,
}

impl Unpacker {
    pub(super) fn new(kind: Compression) -> Unpacker {
        Unpacker { kind, kept: Mutex::new(Vec::new()) }
    }

    /// A cluster's contents.
    pub(super) fn cluster(
        &self,
        storage: &dyn Storage,
        geometry: Geometry,
        file_len: u64,
        packed: Packed,
    ) -> io::Result<Arc<[u8]>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = lock().iter().find(|(kept, _)| *kept == packed) {
            return Ok(Arc::clone(bytes));
        }
        if packed.offset(geometry) >= file_len {
            return Err(QcowError::Corrupt("a compressed cluster lies behind the end of the file").into());
        }
        let input = read(storage, packed.offset(geometry), packed.len(geometry))?;
        let bytes: Arc<[u8]> = self.unpack(&input, geometry.cluster_size())?.into();
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((packed, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Forgets what was unpacked: its place may be used for something else.
    pub(super) fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn unpack(&self, input: &[u8], size: u64) -> io::Result<Vec<u8>> {
        let mut out = vec![0; usize::try_from(size).unwrap_or(0)];
        let whole = match self.kind {
            Compression::Zlib => inflate(input, &mut out),
            Compression::Zstd => unzstd(input, &mut out),
        };
        if whole {
            Ok(out)
        } else {
            Err(QcowError::Corrupt("a compressed cluster cannot be unpacked").into())
        }
    }
}

/// Reads any range, by whole blocks as direct I/O wants it.
fn read(storage: &dyn Storage, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    const BLOCK: u64 = 4096;
    let start = offset / BLOCK * BLOCK;
    let end = (offset + len).next_multiple_of(BLOCK);
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    storage.read_bytes(start, &mut bytes)?;
    let skip = usize::try_from(offset - start).unwrap_or(0);
    bytes.drain(..skip);
    bytes.truncate(usize::try_from(len).unwrap_or(0));
    Ok(bytes)
}

thread_local! {
    /// Tables and windows of the decompressors, which take longer to make than a cluster takes to unpack.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    static ZSTD: RefCell<Option<DCtx<'static>>> = RefCell::new(DCtx::try_create());
}

/// Whether the stream filled `out`. What follows the stream is padding.
fn inflate(input: &[u8], out: &mut [u8]) -> bool {
    INFLATE.with_borrow_mut(|stream| {
        stream.reset(false);
        let done = stream.decompress(input, out, FlushDecompress::Finish);
        done.is_ok() && stream.total_out() == out.len() as u64
    })
}

fn unzstd(input: &[u8], out: &mut [u8]) -> bool {
    unzstd_frame(input, out) || unzstd_stream(input, out)
}

/// Unpacks the one frame that writers make of a cluster straight into `out`. What follows it is padding.
fn unzstd_frame(input: &[u8], out: &mut [u8]) -> bool {
    let Some(frame) = find_frame_compressed_size(input).ok().and_then(|len| input.get(..len)) else {
        return false;
    };
    ZSTD.with_borrow_mut(|context| {
        context.as_mut().is_some_and(|context| context.decompress(out, frame) == Ok(out.len()))
    })
}

/// Unpacks whatever zstd understands, as QEMU does.
fn unzstd_stream(input: &[u8], out: &mut [u8]) -> bool {
    use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
    /// Clusters are at most 2 MiB: no window needs to be larger, and a larger one is memory for nothing.
    const MAX_WINDOW_LOG: u32 = 22;
    let Ok(mut stream) = Decoder::new() else { return false };
    if stream.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).is_err() {
        return false;
    }
    let mut input = InBuffer::around(input);
    let mut output = OutBuffer::around(out);
    while output.pos() < output.capacity() {
        let before = (input.pos(), output.pos());
        if stream.run(&mut input, &mut output).is_err() || before == (input.pos(), output.pos()) {
            return false;
        }
    }
    true
}
