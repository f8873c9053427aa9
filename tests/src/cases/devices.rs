//! Small devices: entropy, console, serial port, clock.

use std::time::{SystemTime, UNIX_EPOCH};

use guest::protocol::{Answer, READY, Request};
use serde_json::json;

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, Vm};
use crate::wait::SOON;

pub(super) const CASES: &[Case] = &[
    Case::host("device-rng", rng),
    Case::host("device-serial-shell", shell),
    Case::host("device-agent-reconnects", reconnects),
    Case::host("device-clock", clock),
    Case::host("device-hyperv", hyperv),
    Case::host("device-cloud-init-volume", cloud_init),
];

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
}

fn rng(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    manifest.set("/spec/domain/devices/rng", json!({}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let current = agent.file("/sys/class/misc/hw_random/rng_current")?;
    ensure!(current.starts_with("virtio_rng"), "the guest's generator is {current:?}");
    let Answer::Text(remark) = agent.call(&Request::Entropy { bytes: 4096 })? else {
        return Err("an answer of another kind".into());
    };
    let ones: u32 = remark.split(' ').next().unwrap_or_default().parse().doing("counting bits")?;
    // 32768 fair bits: 16384 on average, with a standard deviation of 90.
    ensure!((15_600..17_200).contains(&ones), "{remark}");
    Ok(())
}

fn shell(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    vm.console().wait_for(READY, BOOT)?;
    vm.console().wait_for("# ", BOOT)?;
    vm.type_in("echo sum=$((1200+34))\n")?;
    vm.console().wait_for("sum=1234", SOON)?;
    // More than the serial port's buffer in one go.
    let long = "x".repeat(200);
    vm.type_in(&format!("echo {long} | wc -c | sed s/^/count=/\n"))?;
    vm.console().wait_for("count=201", SOON)?;
    vm.type_in("poweroff\n")?;
    vm.wait_exit(crate::vm::END)?.expect(0, "guest-shutdown").map(drop)
}

fn reconnects(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    let first = vm.agent()?.identity()?.boot_id;
    for _ in 0..5 {
        ensure!(vm.agent()?.identity()?.boot_id == first, "another guest answers");
    }
    let text = "y".repeat(20_000);
    let mut agent = vm.agent()?;
    agent.call(&Request::Console { text: text.clone() })?;
    vm.console().wait_for(&text, SOON)
}

fn clock(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    let mut agent = vm.agent()?;
    let source = agent.file("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    ensure!(["kvm-clock", "tsc"].contains(&source.trim()), "the clock source is {source:?}");
    let guest: u64 = agent.run_ok("date +%s")?.trim().parse().doing("reading the guest's clock")?;
    let host = SystemTime::now().duration_since(UNIX_EPOCH).doing("reading the clock")?.as_secs();
    ensure!(guest.abs_diff(host) <= 3, "the guest's clock says {guest}, the host's {host}");
    Ok(())
}

/// What the manifest asks for of Hyper-V is what CPUID tells; KVM's own leaves are behind it, without its spin locks.
fn hyperv(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    let on = json!({});
    let features = json!({
        "relaxed": on, "vapic": on, "spinlocks": {"spinlocks": 8191}, "vpindex": on, "runtime": on, "synic": on,
        "synictimer": {"direct": on}, "reset": on, "vendorid": {"vendorid": "kubevmm test"}, "frequencies": on,
        "reenlightenment": on, "tlbflush": on, "ipi": on,
    });
    manifest.set("/spec/domain/features", json!({"hyperv": features, "pvspinlock": {"enabled": false}}));
    manifest.set("/spec/domain/clock", json!({"utc": on, "timer": {"hyperv": on}}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let mut cpuid = |leaf| -> Result<[u32; 4], Failure> {
        let Answer::Text(text) = agent.call(&Request::Cpuid { leaf })? else {
            return Err("an answer of another kind".into());
        };
        let words = text.split(' ').map(|word| u32::from_str_radix(word, 16).doing("reading CPUID"));
        let words: Vec<u32> = words.collect::<Result<_, _>>()?;
        words.try_into().map_err(|_| Failure(format!("CPUID is {text}")))
    };
    let [most, b, c, d] = cpuid(0x4000_0000)?;
    let vendor = [b, c, d].map(u32::to_le_bytes).concat();
    ensure!(most == 0x4000_0005 && vendor == b"kubevmm test", "{most:#x}, {vendor:?}");
    ensure!(cpuid(0x4000_0001)?[0].to_le_bytes() == *b"Hv#1", "another interface");
    let [a, _, _, d] = cpuid(0x4000_0003)?;
    ensure!(a == 0x2aff && d == 1 << 8 | 1 << 19, "the features are {a:#x} and {d:#x}");
    let [a, b, _, _] = cpuid(0x4000_0004)?;
    ensure!(a == 0xc2c && b == 8191, "the advice is {a:#x} and {b:#x}");
    let [_, b, ..] = cpuid(0x4000_0100)?;
    ensure!(b.to_le_bytes() == *b"KVMK", "KVM does not show itself");
    let [a, ..] = cpuid(0x4000_0101)?;
    ensure!(a & 1 << 3 != 0 && a & 1 << 7 == 0, "KVM's features are {a:#x}");
    Ok(())
}

fn cloud_init(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx).cloud_init("#cloud-config\n# as it is\n");
    manifest.set("/spec/hostname", json!("seeded"));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let me = agent.identity()?;
    ensure!(me.hostname == "seeded", "the host name is {}", me.hostname);
    let data = agent.file("/run/seed/user-data")?;
    ensure!(data == "#cloud-config\n# as it is\n", "the user data is {data:?}");
    Ok(())
}
