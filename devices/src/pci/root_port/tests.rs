use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::irq::MsiMessage;
use crate::pci::PciBus;

const PORT: PciAddress = PciAddress::new(0, 5, 0);
const CARD: PciAddress = PciAddress::new(3, 0, 0);
const MESSAGE: u64 = 0xfee0_1000;

#[derive(Debug, Default)]
struct Routes(AtomicU64);

impl MsiRoutes for Routes {
    fn set(&self, gsi: u32, message: Option<MsiMessage>) {
        assert_eq!(gsi, 24);
        self.0.store(message.map_or(0, |message| message.address), Ordering::SeqCst);
    }
    fn commit(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A card that counts how often its power went.
#[derive(Default)]
struct Stub(AtomicU32);

impl PciFunction for Stub {
    fn read_config(&self, _: u16, data: &mut [u8]) {
        data.fill(0x5a);
    }
    fn write_config(&self, _: u16, _: &[u8]) -> Action {
        Action::Reset
    }
}

impl Card for Stub {
    fn power_off(&self) -> Action {
        self.0.fetch_add(1, Ordering::SeqCst);
        Action::Remap(Vec::new())
    }
}

/// A bus with one port, as its driver sees it.
struct Driver {
    bus: PciBus,
    port: Arc<RootPort>,
    irq: EventFd,
    routes: Arc<Routes>,
    told: Arc<AtomicU32>,
    express: u16,
}

impl Driver {
    fn new(card: Option<Arc<dyn Card>>) -> Self {
        let irq = EventFd::new(EFD_NONBLOCK).unwrap();
        let (routes, told) = (Arc::<Routes>::default(), Arc::<AtomicU32>::default());
        let counter = Arc::clone(&told);
        let parts = PortParts {
            number: 2,
            forwarded: Forwarded {
                bus: 3,
                memory: 0xc020_0000..0xc040_0000,
                prefetchable: 0x18_0020_0000..0x18_0040_0000,
            },
            routes: Arc::clone(&routes) as _,
            msi_slot: MsiSlot { gsi: 24, irqfd: irq.try_clone().unwrap() },
            on_slot: Arc::new(move |event| {
                let one = if event == SlotEvent::Accepted { 0x100 } else { 1 };
                counter.fetch_add(one, Ordering::SeqCst);
            }),
        };
        let (bus, port) = (PciBus::new(), Arc::new(RootPort::new(parts, card)));
        assert!(bus.insert_port(PORT, Arc::clone(&port)));
        let mut driver = Self { bus, port, irq, routes, told, express: 0 };
        driver.express = driver.capability(0x10);
        let msi = driver.capability(0x05);
        let _ = driver.write(msi + 4, &MESSAGE.to_le_bytes());
        let _ = driver.write(msi + 12, &0x31u16.to_le_bytes());
        let _ = driver.write(msi + 2, &[1, 0]);
        driver
    }

    fn read(&self, offset: u16) -> u16 {
        let mut data = [0; 2];
        self.bus.read(PORT, offset, &mut data);
        u16::from_le_bytes(data)
    }

    fn write(&self, offset: u16, data: &[u8]) -> Action {
        self.bus.write(PORT, offset, data)
    }

    fn capability(&self, id: u16) -> u16 {
        let mut at = self.read(0x34) & 0xff;
        while self.read(at) & 0xff != id {
            assert_ne!(at, 0, "no capability {id:#x}");
            at = self.read(at) >> 8;
        }
        at
    }

    fn control(&self, value: u16) -> Action {
        self.write(self.express + 0x18, &value.to_le_bytes())
    }

    /// Reads and clears the slot's events, as an interrupt handler does.
    fn events(&self) -> u16 {
        let status = self.read(self.express + 0x1a);
        let _ = self.write(self.express + 0x1a, &status.to_le_bytes());
        status
    }

    fn interrupted(&self) -> bool {
        self.irq.read().is_ok()
    }

    fn sees_card(&self) -> bool {
        let mut data = [0; 4];
        self.bus.read(CARD, 0, &mut data);
        data == [0x5a; 4]
    }
}

#[test]
fn it_looks_like_a_bridge_that_firmware_has_set_up() {
    let driver = Driver::new(None);
    assert_eq!([driver.read(0), driver.read(2)], [0x1b36, 0x000c]);
    assert_eq!(driver.read(0x0a), 0x0604);
    assert_eq!(driver.read(0x0e) & 0xff, 1, "a type 1 header");
    assert_eq!([driver.read(0x18), driver.read(0x1a)], [0x0300, 0x0003]);
    assert_eq!([driver.read(0x20), driver.read(0x22)], [0xc020, 0xc030]);
    assert_eq!([driver.read(0x24), driver.read(0x26)], [0x0021, 0x0031]);
    assert_eq!([driver.read(0x28), driver.read(0x2c)], [0x18, 0x18]);
    assert_eq!(driver.read(0x1c), 0, "no ports are forwarded");
    let _ = driver.write(0x1c, &[0xff; 4]);
    let _ = driver.write(0x10, &[0xff; 8]);
    assert_eq!([driver.read(0x1c), driver.read(0x10), driver.read(0x14)], [0; 3]);
    // Root port, slot, version 2; hot-plug capable, number 2.
    assert_eq!(driver.read(driver.express + 2), 0x0142);
    let slot =
        u32::from(driver.read(driver.express + 0x14)) | u32::from(driver.read(driver.express + 0x16)) << 16;
    assert_eq!(slot & 0x7f, 0x5b);
    assert_eq!(slot >> 19, 2);
}

#[test]
fn a_card_comes_is_used_and_goes_when_the_guest_agrees() {
    let driver = Driver::new(None);
    let _ = driver.control(0x17e9);
    assert!(!driver.interrupted());
    let card = Arc::new(Stub::default());
    driver.port.insert(Arc::clone(&card) as _).unwrap();
    assert_eq!(driver.port.insert(Arc::new(Stub::default())), Err(Occupied));
    assert!(driver.interrupted());
    assert_eq!(driver.routes.0.load(Ordering::SeqCst), MESSAGE);
    assert_eq!(driver.events(), 0x149, "present, that it changed, the link, the button");
    assert_ne!(driver.read(driver.express + 0x12) & 0x2000, 0, "the link is up");
    assert!(!driver.sees_card(), "there is no power yet");
    let _ = driver.control(0x11e9);
    assert!(driver.sees_card());
    // The bus is where the guest says it is.
    let _ = driver.write(0x18, &[0, 7, 7]);
    assert!(!driver.sees_card());
    let _ = driver.write(0x18, &[0, 3, 3]);
    assert!(driver.sees_card());

    assert!(driver.port.request_removal());
    assert!(driver.interrupted());
    assert_eq!(driver.events(), 0x41, "the button");
    assert!(driver.sees_card(), "it stays until the guest agrees");
    assert!(matches!(driver.control(0x12e9), Action::None));
    assert!(matches!(driver.control(0x16e9), Action::None));
    assert!(!driver.sees_card());
    assert_eq!(driver.told.load(Ordering::SeqCst), 0x100);
    assert!(matches!(driver.control(0x17e9), Action::Remap(_)));
    assert_eq!((driver.told.load(Ordering::SeqCst), card.0.load(Ordering::SeqCst)), (0x101, 1));
    assert_eq!(driver.events(), 0x108);
    assert!(!driver.port.request_removal(), "nothing is there any more");
    assert_eq!(Arc::strong_count(&card), 1);
    driver.port.insert(card).unwrap();
}

#[test]
fn a_card_that_was_there_at_power_on_has_power() {
    let driver = Driver::new(Some(Arc::new(Stub::default())));
    assert!(driver.sees_card());
    assert_eq!(driver.read(driver.express + 0x1a), 0x40, "it is no event");
}

#[test]
fn an_event_that_waits_is_told_when_interrupts_are_switched_on() {
    let driver = Driver::new(None);
    driver.port.insert(Arc::new(Stub::default())).unwrap();
    assert!(!driver.interrupted());
    let _ = driver.control(0x0429);
    assert!(driver.interrupted());
    let _ = driver.control(0x0429);
    assert!(!driver.interrupted(), "once");
}

#[test]
fn state_makes_the_round_trip() {
    let one = Driver::new(Some(Arc::new(Stub::default())));
    let _ = one.control(0x01e9);
    let _ = one.write(0x18, &[0, 9, 9]);
    let saved = one.port.save();
    let other = Driver::new(Some(Arc::new(Stub::default())));
    assert!(other.port.restore(&saved));
    assert_eq!(other.port.save(), saved);
    assert!(!Driver::new(None).port.restore(&saved), "the card is missing");
}

#[test]
fn no_write_does_harm() {
    let driver = Driver::new(Some(Arc::new(Stub::default())));
    for offset in 0..300u16 {
        for value in [[0xff; 8], [0; 8], [0xa5; 8]] {
            for length in [1, 2, 4, 8] {
                let _ = driver.write(offset, &value[..length]);
                let _ = driver.read(offset);
            }
        }
        driver.port.request_removal();
    }
    assert_eq!(driver.read(0), 0x1b36);
    // Addresses of interrupts out of the interrupts' range go nowhere.
    while driver.interrupted() {}
    let before = driver.routes.0.load(Ordering::SeqCst);
    assert!(before == 0 || before >> 20 == 0xfee);
}
