//! From an admitted manifest to a plan.

use std::path::PathBuf;
use std::time::Duration;

use arch::topology::Topology;
use spec::Resolved;
use spec::api::VirtualMachineInstance;

use super::io_threads::IoThreads;
use super::pci::Allocator;
use super::{
    Backing, DevicePlan, DiskLimit, DiskPlan, Fault, Function, NicLimit, NicPlan, Plan, PlanError,
    Surroundings, TapSource,
};
use super::{cpu, credentials, disks, firmware, host, kernel, memory, network, pci, ports, probes, watchdog};

/// Port of the guest agent, as KubeVirt names it.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";
/// More queues than this bring nothing to one disk.
const MAX_DISK_QUEUES: u32 = 64;
/// Most queue pairs of a tap.
const MAX_QUEUE_PAIRS: u32 = 64;

/// What the command line adds to a manifest.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Kernel instead of the manifest's.
    pub kernel: Option<PathBuf>,
    /// initrd instead of the manifest's.
    pub initrd: Option<PathBuf>,
    /// Kernel command line instead of the manifest's.
    pub append: Option<String>,
    /// Network names and the taps that their cards are on.
    pub taps: Vec<(String, TapSource)>,
    /// Names of further networks, and the host's interfaces or bridges that stand for them.
    pub multus: Vec<(String, String)>,
    /// The interface that is to be treated as a pod's.
    pub pod_network: Option<String>,
    /// The cards are not the manifest's but KubeVirt's default, which the machine can do without.
    pub cards_are_defaults: bool,
    /// Names of disks, and how fast they may be used.
    pub disk_limits: Vec<(String, DiskLimit)>,
    /// The guest is to see how long it was paused.
    pub clocks_run_while_paused: bool,
    /// Names of networks, and how fast their cards may be.
    pub nic_limits: Vec<(String, NicLimit)>,
}

/// Plans the machine that `vmi` describes. `resolved` holds what it refers to, `surroundings` what its host's network looks
/// like. Gives back the plan and what the
/// user should know about it.
///
/// # Errors
/// All that cannot be planned, and all that is missing.
pub fn make(
    vmi: &VirtualMachineInstance,
    options: &Options,
    resolved: &Resolved,
    surroundings: &Surroundings,
) -> Result<(Plan, Vec<PlanError>), Vec<PlanError>> {
    let domain = &vmi.spec.domain;
    let missing = resolved.missing.iter();
    let mut errors: Vec<_> =
        missing.map(|missing| PlanError::missing(&missing.path, &missing.message)).collect();
    let topology = keep(&mut errors, topology(vmi));
    let cpu = topology.and_then(|t| keep(&mut errors, cpu::plan(t, domain)));
    let memory = keep(&mut errors, memory::plan(vmi.memory_bytes(), vmi.hugepage_bytes()));
    let pci = memory.and_then(|memory| keep(&mut errors, pci::plan(&memory, host::physical_bits())));
    let kernel = keep(&mut errors, kernel::plan(domain.firmware.as_ref(), options));
    let vcpus = topology.map_or(1, |topology| topology.vcpus());
    let context =
        disks::Context { vmi, resolved, queues: disk_queues(vmi, vcpus), limits: &options.disk_limits };
    let disks = plan_disks(&context, &mut errors);
    errors.extend(context.unknown_limit());
    let slots = ports::wanted(vmi).map_err(|error| vec![error])?;
    let Surroundings { survey, vif_cache } = surroundings;
    let queue_pairs = queue_pairs(vmi, vcpus);
    let nics =
        network::plan(&network::Given { vmi, options, resolved, survey, vif_cache, queue_pairs }, slots > 0);
    errors.extend(nics.errors);
    let readiness = keep(&mut errors, probes::plan(vmi, vmi.spec.readiness_probe.as_ref(), "readinessProbe"));
    let liveness = keep(&mut errors, probes::plan(vmi, vmi.spec.liveness_probe.as_ref(), "livenessProbe"));
    let (Some(readiness), Some(liveness)) = (readiness, liveness) else { return Err(errors) };
    let (Some(cpu), Some(memory), Some(pci), Some(kernel), true) =
        (cpu, memory, pci, kernel, errors.is_empty())
    else {
        return Err(errors);
    };

    let mut devices: Vec<_> = disks.into_iter().map(|(name, disk)| (name, DevicePlan::Disk(disk))).collect();
    devices.extend(nics.cards.into_iter().map(|(name, nic)| (name, DevicePlan::Nic(Box::new(nic)))));
    devices.push(("console".into(), DevicePlan::Console { port: AGENT_PORT.into() }));
    if domain.devices.rng.is_some() {
        devices.push(("rng".into(), DevicePlan::Rng));
    }
    if domain.devices.autoattach_mem_balloon != Some(false) {
        let reporting = memory.backing == Backing::Anonymous && !vmi.without_page_reporting();
        devices.push(("balloon".into(), DevicePlan::Balloon { reporting }));
    }
    let io_threads = IoThreads::new(domain, vcpus, devices.iter().map(|(_, device)| device));
    let pci = pci.with_ports(slots);
    let mut allocator = Allocator::new(&pci);
    let placed = io_threads.and_then(|threads| place(devices, &mut allocator, threads));
    let (mut functions, io_threads) = placed.map_err(|error| vec![error])?;
    let watchdog = watchdog::plan(&domain.devices, &pci, &mut allocator).map_err(|error| vec![error])?;
    let ports = ports::plan(slots, &pci, &mut allocator).map_err(|error| vec![error])?;
    context.tell_of_tags(&mut functions).map_err(|error| vec![error])?;
    let plan = Plan {
        namespace: vmi.namespace().to_owned(),
        name: vmi.metadata.name.clone(),
        cpu,
        memory,
        pci,
        kernel,
        smbios: firmware::plan(
            vmi.firmware_uuid().to_string(),
            domain.firmware.as_ref(),
            domain.chassis.as_ref(),
        ),
        functions,
        ports,
        watchdog,
        io_threads,
        grace_period: Duration::from_secs(vmi.grace_period_seconds()),
        reboots: domain.reboot_policy != Some(spec::api::RebootPolicy::Terminate),
        logs_console: domain.devices.log_serial_console.unwrap_or(false),
        credentials: credentials::plan(vmi, resolved),
        readiness,
        liveness,
        starts_paused: vmi.starts_paused(),
        clocks_run_while_paused: options.clocks_run_while_paused,
    };
    Ok((plan, nics.warnings))
}

/// Plans the disk that is the first of `vmi`, to be added to a machine that runs.
pub(crate) fn single_disk(vmi: &VirtualMachineInstance, resolved: &Resolved) -> Result<DiskPlan, PlanError> {
    if let Some(missing) = resolved.missing.first() {
        return Err(PlanError::missing(&missing.path, &missing.message));
    }
    let queues = disk_queues(vmi, vmi.topology().vcpus());
    let disk = vmi.spec.domain.devices.disks.first();
    let disk = disk.ok_or_else(|| PlanError::at("spec.domain.devices.disks", "there is no disk"))?;
    disks::Context { vmi, resolved, queues, limits: &[] }.plan(0, disk)
}

/// Plans the network card that is the last of `vmi`, to be added to a machine that runs. Gives back what the user should
/// know about it, too.
pub(crate) fn single_card(
    vmi: &VirtualMachineInstance,
    options: &Options,
    resolved: &Resolved,
    surroundings: &Surroundings,
) -> Result<(NicPlan, Vec<PlanError>), PlanError> {
    if let Some(missing) = resolved.missing.first() {
        return Err(PlanError::missing(&missing.path, &missing.message));
    }
    let Surroundings { survey, vif_cache } = surroundings;
    let queue_pairs = queue_pairs(vmi, vmi.topology().vcpus());
    network::last(&network::Given { vmi, options, resolved, survey, vif_cache, queue_pairs })
}

/// Puts an error aside and goes on.
fn keep<T>(errors: &mut Vec<PlanError>, result: Result<T, PlanError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn topology(vmi: &VirtualMachineInstance) -> Result<Topology, PlanError> {
    let wanted = vmi.topology();
    Topology::new(wanted.sockets, wanted.cores, wanted.threads)
        .map_err(|error| PlanError::at("spec.domain.cpu", error.to_string()))
}

fn disk_queues(vmi: &VirtualMachineInstance, vcpus: u32) -> u16 {
    let multi_queue = vmi.spec.domain.devices.block_multi_queue.unwrap_or(false);
    u16::try_from(if multi_queue { vcpus.min(MAX_DISK_QUEUES) } else { 1 }).unwrap_or(1)
}

fn queue_pairs(vmi: &VirtualMachineInstance, vcpus: u32) -> u16 {
    let multi_queue = vmi.spec.domain.devices.network_interface_multiqueue.unwrap_or(false);
    u16::try_from(if multi_queue { vcpus.min(MAX_QUEUE_PAIRS) } else { 1 }).unwrap_or(1)
}

fn plan_disks(context: &disks::Context<'_>, errors: &mut Vec<PlanError>) -> Vec<(String, DiskPlan)> {
    let disks = context.vmi.spec.domain.devices.disks.iter().enumerate();
    disks
        .filter_map(|(index, disk)| match context.plan(index, disk) {
            Ok(plan) => Some((disk.name.clone(), plan)),
            // All that is missing is among the errors already.
            Err(error) if error.fault == Fault::Host && !context.resolved.missing.is_empty() => None,
            Err(error) => {
                errors.push(error);
                None
            }
        })
        .collect()
}

/// Gives every device its slot, interrupts and I/O threads.
fn place(
    devices: Vec<(String, DevicePlan)>,
    allocator: &mut Allocator,
    mut threads: IoThreads,
) -> Result<(Vec<Function>, u16), PlanError> {
    let mut functions = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let place = allocator.place(device.vectors()).ok_or_else(|| {
            PlanError::at("spec.domain.devices", "there are more devices than fit on the machine's PCI bus")
        })?;
        let io_threads = threads.of(&device);
        let pci::Place { address, window, first_gsi } = place;
        functions.push(Function { name, address, window, first_gsi, io_threads, device });
    }
    functions.sort_by_key(|function| function.address);
    Ok((functions, threads.count))
}
