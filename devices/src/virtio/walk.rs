//! A chain walked once more, by its head alone: what `virtio-queue` does only for chains that come off the ring.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;

/// Bytes of a descriptor.
const LEN: u32 = 16;

/// The descriptors of a chain. It ends early where the chain makes no sense.
pub(crate) struct Walk<'a> {
    mem: &'a GuestRam,
    table: GuestAddress,
    size: u32,
    next: Option<u16>,
    /// Descriptors that may still come: a loop ends there.
    left: u32,
    indirect: bool,
    /// Bytes so far; more than 32 bits hold are no chain (virtio 1.3 §2.7.5.2).
    bytes: u32,
}

impl<'a> Walk<'a> {
    /// The chain that starts at `head` of the table, which has `size` descriptors.
    pub(crate) fn new(mem: &'a GuestRam, table: GuestAddress, size: u16, head: u16) -> Self {
        let size = u32::from(size);
        Self { mem, table, size, next: Some(head), left: size, indirect: false, bytes: 0 }
    }

    fn read(&self, index: u16) -> Option<Descriptor> {
        let index = u32::from(index);
        let offset = u64::from(index) * u64::from(LEN);
        let address = self.table.0.checked_add(offset).filter(|_| index < self.size && self.left > 0)?;
        self.mem.read_obj(GuestAddress(address)).ok()
    }
}

impl Iterator for Walk<'_> {
    type Item = Descriptor;

    fn next(&mut self) -> Option<Descriptor> {
        let index = self.next.take()?;
        let mut descriptor = self.read(index)?;
        if descriptor.refers_to_indirect_table() {
            let size = descriptor.len() / LEN;
            if self.indirect || !descriptor.len().is_multiple_of(LEN) || size > u32::from(u16::MAX) {
                return None;
            }
            (self.table, self.size, self.left, self.indirect) = (descriptor.addr(), size, size, true);
            descriptor = self.read(0).filter(|descriptor| !descriptor.refers_to_indirect_table())?;
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

    use crate::virtio::buffers::Buffers;
    use crate::virtio::testing::{DATA, Desc, INDIRECT, Machine, any_desc};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_chain_is_the_same_when_it_is_walked_again(
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
            let taken_again = ring.take_again(head, &mut again).unwrap();
            prop_assert_eq!(taken.form, taken_again.form);
            prop_assert_eq!((first.readable, first.writable), (again.readable, again.writable));
        }
    }
}
