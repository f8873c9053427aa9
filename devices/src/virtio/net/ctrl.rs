//! The control queue (virtio 1.3 §5.1.6.5).

use std::sync::Arc;

use super::NetShared;
use crate::virtio::buffers::{Buffers, read_at, total, write_at};
use crate::virtio::worker::{QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Chain, Ring, RingError};

const ACK_OK: u8 = 0;
const ACK_ERR: u8 = 1;

/// Commands answered before other queues of the thread have their turn.
const TURN: usize = 32;
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

pub(super) struct CtrlQueue {
    ring: Ring,
    shared: Arc<NetShared>,
    buffers: Buffers,
}

impl CtrlQueue {
    pub(super) fn new(ring: Ring, shared: Arc<NetShared>) -> Self {
        Self { ring, shared, buffers: Buffers::default() }
    }

    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        let mut taken = 0;
        loop {
            while taken < TURN
                && let Some(chain) = self.ring.pop()?
            {
                taken += 1;
                self.answer(chain)?;
            }
            self.ring.notify()?;
            if taken == TURN {
                yield_turn(&self.ring);
                return Ok(());
            }
            if !self.ring.enable_notification()? {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, chain: Chain) -> Result<(), RingError> {
        let head = chain.head_index();
        let accepted = self.buffers.load(chain).is_ok() && self.carry_out();
        if !accepted {
            self.shared.counters.refused_commands.bump();
        }
        let ack = if accepted { ACK_OK } else { ACK_ERR };
        let written = write_at(self.ring.mem(), &self.buffers.writable, 0, &[ack]).is_ok();
        self.ring.push_used(head, u32::from(written))
    }

    /// Does what a request asks for. The link delivers whatever it gets and the guest filters, so that receive
    /// filters need no more than an answer.
    fn carry_out(&self) -> bool {
        let mut bytes = [0; LOOKED_AT];
        let len = usize::try_from(total(&self.buffers.readable)).unwrap_or(usize::MAX);
        let Some(looked_at) = bytes.get_mut(..len.min(LOOKED_AT)) else { return false };
        if read_at(self.ring.mem(), &self.buffers.readable, 0, looked_at).is_err() {
            return false;
        }
        let [class, command, a, b, c, d, e, f] = bytes;
        match ([class, command], len) {
            (command::RX_PROMISC | command::RX_ALLMULTI, 3) => true,
            // Two tables of addresses, each behind its length.
            (command::MAC_TABLE_SET, 10..) => true,
            (command::MAC_ADDR_SET, 8) => {
                self.shared.set_mac([a, b, c, d, e, f]);
                true
            }
            (command::MQ_VQ_PAIRS_SET, 4) => self.shared.activate(u16::from_le_bytes([a, b])),
            _ => false,
        }
    }
}

impl QueueHandler for CtrlQueue {
    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }

    fn wake(&mut self, _ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }
}
