//! What a guest can say about itself.

use std::fs;
use std::path::Path;
use std::thread;

use guest::protocol::{Disk, Identity, Interface};
use guest::sys;

/// Where a NoCloud volume is mounted.
const SEED: &str = "/run/seed";

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn number(path: impl AsRef<Path>) -> u64 {
    read(path).parse().unwrap_or(0)
}

fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// Takes the host name that a NoCloud volume gives, if there is one.
pub(crate) fn take_hostname() {
    for disk in disks().into_iter().filter(|disk| disk.label.eq_ignore_ascii_case("cidata")) {
        let device = format!("/dev/{}", disk.name);
        if fs::create_dir_all(SEED).is_err() || sys::mount(&device, SEED, "iso9660", true).is_err() {
            continue;
        }
        if let Some(name) = local_hostname(&read(format!("{SEED}/meta-data"))) {
            let _ = sys::set_hostname(&name);
        }
    }
}

/// `local-hostname` of NoCloud's meta-data, which KubeVirt writes as JSON and people write as YAML.
fn local_hostname(meta_data: &str) -> Option<String> {
    let rest = meta_data.split_once("local-hostname")?.1;
    let value = rest.trim_start_matches(['"', ' ', ':']);
    let end = value.find(['"', ',', '\n', '}', ' ']).unwrap_or(value.len());
    value.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Gathers the answer to `Identity`.
pub(crate) fn identity() -> Identity {
    Identity {
        hostname: read("/proc/sys/kernel/hostname"),
        kernel: read("/proc/sys/kernel/osrelease"),
        cpus: thread::available_parallelism().map_or(0, usize::from),
        memory_kib: total_memory(&read("/proc/meminfo")),
        uuid: read("/sys/class/dmi/id/product_uuid").to_lowercase(),
        product: format!(
            "{} {}",
            read("/sys/class/dmi/id/sys_vendor"),
            read("/sys/class/dmi/id/product_name")
        ),
        disks: disks(),
        interfaces: interfaces(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
    }
}

fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

fn disks() -> Vec<Disk> {
    let real = |name: &String| !["loop", "ram", "zram"].iter().any(|prefix| name.starts_with(prefix));
    names("/sys/block").into_iter().filter(real).map(disk).collect()
}

fn disk(name: String) -> Disk {
    let base = format!("/sys/block/{name}");
    Disk {
        serial: read(format!("{base}/serial")),
        bytes: number(format!("{base}/size")).saturating_mul(512),
        read_only: number(format!("{base}/ro")) != 0,
        logical_block: number(format!("{base}/queue/logical_block_size")),
        physical_block: number(format!("{base}/queue/physical_block_size")),
        queues: names(&format!("{base}/mq")).len(),
        label: iso_label(&name).unwrap_or_default(),
        name,
    }
}

/// Volume identifier of an ISO 9660 file system (ECMA-119 §8.4.7).
fn iso_label(name: &str) -> Option<String> {
    use std::os::unix::fs::FileExt;
    let device = fs::File::open(format!("/dev/{name}")).ok()?;
    let mut sector = [0u8; 2048];
    device.read_exact_at(&mut sector, 16 * 2048).ok()?;
    (sector.get(1..6)? == b"CD001")
        .then(|| String::from_utf8_lossy(sector.get(40..72).unwrap_or_default()).trim().to_owned())
}

fn interfaces() -> Vec<Interface> {
    let others = names("/sys/class/net").into_iter().filter(|name| name != "lo");
    others
        .map(|name| Interface {
            mac: read(format!("/sys/class/net/{name}/address")),
            mtu: number(format!("/sys/class/net/{name}/mtu")),
            name,
        })
        .collect()
}

/// The same for people.
pub(crate) fn greeting() -> String {
    let me = identity();
    let mut lines = vec![
        String::new(),
        format!("  Hello from {}.", me.hostname),
        format!("  kernel     {}", me.kernel),
        format!("  processors {}", me.cpus),
        format!("  memory     {} MiB", me.memory_kib / 1024),
        format!("  machine    {}, uuid {}", me.product, me.uuid),
    ];
    for disk in &me.disks {
        let what = [("serial", &disk.serial), ("label", &disk.label)];
        let what =
            what.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| format!(", {key} {text}"));
        let mode = if disk.read_only { ", read-only" } else { "" };
        lines.push(format!(
            "  disk       {}: {} KiB{mode}{}",
            disk.name,
            disk.bytes / 1024,
            what.collect::<String>()
        ));
    }
    for interface in &me.interfaces {
        lines.push(format!("  network    {}: {}", interface.name, interface.mac));
    }
    lines
        .push("\n  This is a shell in the guest; `poweroff` ends it, Ctrl-] leaves from outside.".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_read_from_json_and_yaml() {
        let json = r#"{"instance-id":"x","local-hostname":"wtest","hostname":"no"}"#;
        assert_eq!(local_hostname(json).as_deref(), Some("wtest"));
        assert_eq!(local_hostname("instance-id: x\nlocal-hostname: wtest\n").as_deref(), Some("wtest"));
        assert_eq!(local_hostname("instance-id: x\n"), None);
        assert_eq!(local_hostname("local-hostname:"), None);
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:         237596 kB\nMemFree: 1 kB\n"), 237_596);
        assert_eq!(total_memory(""), 0);
    }
}
