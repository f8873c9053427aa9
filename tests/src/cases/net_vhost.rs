//! Cards whose queues the host's kernel serves: what it writes to the guest's memory is known.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use guest::protocol::Request;
use serde_json::json;

use super::tools::tap;
use crate::case::{Case, Ctx};
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};

pub(super) const CASES: &[Case] = &[Case::host("net-vhost-notes-its-writes", notes).within(480)];

const MAC: &str = "02:00:00:aa:bb:01";
const PAGE: usize = 4096;
/// What the guest is sent: several times what its card has buffers for.
const SENT: usize = 1 << 20;

/// `manifest` with a card on `lan` that the kernel serves.
pub(super) fn served(manifest: Manifest) -> Manifest {
    let mut manifest = manifest.tap("lan", MAC);
    manifest.set("/metadata/annotations", json!({"kubevmm.io/vhost-net": "true"}));
    manifest
}

/// Sends the guest bytes that it does not keep.
fn send(byte: u8) -> Outcome {
    let limit = Instant::now() + BOOT;
    let mut stream = loop {
        match TcpStream::connect("10.77.0.2:5001") {
            Ok(stream) => break stream,
            Err(error) => ensure!(Instant::now() < limit, "the guest does not listen: {error}"),
        }
        thread::sleep(Duration::from_millis(200));
    };
    stream.write_all(&vec![byte; SENT]).doing("sending")?;
    stream.shutdown(std::net::Shutdown::Write).doing("ending what is sent")?;
    // The guest closes its side when it has read all.
    stream.read(&mut [0]).doing("waiting for the guest").map(drop)
}

/// A snapshot that only adds pages is, together with the one before it, what a whole one is at that moment: no page was missed that
/// the kernel has written. The guest's kernel leaves pages alone that it gives the card, and does not look at what comes.
fn notes(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    let linux = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").memory("128Mi");
    let manifest = served(linux.kernel_args("init_on_alloc=0"));
    let mut vm = Vm::start(ctx, &manifest, &["--tap", "lan=tap0"])?;
    let mut agent = vm.agent()?;
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    agent.script("(while :; do nc -l -p 5001 >/dev/null; done) >/dev/null 2>&1 &")?;
    send(0x11)?;
    let places = ["first", "second", "whole"].map(|name| ctx.scratch.join(name));
    let [first, second, whole] = &places;
    let [one, two, all] = [first, second, whole].map(|place| place.to_string_lossy());
    says(ctx, 0, &["snapshot", "vm", &one, "--track"])?;
    send(0x22)?;
    says(ctx, 0, &["pause", "vm"])?;
    ctx.note(says(ctx, 0, &["snapshot", "vm", &two, "--incremental-of", &one])?.trim());
    says(ctx, 0, &["snapshot", "vm", &all])?;
    let added = differing(first, second, whole)?;
    ctx.note(&format!("{added} pages were added"));
    let pages = fs::metadata(whole.join("memory"))?.len() / PAGE as u64;
    ensure!(added > 0 && added < pages / 2, "{added} of {pages} pages count as written");
    says(ctx, 0, &["unpause", "vm"])?;
    send(0x33)?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// Compares `whole` with `first` and what `second` adds to it; tells how many pages were added.
fn differing(first: &Path, second: &Path, whole: &Path) -> Result<u64, Failure> {
    let index = fs::read(second.join("memory.index")).doing("reading an index")?;
    let mut added = Vec::new();
    for record in index.chunks_exact(16) {
        let value = u128::from_le_bytes(record.try_into().unwrap_or_default());
        let (offset, pages) = ((value & u128::from(u64::MAX)) as usize, (value >> 64 & 0xffff_ffff) as usize);
        added.resize(added.len().max(offset / PAGE + pages), false);
        added.iter_mut().skip(offset / PAGE).take(pages).for_each(|page| *page = true);
    }
    let open = |place: &Path| File::open(place.join("memory")).map(BufReader::new);
    let (mut first, mut second, mut whole) = (open(first)?, open(second)?, open(whole)?);
    let mut missed = Vec::new();
    let (mut old, mut new, mut now) = ([0; PAGE], [0; PAGE], [0; PAGE]);
    for number in 0.. {
        if whole.read_exact(&mut now).is_err() {
            break;
        }
        first.read_exact(&mut old).doing("reading memory")?;
        second.read_exact(&mut new).doing("reading memory")?;
        let is_added = added.get(number).copied().unwrap_or_default();
        if now != if is_added { new } else { old } {
            missed.push(number);
        }
    }
    let few: Vec<_> = missed.iter().take(8).collect();
    ensure!(missed.is_empty(), "{} pages were written unseen, the first ones are {few:?}", missed.len());
    Ok(added.iter().filter(|page| **page).count() as u64)
}
