//! Writing compressed clusters: for images that are being made.

use std::io;

use flate2::{Compress, FlushCompress, Status};

use super::QcowDisk;
use super::entry::{Cluster, Packed};
use super::error::QcowError;
use super::header::Compression;
use super::image::Writer;
use crate::buf::Bufs;

/// QEMU unpacks with a window of 4 KiB.
const WINDOW_BITS: u8 = 12;
const ZLIB_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Packs clusters, one after the other.
pub(crate) struct Packer {
    kind: Packing,
    out: Vec<u8>,
}

enum Packing {
    Zlib(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    /// Packs as `disk` wants it.
    pub(crate) fn for_disk(disk: &QcowDisk) -> io::Result<Packer> {
        let shared = disk.shared()?;
        let top = &shared.image.chain.top;
        let level = flate2::Compression::new(ZLIB_LEVEL);
        let kind = match top.header.compression {
            Compression::Zlib => Packing::Zlib(Compress::new_with_window_bits(level, false, WINDOW_BITS)),
            Compression::Zstd => Packing::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(Packer { kind, out: Vec::new() })
    }

    /// A cluster's stream, if it is shorter than the cluster.
    fn pack(&mut self, cluster: &[u8]) -> Option<&[u8]> {
        // More than the worst case needs: the packers are not at their best when room runs out.
        self.out.resize(cluster.len() + cluster.len() / 4 + 128, 0);
        let len = match &mut self.kind {
            Packing::Zlib(stream) => {
                stream.reset();
                match stream.compress(cluster, &mut self.out, FlushCompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(stream.total_out()).ok()?,
                    _ => return None,
                }
            }
            Packing::Zstd(stream) => stream.compress_to_buffer(cluster, &mut self.out).ok()?,
        };
        self.out.get(..len).filter(|stream| stream.len() < cluster.len())
    }
}

impl QcowDisk {
    /// Bytes in a cluster.
    pub(crate) fn cluster_size(&self) -> io::Result<u64> {
        Ok(self.shared()?.image.chain.top.geometry.cluster_size())
    }

    /// Writes a whole cluster that has never been written, compressed if that makes it smaller.
    /// `bytes` may be shorter at the disk's end.
    pub(crate) fn write_packed(&self, packer: &mut Packer, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let shared = self.shared()?;
        let image = &shared.image;
        let cluster_size = usize::try_from(self.cluster_size()?).unwrap_or(0);
        let mut whole = Vec::new();
        let cluster = if bytes.len() < cluster_size {
            whole.extend_from_slice(bytes);
            whole.resize(cluster_size, 0);
            &whole
        } else {
            &*bytes
        };
        let Some(stream) = packer.pack(cluster) else {
            return image.write(offset, &Bufs::borrowing(bytes));
        };
        let mut writer = image.lock()?;
        image.begin_change(&mut writer)?;
        let top = &image.chain.top;
        let number = top.geometry.cluster_of(offset);
        if top.geometry.l2(top.entry(number)?)? != Cluster::Absent {
            return Err(QcowError::Unsupported("written clusters".into(), " by compression").into());
        }
        writer.slice(top, number)?;
        let place = writer.place_stream(stream.len() as u64, self.cluster_size()?)?;
        top.storage.write_bytes(place, stream)?;
        let packed = Packed::new(top.geometry, place, stream.len() as u64);
        let end = place + packed.len(top.geometry);
        top.file_len.fetch_max(end, std::sync::atomic::Ordering::AcqRel);
        writer.set(top, number, Cluster::Compressed(packed))
    }
}

impl Writer {
    /// Finds a place for a stream: behind the last one where that can be, else in a new cluster.
    fn place_stream(&mut self, len: u64, cluster_size: u64) -> io::Result<u64> {
        let space = self.stream_space.take().filter(|(at, end)| at < end);
        if let Some((at, mut end)) = space
            && self.refcounts.can_count(at / cluster_size)?
        {
            if at + len > end {
                let (next, _) = self.refcounts.allocate(1)?;
                let place = next * cluster_size;
                if place != end {
                    self.stream_space = Some((place + len, place + cluster_size));
                    return Ok(place);
                }
                end += cluster_size;
            }
            self.refcounts.add(at / cluster_size)?;
            self.stream_space = Some((at + len, end));
            return Ok(at);
        }
        let (next, _) = self.refcounts.allocate(1)?;
        let place = next * cluster_size;
        self.stream_space = Some((place + len, place + cluster_size));
        Ok(place)
    }
}
