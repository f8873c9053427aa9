//! The differentiated system description table: the devices a scan cannot find, in AML.

use std::ops::Range;

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Equal, IO, If,
    Interrupt, Local, Memory32Fixed, Method, Name, NotEqual, Notify, Or, Package, Path, ResourceTemplate,
    Return, Scope, Store, Uuid, ZERO,
};

use super::{AcpiConfig, AcpiError, bytes_of};
use crate::layout::{
    COM_LEN, COM1_IRQ, COM1_PORT, COM2_IRQ, COM2_PORT, FW_CFG_LEN, FW_CFG_PORT, GENERATION_GPE,
    GENERATION_ID, PAGE_SIZE, PCI_CONFIG_ADDRESS, PM_LEN, PMBASE, PVPANIC_PORT, RTC_IRQ, RTC_PORT,
    SLP_TYP_S5, VMCLOCK_BASE, VMCLOCK_GPE,
};

/// `_OSC` for PCI host bridges (PCI Firmware 3.3 §4.5.1).
const PCI_HOST_BRIDGE_OSC: &str = "33DB4D5B-1FF7-401C-9657-7441C03DD766";
/// ICH9 LPC at device 31, function 0.
const LPC_ADR: u32 = 0x1F << 16;
/// Present, enabled, functioning, but not shown to the user.
const HIDDEN: u8 = 0xB;
/// Present, enabled, functioning and shown.
const SHOWN: u8 = 0xF;
/// Name of the device with the generation ID.
const GENERATION_DEVICE: &str = "VGEN";
/// Name of the virtual machine clock.
const CLOCK_DEVICE: &str = "VCLK";
const ECAM_BYTES_PER_BUS: u32 = 1 << 20;

/// Everything after the table header.
pub(super) fn body(config: &AcpiConfig) -> Result<Vec<u8>, AcpiError> {
    let mut body = pci_host_bridge(config)?;
    body.extend_from_slice(&motherboard(config)?);
    body.extend_from_slice(&generation());
    body.extend_from_slice(&vmclock());
    let scope = Scope::raw(Path::new("_SB_"), body);
    let mut aml = scope;
    aml.extend_from_slice(&told_by_event(GENERATION_GPE, GENERATION_DEVICE));
    aml.extend_from_slice(&told_by_event(VMCLOCK_GPE, CLOCK_DEVICE));
    aml.extend_from_slice(&soft_off());
    Ok(aml)
}

/// `\_S5`: the only sleep state there is.
fn soft_off() -> Vec<u8> {
    bytes_of(&Name::new("_S5_".into(), &Package::new(vec![&SLP_TYP_S5, &ZERO, &ZERO, &ZERO])))
}

/// The virtual machine generation ID (Microsoft, "Virtual Machine Generation ID", 2012): where it lies.
fn generation() -> Vec<u8> {
    let low = u32::try_from(GENERATION_ID).unwrap_or_default();
    let high = 0u32;
    bytes_of(&Device::new(
        GENERATION_DEVICE.into(),
        vec![
            &Name::new("_HID".into(), &"KVMM0001"),
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Name::new("ADDR".into(), &Package::new(vec![&low, &high])),
        ],
    ))
}

/// The virtual machine clock, with the identifiers by which Linux's driver knows it (`drivers/ptp/ptp_vmclock.c`).
fn vmclock() -> Vec<u8> {
    let last = VMCLOCK_BASE + PAGE_SIZE - 1;
    let page = AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, false, VMCLOCK_BASE, last, None);
    bytes_of(&Device::new(
        CLOCK_DEVICE.into(),
        vec![
            &Name::new("_HID".into(), &"AMZNC10C"),
            &Name::new("_CID".into(), &"VMCLOCK"),
            &Name::new("_DDN".into(), &"VMCLOCK"),
            &Name::new("_STA".into(), &SHOWN),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&page])),
        ],
    ))
}

/// The event `gpe` tells the driver of `device` that something has changed.
fn told_by_event(gpe: u8, device: &str) -> Vec<u8> {
    const CHANGED: u8 = 0x80;
    let device = Path::new(&format!("\\_SB_.{device}"));
    let notify = Notify::new(&device, &CHANGED);
    let method = format!("_E{gpe:02X}");
    let event = bytes_of(&Method::new(method.as_str().into(), 0, false, vec![&notify]));
    Scope::raw(Path::new("_GPE"), event)
}

fn pci_host_bridge(config: &AcpiConfig) -> Result<Vec<u8>, AcpiError> {
    let isa = isa_bridge(config);
    Ok(bytes_of(&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_SEG".into(), &ZERO),
            &Name::new("_BBN".into(), &ZERO),
            &Raw(resources(config)?),
            &Raw(osc()),
            &Raw(isa),
        ],
    )))
}

/// `_CRS` of the host bridge: what lies behind it.
fn resources(config: &AcpiConfig) -> Result<Vec<u8>, AcpiError> {
    let buses = AddressSpace::new_bus_number(0u16, config.last_bus.into());
    let config_ports = IO::new(PCI_CONFIG_ADDRESS, PCI_CONFIG_ADDRESS, 1, 8);
    let low_ports = AddressSpace::new_io(0u16, PCI_CONFIG_ADDRESS - 1, None);
    let high_ports = AddressSpace::new_io(PCI_CONFIG_ADDRESS + 8, 0xFFFF, None);
    let (first, last) = inclusive::<u32>(&config.pci32_window, 32)?;
    let memory32 = AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
    let mut all: Vec<&dyn Aml> = vec![&buses, &config_ports, &low_ports, &high_ports, &memory32];
    let memory64;
    if !config.pci64_window.is_empty() {
        let (first, last) = inclusive::<u64>(&config.pci64_window, 64)?;
        memory64 = AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, first, last, None);
        all.push(&memory64);
    }
    Ok(bytes_of(&Name::new("_CRS".into(), &ResourceTemplate::new(all))))
}

/// First and last address of a window, in its own width.
fn inclusive<T: TryFrom<u64>>(window: &Range<u64>, bits: u8) -> Result<(T, T), AcpiError> {
    let bad = || AcpiError::BadWindow { bits, start: window.start, end: window.end };
    let last = window.end.checked_sub(1).filter(|last| *last >= window.start).ok_or_else(bad)?;
    // A window of all addresses has a length that its width cannot hold.
    if window.start == 0 {
        return Err(bad());
    }
    Ok((T::try_from(window.start).map_err(|_| bad())?, T::try_from(last).map_err(|_| bad())?))
}

/// `_OSC`: the operating system gets control of hotplug on root ports and of PCI Express capabilities, if it asks; there is
/// nothing to be had of power management events, errors and latencies, and looking for it takes time at boot.
fn osc() -> Vec<u8> {
    const UNRECOGNISED_UUID: u8 = 1 << 2;
    const CAPABILITIES_MASKED: u8 = 1 << 4;
    /// PCI Express native hot plug, PCI Express capability structure (PCI Firmware 3.3 table 4-6).
    const GRANTED: u8 = 1 | 1 << 4;
    let (status, control) = (Path::new("CDW1"), Path::new("CDW3"));
    let masked = And::new(&Local(0), &control, &GRANTED);
    bytes_of(&Method::new(
        "_OSC".into(),
        4,
        false,
        vec![
            &CreateDWordField::new(&status, &Arg(3), &ZERO),
            &If::new(
                &Equal::new(&Arg(0), &Uuid::new(PCI_HOST_BRIDGE_OSC)),
                vec![
                    &CreateDWordField::new(&control, &Arg(3), &8u8),
                    &masked,
                    &If::new(
                        &NotEqual::new(&Local(0), &control),
                        vec![
                            &Or::new(&status, &status, &CAPABILITIES_MASKED),
                            &Store::new(&control, &Local(0)),
                        ],
                    ),
                ],
            ),
            &Else::new(vec![&Or::new(&status, &status, &UNRECOGNISED_UUID)]),
            &Return::new(&Arg(3)),
        ],
    ))
}

/// The LPC bridge and the devices on it.
fn isa_bridge(config: &AcpiConfig) -> Vec<u8> {
    let mut devices = vec![serial_port("COM1", 1, COM1_PORT, COM1_IRQ), clock()];
    if config.com2 {
        devices.push(serial_port("COM2", 2, COM2_PORT, COM2_IRQ));
    }
    if config.pvpanic {
        let ports = IO::new(PVPANIC_PORT, PVPANIC_PORT, 1, 1);
        devices.push(device("PEVT", &"QEMU0001", 1, HIDDEN, &[&ports]));
    }
    if config.fw_cfg {
        let ports = IO::new(FW_CFG_PORT, FW_CFG_PORT, 1, FW_CFG_LEN);
        devices.push(device("FWCF", &"QEMU0002", 1, HIDDEN, &[&ports]));
    }
    bytes_of(&Device::new("ISA_".into(), vec![&Name::new("_ADR".into(), &LPC_ADR), &Raw(devices.concat())]))
}

fn serial_port(name: &str, uid: u8, port: u16, irq: u32) -> Vec<u8> {
    let ports = IO::new(port, port, 1, COM_LEN);
    let interrupt = Interrupt::new(true, true, false, false, irq);
    device(name, &EISAName::new("PNP0501"), uid, SHOWN, &[&ports, &interrupt])
}

fn clock() -> Vec<u8> {
    let ports = IO::new(RTC_PORT, RTC_PORT, 1, 2);
    let interrupt = Interrupt::new(true, true, false, false, RTC_IRQ);
    device("RTC_", &EISAName::new("PNP0B00"), 1, SHOWN, &[&ports, &interrupt])
}

fn device(name: &str, hid: &dyn Aml, uid: u8, status: u8, resources: &[&dyn Aml]) -> Vec<u8> {
    bytes_of(&Device::new(
        name.into(),
        vec![
            &Name::new("_HID".into(), hid),
            &Name::new("_UID".into(), &uid),
            &Name::new("_STA".into(), &status),
            &Name::new("_CRS".into(), &ResourceTemplate::new(resources.to_vec())),
        ],
    ))
}

/// Motherboard resources: what no device driver may take. Linux trusts MCFG only when this covers it.
fn motherboard(config: &AcpiConfig) -> Result<Vec<u8>, AcpiError> {
    let length = (u32::from(config.last_bus) + 1) * ECAM_BYTES_PER_BUS;
    let base = config.ecam_base;
    let end = base.saturating_add(length.into());
    let (ecam_base, _) = inclusive::<u32>(&(base..end), 32)?;
    let ecam = Memory32Fixed::new(true, ecam_base, length);
    let length = u8::try_from(PM_LEN).unwrap_or(u8::MAX);
    let power = IO::new(PMBASE, PMBASE, 1, length);
    Ok(bytes_of(&Device::new(
        "MBRD".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam, &power])),
        ],
    )))
}

/// AML that is already encoded.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}
