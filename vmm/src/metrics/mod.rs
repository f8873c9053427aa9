//! Metrics: what Prometheus and `kubevmm top` ask, under KubeVirt's names where it has any
//! (KubeVirt: `docs/observability/metrics.md`, `pkg/monitoring/metrics/virt-handler/domainstats`).
//!
//! Nothing is computed until somebody asks. Those who count own their counters; nobody waits for anybody.

mod devices;
mod memory;
mod migrations;
mod nics;
mod process;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::{AnswersHandle, AnswersReport};

pub use devices::{Device, Measured};
pub use process::{ThreadTimes, is_ready, this_thread};
pub use text::CONTENT_TYPE;

use self::devices::{DISK_COUNTS, Devices};
use self::process::Process;
use self::text::{Kind, Sample, Text, number, seconds, value};
use crate::console::ConsoleHub;
use crate::demand::Gauge;
use crate::milestone::Milestones;
use crate::status::{Board, Published};
use crate::vcpu::VcpuCounters;

/// How old the guest's account of its memory may be.
const STATISTICS_AGE: Duration = Duration::from_secs(10);

/// All that is counted of one machine, over resets of its guest. Clones are the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    milestones: Arc<Milestones>,
    vcpus: Vec<Arc<VcpuCounters>>,
    devices: Devices,
    /// What is answered in front of cards, which outlives resets of the guest.
    answers: Mutex<BTreeMap<String, AnswersHandle>>,
    memory_bytes: u64,
    /// The memory, if it comes behind the machine.
    memory: memory::Memory,
}

impl Metrics {
    /// Those of a machine with so many vCPUs and so much memory.
    pub fn new(milestones: Arc<Milestones>, vcpus: u32, memory_bytes: u64) -> Self {
        let vcpus = (0..vcpus).map(|_| Arc::default()).collect();
        let (devices, answers, memory) = (Devices::default(), Mutex::default(), memory::Memory::default());
        Self(Arc::new(Inner { milestones, vcpus, devices, answers, memory_bytes, memory }))
    }

    /// The counters of a vCPU.
    pub fn vcpu(&self, index: u32) -> Arc<VcpuCounters> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.0.vcpus.get(index).cloned().unwrap_or_default()
    }

    /// Counts what `device` does under `name`, until what is returned is dropped.
    pub fn measure(&self, name: &str, device: Device) -> Measured {
        self.0.devices.measure(name, device)
    }

    /// Tells of what is answered in front of the card `name`.
    pub fn tell_answers(&self, name: &str, answers: AnswersHandle) {
        self.answers().insert(name.to_owned(), answers);
    }

    /// The guest's memory comes behind it.
    pub fn memory_comes(&self, gauge: Gauge) {
        self.0.memory.comes(gauge);
    }

    /// All of it is here, or nobody needs it any more; so many pages were waited for.
    pub fn memory_is_here(&self, waited_for: u64) {
        self.0.memory.is_here(waited_for);
    }

    fn answers(&self) -> MutexGuard<'_, BTreeMap<String, AnswersHandle>> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics as text.
    pub fn render(&self, board: &Board, console: &ConsoleHub) -> String {
        let current = &*board.current();
        let (metadata, namespace) = (&current.vmi.metadata, current.vmi.namespace());
        let node = current.vmi.status.as_ref().map_or("", |status| status.node_name.as_str());
        let mut text =
            Text::new(&[("node", node), ("namespace", namespace), ("name", metadata.name.as_str())]);
        info(current, &mut text);
        self.processors(&mut text);
        self.memory(&mut text);
        self.0.memory.write(&mut text);
        self.disks(&mut text);
        self.nics(&mut text);
        migrations::write(current.progress, &board.migrations(), &mut text);
        self.own(console, &mut text);
        text.finish()
    }

    fn processors(&self, text: &mut Text) {
        let threads: Vec<_> = self.0.vcpus.iter().map(|vcpu| vcpu.times()).collect();
        let each = |time: fn(&ThreadTimes) -> u64| {
            let samples = threads.iter().enumerate();
            samples.map(move |(id, times)| value(seconds(time(times))).with("id", id.to_string()))
        };
        let running = each(|times| times.run).map(|sample| sample.with("state", "running"));
        text.metric(
            "kubevirt_vmi_vcpu_seconds_total",
            Kind::Counter,
            "Total amount of time spent in each state by each vcpu.",
            running.collect::<Vec<_>>(),
        );
        text.metric(
            "kubevirt_vmi_vcpu_wait_seconds_total",
            Kind::Counter,
            "Amount of time spent by each vcpu while waiting on I/O.",
            each(|times| times.wait).collect::<Vec<_>>(),
        );
        text.metric(
            "kubevirt_vmi_vcpu_delay_seconds_total",
            Kind::Counter,
            "Amount of time spent by each vcpu waiting in the queue instead of running.",
            each(|times| times.delay).collect::<Vec<_>>(),
        );
        let Some(process) = Process::this() else { return };
        let of = |nanoseconds| [value(seconds(nanoseconds))];
        text.metric(
            "kubevirt_vmi_cpu_usage_seconds_total",
            Kind::Counter,
            "Total CPU time spent in all modes (sum of both vcpu and hypervisor usage).",
            of(process.user + process.system),
        );
        text.metric(
            "kubevirt_vmi_cpu_user_usage_seconds_total",
            Kind::Counter,
            "Total CPU time spent in user mode.",
            of(process.user),
        );
        text.metric(
            "kubevirt_vmi_cpu_system_usage_seconds_total",
            Kind::Counter,
            "Total CPU time spent in system mode.",
            of(process.system),
        );
    }

    fn memory(&self, text: &mut Text) {
        let mut gauge = |name, help, bytes: Option<u64>| {
            text.metric(name, Kind::Gauge, help, bytes.map(|bytes| value(number(bytes))));
        };
        let resident = Process::this().map(|process| process.resident);
        gauge(
            "kubevirt_vmi_memory_domain_bytes",
            "The amount of memory in bytes allocated to the domain.",
            Some(self.0.memory_bytes),
        );
        gauge(
            "kubevirt_vmi_memory_resident_bytes",
            "Resident set size of the process running the domain.",
            resident,
        );
        let Some(balloon) = self.0.devices.balloon() else { return };
        gauge(
            "kubevirt_vmi_memory_actual_balloon_bytes",
            "Current balloon size in bytes.",
            Some(balloon.current_bytes()),
        );
        let Some(guest) = balloon.statistics(STATISTICS_AGE) else { return };
        gauge(
            "kubevirt_vmi_memory_available_bytes",
            "Amount of usable memory as seen by the domain.",
            guest.total,
        );
        gauge(
            "kubevirt_vmi_memory_unused_bytes",
            "The amount of memory left completely unused by the system.",
            guest.free,
        );
        gauge(
            "kubevirt_vmi_memory_usable_bytes",
            "The amount of memory which can be reclaimed by balloon without pushing the guest system to swap.",
            guest.available,
        );
        gauge(
            "kubevirt_vmi_memory_cached_bytes",
            "The amount of memory that is being used to cache I/O and is available to be reclaimed.",
            guest.disk_caches,
        );
        gauge(
            "kubevirt_vmi_memory_swap_in_traffic_bytes",
            "The total amount of data read from swap space of the guest in bytes.",
            guest.swap_in,
        );
        gauge(
            "kubevirt_vmi_memory_swap_out_traffic_bytes",
            "The total amount of memory written out to swap space of the guest in bytes.",
            guest.swap_out,
        );
        let mut counter = |name, help, count: Option<u64>| {
            text.metric(name, Kind::Counter, help, count.map(|count| value(number(count))));
        };
        counter(
            "kubevirt_vmi_memory_pgmajfault_total",
            "The number of page faults when disk IO was required.",
            guest.major_faults,
        );
        counter(
            "kubevirt_vmi_memory_pgminfault_total",
            "The number of other page faults, when disk IO was not required.",
            guest.minor_faults,
        );
    }

    fn disks(&self, text: &mut Text) {
        counts(&DISK_COUNTS, "drive", &self.0.devices.disks(), text);
        let depths = self.0.devices.depths().into_iter();
        text.metric(
            "kubevmm_disk_requests_in_flight",
            Kind::Gauge,
            "Requests of the guest's driver that the host is working on.",
            depths.map(|(name, depth)| value(number(depth)).with("drive", name)),
        );
    }

    fn nics(&self, text: &mut Text) {
        nics::write(&self.0.devices.nics(), text);
        let reports: Vec<(String, AnswersReport)> =
            self.answers().iter().map(|(card, answers)| (card.clone(), answers.report())).collect();
        nics::write_answers(&reports, text);
    }

    /// What KubeVirt has no names for.
    fn own(&self, console: &ConsoleHub, text: &mut Text) {
        let exits = self.0.vcpus.iter().enumerate().flat_map(|(id, vcpu)| {
            vcpu.exits().map(move |(reason, count)| {
                value(number(count)).with("id", id.to_string()).with("reason", reason)
            })
        });
        text.metric(
            "kubevmm_vcpu_exits_total",
            Kind::Counter,
            "Returns from the guest to this process, by reason.",
            exits.collect::<Vec<_>>(),
        );
        let milestones = self.0.milestones.reached();
        text.metric(
            "kubevmm_milestone_seconds",
            Kind::Gauge,
            "When each stage was first reached, from the start of the process.",
            milestones.map(|(name, since)| value(seconds(since)).with("milestone", name)).collect::<Vec<_>>(),
        );
        let listeners = u64::try_from(console.listeners()).unwrap_or(u64::MAX);
        text.metric(
            "kubevmm_console_listeners",
            Kind::Gauge,
            "Who listens to the serial console, the process itself included.",
            [value(number(listeners))],
        );
        let process = Process::this().map(|process| value(number(process.threads)));
        text.metric("kubevmm_process_threads", Kind::Gauge, "Threads of the process.", process);
        let overhead = process::overhead().map(|bytes| value(number(bytes)));
        text.metric(
            "kubevmm_resident_overhead_bytes",
            Kind::Gauge,
            "Resident set size of the process beside the guest's memory.",
            overhead,
        );
        let descriptors = process::descriptors().map(|count| value(number(count)));
        text.metric("kubevmm_process_open_fds", Kind::Gauge, "Open descriptors of the process.", descriptors);
    }
}

/// What is the same for all of a kind of device.
fn counts(
    table: &[(&'static str, &'static str, bool)],
    label: &'static str,
    devices: &[(String, Vec<u64>)],
    text: &mut Text,
) {
    for (index, (name, help, is_time)) in table.iter().enumerate() {
        let sample = |(device, counts): &(String, Vec<u64>)| {
            let count = counts.get(index).copied()?;
            let count = if *is_time { seconds(count) } else { number(count) };
            Some(value(count).with(label, device.as_str()))
        };
        text.metric(name, Kind::Counter, help, devices.iter().filter_map(sample));
    }
}

/// What the machine is, and where in its life.
fn info(current: &Published, text: &mut Text) {
    let Some(status) = &current.vmi.status else { return };
    let annotations = &current.vmi.metadata.annotations;
    let noted = |key: &str| annotations.get(key).map_or("", |value| value.as_str()).to_owned();
    let guest = status.guest_os_info.as_ref();
    let of_guest =
        |pick: fn(&spec::api::GuestOsInfo) -> &String| guest.map(pick).cloned().unwrap_or_default();
    let sample: Sample = value(1.0)
        .with("phase", status.phase.to_lowercase())
        .with("os", noted("vm.kubevirt.io/os"))
        .with("workload", noted("vm.kubevirt.io/workload"))
        .with("flavor", noted("vm.kubevirt.io/flavor"))
        .with("guest_os_name", of_guest(|guest| &guest.name))
        .with("guest_os_version_id", of_guest(|guest| &guest.version_id))
        .with("guest_os_kernel_release", of_guest(|guest| &guest.kernel_release))
        .with("guest_os_machine", of_guest(|guest| &guest.machine))
        .with("guest_os_arch", of_guest(|guest| &guest.machine));
    text.metric("kubevirt_vmi_info", Kind::Gauge, "Information about VirtualMachineInstances.", [sample]);
    let addresses = status.interfaces.iter().filter(|interface| !interface.ip_address.is_empty());
    text.metric(
        "kubevirt_vmi_status_addresses",
        Kind::Gauge,
        "The addresses of a VirtualMachineInstance.",
        addresses
            .map(|interface| {
                value(1.0)
                    .with("network_name", interface.name.as_str())
                    .with("address", interface.ip_address.as_str())
                    .with("type", "InternalIP")
            })
            .collect::<Vec<_>>(),
    );
}
