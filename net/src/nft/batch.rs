//! Changes to nf_tables that happen all together or not at all (linux/netfilter/nfnetlink.h).

use super::expression::{DATA_VALUE, Instructions, LIST_ELEMENT, Set, be};
use super::rules::{Chain, Rule};
use crate::netlink::NetlinkError;
use crate::netlink::message::Message;
use crate::netlink::socket::Socket;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFT_MSG_*`.
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
/// `NLM_F_*`.
const REQUEST: u16 = 0x01;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT`.
const SET_FLAGS: u32 = 0x3;
/// Bytes that the socket has room for at least: answers take more than the messages do.
const LEAST_ROOM: i32 = 1 << 18;
/// The kernel makes a name of it.
pub(super) const ANONYMOUS: &str = "__set%d";

/// A version of IP (linux/netfilter.h, `NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4 = 2,
    V6 = 10,
}

/// Messages that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    messages: Vec<Message>,
    sets: u32,
}

impl Batch {
    /// A table with all chains, which must not exist yet.
    pub(super) fn make_table(&mut self, family: Family, table: &str) {
        // NFTA_TABLE_NAME.
        let message = change(NEW_TABLE, CREATE | EXCLUSIVE, family).with_text(1, table);
        self.push(message);
        for chain in Chain::ALL {
            // NFTA_CHAIN_TABLE, _NAME, _HOOK {_NUM, _PRIORITY}, _TYPE.
            let mut message = change(NEW_CHAIN, CREATE | EXCLUSIVE, family);
            message = message.with_text(1, table).with_text(3, chain.name());
            if let Some(hook) = chain.hook() {
                message = message
                    .nest(4, |m| m.with(1, &be(hook.number)).with(2, &hook.priority.to_be_bytes()))
                    .with_text(7, "nat");
            }
            self.push(message);
        }
    }

    /// Adds a rule at the end of its chain.
    pub(super) fn add_rule(&mut self, family: Family, table: &str, rule: &Rule) {
        let mut sets = Vec::new();
        let first_set = self.sets + 1;
        // NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS.
        let message = change(NEW_RULE, CREATE | APPEND, family)
            .with_text(1, table)
            .with_text(2, rule.chain.name())
            .nest(4, |list| {
                let mut instructions = Instructions::new(list, first_set);
                rule.matches.iter().for_each(|wanted| instructions.matching(wanted));
                instructions.counter();
                instructions.verdict(&rule.verdict);
                let (list, needed) = instructions.finish();
                sets = needed;
                list
            });
        for set in &sets {
            self.sets = self.sets.max(set.id);
            self.make_set(family, table, set);
        }
        self.push(message);
    }

    /// Deletes a table with all that is in it.
    pub(super) fn delete_table(&mut self, family: Family, table: &str) {
        self.push(change(DELETE_TABLE, 0, family).with_text(1, table));
    }

    /// Sends it. `doing` says what it is for.
    pub(super) fn commit(self, socket: &mut Socket, doing: &str) -> Result<(), NetlinkError> {
        let first = socket.number();
        let mut last = first;
        let mut bytes = Message::new(BEGIN, REQUEST, &header(0, SUBSYSTEM)).finish(first);
        let count = self.messages.len();
        for (index, message) in self.messages.into_iter().enumerate() {
            last = socket.number();
            // What is refused is answered in any case; one acknowledgement says that nothing was.
            let message = if index + 1 == count { message.acknowledged() } else { message };
            bytes.extend(message.finish(last));
        }
        bytes.extend(Message::new(END, REQUEST, &header(0, SUBSYSTEM)).finish(socket.number()));
        let room = i32::try_from(bytes.len().saturating_mul(2)).unwrap_or(i32::MAX);
        socket.set_buffers(room.max(LEAST_ROOM));
        socket.send(&bytes, doing)?;
        socket.answers_to_batch(first, last, doing)
    }

    fn make_set(&mut self, family: Family, table: &str, set: &Set) {
        let len = set.elements.first().map_or(0, Vec::len);
        let number = |len: usize| be(u32::try_from(len).unwrap_or(u32::MAX));
        // NFTA_SET_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _DESC {_SIZE}, _ID.
        let message = change(NEW_SET, CREATE, family)
            .with_text(1, table)
            .with_text(2, ANONYMOUS)
            .with(3, &be(SET_FLAGS))
            .with(4, &be(set.key_type))
            .with(5, &number(len))
            .nest(9, |m| m.with(1, &number(set.elements.len())))
            .with(10, &be(set.id));
        self.push(message);
        // NFTA_SET_ELEM_LIST_TABLE, _SET, _ELEMENTS, _SET_ID; of an element NFTA_SET_ELEM_KEY.
        let elements = change(NEW_ELEMENTS, CREATE, family)
            .with_text(1, table)
            .with_text(2, ANONYMOUS)
            .with(4, &be(set.id))
            .nest(3, |mut list| {
                for element in &set.elements {
                    list = list.nest(LIST_ELEMENT, |m| m.nest(1, |m| m.with(DATA_VALUE, element)));
                }
                list
            });
        self.push(elements);
    }

    fn push(&mut self, message: Message) {
        self.messages.push(message);
    }
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [a, b] = resource.to_be_bytes();
    [family, 0, a, b]
}

fn change(kind: u16, flags: u16, family: Family) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, REQUEST | flags, &header(family as u8, 0))
}
