//! An image over its backing files: what a place on the disk shows.

use std::io;
use std::sync::Arc;

use super::core::{Core, Place};
use super::entry::Packed;
use crate::buf::Bufs;
use crate::storage::Storage;

/// Most layers of a chain.
pub(crate) const MAX_LAYERS: usize = 64;

#[derive(Debug)]
pub(super) enum Layer {
    Qcow2(Box<Core>),
    Raw { storage: Arc<dyn Storage>, size: u64 },
}

/// The layers, the image itself first.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) top: Core,
    pub(super) below: Vec<Layer>,
}

/// What a place shows, and which layer's file it is in: 0 is the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Zeroes: by word of the layer or, with nothing `present` anywhere, because it is the last one.
    Zero {
        layer: usize,
        present: bool,
    },
    Data {
        layer: usize,
        host: u64,
        owned: bool,
    },
    Packed {
        layer: usize,
        packed: Packed,
    },
}

impl Chain {
    /// What is at `offset`, and for how many bytes, at most `max`.
    pub(super) fn find(&self, offset: u64, max: u64) -> io::Result<(Found, u64)> {
        let (found, mut len) = self.find_piece(offset, max)?;
        while len < max {
            let (next, more) = self.find_piece(offset + len, max - len)?;
            let joins = match (found, next) {
                (Found::Zero { .. }, Found::Zero { .. }) => found == next,
                (
                    Found::Data { layer, host, owned },
                    Found::Data { layer: next_layer, host: next_host, owned: next_owned },
                ) => layer == next_layer && owned == next_owned && host.checked_add(len) == Some(next_host),
                _ => false,
            };
            if !joins {
                break;
            }
            len += more;
        }
        Ok((found, len))
    }

    fn find_piece(&self, offset: u64, max: u64) -> io::Result<(Found, u64)> {
        let (place, mut len) = self.top.look_up(offset, max)?;
        match found(0, place) {
            Some(found) => Ok((found, len)),
            None => {
                let (found, piece) = self.find_below(offset, len)?;
                len = len.min(piece);
                Ok((found, len))
            }
        }
    }

    /// What the backing files show.
    fn find_below(&self, offset: u64, max: u64) -> io::Result<(Found, u64)> {
        let mut len = max;
        let mut last = 0;
        for (layer, below) in (1..).zip(&self.below) {
            let size = match below {
                Layer::Qcow2(core) => core.size,
                Layer::Raw { size, .. } => *size,
            };
            // A shorter backing file shows zeroes behind its end, whatever is below it.
            let Some(rest) = size.checked_sub(offset).filter(|&rest| rest > 0) else { break };
            last = layer;
            len = len.min(rest);
            let place = match below {
                Layer::Raw { .. } => Place::Data { host: offset, owned: false },
                Layer::Qcow2(core) => {
                    let (place, piece) = core.look_up(offset, len)?;
                    len = piece;
                    place
                }
            };
            if let Some(found) = found(layer, place) {
                return Ok((found, len));
            }
        }
        Ok((Found::Zero { layer: last, present: false }, len))
    }

    /// Whether anything at all may show where the image itself has nothing.
    pub(super) fn has_backing(&self) -> bool {
        !self.below.is_empty()
    }

    fn core(&self, layer: usize) -> Option<&Core> {
        match layer.checked_sub(1) {
            None => Some(&self.top),
            Some(index) => match self.below.get(index)? {
                Layer::Qcow2(core) => Some(core),
                Layer::Raw { .. } => None,
            },
        }
    }

    fn storage(&self, layer: usize) -> Option<&Arc<dyn Storage>> {
        match layer.checked_sub(1).map(|index| self.below.get(index)) {
            None => Some(&self.top.storage),
            Some(Some(Layer::Qcow2(core))) => Some(&core.storage),
            Some(Some(Layer::Raw { storage, .. })) => Some(storage),
            Some(None) => None,
        }
    }

    /// Reads a compressed piece; `false` if it has moved, and is to be looked for again.
    pub(super) fn read_packed(
        &self,
        layer: usize,
        packed: Packed,
        offset: u64,
        bufs: &Bufs,
    ) -> io::Result<bool> {
        let core = self.core(layer).ok_or(io::ErrorKind::NotFound)?;
        core.read_packed(offset, packed, bufs)
    }

    /// Reads in this thread.
    pub(super) fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset.saturating_add(done);
            let (found, len) = self.find(at, total - done)?;
            let piece = bufs.part(done, len);
            let here = match found {
                Found::Zero { .. } => {
                    piece.fill_zero();
                    true
                }
                Found::Data { layer, host, .. } => {
                    self.storage(layer).ok_or(io::ErrorKind::NotFound)?.read(host, &piece)?;
                    true
                }
                Found::Packed { layer, packed } => self.read_packed(layer, packed, at, &piece)?,
            };
            if here {
                done += len;
            }
        }
        Ok(())
    }
}

fn found(layer: usize, place: Place) -> Option<Found> {
    match place {
        Place::Absent => None,
        Place::Zero => Some(Found::Zero { layer, present: true }),
        Place::Data { host, owned } => Some(Found::Data { layer, host, owned: owned && layer == 0 }),
        Place::Packed(packed) => Some(Found::Packed { layer, packed }),
    }
}
