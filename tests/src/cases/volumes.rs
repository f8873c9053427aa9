//! An example manifest for each type of volume: the guest reads back what it should find.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use guest::pattern;
use guest::protocol::{Disk, Extent, Request};

use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::{END, Vm};

pub(super) const CASES: &[Case] = &[
    Case::host("example-disks", disks),
    Case::host("example-config-map", config_map),
    Case::host("example-secret", secret),
    Case::host("example-service-account", service_account),
    Case::host("example-downward-api", downward_api),
    Case::host("example-sysprep", sysprep),
    Case::host("example-cloud-init-no-cloud", no_cloud),
    Case::host("example-cloud-init-config-drive", config_drive),
    Case::host("example-persistent-volume-claim", claim),
    Case::host("example-data-volume", data_volume),
    Case::host("example-ephemeral", ephemeral),
    Case::host("example-host-disk", host_disk),
    Case::host("example-empty-disk", empty_disk),
];

/// Where the examples are in the payload.
pub(super) const FOLDER: &str = "resources/examples/volumes";

const MIB: u64 = 1 << 20;

/// Runs the example of this name.
fn example(ctx: &Ctx, name: &str) -> Result<(Vm, Agent), Failure> {
    let manifest = ctx.payload.join(FOLDER).join(format!("{name}.yaml"));
    let mut vm = Vm::start_file(ctx, name, &manifest, &[])?;
    let agent = vm.agent()?;
    Ok((vm, agent))
}

/// Mounts the disk with this label on `/mnt/LABEL`.
fn mount(agent: &mut Agent, label: &str) -> Result<String, Failure> {
    let disks = agent.identity()?.disks;
    let disk = disks.iter().find(|disk| disk.label == label);
    let disk = disk.ok_or_else(|| Failure(format!("no disk is called {label}: {disks:?}")))?;
    ensure!(disk.read_only, "a disk of files can be written: {disk:?}");
    let at = format!("/mnt/{label}");
    agent.run_ok(&format!("mkdir -p {at}"))?;
    agent.run_ok(&format!("mount -t iso9660 -o ro /dev/{} {at}", disk.name))?;
    Ok(at)
}

/// Checks that the disk with this label has these files and no others.
fn has_files(agent: &mut Agent, label: &str, files: &[(&str, &str)]) -> Outcome {
    let at = mount(agent, label)?;
    let found = agent.script(&format!("cd {at} && find . -type f | sort"))?;
    let wanted: String = files.iter().map(|(name, _)| format!("./{name}\n")).collect();
    ensure!(found == wanted, "the disk {label} has {found:?}");
    for (name, contents) in files {
        let text = agent.file(&format!("{at}/{name}"))?;
        ensure!(text == *contents, "{name} on {label} says {text:?}");
    }
    Ok(())
}

fn by_serial(agent: &mut Agent, serial: &str) -> Result<Disk, Failure> {
    let disks = agent.identity()?.disks;
    let found = disks.iter().find(|disk| disk.serial == serial).cloned();
    found.ok_or_else(|| Failure(format!("no disk with serial {serial} among {disks:?}")))
}

fn extent(disk: &str, offset: u64) -> Extent {
    Extent { disk: disk.to_owned(), offset, length: MIB }
}

/// Writes to a disk, makes it durable and powers off.
fn write_and_end(mut vm: Vm, mut agent: Agent, serial: &str, offset: u64) -> Result<u64, Failure> {
    let sum = agent.block_write(&extent(serial, offset), 5)?;
    agent.call(&Request::BlockFlush { disk: serial.to_owned() })?;
    ensure!(agent.block_read(&extent(serial, offset))? == sum, "the guest reads back something else");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    Ok(sum)
}

fn sum_of(path: &Path, offset: u64) -> Result<u64, Failure> {
    let data = fs::read(path).doing("reading an image")?;
    let from = usize::try_from(offset).doing("an offset")?;
    let piece = data.get(from..from + (1 << 20)).ok_or("the image is shorter than that")?;
    Ok(pattern::checksum(piece))
}

fn disks(ctx: &Ctx) -> Outcome {
    let data = ctx.claim("data", 8 * MIB, 1)?;
    let archive = ctx.claim("archive", 4 * MIB, 2)?;
    let manifest = ctx.payload.join("resources/examples/disks.yaml");
    let mut vm = Vm::start_file(ctx, "disks", &manifest, &[])?;
    let mut agent = vm.agent()?;
    let (first, second) = (by_serial(&mut agent, "data")?, by_serial(&mut agent, "archive")?);
    ensure!((first.logical_block, first.physical_block) == (4096, 4096), "the blocks of {first:?}");
    ensure!(first.queues == 2 && second.queues == 2, "the queues of {first:?} and {second:?}");
    ensure!(!first.read_only && second.read_only, "who may write {first:?} and {second:?}");
    // The archive takes the blocks of the file system that it is on.
    let block = fs::metadata(&archive).doing("looking at a claim")?.blksize();
    ensure!(second.logical_block == block.min(4096), "the blocks of {second:?}");
    let threads = threads(vm.pid())?;
    let io = threads.iter().filter(|name| name.starts_with("io")).count();
    ensure!(io == 3, "two threads of the pool and one for all else: {threads:?}");
    ensure!(agent.block_read(&extent("archive", MIB))? == sum_of(&archive, MIB)?, "the archive differs");
    let sum = write_and_end(vm, agent, "data", 3 * MIB)?;
    ensure!(sum_of(&data, 3 * MIB)? == sum, "what the guest wrote is not in the file");
    Ok(())
}

/// Names of a process's threads.
fn threads(pid: u32) -> Result<Vec<String>, Failure> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).doing("listing threads")?.flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.map(|name| name.trim_end().to_owned()).collect())
}

fn config_map(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "config-map")?;
    let files = [("app.conf", "port = 8080\n"), ("logo.bin", "\0\u{1}\u{2}\u{3}")];
    has_files(&mut agent, "cfgdata", &files)
}

fn secret(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "secret")?;
    has_files(&mut agent, "keys", &[("password", "open sesame")])?;
    // The one that may be missing is a disk without files.
    has_files(&mut agent, "cfgdata", &[])
}

fn service_account(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "service-account")?;
    has_files(&mut agent, "cfgdata", &[("namespace", "default"), ("token", "not-a-real-token")])
}

fn downward_api(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "downward-api")?;
    let files = [("cpus", "2"), ("meta/labels", "app=\"web\"\ntier=\"front\""), ("name", "downward-api")];
    has_files(&mut agent, "cfgdata", &files)
}

fn sysprep(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "sysprep")?;
    let answers = "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"/>\n";
    has_files(&mut agent, "unattendCD", &[("Autounattend.xml", answers)])
}

fn no_cloud(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "cloud-init-no-cloud")?;
    let me = agent.identity()?;
    ensure!(me.hostname == "seeded", "the host name is {}", me.hostname);
    let meta = format!(
        r#"{{"instance-id":"{}","local-hostname":"seeded","public-keys":{{"0":"ssh-ed25519 AAAAexample somebody"}}}}"#,
        me.uuid
    );
    let files = [
        ("meta-data", meta.as_str()),
        ("network-config", "version: 2\nethernets: {eth0: {dhcp4: true}}\n"),
        ("user-data", "#cloud-config\npassword: hello\n"),
    ];
    // The guest's program has mounted it already.
    agent.run_ok("umount /run/seed")?;
    has_files(&mut agent, "cidata", &files)
}

fn config_drive(ctx: &Ctx) -> Outcome {
    let (_vm, mut agent) = example(ctx, "cloud-init-config-drive")?;
    let (me, disk) = (agent.identity()?, by_serial(&mut agent, "s1")?);
    let path = agent.run_ok(&format!("readlink -f /sys/block/{}", disk.name))?;
    // /sys/devices/pci0000:00/0000:00:01.0/virtio0/block/vda
    let address = path.split('/').find(|part| part.starts_with("0000:")).unwrap_or_default();
    let devices =
        format!(r#"[{{"type":"disk","bus":"pci","address":"{address}","serial":"s1","tags":["fast"]}}]"#);
    let meta = format!(
        r#"{{"instance_id":"cloud-init-config-drive.default","hostname":"seeded","uuid":"{}","devices":{devices}}}"#,
        me.uuid
    );
    let files = [
        ("openstack/latest/meta_data.json", meta.as_str()),
        ("openstack/latest/network_data.json", "{\"links\": [], \"networks\": [], \"services\": []}\n"),
        ("openstack/latest/user_data", "#cloud-config\n"),
    ];
    has_files(&mut agent, "config-2", &files)
}

/// An empty claim gets an image of its size, sparse.
fn claim(ctx: &Ctx) -> Outcome {
    let (vm, mut agent) = example(ctx, "persistent-volume-claim")?;
    let disk = by_serial(&mut agent, "data")?;
    ensure!(disk.bytes == 64 * MIB, "the disk is {disk:?}");
    let image = ctx.volumes().join("data/disk.img");
    let sum = write_and_end(vm, agent, "data", 40 * MIB)?;
    let meta = fs::metadata(&image).doing("looking at the claim's image")?;
    ensure!(meta.len() == 64 * MIB && meta.blocks() * 512 < 8 * MIB, "the image is {meta:?}");
    ensure!(sum_of(&image, 40 * MIB)? == sum, "what the guest wrote is not in the image");
    Ok(())
}

fn data_volume(ctx: &Ctx) -> Outcome {
    let (vm, mut agent) = example(ctx, "data-volume")?;
    let disk = by_serial(&mut agent, "blank")?;
    ensure!(disk.bytes == 48 * MIB, "the disk is {disk:?}");
    let sum = write_and_end(vm, agent, "blank", 0)?;
    ensure!(sum_of(&ctx.volumes().join("blank/disk.img"), 0)? == sum, "the image has something else");
    Ok(())
}

fn ephemeral(ctx: &Ctx) -> Outcome {
    let image = ctx.claim("golden", 8 * MIB, 7)?;
    let before = fs::read(&image).doing("reading a claim")?;
    let (vm, mut agent) = example(ctx, "ephemeral")?;
    ensure!(agent.block_read(&extent("golden", 2 * MIB))? == sum_of(&image, 2 * MIB)?, "other data is read");
    write_and_end(vm, agent, "golden", 2 * MIB)?;
    ensure!(fs::read(&image).doing("reading a claim")? == before, "the claim has changed");
    Ok(())
}

fn host_disk(ctx: &Ctx) -> Outcome {
    let folder = Path::new("/tmp/kubevmm-example");
    // What an earlier run may have left.
    let _ = fs::remove_dir_all(folder);
    let (vm, mut agent) = example(ctx, "host-disk")?;
    let disk = by_serial(&mut agent, "host")?;
    ensure!(disk.bytes == 32 * MIB, "the disk is {disk:?}");
    let sum = write_and_end(vm, agent, "host", 8 * MIB)?;
    ensure!(sum_of(&folder.join("host-disk.img"), 8 * MIB)? == sum, "the file has something else");
    fs::remove_dir_all(folder).doing("removing the file")
}

fn empty_disk(ctx: &Ctx) -> Outcome {
    let (vm, mut agent) = example(ctx, "empty-disk")?;
    let disk = by_serial(&mut agent, "scratch")?;
    ensure!(disk.bytes == 2 << 30, "the disk is {disk:?}");
    let zeroes = pattern::checksum(&vec![0; 1 << 20]);
    ensure!(agent.block_read(&extent("scratch", 1 << 30))? == zeroes, "the disk is not empty");
    write_and_end(vm, agent, "scratch", 1 << 30).map(drop)
}
