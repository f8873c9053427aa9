//! The test host: a small Linux under QEMU's software CPU, which has true
//! hardware virtualization for the VMM to use. [`init`] is its first process;
//! the constants are what it and the program that starts the emulator agree on.

pub mod bench;
pub mod bench_migrate;
pub mod bench_net;
pub mod demo;
pub mod init;
pub mod orders;
mod peers;

/// How often the test host says that it lives while it runs cases.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(5);
/// I/O port of QEMU's `isa-debug-exit`: a byte `n` written there ends the emulator with status `2n + 1`.
pub const EXIT_PORT: u16 = 0x501;
/// The serial port that carries [`crate::verdict::Line`]s out.
pub const LINES: &str = "/dev/ttyS1";
/// The disk with the payload, an ext4 file system.
pub const PAYLOAD_DISK: &str = "/dev/vda";
/// The disk that takes the results: tar archives one after the other.
pub const RESULTS_DISK: &str = "/dev/vdb";
/// The disk with the [`orders::Orders`].
pub const ORDERS_DISK: &str = "/dev/vdc";
/// A long case's disk for what it works on, or that of a benchmark's other VMMs; an ext4 file system. It is there only
/// if one of these is asked for.
pub const WORK_DISK: &str = "/dev/vdd";
/// A long case's disk with Debian on it, for a guest. What is written to it is forgotten.
pub const DEBIAN_DISK: &str = "/dev/vde";
/// The initramfs with which that Debian boots, on the disk for work.
pub const DEBIAN_INITRD: &str = "debian-initrd.img";
/// Where the payload is mounted.
pub const PAYLOAD: &str = "/payload";
