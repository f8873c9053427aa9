//! The recipe: from a plan and open resources to a machine whose vCPUs wait at the gate.

use std::io;
use std::iter;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use arch::boot::Entry;
use arch::cpuid::{CpuidConfig, CpuidTemplate, HyperV};
use devices::GuestRam;
use devices::io_thread::IoThread;
use devices::platform::watchdog::Watchdog;
use kvm_ioctls::{Cap, VmFd};

use super::disk_watch::DiskWatch;
use super::processor::Seen;
use super::{AddressSpace, BuildError, Machine, boot, chipset, functions, memory, ports, watchdog};
use crate::dirty::{DirtyLog, MachinePages};
use crate::kvm::{Hypervisor, KvmDoorbells, KvmRoutes, failed};
use crate::milestone::Milestones;
use crate::open::Resources;
use crate::plan::{HyperVPlan, Plan};
use crate::state::Mailbox;
use crate::vcpu::{Gate, Role, Shared, VcpuSetup, VcpuThread};

/// Where a machine starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// At power-on, with the plan's kernel in memory.
    Kernel,
    /// In the midst of things: [`Machine::load`] follows, before the machine is resumed. Somebody else fills this memory,
    /// which is laid out as the plan says.
    State(GuestRam),
}

impl Machine {
    /// Builds the machine of `plan`, whose vCPUs wait at the gate.
    pub fn build(
        plan: &Plan,
        resources: &Resources,
        mailbox: &Mailbox,
        milestones: &Arc<Milestones>,
        first_output: &Arc<OnceLock<Instant>>,
        start: Start,
    ) -> Result<Self, BuildError> {
        let make = |ram: &GuestRam| make(plan, resources, ram, mailbox, first_output);
        let (ram, first, (hypervisor, vm, devices)) = match start {
            Start::Kernel => {
                let ram = memory::map(&plan.memory)?;
                let (entry, made) = load_and(plan, resources, &ram, || make(&ram))?;
                (ram, Role::Boot(entry), made)
            }
            Start::State(ram) => {
                let made = make(&ram)?;
                (ram, Role::Resumed, made)
            }
        };
        let Devices { space, chipset, functions, ports, watchdog, parts } = devices;
        let console = resources.console.plug(Arc::clone(&chipset.serial), Arc::clone(&chipset.console));

        let disk_watch = DiskWatch::new(plan, &functions.disks, mailbox.clone())
            .map_err(|source| BuildError::Device { what: "the watch over disks".into(), source })?;
        let gate = Arc::new(Gate::new());
        let space = Arc::new(space);
        let shared = Shared {
            space: Arc::clone(&space),
            gate: Arc::clone(&gate),
            mailbox: mailbox.clone(),
            milestones: Arc::clone(milestones),
            metrics: resources.metrics.clone(),
        };
        let mut machine = Self {
            vcpus: Vec::new(),
            gate,
            functions,
            ports,
            watchdog,
            parts,
            disk_watch,
            queue_stop: None,
            clocks: None,
            clocks_stop: !plan.clocks_run_while_paused,
            is_over: false,
            _console: console,
            _clock_page: chipset.vmclock.page(),
            chipset,
            dirty: DirtyLog::new(MachinePages::new(Arc::clone(&vm), ram.clone()), &ram),
            space,
            hypervisor,
            seen: Seen::default(),
            vm: Arc::clone(&vm),
            ram,
        };
        for card in &machine.functions.cards {
            let fail = |source| BuildError::Device { what: format!("device {}", card.name), source };
            card.note_writes(&machine.dirty).map_err(io::Error::other).map_err(fail)?;
        }
        machine.add_vcpus(plan, &vm, first, &shared)?;
        Ok(machine)
    }

    /// Starts a thread for each vCPU, and waits until all stand at the gate. A machine that fails here is taken
    /// apart as any other.
    fn add_vcpus(
        &mut self,
        plan: &Plan,
        vm: &Arc<VmFd>,
        first: Role,
        shared: &Shared,
    ) -> Result<(), BuildError> {
        let topology = plan.cpu.topology;
        let vcpus = (0..topology.vcpus()).map(|index| {
            // KVM takes the identifier of a vCPU for its APIC's.
            vm.create_vcpu(topology.apic_id(index).into()).map_err(failed("create a vCPU"))
        });
        let vcpus = vcpus.collect::<Result<Vec<_>, _>>()?;
        // A host that cannot tell leaves it to the guest to measure.
        let tsc_khz = vcpus.first().and_then(|vcpu| vcpu.get_tsc_khz().ok()).filter(|khz| *khz != 0);
        let hyperv = hyperv(plan, &self.hypervisor)?;
        let synic = hyperv.as_ref().is_some_and(HyperV::has_synic);
        let template = cpuid(plan, &self.hypervisor, vm, tsc_khz, hyperv)?;
        self.seen = Seen::given(template.for_vcpu(0), tsc_khz);
        let others = if matches!(first, Role::Resumed) { Role::Resumed } else { Role::Application };
        let roles = iter::once(first).chain(iter::repeat(others));
        for ((index, vcpu), role) in (0..).zip(vcpus).zip(roles) {
            let setup = VcpuSetup::new(vcpu, index, template.for_vcpu(index), topology.needs_x2apic(), role)
                .with_synic(synic);
            let thread = VcpuThread::spawn(setup, shared.clone())
                .map_err(|source| BuildError::Device { what: format!("the thread of vCPU {index}"), source });
            match thread {
                Ok(thread) => self.vcpus.push(thread),
                // Dropping the machine sends those home that wait already.
                Err(error) => return Err(error),
            }
        }
        self.gate.wait_for(self.vcpus.len());
        Ok(())
    }
}

/// Loads the kernel while `make` makes the VM and its devices: neither needs the other.
fn load_and<T>(
    plan: &Plan,
    resources: &Resources,
    ram: &GuestRam,
    make: impl FnOnce() -> Result<T, BuildError>,
) -> Result<(Entry, T), BuildError> {
    thread::scope(|scope| {
        let loader = thread::Builder::new()
            .name("loader".into())
            .stack_size(256 << 10)
            .spawn_scoped(scope, || boot::load(plan, resources, ram))
            .map_err(|source| BuildError::Device { what: "the kernel's loader".into(), source })?;
        let made = make();
        let entry = loader.join().map_err(|_| BuildError::Loader)?;
        Ok((entry?, made?))
    })
}

/// Makes the VM with its memory and devices.
fn make(
    plan: &Plan,
    resources: &Resources,
    ram: &GuestRam,
    mailbox: &Mailbox,
    first_output: &Arc<OnceLock<Instant>>,
) -> Result<(Hypervisor, Arc<VmFd>, Devices), BuildError> {
    let hypervisor = Hypervisor::open()?;
    let vcpus = plan.cpu.topology.vcpus();
    let most = hypervisor.max_vcpus();
    if usize::try_from(vcpus).is_ok_and(|vcpus| vcpus > most) {
        return Err(BuildError::TooManyVcpus { wanted: vcpus, most });
    }
    let vm = hypervisor.create_vm()?;
    memory::show(&vm, ram)?;
    let devices = build_devices(plan, resources, &vm, ram, mailbox, first_output)?;
    Ok((hypervisor, vm, devices))
}

struct Devices {
    space: AddressSpace,
    chipset: chipset::Chipset,
    functions: functions::Functions,
    ports: Vec<ports::Port>,
    watchdog: Option<Arc<Watchdog>>,
    parts: functions::Parts,
}

fn build_devices(
    plan: &Plan,
    resources: &Resources,
    vm: &Arc<VmFd>,
    ram: &GuestRam,
    mailbox: &Mailbox,
    first_output: &Arc<OnceLock<Instant>>,
) -> Result<Devices, BuildError> {
    let space = AddressSpace::default();
    let chipset = chipset::build(plan, vm, ram, &space, Arc::clone(first_output))?;
    let io_threads = (0..plan.io_threads)
        .map(|index| IoThread::spawn(&format!("io{index}"), || ()))
        .collect::<Result<Vec<_>, _>>()?;
    let parts = functions::Parts {
        mailbox: mailbox.clone(),
        ram: ram.clone(),
        routes: KvmRoutes::new(Arc::clone(vm)),
        doorbells: Arc::new(KvmDoorbells(Arc::clone(vm))),
        io_threads,
        metrics: resources.metrics.clone(),
    };
    let bus = &chipset.pci;
    let functions = functions::build(plan, resources, &parts, bus)?;
    let ports = ports::build(plan, &functions, &parts, bus)?;
    let watchdog = watchdog::build(plan, resources, &parts, bus)?;
    Ok(Devices { space, chipset, functions, ports, watchdog, parts })
}

/// What of Hyper-V's interface the guest sees.
fn hyperv(plan: &Plan, hypervisor: &Hypervisor) -> Result<Option<HyperV>, BuildError> {
    let Some(wanted) = &plan.cpu.hyperv else { return Ok(None) };
    let supported = hypervisor.supported_hyperv()?;
    Ok(Some(match wanted {
        HyperVPlan::All => HyperV::all(&supported),
        HyperVPlan::These(hyperv) => {
            hyperv.check(&supported)?;
            hyperv.clone()
        }
    }))
}

/// CPUID leaves for all vCPUs, computed once.
fn cpuid(
    plan: &Plan,
    hypervisor: &Hypervisor,
    vm: &VmFd,
    tsc_khz: Option<u32>,
    hyperv: Option<HyperV>,
) -> Result<CpuidTemplate, BuildError> {
    let supported = hypervisor.supported_cpuid()?;
    let mut config = CpuidConfig::new(plan.cpu.topology);
    config.model = plan.cpu.model;
    config.features.clone_from(&plan.cpu.features);
    config.kvm_hidden = plan.cpu.kvm_hidden;
    config.pv_spinlocks = !plan.cpu.without_pv_spinlocks;
    config.hyperv = hyperv;
    config.tsc_deadline_timer = vm.check_extension(Cap::TscDeadlineTimer);
    config.tsc_khz = tsc_khz;
    Ok(CpuidTemplate::new(&supported, &config)?)
}
