//! `spec.domain.devices.disks` and `filesystems`.

use super::Presence;

object! {
    /// A disk of the machine. Its volume is the one of the same name.
    pub struct Disk {
        /// The disk's name, which is also its volume's.
        name: String [required], HONOURED;
        /// The order in which disks and network cards are tried at boot, from 1.
        boot_order: Option<u64>, HONOURED;
        /// The serial number that the guest sees; virtio shows 20 characters.
        serial: String, HONOURED;
        /// Serve the disk with an I/O thread of its own (virtio only).
        dedicated_io_thread as "dedicatedIOThread": Option<bool> = "false", HONOURED;
        /// How the host caches the disk.
        cache: Option<DiskCache> = "none where the file allows direct I/O, else writethrough", HONOURED;
        /// How the host does the disk's I/O.
        io: Option<DiskIo> = "native where the host can, else threads", HONOURED;
        /// A word that cloud-init's config drive gives for the disk.
        tag: String, HONOURED;
        /// Sizes of blocks.
        block_size: Option<BlockSize> = "512 bytes", HONOURED;
        /// Other machines may use the disk at the same time.
        shareable: Option<bool> = "false",
            warn_when(When::True, "writers are not kept apart: the guests must coordinate");
        /// What happens to the guest when the host cannot read or write.
        error_policy: Option<ErrorPolicy> = "stop", HONOURED;
        /// Track changed blocks for incremental backup.
        changed_block_tracking: Option<bool> = "false", warn_when(When::True, "changed blocks are not tracked");
        ..device: DiskDevice;
    }

    /// A hard disk.
    pub struct DiskTarget {
        /// The bus that the disk is attached to.
        bus: Option<DiskBus> = "sata (amd64)",
            warn_when(When::OneOf(&["sata", "scsi", "usb"]), "the disk is attached as virtio-blk: the guest sees it as vdX, not sdX");
        /// The guest may not write.
        readonly: bool = "false", HONOURED;
        /// The PCI address that the guest sees.
        pci_address: String, warn("kubevmm chooses the PCI address");
    }

    /// A SCSI disk passed through with its commands.
    pub struct LunTarget {
        /// The bus that the disk is attached to.
        bus: Option<DiskBus> = "sata (amd64)", HONOURED;
        /// The guest may not write.
        readonly: bool = "false", HONOURED;
        /// Persistent reservations.
        reservation: bool = "false",
            no_when(When::True, "SCSI reservations would not be kept: other writers could destroy the data");
    }

    /// A CD-ROM drive.
    pub struct CdRomTarget {
        /// The bus that the drive is attached to.
        bus: Option<DiskBus> = "sata", HONOURED;
        /// The guest may not write.
        readonly: Option<bool> = "true", HONOURED;
        /// Whether the tray is open or closed.
        tray: Option<Tray> = "closed", warn_when(When::OneOf(&["open"]), "the disk has no tray");
    }

    /// Sizes of blocks: given, or those of the volume.
    pub struct BlockSize {
        /// Sizes in bytes.
        custom: Option<CustomBlockSize>, HONOURED;
        /// The sizes of the volume beneath.
        match_volume: Option<super::FeatureState>, HONOURED;
    }

    /// Sizes of blocks in bytes, powers of two from 512 to 2097152.
    pub struct CustomBlockSize {
        /// The smallest unit of I/O.
        logical: u64, HONOURED;
        /// The unit of I/O that performs best.
        physical: u64, HONOURED;
        /// The smallest unit that can be discarded.
        discard_granularity: Option<u64>, HONOURED;
    }

    /// A folder shared with the guest.
    pub struct Filesystem {
        /// The tag to mount in the guest, which is also the volume's name.
        name: String [required], no("folders cannot be shared with the guest (virtiofs): remove filesystems");
        /// Share it by virtiofs.
        virtiofs: Option<Presence>, no("folders cannot be shared with the guest (virtiofs): remove filesystems");
    }
}

union! {
    /// What a disk looks like to the guest.
    pub enum DiskDevice {
        /// A hard disk.
        Disk as "disk" (DiskTarget), HONOURED;
        /// A SCSI disk passed through with its commands.
        Lun as "lun" (LunTarget),
            warn_when(When::Given, "the disk is attached as virtio-blk: its SCSI commands are not passed through");
        /// A CD-ROM drive.
        CdRom as "cdrom" (CdRomTarget),
            warn("the drive is a read-only virtio disk: the guest sees it as vdX, not sr0");
    }
}

choice! {
    /// The bus that a disk is attached to.
    pub enum DiskBus {
        /// Paravirtual.
        Virtio = "virtio",
        /// Serial ATA.
        Sata = "sata",
        /// SCSI.
        Scsi = "scsi",
        /// USB.
        Usb = "usb",
    }

    /// How the host caches a disk.
    pub enum DiskCache {
        /// Not at all: direct I/O.
        None = "none",
        /// Reads only.
        WriteThrough = "writethrough",
        /// Reads and writes, until the guest flushes.
        WriteBack = "writeback",
    }

    /// How the host does a disk's I/O.
    pub enum DiskIo {
        /// By the kernel's asynchronous I/O (io_uring).
        Native = "native",
        /// By threads.
        Threads = "threads",
    }

    /// What happens to the guest when the host cannot read or write.
    pub enum ErrorPolicy [pointer] {
        /// The VM is paused.
        Stop = "stop",
        /// The guest is told.
        Report = "report",
        /// The guest is told nothing.
        Ignore = "ignore",
        /// The VM is paused when space runs out, else the guest is told.
        Enospace = "enospace",
    }

    /// Whether a tray is open or closed.
    pub enum Tray {
        /// Open.
        Open = "open",
        /// Closed.
        Closed = "closed",
    }
}
