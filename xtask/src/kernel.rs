//! Debian's stock cloud kernel: the compressed image, the ELF inside it, its modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::debian::{self, With};
use crate::error::{Doing, Error, Result};
use crate::lz4;
use crate::store::{Fingerprint, Store};

/// Debian's package that depends on the newest kernel for virtual machines.
const META: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The bzImage.
    pub(crate) vmlinuz: PathBuf,
    /// The ELF that it decompresses to.
    pub(crate) vmlinux: PathBuf,
    /// The modules, as `/lib/modules` has them: a folder named after the release.
    pub(crate) modules_folder: PathBuf,
    /// Module names, with `_` for `-`, and their files.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    pub(crate) fn unpack(store: &Store) -> Result<Self> {
        let name = store.path("debian/kernel.name");
        let package = match fs::read_to_string(&name) {
            Ok(package) => package,
            Err(_) => debian::newest_kernel(META)?,
        };
        let tree = debian::unpack(store, &package, With::Nothing)?;
        fs::write(&name, &package).doing("writing the kernel's name")?;
        let release = package.trim_start_matches("linux-image-");
        let vmlinuz = tree.root.join(format!("boot/vmlinuz-{release}"));
        let vmlinux = store.folder(
            "kernel",
            &Fingerprint::new("vmlinux 1").text(&tree.version).file(&vmlinuz),
            |folder| {
                let image = fs::read(&vmlinuz).doing(format_args!("reading {}", vmlinuz.display()))?;
                fs::write(folder.join("vmlinux"), extract(&image)?).doing("writing vmlinux")
            },
        )?;
        let mut modules = BTreeMap::new();
        let modules_folder = tree.root.join("lib/modules").join(release);
        collect(&modules_folder, &mut modules);
        Ok(Self { vmlinuz, vmlinux: vmlinux.join("vmlinux"), modules_folder, modules })
    }

    /// Its release, as `uname -r` says.
    pub(crate) fn release(&self) -> String {
        self.modules_folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Puts modules and all they need into an archive, with the list that says in which order to insert them.
    pub(crate) fn add_modules(&self, archive: &mut Archive, wanted: &[&str]) -> Result<()> {
        let mut order = Vec::new();
        for module in wanted {
            self.visit(module, &mut order)?;
        }
        let mut list = String::new();
        for module in order {
            let path = format!("lib/modules/{module}.ko");
            archive.copy(&path, self.modules.get(&module).ok_or("a module has gone")?)?;
            list.push_str(&format!("/{path}\n"));
        }
        archive.file("lib/modules/order", list.as_bytes());
        Ok(())
    }

    fn visit(&self, module: &str, order: &mut Vec<String>) -> Result<()> {
        let module = module.replace('-', "_");
        if order.contains(&module) {
            return Ok(());
        }
        let path =
            self.modules.get(&module).ok_or_else(|| Error(format!("the kernel has no module {module}")))?;
        let data = fs::read(path).doing(format_args!("reading {}", path.display()))?;
        for needed in dependencies(&data) {
            self.visit(&needed, order)?;
        }
        order.push(module);
        Ok(())
    }
}

fn collect(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, modules);
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            modules.insert(name.replace('-', "_"), path);
        }
    }
}

/// The names in a module's `depends=` of section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(start) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let value = module.get(start.saturating_add(key.len())..).unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The payload of a bzImage (Documentation/arch/x86/boot.rst: `setup_sects`, `payload_offset`, `payload_length`).
fn extract(image: &[u8]) -> Result<Vec<u8>> {
    let number = |at: usize| {
        let bytes = image.get(at..).and_then(|rest| rest.first_chunk::<4>());
        bytes
            .and_then(|bytes| usize::try_from(u32::from_le_bytes(*bytes)).ok())
            .ok_or("the kernel is cut short")
    };
    let sectors = usize::from(*image.get(0x1F1).ok_or("the kernel is cut short")?);
    let start = sectors.saturating_add(1).saturating_mul(512).saturating_add(number(0x248)?);
    let end = start.saturating_add(number(0x24C)?);
    let payload = image.get(start..end).ok_or("the kernel's payload lies outside it")?;
    let elf = lz4::decompress(payload).doing("decompressing the kernel")?;
    if elf.starts_with(b"\x7FELF") { Ok(elf) } else { Err("the kernel's payload is no ELF".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(dependencies(b"x\0depends=a,b-c\0name=d\0"), ["a", "b-c"]);
        assert!(dependencies(b"x\0depends=\0name=d\0").is_empty());
        assert!(dependencies(b"nothing").is_empty());
    }

    #[test]
    fn a_damaged_image_is_an_error() {
        assert!(extract(&[]).is_err());
        assert!(extract(&[0xFF; 4096]).is_err());
    }
}
