//! Disks: what the guest writes is in the host's file, and the other way round.

use std::fs;
use std::path::Path;

use guest::pattern;
use guest::protocol::{Answer, Disk, Extent, Request};
use serde_json::json;

use super::tools::LoopDevice;
use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm};
use crate::wait::until;

pub(super) const CASES: &[Case] = &[
    Case::host("block-checksums", checksums),
    Case::host("block-discard-and-zeroes", discard),
    Case::host("block-read-only", read_only),
    Case::host("block-many-queues", many_queues).within(120),
    Case::host("block-sizes", sizes),
    Case::host("block-device-node", device_node),
    Case::host("block-survives-power-off", survives),
    Case::host("block-waits-for-space", waits_for_space),
    Case::host("block-grows", grows),
];

const MIB: u64 = 1 << 20;

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
}

fn extent(disk: &str, offset: u64, length: u64) -> Extent {
    Extent { disk: disk.to_owned(), offset, length }
}

/// Checksum of a piece of a host file.
fn file_sum(path: &Path, offset: u64, length: u64) -> Result<u64, Failure> {
    let data = fs::read(path).doing("reading a claim")?;
    let (from, to) =
        (usize::try_from(offset).doing("offset")?, usize::try_from(offset + length).doing("end")?);
    Ok(pattern::checksum(data.get(from..to).ok_or("the claim is shorter than that")?))
}

fn disk(agent: &mut Agent, serial: &str) -> Result<Disk, Failure> {
    let disks = agent.identity()?.disks;
    let found = disks.iter().find(|disk| disk.serial == serial).cloned();
    found.ok_or_else(|| Failure(format!("no disk with serial {serial} among {disks:?}")))
}

fn checksums(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 32 * MIB, 1)?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    let whole = extent("data", 0, 32 * MIB);
    ensure!(
        agent.block_read(&whole)? == file_sum(&file, 0, 32 * MIB)?,
        "the guest reads other data than the file has"
    );
    for (index, (offset, length)) in (2u64..).zip([(0, 4096), (5 * MIB - 4096, 2 * MIB), (31 * MIB, MIB)]) {
        let piece = extent("data", offset, length);
        let sum = agent.block_write(&piece, index)?;
        agent.call(&Request::BlockFlush { disk: "data".into() })?;
        ensure!(
            file_sum(&file, offset, length)? == sum,
            "what the guest wrote at {offset} is not in the file"
        );
        ensure!(agent.block_read(&piece)? == sum, "the guest reads back something else at {offset}");
    }
    ensure!(agent.block_read(&whole)? == file_sum(&file, 0, 32 * MIB)?, "a write has changed something else");
    Ok(())
}

fn discard(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 16 * MIB, 1)?;
    let blocks = || {
        fs::metadata(&file)
            .map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta))
            .doing("looking at a claim")
    };
    let before = blocks()?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    let zeroes = pattern::checksum(&vec![0; 1 << 20]);
    agent.call(&Request::BlockZero(extent("data", MIB, MIB)))?;
    ensure!(agent.block_read(&extent("data", MIB, MIB))? == zeroes, "zeroed blocks do not read as zeroes");
    ensure!(file_sum(&file, MIB, MIB)? == zeroes, "zeroed blocks are not zero in the file");
    agent.call(&Request::BlockDiscard(extent("data", 8 * MIB, 4 * MIB)))?;
    agent.call(&Request::BlockFlush { disk: "data".into() })?;
    ensure!(blocks()? < before, "a discard did not free any of the file's {before} blocks");
    let untouched = file_sum(&file, 12 * MIB, 4 * MIB)?;
    ensure!(
        agent.block_read(&extent("data", 12 * MIB, 4 * MIB))? == untouched,
        "a discard has reached too far"
    );
    Ok(())
}

fn read_only(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 4 * MIB, 1)?;
    let before = file_sum(&file, 0, 4 * MIB)?;
    let manifest = linux(ctx).claim("data", "data", json!({"disk": {"readonly": true}}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    ensure!(disk(&mut agent, "data")?.read_only, "the guest takes the disk for writable");
    ensure!(agent.block_read(&extent("data", 0, 4 * MIB))? == before, "the guest reads other data");
    ensure!(agent.block_write(&extent("data", 0, 4096), 9).is_err(), "the guest could write");
    ensure!(file_sum(&file, 0, 4 * MIB)? == before, "the file has changed");
    Ok(())
}

fn many_queues(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 16 * MIB, 1)?;
    let mut manifest = linux(ctx).cores(4).claim("data", "data", json!({}));
    manifest.set("/spec/domain/devices/blockMultiQueue", json!(true));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let queues = disk(&mut agent, "data")?.queues;
    ensure!(queues == 4, "the disk has {queues} queues");
    // One reader on each CPU, so that every queue is used.
    for cpu in 0..4u32 {
        let mask = 1 << cpu;
        agent
            .run_ok(&format!("taskset {mask:x} dd if=/dev/vda of=/dev/null bs=64k iflag=direct count=64"))?;
    }
    let sum = agent.block_write(&extent("data", 0, 16 * MIB), 3)?;
    ensure!(file_sum(&file, 0, 16 * MIB)? == sum, "what the guest wrote is not in the file");
    Ok(())
}

/// A file system that is too small for what the guest writes: the machine is paused, and goes on when there is room.
fn waits_for_space(ctx: &Ctx) -> Outcome {
    let folder = ctx.volumes().join("data");
    fs::create_dir_all(&folder)?;
    let folder_text = folder.to_string_lossy().into_owned();
    super::tools::busybox(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", &folder_text])?;
    let file = ctx.claim("data", MIB, 1)?;
    fs::OpenOptions::new().write(true).open(&file)?.set_len(8 * MIB)?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    let write = Request::BlockWrite { extent: extent("data", 2 * MIB, 5 * MIB), seed: 7 };
    agent.send(&write)?;
    wait_for_errors(&vm, "the machine is paused")?;
    ensure!(vm.errors().contains("disk data: cannot write"), "standard error has {}", vm.errors());
    super::tools::busybox(&["mount", "-o", "remount,size=16m", &folder_text])?;
    vm.signal(libc::SIGCONT)?;
    wait_for_errors(&vm, "the machine goes on")?;
    let Answer::Checksum(sum) = agent.receive(&write)? else {
        return Err(Failure("the guest says something else than what it wrote".into()));
    };
    ensure!(file_sum(&file, 2 * MIB, 5 * MIB)? == sum, "what the guest wrote is not in the file");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    super::tools::busybox(&["umount", &folder_text]).map(drop)
}

fn wait_for_errors(vm: &Vm, text: &str) -> Outcome {
    until(text, || Ok(vm.errors().contains(text))).doing(&format!("standard error has {}", vm.errors()))
}

/// A file that grows while the guest uses it.
fn grows(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 4 * MIB, 1)?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    ensure!(disk(&mut agent, "data")?.bytes == 4 * MIB, "the size to begin with");
    // Twice, since disks are looked at again and again.
    for size in [12 * MIB, 20 * MIB] {
        fs::OpenOptions::new().write(true).open(&file)?.set_len(size)?;
        wait_for_size(&mut agent, size)?;
        let end = size - 2 * MIB;
        let sum = agent.block_write(&extent("data", end, 2 * MIB), 5)?;
        agent.call(&Request::BlockFlush { disk: "data".into() })?;
        ensure!(file_sum(&file, end, 2 * MIB)? == sum, "what was written there is not in the file");
    }
    Ok(())
}

/// Waits until the guest sees its disk `data` as large as this.
fn wait_for_size(agent: &mut Agent, bytes: u64) -> Outcome {
    until("a size that the guest sees", || Ok(disk(agent, "data")?.bytes == bytes))
}

fn sizes(ctx: &Ctx) -> Outcome {
    ctx.claim("large", 4 * MIB, 1)?;
    ctx.claim("small", 4 * MIB, 1)?;
    let large = json!({"blockSize": {"custom": {"logical": 4096, "physical": 4096}}});
    let manifest = linux(ctx).claim("large", "large", large).claim("small", "small", json!({}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let (large, small) = (disk(&mut agent, "large")?, disk(&mut agent, "small")?);
    ensure!((large.logical_block, large.physical_block) == (4096, 4096), "the blocks of {large:?}");
    ensure!(small.logical_block == 512, "the blocks of {small:?}");
    ensure!(large.bytes == 4 * MIB && small.bytes == 4 * MIB, "the sizes of {large:?} and {small:?}");
    Ok(())
}

/// A claim that is a link to a block device instead of a folder with a file.
fn device_node(ctx: &Ctx) -> Outcome {
    let file = ctx.scratch.join("backing");
    fs::rename(ctx.claim("other", 8 * MIB, 4)?, &file)?;
    let device = LoopDevice::of(&file)?;
    std::os::unix::fs::symlink(device.path(), ctx.volumes().join("data")).doing("linking a claim")?;
    on_device(ctx, &file)
}

fn on_device(ctx: &Ctx, file: &Path) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    let sum = agent.block_write(&extent("data", 4 * MIB, MIB), 6)?;
    agent.call(&Request::BlockFlush { disk: "data".into() })?;
    ensure!(file_sum(file, 4 * MIB, MIB)? == sum, "what the guest wrote is not behind the device");
    ensure!(
        agent.block_read(&extent("data", 0, MIB))? == file_sum(file, 0, MIB)?,
        "the guest reads other data"
    );
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn survives(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 8 * MIB, 1)?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    agent.run_ok("mke2fs -F /dev/vda")?;
    agent.run_ok("mkdir -p /mnt")?;
    agent.run_ok("mount /dev/vda /mnt")?;
    agent.run_ok("cp /etc/profile /mnt/kept")?;
    let profile = agent.file("/etc/profile")?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    let image = fs::read(&file).doing("reading a claim")?;
    let found = image.windows(profile.len()).any(|window| window == profile.as_bytes());
    ensure!(found, "a file written before power-off is not in the disk");
    Ok(())
}
