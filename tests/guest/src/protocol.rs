//! One JSON object a line each way: a [`Request`] in, a [`Reply`] out, in order.

use serde::{Deserialize, Serialize};

/// Name of the virtio port that carries the requests.
pub const PORT: &str = "org.qemu.guest_agent.0";

/// Printed on the console when the guest has started all it starts.
pub const READY: &str = "kubevmm guest is ready";

/// Printed on the console when a guest for measurements has filled its memory.
pub const FULL: &str = "kubevmm guest has filled its memory";

/// Printed on the console as the first thing of the guest's first process.
pub const FIRST_LINE: &str = "kubevmm guest has reached user space";

/// An operation that a test asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Answers with [`Answer::Done`].
    Ping,
    /// Who and what this guest is: [`Answer::Identity`].
    Identity,
    /// Reads at most 4 MiB of a file, sysfs and procfs included: [`Answer::Text`].
    ReadFile {
        /// Absolute path in the guest.
        path: String,
    },
    /// Runs a busybox applet to its end: [`Answer::Output`].
    Run {
        /// Applet and arguments.
        argv: Vec<String>,
    },
    /// Reads with `O_DIRECT`: [`Answer::Checksum`].
    BlockRead(Extent),
    /// Writes [`pattern::fill`](crate::pattern::fill) with `O_DIRECT`: [`Answer::Checksum`] of what was written.
    BlockWrite {
        /// Where.
        #[serde(flatten)]
        extent: Extent,
        /// Seed of the pattern.
        seed: u64,
    },
    /// `fsync` on the device.
    BlockFlush {
        /// Serial number or kernel name.
        disk: String,
    },
    /// `BLKDISCARD`.
    BlockDiscard(Extent),
    /// `BLKZEROOUT`.
    BlockZero(Extent),
    /// Writes numbered blocks all over a disk, several at a time, and flushes: see [`stamps`](crate::stamps).
    BlockStamp {
        /// Serial number or kernel name.
        disk: String,
        /// Number of the first block that is written.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Reads all blocks that `BlockStamp` writes to: [`Answer::Stamps`].
    BlockStamps {
        /// Serial number or kernel name.
        disk: String,
    },
    /// Fills that much memory with a pattern and reads it back.
    TouchMemory {
        /// How much.
        mebibytes: u64,
        /// Seed of the pattern.
        seed: u64,
    },
    /// Reads that many bytes of `/dev/hwrng`: [`Answer::Checksum`] and, as text, how many bits were set.
    Entropy {
        /// How many bytes, at most 1 MiB.
        bytes: u64,
    },
    /// The registers that CPUID answers with: [`Answer::Text`], four numbers in hexadecimal.
    Cpuid {
        /// What is asked for.
        leaf: u32,
    },
    /// Writes a line on the console.
    Console {
        /// The line.
        text: String,
    },
    /// Orderly power-off; there is no reply.
    PowerOff,
    /// Orderly reboot; there is no reply.
    Reboot,
    /// Kernel panic by sysrq; there is no reply.
    Panic,
}

/// A range of bytes on a disk. Offset and length are multiples of 4096.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Serial number or kernel name (`vda`).
    pub disk: String,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was carried out.
    Ok(Answer),
    /// It was not, and why.
    Error(String),
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// See [`Request::Identity`].
    Identity(Box<Identity>),
    /// Contents of a file, or a remark.
    Text(String),
    /// See [`pattern::checksum`](crate::pattern::checksum).
    Checksum(u64),
    /// The number in each place of a stamped disk, 0 where nothing was written.
    Stamps(Vec<u64>),
    /// See [`Request::Run`].
    Output(Output),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Exit status, absent if a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Who and what a guest is, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// From NoCloud's meta-data, else the kernel's default.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// `MemTotal`, in KiB.
    pub memory_kib: u64,
    /// SMBIOS product UUID, lower case.
    pub uuid: String,
    /// SMBIOS product name and system vendor.
    pub product: String,
    /// Disks in the kernel's order.
    pub disks: Vec<Disk>,
    /// Network interfaces other than `lo`.
    pub interfaces: Vec<Interface>,
    /// Identifies this boot.
    pub boot_id: String,
}

/// A block device as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// `vda`.
    pub name: String,
    /// Empty if it has none.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Read-only.
    pub read_only: bool,
    /// Logical block size in bytes.
    pub logical_block: u64,
    /// Physical block size in bytes.
    pub physical_block: u64,
    /// Hardware queues.
    pub queues: usize,
    /// File system label as `blkid` shows it (`cidata`), empty if none is known.
    pub label: String,
}

/// A network interface as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// MAC address.
    pub mac: String,
    /// Largest packet.
    pub mtu: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_a_line() {
        let extent = Extent { disk: "root".into(), offset: 4096, length: 8192 };
        for request in [
            Request::Ping,
            Request::Run { argv: vec!["ip".into(), "a\nb".into()] },
            Request::BlockWrite { extent: extent.clone(), seed: 7 },
            Request::BlockZero(extent),
        ] {
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        }
    }

    #[test]
    fn replies_survive_a_line() {
        for reply in
            [Reply::Ok(Answer::Done), Reply::Ok(Answer::Checksum(u64::MAX)), Reply::Error("no".into())]
        {
            let line = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
        }
    }
}
