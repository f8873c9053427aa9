//! A plan for people.

use std::fmt::Write as _;

use super::{Backing, DevicePlan, DiskSource, FileSource, Plan, Storage};

/// The plan as a table.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(plan, &mut text);
    text
}

fn write(plan: &Plan, out: &mut String) -> std::fmt::Result {
    let topology = plan.cpu.topology;
    writeln!(out, "machine   {}/{} (uuid {})", plan.namespace, plan.name, plan.smbios.uuid)?;
    writeln!(
        out,
        "cpu       {} ({} sockets × {} cores × {} threads), {:?}",
        topology.vcpus(),
        topology.sockets(),
        topology.cores(),
        topology.threads(),
        plan.cpu.model
    )?;
    let backing = match plan.memory.backing {
        Backing::Anonymous => "anonymous memory".to_owned(),
        Backing::HugePages { page_size } => format!("huge pages of {} MiB", page_size >> 20),
    };
    writeln!(out, "memory    {} MiB, {backing}", plan.memory.ram.bytes() >> 20)?;
    for region in plan.memory.ram.regions() {
        writeln!(out, "          {:#014x}..{:#014x} RAM", region.start, region.end())?;
    }
    let pci = &plan.pci;
    writeln!(out, "          {:#014x}..{:#014x} PCI window", pci.mmio32.start, pci.mmio32.end)?;
    writeln!(out, "          {:#014x}..{:#014x} PCI window", pci.mmio64.start, pci.mmio64.end)?;
    writeln!(out, "          {:#014x} ECAM, buses 0 to {}", pci.ecam, pci.last_bus)?;
    writeln!(out, "kernel    {}", file(&plan.kernel.kernel))?;
    if let Some(initrd) = &plan.kernel.initrd {
        writeln!(out, "initrd    {}", file(initrd))?;
    }
    writeln!(out, "cmdline   {}", plan.kernel.cmdline)?;
    writeln!(out, "shutdown  {} s after the power button", plan.grace_period.as_secs())?;
    writeln!(out, "threads   {} vCPU, {} I/O", topology.vcpus(), plan.io_threads)?;
    writeln!(out, "devices   00:00.0 host bridge\n          00:1f.0 LPC bridge")?;
    for function in &plan.functions {
        writeln!(
            out,
            "          {} {:<12} window {:#x}, interrupts {}+{}, I/O thread {}: {}",
            function.address,
            function.name,
            function.window,
            function.first_gsi,
            function.device.vectors(),
            threads(&function.io_threads),
            device(&function.device)
        )?;
    }
    Ok(())
}

fn file(source: &FileSource) -> String {
    match source {
        FileSource::Path(path) => path.display().to_string(),
        FileSource::Image { image, path } => format!("{path} of image {image}"),
    }
}

fn text_of(storage: &Storage) -> String {
    match storage {
        Storage::Raw(path) | Storage::Device(path) => path.display().to_string(),
        Storage::Qcow2(path) => format!("{} (qcow2)", path.display()),
        Storage::RawOrNew { path, capacity } => {
            format!("{} (of {} MiB where it is made)", path.display(), capacity >> 20)
        }
    }
}

fn threads(threads: &[u16]) -> String {
    threads.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn device(device: &DevicePlan) -> String {
    match device {
        DevicePlan::Disk(disk) => {
            let source = match &disk.source {
                DiskSource::Storage(storage) => text_of(storage),
                DiskSource::Ephemeral(storage) => {
                    format!("{}, writes are dropped at the end", text_of(storage))
                }
                DiskSource::Empty(bytes) => format!("{} MiB, empty", bytes >> 20),
                DiskSource::ContainerDisk { image, .. } => {
                    format!("disk of image {image}, writes are dropped at the end")
                }
                DiskSource::Iso { label, files } => {
                    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
                    format!("ISO {label} ({})", names.join(", "))
                }
            };
            let access = if disk.read_only { "read-only" } else { "read-write" };
            format!("virtio-blk, {source}, {access}, {} queue(s)", disk.queues)
        }
        DevicePlan::Nic(nic) => {
            format!("virtio-net, tap {}, MAC {}, {} queue pair(s)", nic.tap, nic.mac, nic.queue_pairs)
        }
        DevicePlan::Console { port } => format!("virtio-console, port {port}"),
        DevicePlan::Rng => "virtio-rng".into(),
        DevicePlan::Balloon { reporting: true } => "virtio-balloon, free pages are reported".into(),
        DevicePlan::Balloon { reporting: false } => "virtio-balloon".into(),
    }
}
