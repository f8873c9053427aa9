//! A plan for people.

use std::fmt::Write as _;

use net::host::{Forwards, Wanted};
use net::nft::{Forward, Protocol};

use super::{Backing, BindingPlan, DevicePlan, DiskSource, FileSource, NicPlan, Plan, Storage};

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
    for port in &plan.ports {
        writeln!(
            out,
            "          {} root port, slot {}, bus {}, interrupt {}",
            port.address, port.bus, port.bus, port.gsi
        )?;
    }
    if let Some(watchdog) = &plan.watchdog {
        writeln!(
            out,
            "          {} watchdog, window {:#x}: {:?}",
            watchdog.address, watchdog.window, watchdog.action
        )?;
    }
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
            format!(
                "virtio-net, {}, MAC {}, {} queue pair(s){}",
                binding(&nic.binding),
                nic.mac,
                nic.queue_pairs,
                told(nic)
            )
        }
        DevicePlan::Console { port } => format!("virtio-console, port {port}"),
        DevicePlan::Rng => "virtio-rng".into(),
        DevicePlan::Balloon { reporting: true } => "virtio-balloon, free pages are reported".into(),
        DevicePlan::Balloon { reporting: false } => "virtio-balloon".into(),
    }
}

fn binding(binding: &BindingPlan) -> String {
    match binding {
        BindingPlan::Interface { name } => format!("on {name}"),
        BindingPlan::Files { descriptors } => {
            let numbers: Vec<_> = descriptors.iter().map(i32::to_string).collect();
            format!("on the open tap fd:{}", numbers.join(","))
        }
        BindingPlan::Made(wanted) => match wanted {
            Wanted::PodBridge { pod, tap, bridge, .. } => {
                format!("on {tap} and {pod} in bridge {bridge} (made)")
            }
            Wanted::Masquerade { tap, bridge, outside, forwards, .. } => {
                let outside = outside.as_deref().unwrap_or("nothing");
                format!("on {tap} in bridge {bridge} behind {outside} (made), {}", ports(forwards))
            }
            Wanted::BridgePort { bridge, tap, .. } => format!("on {tap} (made) in bridge {bridge}"),
            Wanted::Macvtap { parent, name, .. } => format!("on macvtap {name} (made) of {parent}"),
        },
        BindingPlan::Passt(passt) => format!("by {}, {}", passt.program.display(), ports(&passt.forwards)),
    }
}

fn ports(forwards: &Forwards) -> String {
    let Forwards::Only(forwards) = forwards else { return "all ports forwarded".into() };
    let one = |forward: &Forward| {
        let protocol = match forward.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        match forward.range {
            true => format!("{protocol} {}-{}", forward.first, forward.last),
            false => format!("{protocol} {}", forward.first),
        }
    };
    match forwards.iter().map(one).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "no port forwarded".into(),
        some => format!("{some} forwarded"),
    }
}

/// What the guest is told by DHCP, and that its cable is out.
fn told(nic: &NicPlan) -> String {
    let answers = nic.answers.as_ref();
    let v4 = answers.and_then(|answers| answers.lease4.as_ref());
    let v6 = answers.and_then(|answers| answers.lease6.as_ref());
    let v4 = v4.map(|lease| format!(", DHCP {}/{}", lease.address, lease.prefix));
    let v6 = v6.map(|lease| format!(", DHCPv6 {}", lease.address));
    let down = (!nic.link_up).then(|| ", link down".to_owned());
    [v4, v6, down].into_iter().flatten().collect()
}
