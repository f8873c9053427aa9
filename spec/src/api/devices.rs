//! `spec.domain.devices`.

use super::{Disk, FeatureState, Filesystem, Interface, Presence};

object! {
    /// The devices of the machine.
    pub struct Devices {
        /// Offer virtio devices to guests of old (virtio 0.9).
        use_virtio_transitional: Option<bool> = "false",
            warn_when(When::True, "devices are virtio 1 only: guests older than Linux 4.0 do not find them");
        /// Leave out what is needed to add devices while the VM runs.
        disable_hotplug: bool = "false", HONOURED;
        /// Disks. Each shows the volume of its name.
        disks: Vec<Disk> = "one for each volume that has none", HONOURED;
        /// A watchdog that acts when the guest hangs.
        watchdog: Option<Watchdog>, HONOURED;
        /// Network cards. Each is attached to the network of its name.
        interfaces: Vec<Interface> = "one on the pod network, when there are no networks", HONOURED;
        /// Pointers and keyboards.
        inputs: Vec<Input>, warn("the guest gets no input devices");
        /// Add a network card when none is given.
        autoattach_pod_interface: Option<bool> = "true", HONOURED;
        /// Add a display with VNC.
        autoattach_graphics_device: Option<bool> = "true", warn_when(When::True, "the guest gets no display");
        /// Add a serial console.
        autoattach_serial_console: Option<bool> = "true", HONOURED;
        /// Keep what the guest writes on the serial console in a log.
        log_serial_console: Option<bool>, HONOURED;
        /// Add a memory balloon.
        autoattach_mem_balloon: Option<bool> = "true", HONOURED;
        /// Add a tablet.
        autoattach_input_device: Option<bool> = "false", warn_when(When::True, "the guest gets no tablet");
        /// Add a socket to the host (vsock).
        autoattach_vsock as "autoattachVSOCK": Option<bool> = "false", warn_when(When::True, "the guest gets no vsock");
        /// A source of random numbers.
        rng: Option<Presence>, HONOURED;
        /// Give each disk as many queues as there are vCPUs.
        block_multi_queue: Option<bool> = "false", HONOURED;
        /// Give each network card as many queues as there are vCPUs.
        network_interface_multiqueue: Option<bool> = "false", HONOURED;
        /// Graphics processors passed through.
        gpus: Vec<Gpu>, no("graphics processors cannot be passed through: remove gpus");
        /// A channel by which the guest reads measurements of the host.
        downward_metrics: Option<Presence>, warn("the guest gets no measurements of the host");
        /// Folders shared with the guest.
        filesystems: Vec<Filesystem>, no("folders cannot be shared with the guest (virtiofs): remove filesystems");
        /// Devices of the host passed through.
        host_devices: Vec<HostDevice>, no("devices of the host cannot be passed through: remove hostDevices");
        /// USB devices of a client, passed through.
        client_passthrough: Option<Presence>, warn("USB devices of a client cannot be passed through");
        /// A sound card.
        sound: Option<SoundDevice>, warn("the guest gets no sound card");
        /// A trusted platform module.
        tpm: Option<TpmDevice>, no_when(When::On, "there is no TPM, and what the guest seals with it would be lost: remove tpm");
        /// The display.
        video: Option<VideoDevice>, warn("the guest gets no display");
        /// Devices by which the guest tells of its crash.
        panic_devices: Vec<PanicDevice>, HONOURED;
    }

    /// A watchdog that acts when the guest hangs.
    pub struct Watchdog {
        /// The device's name.
        name: String [required], HONOURED;
        /// Intel's 6300ESB.
        i6300esb: Option<I6300EsbWatchdog>, HONOURED;
        /// The s390x watchdog.
        diag288: Option<Diag288Watchdog>, HONOURED;
    }

    /// Intel's 6300ESB watchdog.
    pub struct I6300EsbWatchdog {
        /// What it does: poweroff, reset or shutdown.
        action: String = "reset", HONOURED;
    }

    /// The s390x watchdog.
    pub struct Diag288Watchdog {
        /// What it does: poweroff, reset or shutdown.
        action: String = "reset", HONOURED;
    }

    /// A pointer or keyboard.
    pub struct Input {
        /// The bus it is attached to: usb or virtio.
        bus: String = "usb", HONOURED;
        /// What it is: tablet.
        r#type as "type": String [required] = "tablet", HONOURED;
        /// The device's name.
        name: String [required], HONOURED;
    }

    /// A graphics processor passed through.
    pub struct Gpu {
        /// The device's name.
        name: String [required], HONOURED;
        /// The cluster's name for devices of its kind.
        device_name: String, HONOURED;
        /// A resource claim instead of a device name.
        claim_name: Option<String>, HONOURED;
        /// The request within the claim.
        request_name: Option<String>, HONOURED;
        /// Options of a shared graphics processor.
        virtual_gpu_options as "virtualGPUOptions": Option<VgpuOptions>, HONOURED;
        /// A word that cloud-init's config drive gives for the device.
        tag: String, HONOURED;
    }

    /// Options of a shared graphics processor.
    pub struct VgpuOptions {
        /// Its display.
        display: Option<VgpuDisplayOptions>, HONOURED;
    }

    /// The display of a shared graphics processor.
    pub struct VgpuDisplayOptions {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
        /// A frame buffer in memory for the time before the driver.
        ram_fb as "ramFB": Option<FeatureState>, HONOURED;
    }

    /// A device of the host passed through.
    pub struct HostDevice {
        /// The device's name.
        name: String [required], HONOURED;
        /// The cluster's name for devices of its kind.
        device_name: String, HONOURED;
        /// A resource claim instead of a device name.
        claim_name: Option<String>, HONOURED;
        /// The request within the claim.
        request_name: Option<String>, HONOURED;
        /// A word that cloud-init's config drive gives for the device.
        tag: String, HONOURED;
    }

    /// A sound card.
    pub struct SoundDevice {
        /// The device's name.
        name: String [required], HONOURED;
        /// The model: ich9 or ac97.
        model: String = "ich9", HONOURED;
    }

    /// A trusted platform module.
    pub struct TpmDevice {
        /// Whether it is there.
        enabled: Option<bool> = "true", HONOURED;
        /// Keep its state over restarts.
        persistent: Option<bool> = "false", HONOURED;
    }

    /// The display.
    pub struct VideoDevice {
        /// The model: vga, cirrus, virtio, ramfb or bochs.
        r#type as "type": String = "vga, or bochs with UEFI", HONOURED;
    }

    /// A device by which the guest tells of its crash.
    pub struct PanicDevice {
        /// The model: pvpanic, isa or hyperv.
        model: Option<String> = "pvpanic",
            warn_when(When::NoneOf(&["pvpanic", "isa"]), "only the pvpanic device is there");
    }
}
