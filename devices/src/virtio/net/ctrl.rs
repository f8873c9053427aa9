//! The control queue (virtio 1.3 §5.1.6.5).

use std::sync::Arc;

use super::NetShared;
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Buffers, read_at, total, write_at};
use crate::virtio::responder::Responder;

const ACK_OK: u8 = 0;
const ACK_ERR: u8 = 1;

/// Longest command of which anything is looked at: class, command, and a hardware address.
const LOOKED_AT: usize = 8;

/// Classes and commands, as the two first bytes of a request.
mod command {
    pub(super) const RX_PROMISC: [u8; 2] = [0, 0];
    pub(super) const RX_ALLMULTI: [u8; 2] = [0, 1];
    pub(super) const MAC_TABLE_SET: [u8; 2] = [1, 0];
    pub(super) const MAC_ADDR_SET: [u8; 2] = [1, 1];
    pub(super) const MQ_VQ_PAIRS_SET: [u8; 2] = [4, 0];
}

pub(super) struct Commands(pub(super) Arc<NetShared>);

impl Responder for Commands {
    const NAME: &'static str = "virtio-net control queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        let accepted = request.is_ok_and(|buffers| self.carry_out(mem, buffers));
        if !accepted {
            self.0.counters.refused_commands.bump();
        }
        let ack = if accepted { ACK_OK } else { ACK_ERR };
        u32::from(request.and_then(|buffers| write_at(mem, &buffers.writable, 0, &[ack])).is_ok())
    }
}

impl Commands {
    /// Does what a request asks for. The link delivers whatever it gets and the guest filters, so that receive
    /// filters need no more than an answer.
    fn carry_out(&self, mem: &GuestRam, buffers: &Buffers) -> bool {
        let mut bytes = [0; LOOKED_AT];
        let len = usize::try_from(total(&buffers.readable)).unwrap_or(usize::MAX);
        let Some(looked_at) = bytes.get_mut(..len.min(LOOKED_AT)) else { return false };
        if read_at(mem, &buffers.readable, 0, looked_at).is_err() {
            return false;
        }
        let [class, command, a, b, c, d, e, f] = bytes;
        match ([class, command], len) {
            (command::RX_PROMISC | command::RX_ALLMULTI, 3) => true,
            // Two tables of addresses, each behind its length.
            (command::MAC_TABLE_SET, 10..) => true,
            (command::MAC_ADDR_SET, 8) => {
                self.0.set_mac([a, b, c, d, e, f]);
                true
            }
            (command::MQ_VQ_PAIRS_SET, 4) => self.0.activate(u16::from_le_bytes([a, b])),
            _ => false,
        }
    }
}
