//! What the guest finds in memory when it starts: kernel, initrd, command line, tables.

use arch::acpi::{self, AcpiConfig};
use arch::boot::{Entry, StartInfo, load_initrd, load_kernel, write_cmdline, write_start};
use arch::smbios::{self, ChassisInfo, SmbiosConfig};
use devices::GuestRam;

use super::BuildError;
use crate::open::Resources;
use crate::plan::Plan;

/// Loads everything into `ram` and says how the boot vCPU starts.
pub(super) fn load(plan: &Plan, resources: &Resources, ram: &GuestRam) -> Result<Entry, BuildError> {
    let kernel = load_kernel(ram, &resources.kernel, &plan.memory.ram)?;
    let initrd = resources.initrd.as_ref().map(|initrd| load_initrd(ram, initrd, &kernel)).transpose()?;
    write_cmdline(ram, plan.kernel.cmdline.as_bytes(), &kernel)?;
    let mut tables = AcpiConfig::new(plan.cpu.topology, plan.pci.mmio64.clone());
    tables.pci32_window = plan.pci.mmio32.clone();
    tables.ecam_base = plan.pci.ecam;
    tables.last_bus = plan.pci.last_bus;
    let rsdp = acpi::build(ram, &tables)?;
    smbios::build(ram, &identity(plan)?)?;
    write_start(ram, &kernel, &StartInfo { ram: &plan.memory.ram, rsdp, initrd })?;
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
