//! The control queue (virtio 1.3 §5.1.6.5).

use std::sync::Arc;

use super::NetShared;
use super::features::{
    CTRL_GUEST_OFFLOADS, CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, GUEST_ANNOUNCE, GUEST_OFFLOADS, MQ,
};
use super::filter::{Addresses, Mac, Mode};
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Buffers, Segment, read_at, total, write_at};
use crate::virtio::responder::Responder;

const ACK_OK: u8 = 0;
const ACK_ERR: u8 = 1;

/// Bytes of class and command.
const HEAD: u64 = 2;

/// Classes of commands.
mod class {
    pub(super) const RX: u8 = 0;
    pub(super) const MAC: u8 = 1;
    pub(super) const VLAN: u8 = 2;
    pub(super) const ANNOUNCE: u8 = 3;
    pub(super) const MQ: u8 = 4;
    pub(super) const GUEST_OFFLOADS: u8 = 5;
}

/// A command that makes sense by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Mode(Mode, bool),
    Tables { unicast: Addresses, multicast: Addresses },
    Address(Mac),
    Vlan { vlan: u16, wanted: bool },
    Announced,
    Pairs(u16),
    Offloads(u64),
}

impl Command {
    /// Which feature has to be negotiated for it.
    const fn feature(&self) -> u64 {
        match self {
            Self::Mode(Mode::Promiscuous | Mode::AllMulticast, _) | Self::Tables { .. } => CTRL_RX,
            Self::Mode(..) => CTRL_RX_EXTRA,
            Self::Address(_) => CTRL_MAC_ADDR,
            Self::Vlan { .. } => CTRL_VLAN,
            Self::Announced => GUEST_ANNOUNCE,
            Self::Pairs(_) => MQ,
            Self::Offloads(_) => CTRL_GUEST_OFFLOADS,
        }
    }
}

/// The readable part of a request.
struct Request<'a> {
    mem: &'a GuestRam,
    segments: &'a [Segment],
    len: u64,
}

impl Request<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        read_at(self.mem, self.segments, at, &mut bytes).ok().map(|()| bytes)
    }

    /// All that follows class and command, if it has this length.
    fn payload<const N: usize>(&self) -> Option<[u8; N]> {
        let exact = u64::try_from(N).is_ok_and(|len| HEAD + len == self.len);
        if exact { self.bytes(HEAD) } else { None }
    }

    fn switch(&self) -> Option<bool> {
        let [on] = self.payload()?;
        Some(on != 0)
    }

    /// A table of addresses behind its length, and where it ends.
    fn table(&self, at: u64) -> Option<(Addresses, u64)> {
        let count = u32::from_le_bytes(self.bytes(at)?);
        let end = at + 4 + u64::from(count) * 6;
        let addresses = (0..u64::from(count)).map(|index| self.bytes(at + 4 + index * 6));
        let table = (end <= self.len).then(|| Addresses::collect(count, addresses))??;
        Some((table, end))
    }

    fn parse(&self) -> Option<Command> {
        let [class, command] = self.bytes(0)?;
        Some(match (class, command) {
            (class::RX, _) => Command::Mode(Mode::of_command(command)?, self.switch()?),
            (class::MAC, 0) => {
                let (unicast, end) = self.table(HEAD)?;
                let (multicast, _) = self.table(end)?;
                Command::Tables { unicast, multicast }
            }
            (class::MAC, 1) => Command::Address(self.payload()?),
            (class::VLAN, 0 | 1) => {
                Command::Vlan { vlan: u16::from_le_bytes(self.payload()?), wanted: command == 0 }
            }
            (class::ANNOUNCE, 0) => Command::Announced,
            (class::MQ, 0) => Command::Pairs(u16::from_le_bytes(self.payload()?)),
            (class::GUEST_OFFLOADS, 0) => Command::Offloads(u64::from_le_bytes(self.payload()?)),
            _ => return None,
        })
    }
}

/// Answers the driver's commands.
pub(super) struct Commands {
    pub(super) shared: Arc<NetShared>,
    /// Negotiated.
    pub(super) features: u64,
}

impl Responder for Commands {
    const NAME: &'static str = "virtio-net control queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        let accepted = request.is_ok_and(|buffers| {
            let segments = buffers.readable.as_slice();
            let request = Request { mem, segments, len: total(segments) };
            request.parse().is_some_and(|command| self.carry_out(command))
        });
        if !accepted {
            self.shared.counters.refused_commands.bump();
        }
        let ack = if accepted { ACK_OK } else { ACK_ERR };
        u32::from(request.and_then(|buffers| write_at(mem, &buffers.writable, 0, &[ack])).is_ok())
    }
}

impl Commands {
    /// Does what a command asks for; false if it may not, or the host refuses.
    fn carry_out(&self, command: Command) -> bool {
        if self.features & command.feature() == 0 {
            return false;
        }
        let settings = &self.shared.settings;
        match command {
            Command::Mode(mode, on) => settings.change(|settings| settings.filter.set(mode, on)),
            Command::Tables { unicast, multicast } => settings.change(|settings| {
                settings.filter.unicast = unicast;
                settings.filter.multicast = multicast;
            }),
            Command::Address(mac) => settings.change(|settings| settings.mac = mac),
            Command::Vlan { vlan, wanted } => {
                return settings.change(|settings| settings.filter.set_vlan(vlan, wanted));
            }
            Command::Announced => self.shared.has_announced(),
            Command::Pairs(pairs) => return self.shared.activate(pairs),
            Command::Offloads(bits) => {
                let allowed = bits & !(self.features & GUEST_OFFLOADS) == 0;
                return allowed && self.shared.take_offloads(bits);
            }
        }
        true
    }
}
