//! The fixed devices of the q35-style machine, at their fixed addresses.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arch::layout;
use devices::GuestRam;
use devices::bus::BusDevice;
use devices::pci::{ConfigPorts, Ecam, FixedFunction, PciAddress, PciBus, host_bridge, lpc};
use devices::platform::fw_cfg::{self, FwCfg, FwCfgItem};
use devices::platform::i8042::{self, I8042};
use devices::platform::nmi_status::{self, NmiStatus};
use devices::platform::pm::{self, Pm};
use devices::platform::pvpanic::{self, PvPanic};
use devices::platform::reset::ResetControl;
use devices::platform::rtc::{self, Rtc};
use devices::platform::serial::{self, ConsoleRing, Serial};
use devices::platform::vmclock::VmClock;
use kvm_ioctls::VmFd;

use super::{AddressSpace, BuildError, memory};
use crate::dump::vmcoreinfo;
use crate::kvm::GsiLine;
use crate::plan::Plan;

/// Ports of the PCI configuration mechanism.
const CONFIG_PORTS: (u64, u64) = (0xcf8, 8);
/// Interrupt of COM1.
const COM1_IRQ: u32 = 4;
/// Output of the serial console that waits for its reader, at most.
const CONSOLE_BYTES: usize = 256 << 10;

/// A device of the chipset: its name in messages, its first port and how many, and who answers there.
type FixedPorts = (&'static str, (u64, u64), Arc<dyn BusDevice>);

/// What others need of the chipset.
pub(super) struct Chipset {
    pub(super) pci: Arc<PciBus>,
    pub(super) pm: Arc<Pm>,
    pub(super) rtc: Arc<Rtc>,
    pub(super) serial: Arc<Serial>,
    pub(super) console: Arc<ConsoleRing>,
    pub(super) host_bridge: Arc<FixedFunction>,
    pub(super) lpc: Arc<FixedFunction>,
    pub(super) config_ports: Arc<ConfigPorts>,
    pub(super) reset: Arc<ResetControl>,
    pub(super) i8042: I8042,
    pub(super) nmi_status: Arc<NmiStatus>,
    pub(super) fw_cfg: Arc<FwCfg>,
    pub(super) vmclock: VmClock,
}

/// Makes all fixed devices and puts them into `space`. `first_output` is set when the guest first writes to COM1.
pub(super) fn build(
    plan: &Plan,
    vm: &Arc<VmFd>,
    ram: &GuestRam,
    space: &AddressSpace,
    first_output: Arc<OnceLock<Instant>>,
) -> Result<Chipset, BuildError> {
    let line = |gsi| GsiLine::new(Arc::clone(vm), gsi);
    let host = |what: &str| {
        let what = what.to_owned();
        move |source| BuildError::Device { what, source }
    };
    let pci = Arc::new(PciBus::new());
    let host_bridge = Arc::new(host_bridge(plan.pci.ecam));
    let lpc = Arc::new(lpc(layout::PMBASE));
    pci.insert(PciAddress::new(0, 0, 0), Arc::clone(&host_bridge) as _);
    pci.insert(PciAddress::new(0, 0x1f, 0), Arc::clone(&lpc) as _);
    let ecam: Arc<dyn BusDevice> = Arc::new(Ecam(Arc::clone(&pci)));
    let placed = |what, source| BuildError::Place { what, source };
    space
        .mmio
        .insert(plan.pci.ecam, layout::ECAM_SIZE, ecam)
        .map_err(|source| placed("configuration window", source))?;

    let pm = Arc::new(Pm::new(line(pm::SCI_GSI)));
    let sizes = rtc::Sizes {
        low_ram: plan.memory.ram.low_end(),
        high_ram: plan.memory.ram.bytes() - plan.memory.ram.low_end(),
        cpus: u16::try_from(plan.cpu.topology.vcpus()).unwrap_or(u16::MAX),
    };
    let rtc = Arc::new(Rtc::new(&sizes, 0, line(rtc::IRQ)).map_err(host("the real-time clock"))?);
    let console = Arc::new(ConsoleRing::new(CONSOLE_BYTES).map_err(host("the serial console"))?);
    let serial = Serial::new(line(COM1_IRQ), Arc::clone(&console) as _, first_output);
    let serial = Arc::new(serial.map_err(host("the serial port"))?);
    let i8042 = I8042::new();
    let cpus = u16::try_from(plan.cpu.topology.vcpus()).unwrap_or(u16::MAX);
    let items = vec![FwCfgItem::cpu_count(cpus), FwCfgItem::max_cpus(cpus), vmcoreinfo::item()];
    let fw_cfg = FwCfg::new(items, ram.clone())
        .map_err(|error| host("firmware configuration")(std::io::Error::other(error)))?;
    let fw_cfg = Arc::new(fw_cfg);
    let vmclock = memory::show_clock(vm, ram)?;
    let reset = Arc::new(ResetControl::new());
    let config_ports = Arc::new(ConfigPorts::new(Arc::clone(&pci), Arc::clone(&reset) as _));
    let nmi_status = Arc::new(NmiStatus::new());

    let ports: [FixedPorts; 9] = [
        ("configuration ports", CONFIG_PORTS, Arc::clone(&config_ports) as _),
        ("power management", (pm::BASE, pm::SIZE), Arc::clone(&pm) as _),
        ("real-time clock", (rtc::BASE, rtc::SIZE), Arc::clone(&rtc) as _),
        ("serial port", (serial::COM1_BASE, serial::SIZE), Arc::clone(&serial) as _),
        ("keyboard controller's data port", (i8042::DATA_BASE, i8042::SIZE), i8042.data_port()),
        ("keyboard controller's command port", (i8042::COMMAND_BASE, i8042::SIZE), i8042.command_port()),
        ("status port", (nmi_status::BASE, nmi_status::SIZE), Arc::clone(&nmi_status) as _),
        ("panic port", (pvpanic::BASE, pvpanic::SIZE), Arc::new(PvPanic)),
        ("firmware configuration", (fw_cfg::BASE, fw_cfg::SIZE), Arc::clone(&fw_cfg) as _),
    ];
    for (what, (base, size), device) in ports {
        space.pio.insert(base, size, device).map_err(|source| placed(what, source))?;
    }
    Ok(Chipset {
        pci,
        pm,
        rtc,
        serial,
        console,
        host_bridge,
        lpc,
        config_ports,
        reset,
        i8042,
        nmi_status,
        fw_cfg,
        vmclock,
    })
}
