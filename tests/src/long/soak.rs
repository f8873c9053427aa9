//! fio with verification, for as long as was ordered, on a qcow2 image.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use block::ops::{self, CreateOptions, Format};
use serde_json::json;

use super::debian::{self, WORK};
use super::kill::check;
use crate::case::Ctx;
use crate::cases::tools::busybox;
use crate::ensure;
use crate::failure::{Doing, Outcome};
use crate::host::ORDERS_DISK;
use crate::host::orders::Orders;
use crate::vm::Vm;

/// The image, on the disk for work: whoever ordered the soak looks at it afterwards.
const CLAIM: &str = "soak";
const SIZE: u64 = 4 << 30;
/// How long the end of it all may take.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn fio(ctx: &Ctx) -> Outcome {
    debian::prepare(ctx)?;
    let Orders::Test(orders) = Orders::from_disk(Path::new(ORDERS_DISK))? else {
        return Err("these are no orders for a test".into());
    };
    let folder = Path::new(WORK).join(CLAIM);
    fs::create_dir_all(&folder)?;
    let image = folder.join("disk.qcow2");
    ops::create(&image, &CreateOptions::new(Format::Qcow2, SIZE)).doing("making an image")?;
    std::os::unix::fs::symlink(&folder, ctx.volumes().join(CLAIM)).doing("linking a claim")?;
    let machine = debian::machine().claim(CLAIM, CLAIM, json!({}));
    let options = debian::options(ctx);
    let mut vm = Vm::start(ctx, &machine, &options.each_ref().map(String::as_str))?;
    let mut agent = vm.agent_within(debian::BOOT)?;
    let seconds = orders.minutes.max(1) * 60;
    // Random offsets and sizes, written, read back and compared over and over; checksums are in the blocks themselves.
    let job = format!(
        "fio --name=soak --filename=/dev/disk/by-id/virtio-{CLAIM} --size=3g --io_size=64g --rw=randwrite \
         --bsrange=4k-128k --ioengine=libaio --iodepth=16 --direct=1 --fsync=64 --verify=crc32c --verify_backlog=128 \
         --verify_fatal=1 --time_based --runtime={seconds} --output=/run/fio.txt"
    );
    let started = Instant::now();
    agent.script(&format!("({job}; echo $? > /run/fio.status) > /run/fio.errors 2>&1 < /dev/null &"))?;
    let limit = Duration::from_secs(seconds) + PATIENCE;
    let status = debian::until(&mut agent, "cat /run/fio.status", limit).doing("waiting for fio")?;
    let report = agent.file("/run/fio.txt").unwrap_or_default();
    ctx.note(&format!("fio ended after {:.0} s:\n{report}", started.elapsed().as_secs_f64()));
    let errors = agent.file("/run/fio.errors")?;
    ensure!(status.trim() == "0", "fio ended with {status:?}: {errors}\n{report}");
    let complaints = agent.script("dmesg | grep -iE 'i/o error|virtio_blk.*error' || true")?;
    ensure!(complaints.is_empty(), "the guest's kernel complains: {complaints}");
    agent.script("systemctl poweroff --no-block")?;
    drop(agent);
    vm.wait_exit(PATIENCE)?.expect(0, "guest-shutdown")?;
    let leaks = check(&image)?;
    ensure!(leaks == 0, "{leaks} clusters of the image are leaked");
    // The disk for work is looked at from outside.
    busybox(&["umount", WORK]).map(drop)
}
