//! The example manifests, as they are.

use guest::protocol::Request;

use crate::case::{Case, Ctx};
use crate::console::tail;
use crate::ensure;
use crate::failure::{Doing, Outcome};
use crate::vm::{END, Vm, command};

use super::tools::tap;

pub(super) const CASES: &[Case] = &[
    Case::host("example-hello", hello),
    Case::host("example-kubesphere", kubesphere),
    Case::host("example-plans", plans),
];

const FOLDER: &str = "resources/examples";

fn hello(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start_file(ctx, "hello", &ctx.payload.join(FOLDER).join("hello.yaml"), &[])?;
    let mut agent = vm.agent()?;
    let me = agent.identity()?;
    ensure!(me.hostname == "hello", "the host name is {}", me.hostname);
    ensure!(me.disks.iter().any(|disk| disk.label == "cidata"), "no NoCloud volume among {:?}", me.disks);
    agent.run_ok("mkdir -p /mnt")?;
    agent.run_ok("mount /dev/vda /mnt")?;
    let text = agent.file("/mnt/README")?;
    ensure!(text.contains("containerDisk"), "the first disk says {text:?}");
    // A containerDisk may be written to; what is written is gone with the machine.
    agent.run_ok("touch /mnt/written")?;
    agent.run_ok("sync")?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn kubesphere(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.78.0.1/24")?;
    ctx.claim("tpl-vol-0wsve9ix", 16 << 20, 3)?;
    let (kernel, initrd) = (ctx.guest("boot/vmlinux"), ctx.guest("boot/initrd.img"));
    let (kernel, initrd) = (kernel.to_string_lossy(), initrd.to_string_lossy());
    let args = [
        "--tap",
        "eth0=tap0",
        "--kernel",
        kernel.as_ref(),
        "--initrd",
        initrd.as_ref(),
        "--append",
        crate::manifest::KERNEL_ARGS,
    ];
    let manifest = ctx.payload.join(FOLDER).join("kubesphere.yaml");
    let mut vm = Vm::start_file(ctx, "wtest", &manifest, &args)?;
    let mut agent = vm.agent()?;
    let me = agent.identity()?;
    ensure!(me.hostname == "wtest" && me.cpus == 1, "the guest is {me:?}");
    ensure!(me.memory_kib > 3900 << 10, "the guest has {} KiB", me.memory_kib);
    ensure!(
        me.disks.len() == 2 && me.disks.iter().any(|disk| disk.bytes == 16 << 20),
        "the disks are {:?}",
        me.disks
    );
    ensure!(
        me.interfaces.iter().any(|nic| nic.mac == "ce:44:ac:10:00:06"),
        "the interfaces are {:?}",
        me.interfaces
    );
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.78.0.2/24 dev eth0")?;
    agent.run_ok("ping -c 2 -W 5 10.78.0.1")?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// `check` allows every example and `plan` shows a machine for those that need no more than this folder.
fn plans(ctx: &Ctx) -> Outcome {
    let mut checked = 0;
    for folder in [FOLDER, super::volumes::FOLDER] {
        for entry in std::fs::read_dir(ctx.payload.join(folder)).doing("listing examples")?.flatten() {
            if entry.path().is_dir() {
                continue;
            }
            let output =
                command(ctx).arg("check").arg(entry.path()).output().doing("starting kubevmm check")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "check {:?}: {}", entry.file_name(), tail(&errors, 5));
            checked += 1;
        }
    }
    ensure!(checked > 10, "only {checked} examples were found");
    let hello = ctx.payload.join(FOLDER).join("hello.yaml");
    let output = command(ctx).arg("plan").arg(hello).output().doing("starting kubevmm plan")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "plan: {}", tail(&String::from_utf8_lossy(&output.stderr), 5));
    ensure!(text.contains("00:1f.0") && text.contains("hello"), "the plan is {text}");
    Ok(())
}
