//! Where a virtual network card's frames come from and go to, free of virtio.
//!
//! A [`Link`] is one connection to the host's network: a [`Tap`], a [`Stream`] to a program such as
//! [`passt`](passt::Passt). Each of its queue pairs is opened as a [`FrameQueue`], which moves whole frames between the
//! host and buffers of the guest without copying them, each frame behind the 12-byte header that tells of its checksum
//! and segmentation (virtio 1.3 §5.1.6, `struct virtio_net_hdr_v1`).
//!
//! [`Answered`] wraps a link whose guest is to get its address from us: what it asks by DHCP or as a neighbour is
//! answered without leaving the process.
//!
//! [`host`] looks at the host's network and makes in it what a guest needs, by way of [`netlink`] and [`nft`].

// What a guest or an image says must never be an index that panics.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod address;
mod answered;
mod buf;
pub mod dhcp;
pub mod host;
mod link;
mod neighbour;
pub mod netlink;
pub mod nft;
mod offload;
pub mod passt;
pub mod socket;
mod stream;
mod tap;
#[cfg(test)]
mod testing;
mod vhost;
mod wire;

pub use address::{BadIpNet, BadMacAddress, IpNet, MacAddress};
pub use answered::{Answered, AnswersHandle, AnswersReport, Lease};
pub use buf::{IoBuf, gather, scatter};
pub use link::{FrameQueue, Link};
pub use offload::Offloads;
pub use stream::{Peer, Stream};
pub use tap::{Tap, TapError};
pub use vhost::{Layout, Region, Side, Signals, VhostNet, WriteLog};

/// Bytes in front of every frame, both ways (virtio 1.3 §5.1.6).
pub const HEADER_LEN: u32 = 12;

/// Most buffers that one frame may be scattered over: the kernel's `UIO_MAXIOV`.
pub const MAX_BUFS: usize = 1024;
