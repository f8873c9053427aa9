//! Why a machine could not be built.

use std::io;

use arch::acpi::AcpiError;
use arch::boot::BootError;
use arch::cpuid::CpuidError;
use arch::smbios::SmbiosError;
use devices::bus::BusError;
use devices::io_thread::IoThreadError;

use crate::kvm::KvmError;

/// A machine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// KVM failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Guest memory could not be had.
    #[error("{bytes} bytes of guest memory could not be had{hint}")]
    Memory {
        /// How much.
        bytes: u64,
        /// What to do.
        hint: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The memory map makes no sense to the library that keeps it.
    #[error("guest memory could not be laid out")]
    MemoryLayout(#[source] vm_memory::GuestRegionCollectionError),
    /// The kernel, initrd or command line could not be loaded.
    #[error("{what} could not be loaded")]
    Boot {
        /// Which of them, and from where.
        what: String,
        /// Why.
        #[source]
        source: BootError,
    },
    /// The thread that loads the kernel died.
    #[error("the thread that loads the kernel died")]
    Loader,
    /// The processor features that the manifest asks for are not possible here.
    #[error("spec.domain.cpu")]
    Cpuid(#[from] CpuidError),
    /// ACPI tables could not be built.
    #[error("ACPI tables could not be built")]
    Acpi(#[from] AcpiError),
    /// SMBIOS tables could not be built.
    #[error("SMBIOS tables could not be built")]
    Smbios(#[from] SmbiosError),
    /// The machine's UUID in the plan is none.
    #[error("the machine's UUID in the plan is not a UUID")]
    Uuid,
    /// More vCPUs than KVM can have.
    #[error("spec.domain.cpu: {wanted} vCPUs are more than this host's KVM can run ({most})")]
    TooManyVcpus {
        /// How many the manifest asks for.
        wanted: u32,
        /// How many are possible.
        most: usize,
    },
    /// A fixed device could not be placed.
    #[error("the chipset's {what} could not be placed")]
    Place {
        /// Which device.
        what: &'static str,
        /// Why.
        #[source]
        source: BusError,
    },
    /// A device could not be made.
    #[error("{what} could not be made")]
    Device {
        /// Which device.
        what: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// An I/O thread could not be started.
    #[error(transparent)]
    IoThread(#[from] IoThreadError),
    /// Plan and resources do not belong together.
    #[error("{0} has nothing behind it")]
    NoBackend(String),
}
