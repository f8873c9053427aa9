//! `spec.domain.firmware`, `clock` and `launchSecurity`.

use super::Presence;

object! {
    /// What the machine boots with, and how it identifies itself.
    pub struct Firmware {
        /// The machine's UUID (SMBIOS type 1), also cloud-init's instance id.
        uuid: Option<String> = "made of the VM's name (UUID version 5)", HONOURED;
        /// The firmware program.
        bootloader: Option<Bootloader> = "bios", HONOURED;
        /// The machine's serial number (SMBIOS type 1).
        serial: Option<String>, HONOURED;
        /// Boot a kernel directly, without firmware.
        kernel_boot: Option<KernelBoot>, HONOURED;
        /// ACPI tables handed to the guest, for licences.
        acpi: Option<FirmwareAcpi>, warn("the guest does not get these ACPI tables");
    }

    /// The firmware program; at most one.
    pub struct Bootloader {
        /// Legacy BIOS (SeaBIOS).
        bios: Option<Bios>, warn("there is no BIOS yet: the kernel of kernelBoot or --kernel is booted directly");
        /// UEFI (OVMF).
        efi: Option<Efi>, warn("there is no UEFI yet: the kernel of kernelBoot or --kernel is booted directly");
    }

    /// Legacy BIOS.
    pub struct Bios {
        /// Firmware messages on the serial console.
        use_serial: Option<bool> = "false", warn_when(When::True, "there is no BIOS to print messages");
    }

    /// UEFI.
    pub struct Efi {
        /// Boot signed programs only; needs `features.smm`.
        secure_boot: Option<bool> = "true", no_when(When::True, "secure boot cannot be enforced: set it to false");
        /// Keep UEFI variables over restarts.
        persistent: Option<bool> = "false", warn_when(When::True, "UEFI variables are not kept");
    }

    /// Boot a kernel directly, without firmware.
    pub struct KernelBoot {
        /// The kernel's command line.
        kernel_args: String, HONOURED;
        /// The image that holds the kernel.
        container: Option<KernelBootContainer>, HONOURED;
    }

    /// An image that holds a kernel and an initial RAM disk.
    pub struct KernelBootContainer {
        /// The image.
        image: String [required], HONOURED;
        /// The secret with which a cluster fetches the image.
        image_pull_secret: String, CLUSTER;
        /// When a cluster fetches the image.
        image_pull_policy: Option<String>, CLUSTER;
        /// The kernel's path within the image.
        kernel_path: String, HONOURED;
        /// The initial RAM disk's path within the image.
        initrd_path: String, HONOURED;
    }

    /// ACPI tables out of secrets.
    pub struct FirmwareAcpi {
        /// The secret volume with the SLIC table.
        slic_name_ref: String, warn("the guest does not get the SLIC table");
        /// The secret volume with the MSDM table.
        msdm_name_ref: String, warn("the guest does not get the MSDM table");
    }

    /// The clock and timers.
    pub struct Clock {
        /// The clock runs in UTC, with an offset or without.
        utc: Option<ClockUtc>, HONOURED;
        /// The clock runs in this time zone, e.g. `Europe/Prague`.
        timezone: Option<String>, warn("the guest's clock runs in UTC");
        /// The timers of the machine.
        timer: Option<Timer>, HONOURED;
    }

    /// A clock in UTC.
    pub struct ClockUtc {
        /// Seconds between UTC and the clock at start.
        offset_seconds: Option<i32>, warn("the guest's clock starts at UTC without an offset");
    }

    /// The timers of the machine. A timer that is named is present unless it says otherwise.
    pub struct Timer {
        /// The high precision event timer.
        hpet: Option<HpetTimer>, HONOURED;
        /// KVM's paravirtual clock.
        kvm: Option<SimpleTimer>, HONOURED;
        /// The 8254 interval timer.
        pit: Option<PitTimer>, HONOURED;
        /// The real-time clock.
        rtc: Option<RtcTimer>, HONOURED;
        /// Hyper-V's reference clock.
        hyperv: Option<HypervTimer>, HONOURED;
    }

    /// The high precision event timer.
    pub struct HpetTimer {
        /// What happens to ticks that were missed.
        tick_policy: String, warn("there is no HPET");
        /// Whether the timer is there.
        present: Option<bool> = "true", warn_when(When::True, "there is no HPET; guests do without");
    }

    /// KVM's paravirtual clock.
    pub struct SimpleTimer {
        /// Whether the timer is there.
        present: Option<bool> = "true",
            warn_when(When::False, "the guest still sees KVM's clock: without it and the interval timer Linux finds no time");
    }

    /// The 8254 interval timer.
    pub struct PitTimer {
        /// What happens to ticks that were missed.
        tick_policy: String, warn("there is no interval timer");
        /// Whether the timer is there.
        present: Option<bool> = "true", warn_when(When::True, "there is no interval timer; guests do without");
    }

    /// The real-time clock.
    pub struct RtcTimer {
        /// What happens to ticks that were missed.
        tick_policy: String, warn("the real-time clock gives no periodic ticks");
        /// Whether the timer is there.
        present: Option<bool> = "true", warn_when(When::False, "the real-time clock is always there");
        /// What the clock follows: `guest` or `wall`.
        track: String, warn("the real-time clock follows the host's");
    }

    /// Hyper-V's reference clock.
    pub struct HypervTimer {
        /// Whether the timer is there.
        present: Option<bool> = "true", HONOURED;
    }

    /// Confidential computing; at most one kind.
    pub struct LaunchSecurity {
        /// AMD SEV.
        sev: Option<Sev>, no("AMD SEV guests cannot be run: remove launchSecurity");
        /// AMD SEV-SNP.
        snp: Option<Presence>, no("AMD SEV-SNP guests cannot be run: remove launchSecurity");
        /// Intel TDX.
        tdx: Option<Presence>, no("Intel TDX guests cannot be run: remove launchSecurity");
    }

    /// AMD SEV.
    pub struct Sev {
        /// What the guest demands of its platform.
        policy: Option<SevPolicy>, no("AMD SEV guests cannot be run: remove launchSecurity");
        /// Start paused, for the owner to check the guest.
        attestation: Option<Presence>, no("AMD SEV guests cannot be run: remove launchSecurity");
        /// The owner's session data.
        session: String, no("AMD SEV guests cannot be run: remove launchSecurity");
        /// The owner's key.
        dh_cert as "dhCert": String, no("AMD SEV guests cannot be run: remove launchSecurity");
    }

    /// What an SEV guest demands of its platform.
    pub struct SevPolicy {
        /// Encrypt the registers too (SEV-ES).
        encrypted_state: Option<bool>, no("AMD SEV guests cannot be run: remove launchSecurity");
    }
}
