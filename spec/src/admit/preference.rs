//! Preferences: they fill what a machine leaves open.

use super::Findings;
use crate::api::{
    Bios, Bootloader, DevicePreferences, DiskDevice, DomainSpec, Efi, FeaturePreferences,
    FirmwarePreferences, InterfaceBinding, PreferenceSpec, Quantity, VideoDevice, VirtualMachineInstance,
};

/// The sockets, cores and threads that an instancetype's vCPUs become.
pub(super) fn topology(
    vcpus: u32,
    preference: Option<&PreferenceSpec>,
    findings: &mut Findings<'_>,
) -> (u32, u32, u32) {
    let cpu = preference.and_then(|preference| preference.cpu.as_ref());
    let wanted = cpu.and_then(|cpu| cpu.preferred_cpu_topology.as_deref()).unwrap_or("sockets");
    match wanted.trim_start_matches("prefer").to_ascii_lowercase().as_str() {
        "cores" => (1, vcpus, 1),
        "threads" => (1, 1, vcpus),
        "spread" => spread(vcpus, preference).unwrap_or_else(|| {
            let message = format!("{vcpus} vCPUs cannot be spread as the preference wants");
            findings.put_as(
                super::Reason::Invalid,
                "instancetype.spec.cpu.guest",
                "spec.instancetype",
                message,
            );
            (vcpus, 1, 1)
        }),
        _ => (vcpus, 1, 1),
    }
}

/// vCPUs spread over sockets, cores and threads; nothing when they do not divide.
fn spread(vcpus: u32, preference: Option<&PreferenceSpec>) -> Option<(u32, u32, u32)> {
    /// Threads of a core, where vCPUs are spread over all three.
    const THREADS: u32 = 2;
    let options = preference.and_then(|preference| preference.cpu.as_ref()?.spread_options.as_ref());
    let old = preference.map_or(0, |preference| preference.prefer_spread_socket_to_core_ratio);
    let ratio = options.and_then(|options| options.ratio).unwrap_or(if old == 0 { 2 } else { old });
    let divided = |whole: u32, by: u32| {
        let rest = whole.checked_rem(by)?;
        if rest == 0 { whole.checked_div(by) } else { None }
    };
    match options.and_then(|options| options.across.as_deref()).unwrap_or("SocketsCores") {
        "CoresThreads" => Some((1, divided(vcpus, ratio)?, ratio)),
        "SocketsCoresThreads" => Some((divided(divided(vcpus, THREADS)?, ratio)?, ratio, THREADS)),
        _ => Some((divided(vcpus, ratio)?, ratio, 1)),
    }
}

/// Fills what is open.
pub(super) fn apply(preference: &PreferenceSpec, machine: &mut VirtualMachineInstance) {
    let spec = &mut machine.spec;
    fill(&mut spec.subdomain, &preference.preferred_subdomain);
    fill(&mut spec.termination_grace_period_seconds, &preference.preferred_termination_grace_period_seconds);
    fill(&mut spec.architecture, &preference.preferred_architecture);
    let domain = &mut spec.domain;
    if let Some(wanted) = preference.machine.as_ref().map(|machine| &machine.preferred_machine_type) {
        let machine = domain.machine.get_or_insert_default();
        if machine.r#type.is_empty() {
            machine.r#type.clone_from(wanted);
        }
    }
    if let Some(wanted) = &preference.clock {
        let clock = domain.clock.get_or_insert_default();
        if let Some(offset) = &wanted.preferred_clock_offset
            && clock.utc.is_none()
            && clock.timezone.is_none()
        {
            (clock.utc, clock.timezone) = (offset.utc.clone(), offset.timezone.clone());
        }
        fill(&mut clock.timer, &wanted.preferred_timer);
    }
    if let Some(wanted) = &preference.cpu {
        let features = &mut domain.cpu.get_or_insert_default().features;
        for feature in &wanted.preferred_cpu_features {
            if !features.iter().any(|own| own.name == feature.name) {
                features.push(feature.clone());
            }
        }
    }
    if let Some(wanted) = &preference.features {
        fill_features(wanted, domain);
    }
    if let Some(wanted) = &preference.firmware {
        fill_firmware(wanted, domain);
    }
    if let Some(wanted) = &preference.devices {
        fill_devices(wanted, domain);
        fill_models(wanted, domain);
        fill_disks(wanted, domain);
        fill_interfaces(wanted, domain);
    }
    for (key, value) in &preference.annotations {
        machine.metadata.annotations.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn fill<T: Clone>(own: &mut Option<T>, wanted: &Option<T>) {
    if own.is_none() {
        own.clone_from(wanted);
    }
}

fn fill_features(wanted: &FeaturePreferences, domain: &mut DomainSpec) {
    let features = domain.features.get_or_insert_default();
    fill(&mut features.acpi, &wanted.preferred_acpi);
    fill(&mut features.apic, &wanted.preferred_apic);
    fill(&mut features.hyperv, &wanted.preferred_hyperv);
    fill(&mut features.hyperv_passthrough, &wanted.preferred_hyperv_passthrough);
    fill(&mut features.kvm, &wanted.preferred_kvm);
    fill(&mut features.pvspinlock, &wanted.preferred_pvspinlock);
    fill(&mut features.smm, &wanted.preferred_smm);
}

/// A bootloader that is given is kept whole.
fn fill_firmware(wanted: &FirmwarePreferences, domain: &mut DomainSpec) {
    let firmware = domain.firmware.get_or_insert_default();
    if firmware.bootloader.is_some() {
        return;
    }
    let efi = match (&wanted.preferred_efi, wanted.preferred_use_efi) {
        (Some(efi), _) => Some(efi.clone()),
        (None, Some(true)) => {
            Some(Efi { secure_boot: Some(wanted.preferred_use_secure_boot == Some(true)), ..Efi::default() })
        }
        _ => None,
    };
    let bios = (efi.is_none() && wanted.preferred_use_bios == Some(true))
        .then_some(Bios { use_serial: wanted.preferred_use_bios_serial });
    if efi.is_some() || bios.is_some() {
        firmware.bootloader = Some(Bootloader { bios, efi });
    }
}

fn fill_devices(wanted: &DevicePreferences, domain: &mut DomainSpec) {
    let devices = &mut domain.devices;
    fill(&mut devices.autoattach_graphics_device, &wanted.preferred_autoattach_graphics_device);
    fill(&mut devices.autoattach_mem_balloon, &wanted.preferred_autoattach_mem_balloon);
    fill(&mut devices.autoattach_pod_interface, &wanted.preferred_autoattach_pod_interface);
    fill(&mut devices.autoattach_serial_console, &wanted.preferred_autoattach_serial_console);
    fill(&mut devices.autoattach_input_device, &wanted.preferred_autoattach_input_device);
    fill(&mut devices.use_virtio_transitional, &wanted.preferred_use_virtio_transitional);
    fill(&mut devices.rng, &wanted.preferred_rng);
    fill(&mut devices.block_multi_queue, &wanted.preferred_block_multi_queue);
    fill(&mut devices.network_interface_multiqueue, &wanted.preferred_network_interface_multi_queue);
    fill(&mut devices.tpm, &wanted.preferred_tpm);
    devices.disable_hotplug |= wanted.preferred_disable_hotplug == Some(true);
}

/// Models and buses of devices that are given without.
fn fill_models(wanted: &DevicePreferences, domain: &mut DomainSpec) {
    fn fill_text(own: &mut String, wanted: &Option<String>) {
        if let Some(wanted) = wanted.as_ref().filter(|_| own.is_empty()) {
            own.clone_from(wanted);
        }
    }
    let devices = &mut domain.devices;
    for input in &mut devices.inputs {
        fill_text(&mut input.bus, &wanted.preferred_input_bus);
        fill_text(&mut input.r#type, &wanted.preferred_input_type);
    }
    for panic_device in &mut devices.panic_devices {
        fill(&mut panic_device.model, &wanted.preferred_panic_device_model);
    }
    for gpu in &mut devices.gpus {
        fill(&mut gpu.virtual_gpu_options, &wanted.preferred_virtual_gpu_options);
    }
    if let Some(sound) = &mut devices.sound {
        fill_text(&mut sound.model, &wanted.preferred_sound_model);
    }
    let has_display = devices.autoattach_graphics_device != Some(false);
    if let Some(model) = wanted.preferred_video_type.as_ref().filter(|_| has_display) {
        devices.video.get_or_insert_with(|| VideoDevice { r#type: model.clone() });
    }
}

fn fill_disks(wanted: &DevicePreferences, domain: &mut DomainSpec) {
    for disk in &mut domain.devices.disks {
        if matches!(disk.device, DiskDevice::Missing) {
            disk.device = DiskDevice::Disk(crate::api::DiskTarget::default());
        }
        match &mut disk.device {
            DiskDevice::Disk(target) => {
                fill(&mut target.bus, &wanted.preferred_disk_bus);
                let is_virtio = target.bus == Some(crate::api::DiskBus::Virtio);
                if is_virtio {
                    fill(&mut disk.dedicated_io_thread, &wanted.preferred_disk_dedicated_io_thread);
                }
            }
            DiskDevice::Lun(target) => fill(&mut target.bus, &wanted.preferred_lun_bus),
            DiskDevice::CdRom(target) => fill(&mut target.bus, &wanted.preferred_cdrom_bus),
            DiskDevice::Missing | DiskDevice::Several(_) => {}
        }
        fill(&mut disk.cache, &wanted.preferred_disk_cache);
        fill(&mut disk.io, &wanted.preferred_disk_io);
        fill(&mut disk.block_size, &wanted.preferred_disk_block_size);
    }
}

fn fill_interfaces(wanted: &DevicePreferences, domain: &mut DomainSpec) {
    for interface in &mut domain.devices.interfaces {
        fill(&mut interface.model, &wanted.preferred_interface_model);
        if let (InterfaceBinding::Missing, Some(presence)) =
            (&interface.binding, &wanted.preferred_interface_masquerade)
        {
            interface.binding = InterfaceBinding::Masquerade(presence.clone());
        }
    }
}

/// The machine has what the preference demands at least.
pub(super) fn requirements_are_met(
    preference: &PreferenceSpec,
    machine: &VirtualMachineInstance,
    from: &str,
    findings: &mut Findings<'_>,
) {
    let Some(required) = &preference.requirements else { return };
    let own = machine.spec.architecture.as_deref().unwrap_or("amd64");
    if let Some(wanted) = required.architecture.as_deref().filter(|wanted| *wanted != own) {
        let message = format!("the preference demands the architecture {wanted}");
        findings.invalid("spec.template.spec.architecture", message);
    }
    if let Some(cpu) = &required.cpu
        && machine.topology().vcpus() < cpu.guest
    {
        findings.invalid(from, format!("the preference demands at least {} vCPUs", cpu.guest));
    }
    let guest = machine.spec.domain.memory.as_ref().and_then(|memory| memory.guest.as_ref());
    if let Some(memory) = &required.memory
        && *guest.unwrap_or(&Quantity::default()) < memory.guest
    {
        findings.invalid(from, format!("the preference demands at least {} of memory", memory.guest));
    }
}
