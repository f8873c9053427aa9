//! qcow2 images as claims.

use std::fs;

use block::Blocking;
use block::ops::{self, CreateOptions, Format};
use block::{QcowDisk, QcowOptions};
use guest::pattern;
use guest::protocol::{Extent, Request};
use serde_json::json;

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm};

pub(super) const CASES: &[Case] = &[Case::host("claim-qcow2", qcow2)];

const MIB: u64 = 1 << 20;

fn extent(disk: &str, offset: u64) -> Extent {
    Extent { disk: disk.to_owned(), offset, length: MIB }
}

/// A claim with a qcow2 image of 64 MiB, empty but for a pattern at 16 MiB; the pattern's checksum.
fn make(ctx: &Ctx, name: &str, seed: u64) -> Result<u64, Failure> {
    let folder = ctx.volumes().join(name);
    fs::create_dir_all(&folder)?;
    let path = folder.join("disk.qcow2");
    ops::create(&path, &CreateOptions::new(Format::Qcow2, 64 * MIB)).doing("making an image")?;
    let mut bytes = vec![0; 1 << 20];
    pattern::fill(&mut bytes, 0, seed);
    let disk = QcowDisk::open(&path, &QcowOptions::default()).doing("opening an image")?;
    let mut io = Blocking::open(&disk).doing("opening an image")?;
    io.write(16 * MIB, &bytes).doing("writing an image")?;
    io.flush().doing("writing an image")?;
    Ok(pattern::checksum(&bytes))
}

fn image_sum(ctx: &Ctx, name: &str, offset: u64) -> Result<u64, Failure> {
    let path = ctx.volumes().join(name).join("disk.qcow2");
    let options = QcowOptions { read_only: true, ..QcowOptions::default() };
    let disk = QcowDisk::open(&path, &options).doing("opening an image")?;
    let mut bytes = vec![0; 1 << 20];
    Blocking::open(&disk).doing("opening an image")?.read(offset, &mut bytes).doing("reading an image")?;
    Ok(pattern::checksum(&bytes))
}

/// One is written for good, the other only as long as the machine runs.
fn qcow2(ctx: &Ctx) -> Outcome {
    let (kept, golden) = (make(ctx, "kept", 1)?, make(ctx, "golden", 2)?);
    let before = fs::read(ctx.volumes().join("golden/disk.qcow2")).doing("reading an image")?;
    let mut manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").claim("kept", "kept", json!({}));
    let disk = json!({"name": "golden", "serial": "golden", "disk": {"bus": "virtio"}});
    manifest.push("/spec/domain/devices/disks", disk);
    let claim = json!({"name": "golden", "ephemeral": {"persistentVolumeClaim": {"claimName": "golden"}}});
    manifest.push("/spec/volumes", claim);
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    let disks = agent.identity()?.disks;
    ensure!(disks.len() == 2 && disks.iter().all(|disk| disk.bytes == 64 * MIB), "the disks are {disks:?}");
    for (name, sum) in [("kept", kept), ("golden", golden)] {
        ensure!(agent.block_read(&extent(name, 16 * MIB))? == sum, "the guest reads other data from {name}");
    }
    let (written, _) = (
        agent.block_write(&extent("kept", 40 * MIB), 3)?,
        agent.block_write(&extent("golden", 40 * MIB), 4)?,
    );
    ensure!(agent.block_read(&extent("golden", 40 * MIB))? != written, "the disks are one");
    agent.call(&Request::BlockDiscard(extent("kept", 16 * MIB)))?;
    agent.call(&Request::BlockFlush { disk: "kept".into() })?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    ensure!(image_sum(ctx, "kept", 40 * MIB)? == written, "what the guest wrote is not in the image");
    let after = fs::read(ctx.volumes().join("golden/disk.qcow2")).doing("reading an image")?;
    ensure!(after == before, "the claim that was to be read only has changed");
    Ok(())
}
