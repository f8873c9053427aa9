//! The descriptors of a chain, one after the other (virtio 1.3 §2.7.5).

use ram::RamSlice;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::rings::Rings;
use crate::GuestRam;

/// Bytes of a descriptor.
const LEN: u32 = 16;

/// Where a chain's descriptors are.
enum Table<'a> {
    /// The queue's own.
    Direct(&'a Rings),
    /// One that a descriptor of it points to, in one piece of RAM.
    Indirect(RamSlice<'a>),
    /// The same, in pieces.
    Scattered(GuestAddress),
}

/// The descriptors of a chain. It ends early where the chain makes no sense.
pub(crate) struct Walk<'a> {
    mem: &'a GuestRam,
    table: Table<'a>,
    size: u32,
    next: Option<u16>,
    /// Descriptors that may still come: a loop ends there.
    left: u32,
    /// Bytes so far; more than 32 bits hold are no chain (virtio 1.3 §2.7.5.2).
    bytes: u32,
}

impl<'a> Walk<'a> {
    /// The chain that starts at `head` of the table, which has `size` descriptors.
    pub(crate) fn new(mem: &'a GuestRam, rings: &'a Rings, size: u16, head: u16) -> Self {
        let size = u32::from(size);
        Self { mem, table: Table::Direct(rings), size, next: Some(head), left: size, bytes: 0 }
    }

    fn read(&self, index: u16) -> Option<Descriptor> {
        if u32::from(index) >= self.size || self.left == 0 {
            return None;
        }
        let offset = u64::from(index) * u64::from(LEN);
        match &self.table {
            Table::Direct(rings) => rings.descriptor(index),
            Table::Indirect(slice) => slice.read_obj(usize::try_from(offset).ok()?).ok(),
            Table::Scattered(base) => self.mem.read_obj(GuestAddress(base.0.checked_add(offset)?)).ok(),
        }
    }

    /// Goes on in the table that a descriptor points to; its first descriptor.
    fn enter(&mut self, descriptor: &Descriptor) -> Option<Descriptor> {
        let size = descriptor.len() / LEN;
        let nested = !matches!(self.table, Table::Direct(_));
        if nested || !descriptor.len().is_multiple_of(LEN) || size > u32::from(u16::MAX) {
            return None;
        }
        (self.size, self.left) = (size, size);
        let len = usize::try_from(descriptor.len()).ok()?;
        self.table = match self.mem.get_slice(descriptor.addr(), len) {
            Ok(slice) => Table::Indirect(slice),
            Err(_) => Table::Scattered(descriptor.addr()),
        };
        self.read(0).filter(|descriptor| !descriptor.refers_to_indirect_table())
    }
}

impl Iterator for Walk<'_> {
    type Item = Descriptor;

    fn next(&mut self) -> Option<Descriptor> {
        let index = self.next.take()?;
        let mut descriptor = self.read(index)?;
        if descriptor.refers_to_indirect_table() {
            descriptor = self.enter(&descriptor)?;
        }
        self.left -= 1;
        self.bytes = self.bytes.checked_add(descriptor.len())?;
        self.next = descriptor.has_next().then(|| descriptor.next());
        Some(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use virtio_queue::{Queue, QueueOwnedT};

    use crate::virtio::buffers::Buffers;
    use crate::virtio::testing::{DATA, Desc, INDIRECT, Machine, any_desc};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn chains_are_those_that_another_implementation_finds(
            table in prop::collection::vec(any_desc(), 8),
            indirect in prop::collection::vec(any_desc(), 1..9),
            points: bool,
            head in 0..8u16,
        ) {
            let machine = Machine::new();
            let mut driver = machine.driver(0, 8);
            for (at, desc) in (0..).zip(&table) {
                driver.set(at, *desc);
            }
            for (at, desc) in (0..).zip(&indirect) {
                driver.write_desc(DATA + at * 16, *desc);
            }
            if points {
                let len = u32::try_from(indirect.len()).unwrap() * 16;
                driver.set(head, Desc { address: DATA, len, flags: INDIRECT, next: 0 });
            }
            driver.offer(head);
            let mut ring = driver.ring();
            let (mut first, mut again) = (Buffers::default(), Buffers::default());
            let taken = ring.take(&mut first).unwrap().unwrap();
            let mut queue = Queue::try_from(driver.state).unwrap();
            let chain = queue.iter(machine.mem.as_ref()).unwrap().next().unwrap();
            let mut other = Buffers::default();
            prop_assert_eq!((taken.head, taken.form), (chain.head_index(), other.load(chain)));
            prop_assert_eq!((&first.readable, &first.writable), (&other.readable, &other.writable));
            let taken_again = ring.take_again(head, &mut again).unwrap();
            prop_assert_eq!(taken.form, taken_again.form);
            prop_assert_eq!((first.readable, first.writable), (again.readable, again.writable));
        }
    }
}
