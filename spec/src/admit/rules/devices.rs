//! Devices other than disks and network cards.

use std::collections::BTreeMap;

use super::super::{Findings, Reason};
use crate::api::{Devices, FeatureState, Gpu, IoThreadsPolicy, VirtualMachineInstanceSpec};

const DEVICES: &str = "spec.domain.devices";

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let devices = &spec.domain.devices;
    boot_orders_differ(devices, findings);
    inputs_are_tablets(devices, findings);
    sound_is_named_and_known(devices, findings);
    displays_of_gpus_are_at_most_one(devices, findings);
    video_needs_graphics(devices, findings);
    panic_devices_are_known(devices, findings);
    watchdog_actions_are_known(devices, findings);
    io_threads_are_counted(spec, findings);
}

/// Boot orders begin at 1 and are unique among disks and cards together.
fn boot_orders_differ(devices: &Devices, findings: &mut Findings<'_>) {
    let mut seen = BTreeMap::new();
    for (index, disk) in devices.disks.iter().enumerate() {
        let Some(order) = disk.boot_order else { continue };
        let path = format!("{DEVICES}.disks[{index}].bootOrder");
        if order < 1 {
            findings.invalid(path.clone(), "boot orders begin at 1");
        }
        if let Some(other) = seen.insert(order, format!("disk {:?}", disk.name)) {
            findings.invalid(path, format!("boot order {order} is taken by {other}"));
        }
    }
    for (index, interface) in devices.interfaces.iter().enumerate() {
        let Some(order) = interface.boot_order else { continue };
        let path = format!("{DEVICES}.interfaces[{index}].bootOrder");
        if order < 1 {
            findings.put_as(
                Reason::Invalid,
                format!("spec[{index}].bootOrder"),
                path,
                "boot orders begin at 1",
            );
        } else if let Some(other) = seen.insert(order, format!("interface {:?}", interface.name)) {
            findings.invalid(path, format!("boot order {order} is taken by {other}"));
        }
    }
}

fn inputs_are_tablets(devices: &Devices, findings: &mut Findings<'_>) {
    for (index, input) in devices.inputs.iter().enumerate() {
        if !matches!(input.bus.as_str(), "" | "usb" | "virtio") {
            let message = format!("{:?} is not a bus for input devices: use usb or virtio", input.bus);
            findings.invalid(format!("{DEVICES}.inputs[{index}].bus"), message);
        }
        if input.r#type != "tablet" {
            let message = format!("{:?} is not an input device: only tablet is", input.r#type);
            findings.invalid(format!("{DEVICES}.inputs[{index}].type"), message);
        }
    }
}

fn sound_is_named_and_known(devices: &Devices, findings: &mut Findings<'_>) {
    let Some(sound) = &devices.sound else { return };
    let mut fault = |key: &str, message: &str| {
        findings.put_as(Reason::Invalid, "spec.Sound", format!("{DEVICES}.sound.{key}"), message);
    };
    if !matches!(sound.model.as_str(), "" | "ich9" | "ac97") {
        fault("model", "must be ich9 or ac97");
    }
    if sound.name.is_empty() {
        fault("name", "must not be empty");
    }
}

fn displays_of_gpus_are_at_most_one(devices: &Devices, findings: &mut Findings<'_>) {
    let has_display = |gpu: &&Gpu| {
        let display = gpu.virtual_gpu_options.as_ref().and_then(|options| options.display.as_ref());
        display.is_some_and(|display| {
            display.enabled != Some(false) && display.ram_fb.as_ref().is_none_or(FeatureState::is_on)
        })
    };
    if devices.gpus.iter().filter(has_display).count() > 1 {
        let path = format!("{DEVICES}.gpus");
        findings.put_as(
            Reason::Invalid,
            "spec.GPUs",
            path,
            "only one graphics processor may have a frame buffer",
        );
    }
}

fn video_needs_graphics(devices: &Devices, findings: &mut Findings<'_>) {
    if devices.video.is_some() && devices.autoattach_graphics_device == Some(false) {
        let message = "video is of no use with autoattachGraphicsDevice: false: remove one of the two";
        findings.put_as(Reason::Invalid, "spec.video", format!("{DEVICES}.video"), message);
    }
}

fn panic_devices_are_known(devices: &Devices, findings: &mut Findings<'_>) {
    for (index, device) in devices.panic_devices.iter().enumerate() {
        let model = device.model.as_deref();
        if !matches!(model, None | Some("isa" | "hyperv" | "pvpanic")) {
            let path = format!("{DEVICES}.panicDevices[{index}].model");
            findings.invalid(path, "must be pvpanic, isa or hyperv");
        }
    }
}

fn watchdog_actions_are_known(devices: &Devices, findings: &mut Findings<'_>) {
    let Some(watchdog) = &devices.watchdog else { return };
    let i6300esb = watchdog.i6300esb.as_ref().map(|device| (&device.action, "i6300esb"));
    let diag288 = watchdog.diag288.as_ref().map(|device| (&device.action, "diag288"));
    for (action, key) in [i6300esb, diag288].into_iter().flatten() {
        if !matches!(action.as_str(), "" | "poweroff" | "reset" | "shutdown") {
            let path = format!("{DEVICES}.watchdog.{key}.action");
            findings.cannot(path, "must be poweroff, reset or shutdown");
        }
    }
}

fn io_threads_are_counted(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    match &spec.domain.io_threads_policy {
        Some(IoThreadsPolicy::Other(policy)) => {
            let known = IoThreadsPolicy::WORDS.join(", ");
            let message = format!("{policy:?} is not a policy: use one of {known}");
            findings.invalid("spec.domain.ioThreadsPolicy", message);
        }
        Some(IoThreadsPolicy::SupplementalPool) => {
            let threads = spec.domain.io_threads.as_ref();
            let count = threads.and_then(|threads| threads.supplemental_pool_thread_count).unwrap_or(0);
            if count < 1 {
                let path = "spec.domain.ioThreads.supplementalPoolThreadCount";
                let message = "the policy supplementalPool needs a number of threads";
                findings.put_as(Reason::Invalid, "spec.domain.ioThreads.count", path, message);
            }
        }
        _ => {}
    }
}
