//! The two address spaces of a machine.

use std::sync::Arc;

use devices::LimitedLog;
use devices::bus::{Bus, Remap, Space};

/// Memory-mapped and port I/O.
pub struct AddressSpace {
    /// Memory addresses outside RAM.
    pub mmio: Bus,
    /// Ports.
    pub pio: Bus,
    log: LimitedLog,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self {
            mmio: Bus::new(),
            pio: Bus::new(),
            log: LimitedLog::new("the guest misplaced a device's window"),
        }
    }
}

impl AddressSpace {
    /// Moves device windows to where their devices want them. A window that the guest put over another one is not
    /// decoded, as on real hardware nothing good comes of it either.
    pub fn remap(&self, remaps: Vec<Remap>) {
        for Remap { device, window } in remaps {
            let bus = match window.space() {
                Space::Mmio => &self.mmio,
                Space::Pio => &self.pio,
            };
            let unmap = |from| {
                bus.remove(from, &device);
            };
            let map = |to| bus.insert(to, window.size(), Arc::clone(&device));
            if let Err(error) = window.follow(unmap, map) {
                self.log.say(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use devices::bus::{Action, BusDevice, Window};

    use super::*;

    struct Constant(u8);

    impl BusDevice for Constant {
        fn read(&self, _: u64, data: &mut [u8]) {
            data.fill(self.0);
        }
        fn write(&self, _: u64, _: &[u8]) -> Action {
            Action::None
        }
    }

    fn remap(value: u8) -> Remap {
        Remap { device: Arc::new(Constant(value)), window: Arc::new(Window::new(Space::Mmio, 0x1000)) }
    }

    fn at(space: &AddressSpace, address: u64) -> u8 {
        let mut data = [0];
        space.mmio.read(address, &mut data);
        data[0]
    }

    #[test]
    fn a_window_ends_where_it_was_wanted_last_whoever_comes_first() {
        let space = AddressSpace::default();
        let remap = remap(7);
        remap.window.want(Some(0x1000));
        let first = vec![remap.clone()];
        remap.window.want(Some(0x5000));
        let second = vec![remap.clone()];
        space.remap(second);
        space.remap(first);
        assert_eq!((at(&space, 0x1000), at(&space, 0x5000)), (0xff, 7));
        remap.window.want(None);
        space.remap(vec![remap]);
        assert_eq!(at(&space, 0x5000), 0xff);
    }

    #[test]
    fn a_misplaced_window_is_nowhere_until_it_moves() {
        let space = AddressSpace::default();
        let (one, other) = (remap(1), remap(2));
        for remap in [&one, &other] {
            remap.window.want(Some(0x1000));
            space.remap(vec![remap.clone()]);
        }
        assert_eq!(at(&space, 0x1000), 1);
        one.window.want(None);
        space.remap(vec![one]);
        assert_eq!(at(&space, 0x1000), 0xff);
        other.window.want(Some(u64::MAX - 5));
        space.remap(vec![other.clone()]);
        other.window.want(Some(0x1000));
        space.remap(vec![other]);
        assert_eq!(at(&space, 0x1000), 2);
    }
}
