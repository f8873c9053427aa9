//! Stock Linux reaches user space, on machines of several shapes.

use std::fs;

use serde_json::json;

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::supervisor::SKIP_WORD;
use crate::vm::{BOOT, END, Vm};
use guest::protocol::{Identity, Request};

pub(super) const CASES: &[Case] = &[
    Case::host("boot-one-cpu", one_cpu),
    Case::host("boot-two-cpus", two_cpus),
    Case::host("boot-sixteen-cpus", sixteen_cpus).within(480).alone(),
    Case::host("boot-sockets-cores-threads", topology),
    Case::host("boot-vmlinuz", compressed),
    Case::host("boot-oci-layout", oci_layout),
    Case::host("boot-96-mib", small).within(120),
    Case::host("boot-3-gib", three_gib),
    Case::host("boot-6-gib", six_gib),
    Case::host("boot-hugepages-2mi", hugepages).alone(),
    Case::host("boot-hugepages-1gi", gigantic_pages).alone(),
    Case::host("boot-cpu-features", cpu_features),
    Case::host("boot-firmware-tables-are-clean", clean_tables),
    Case::host("boot-smbios", smbios),
];

/// Boots, has a look, powers off.
fn boot(ctx: &Ctx, manifest: &Manifest, look: impl FnOnce(&Identity) -> Outcome) -> Outcome {
    let mut vm = Vm::start(ctx, manifest, &[])?;
    let mut agent = vm.agent()?;
    look(&agent.identity()?)?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
}

fn with_cpus(ctx: &Ctx, cpus: u32) -> Outcome {
    boot(ctx, &linux(ctx).cores(cpus), |me| {
        ensure!(u32::try_from(me.cpus) == Ok(cpus), "the guest has {} CPUs", me.cpus);
        Ok(())
    })
}

fn one_cpu(ctx: &Ctx) -> Outcome {
    with_cpus(ctx, 1)
}

fn two_cpus(ctx: &Ctx) -> Outcome {
    with_cpus(ctx, 2)
}

fn sixteen_cpus(ctx: &Ctx) -> Outcome {
    with_cpus(ctx, 16)
}

fn topology(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    manifest.set("/spec/domain/cpu", json!({"sockets": 2, "cores": 1, "threads": 2}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let mut number = |cpu: u32, file: &str| -> Result<String, Failure> {
        let text = agent.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/{file}"))?;
        Ok(text.trim().to_owned())
    };
    let packages: Vec<String> =
        (0..4).map(|cpu| number(cpu, "physical_package_id")).collect::<Result<_, _>>()?;
    let siblings: Vec<String> =
        (0..4).map(|cpu| number(cpu, "thread_siblings_list")).collect::<Result<_, _>>()?;
    ensure!(packages == ["0", "0", "1", "1"], "the packages are {packages:?}");
    ensure!(siblings == ["0-1", "0-1", "2-3", "2-3"], "the sibling threads are {siblings:?}");
    Ok(())
}

fn compressed(ctx: &Ctx) -> Outcome {
    boot(ctx, &Manifest::linux("vm", &ctx.guest_image(), "vmlinuz"), |_| Ok(()))
}

fn oci_layout(ctx: &Ctx) -> Outcome {
    let image = format!("oci:{}", ctx.payload.join(super::IMAGE).display());
    boot(ctx, &Manifest::linux("vm", &image, "vmlinuz"), |_| Ok(()))
}

/// Memory that Linux has in all is what the machine has, less what the kernel takes for itself.
fn memory(ctx: &Ctx, manifest: &Manifest, mebibytes: u64) -> Outcome {
    let mut vm = Vm::start(ctx, manifest, &[])?;
    let mut agent = vm.agent()?;
    let total = agent.identity()?.memory_kib / 1024;
    let least = mebibytes.saturating_sub(60 + mebibytes / 20);
    ensure!((least..=mebibytes).contains(&total), "the guest has {total} MiB of {mebibytes}");
    agent.call(&Request::TouchMemory { mebibytes: (mebibytes / 8).min(128), seed: 5 })?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// As little as Debian's kernel can live with; in 64 MiB it gives up by itself, under any VMM.
fn small(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx).memory("96Mi");
    manifest.set("/spec/domain/firmware/kernelBoot/container/initrdPath", json!("/boot/initrd-small.img"));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    vm.console().wait_for("has reached user space", BOOT)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn three_gib(ctx: &Ctx) -> Outcome {
    memory(ctx, &linux(ctx).memory("3Gi"), 3072)
}

fn six_gib(ctx: &Ctx) -> Outcome {
    memory(ctx, &linux(ctx).memory("6Gi"), 6144)
}

fn hugepages(ctx: &Ctx) -> Outcome {
    let pool = "/proc/sys/vm/nr_hugepages";
    let mut manifest = linux(ctx).memory("256Mi");
    manifest.set("/spec/domain/memory/hugepages", json!({"pageSize": "2Mi"}));
    fs::write(pool, "140").doing("reserving huge pages")?;
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", vm.pid())).doing("reading smaps")?;
    ensure!(smaps.contains("KernelPageSize:     2048 kB"), "no mapping of the VMM has huge pages");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    fs::write(pool, "0").doing("giving huge pages back")?;
    manifest.set("/metadata/name", json!("without"));
    let ended = Vm::start(ctx, &manifest, &[])?.wait_exit(END)?;
    ensure!(ended.code == Some(3), "without huge pages it ended with {:?}: {}", ended.code, ended.errors);
    ensure!(ended.errors.contains("huge"), "without huge pages it says: {}", ended.errors);
    Ok(())
}

/// One page of 1 GiB, where the test host still finds that much memory in one piece.
fn gigantic_pages(ctx: &Ctx) -> Outcome {
    let pool = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
    fs::write(pool, "1").doing("reserving a huge page")?;
    if fs::read_to_string(pool)?.trim() != "1" {
        return Err(Failure(format!("{SKIP_WORD}the test host has no GiB of memory in one piece left")));
    }
    let mut manifest = linux(ctx).memory("1Gi");
    manifest.set("/spec/domain/memory/hugepages", json!({"pageSize": "1Gi"}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", vm.pid())).doing("reading smaps")?;
    ensure!(smaps.contains("KernelPageSize:  1048576 kB"), "no mapping of the VMM has pages of 1 GiB");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    fs::write(pool, "0").doing("giving the huge page back")
}

/// What each policy does to what the guest sees, and which of them this host cannot meet.
fn cpu_features(ctx: &Ctx) -> Outcome {
    let with = |policies: &[(&str, &str)]| {
        let mut manifest = linux(ctx);
        for (name, policy) in policies {
            manifest.push("/spec/domain/cpu/features", json!({"name": name, "policy": policy}));
        }
        manifest
    };
    // The emulated processor has AES and SSE2, but neither ERMS nor AVX-512. (FSRM without ERMS would be no processor, and Linux hangs on it.)
    let policies = [("aes", "disable"), ("erms", "force"), ("sse2", "require"), ("avx512f", "optional")];
    boot_and_ask(ctx, &with(&policies), |flags| {
        for (flag, wanted) in [("aes", false), ("erms", true), ("sse2", true), ("avx512f", false)] {
            ensure!(flags.contains(&flag) == wanted, "{flag} is wrong among {flags:?}");
        }
        Ok(())
    })?;
    // The poorest model, since the emulated processor lacks something of all others; rdrand is not in it.
    let named = |model: &str| {
        let mut manifest = with(&[]);
        manifest.set("/spec/domain/cpu/model", json!(model));
        manifest
    };
    boot_and_ask(ctx, &named("qemu64"), |flags| {
        for (flag, wanted) in [("cx16", true), ("rdrand", false), ("ssse3", false), ("xsave", false)] {
            ensure!(flags.contains(&flag) == wanted, "{flag} is wrong among {flags:?}, which are qemu64's");
        }
        Ok(())
    })?;
    let ended = Vm::start(ctx, &named("SapphireRapids"), &[])?.wait_exit(END)?;
    ensure!(
        ended.code == Some(3) && ended.errors.contains("GenuineIntel"),
        "another maker's: {}",
        ended.errors
    );
    for (name, policy) in [("avx512f", "require"), ("sse2", "forbid")] {
        let ended = Vm::start(ctx, &with(&[(name, policy)]), &[])?.wait_exit(END)?;
        ensure!(ended.code == Some(3), "{policy} {name} ended with {:?}: {}", ended.code, ended.errors);
        ensure!(ended.errors.contains(name), "{policy} {name} says: {}", ended.errors);
    }
    Ok(())
}

/// Boots, looks at the flags of the guest's first processor, powers off.
fn boot_and_ask(ctx: &Ctx, manifest: &Manifest, look: impl FnOnce(&[&str]) -> Outcome) -> Outcome {
    let mut vm = Vm::start(ctx, manifest, &[])?;
    let mut agent = vm.agent()?;
    let text = agent.file("/proc/cpuinfo")?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")).ok_or("cpuinfo has no flags")?;
    look(&flags.split_whitespace().collect::<Vec<_>>())?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn clean_tables(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx).cores(2), &[])?;
    let log = vm.agent()?.run_ok("dmesg")?;
    let bad =
        ["ACPI Error", "ACPI BIOS", "ACPI Warning", "ACPI Exception", "Firmware Bug", "firmware bug", "BUG:"];
    let found: Vec<&str> = log.lines().filter(|line| bad.iter().any(|word| line.contains(word))).collect();
    ensure!(found.is_empty(), "the guest's kernel complains:\n{}", found.join("\n"));
    for wanted in ["PCI: MMCONFIG", "ACPI: PM-Timer IO Port: 0x608", "kvm-clock"] {
        ensure!(log.contains(wanted), "the guest's kernel does not say {wanted:?}");
    }
    Ok(())
}

fn smbios(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    let uuid = "5d307ca9-b3ef-428c-8861-06e72d69f223";
    manifest.set("/spec/domain/firmware/uuid", json!(uuid));
    manifest.set("/spec/domain/firmware/serial", json!("e4686d2c-6e8d-4335-b8fd-81bee22f4815"));
    manifest.set("/spec/domain/chassis", json!({"asset": "asset-7", "sku": "sku-9"}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    ensure!(agent.identity()?.uuid == uuid, "the guest's UUID is {}", agent.identity()?.uuid);
    // Vendor and family are those that KubeVirt gives its machines.
    let wanted = [
        ("product_serial", "e4686d2c-6e8d-4335-b8fd-81bee22f4815"),
        ("chassis_asset_tag", "asset-7"),
        ("sys_vendor", "KubeVirt"),
        ("product_family", "KubeVirt"),
    ];
    for (file, value) in wanted {
        let text = agent.file(&format!("/sys/class/dmi/id/{file}"))?;
        ensure!(text.trim() == value, "{file} is {text:?}");
    }
    Ok(())
}
