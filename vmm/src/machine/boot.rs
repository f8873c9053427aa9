//! What the guest finds in memory when it starts: kernel, initrd, command line, tables.

use arch::acpi::{self, AcpiConfig, AcpiError};
use arch::boot::{Entry, StartInfo, load_initrd, load_kernel, write_cmdline, write_start};
use arch::smbios::{self, ChassisInfo, SmbiosConfig};
use devices::GuestRam;

use super::{BuildError, generation};
use crate::open::Resources;
use crate::plan::Plan;

/// Loads everything into `ram` and says how the boot vCPU starts.
pub(super) fn load(plan: &Plan, resources: &Resources, ram: &GuestRam) -> Result<Entry, BuildError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| BuildError::Boot { what, source }
    };
    let named = &resources.kernel;
    let kernel = load_kernel(ram, &named.file, &plan.memory.ram).map_err(failed(&named.name))?;
    let initrd = resources.initrd.as_ref();
    let initrd = initrd
        .map(|named| load_initrd(ram, &named.file, &kernel).map_err(failed(&named.name)))
        .transpose()?;
    write_cmdline(ram, plan.kernel.cmdline.as_bytes(), &kernel)
        .map_err(failed("the kernel's command line"))?;
    let mut tables = AcpiConfig::new(plan.cpu.topology, plan.pci.mmio64.clone());
    tables.pci32_window = plan.pci.mmio32.clone();
    tables.ecam_base = plan.pci.ecam;
    tables.last_bus = plan.pci.last_bus;
    generation::renew(ram).map_err(AcpiError::from)?;
    let rsdp = acpi::build(ram, &tables)?;
    smbios::build(ram, &identity(plan)?)?;
    let start = StartInfo { ram: &plan.memory.ram, rsdp, initrd };
    write_start(ram, &kernel, &start).map_err(failed(&named.name))?;
    Ok(kernel.entry)
}

fn identity(plan: &Plan) -> Result<SmbiosConfig, BuildError> {
    let said = &plan.smbios;
    let uuid: spec::Uuid = said.uuid.parse().map_err(|_| BuildError::Uuid)?;
    let mut config = SmbiosConfig::new(uuid.bytes(), plan.cpu.topology, plan.memory.ram);
    config.system.serial.clone_from(&said.serial);
    config.chassis = ChassisInfo {
        manufacturer: said.chassis_manufacturer.clone(),
        version: said.chassis_version.clone(),
        serial: said.chassis_serial.clone(),
        asset_tag: said.chassis_asset.clone(),
        sku: said.chassis_sku.clone(),
    };
    Ok(config)
}
