//! Answers operations that arrive on the virtio port, one JSON object a line.

use std::arch::x86_64::{__cpuid, CpuidResult};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use guest::pattern;
use guest::protocol::{Answer, Output, PORT, Reply, Request};
use guest::sys::{Down, down};

use crate::{block, identity};

/// How long to wait for the port, or for a host that is not listening.
const PAUSE: Duration = Duration::from_millis(10);
/// Largest file that `ReadFile` returns.
const LARGEST_FILE: u64 = 4 << 20;

/// Leaves the port to a service, a shell's script; words such as `address=10.0.0.2/24` of the kernel's command line are its
/// variables.
pub(crate) fn leave_to(service: &str) {
    let ended = Command::new("/bin/busybox").args(["sh", service]).status();
    println!("guest: {service} has ended: {ended:?}");
}

/// Answers for as long as the guest runs.
pub(crate) fn serve() -> ! {
    let mut port = loop {
        match find_port().and_then(|path| OpenOptions::new().read(true).write(true).open(path).ok()) {
            Some(port) => break port,
            None => thread::sleep(PAUSE),
        }
    };
    let mut pending = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match port.read(&mut buffer) {
            Ok(0) | Err(_) => thread::sleep(PAUSE),
            Ok(length) => pending.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Err(error) = answer(&mut port, &line) {
                println!("guest: cannot answer: {error}");
            }
        }
    }
}

/// The port by its name, else the second serial port if there is one.
fn find_port() -> Option<PathBuf> {
    let by_name = fs::read_dir("/sys/class/virtio-ports").ok().and_then(|entries| {
        entries
            .flatten()
            .find(|entry| fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == PORT))
            .map(|entry| PathBuf::from("/dev").join(entry.file_name()))
    });
    by_name.filter(|path| path.exists())
}

fn answer(port: &mut File, line: &[u8]) -> io::Result<()> {
    let reply = match serde_json::from_slice(line) {
        Err(error) => Reply::Error(format!("not a request: {error}")),
        Ok(request) => perform(request).map_or_else(|error| Reply::Error(error.to_string()), Reply::Ok),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    port.write_all(&text)
}

fn perform(request: Request) -> io::Result<Answer> {
    match request {
        Request::Ping => Ok(Answer::Done),
        Request::Identity => Ok(Answer::Identity(Box::new(identity::identity()))),
        Request::ReadFile { path } => read_file(&path).map(Answer::Text),
        Request::Run { argv } => run(&argv).map(Answer::Output),
        Request::BlockRead(extent) => block::read(&extent).map(Answer::Checksum),
        Request::BlockWrite { extent, seed } => block::write(&extent, seed).map(Answer::Checksum),
        Request::BlockFlush { disk } => block::flush(&disk).map(|()| Answer::Done),
        Request::BlockDiscard(extent) => block::discard(&extent).map(|()| Answer::Done),
        Request::BlockZero(extent) => block::zero(&extent).map(|()| Answer::Done),
        Request::BlockStamp { disk, first, count } => {
            block::stamp(&disk, first, count).map(|()| Answer::Done)
        }
        Request::BlockStamps { disk } => block::stamps(&disk).map(Answer::Stamps),
        Request::TouchMemory { mebibytes, seed } => touch(mebibytes, seed).map(|()| Answer::Done),
        Request::Entropy { bytes } => entropy(bytes).map(Answer::Text),
        Request::Cpuid { leaf } => {
            let CpuidResult { eax, ebx, ecx, edx } = __cpuid(leaf);
            Ok(Answer::Text(format!("{eax:x} {ebx:x} {ecx:x} {edx:x}")))
        }
        Request::Console { text } => writeln!(io::stdout(), "{text}").map(|()| Answer::Done),
        Request::PowerOff => Err(down(Down::PowerOff)),
        Request::Reboot => Err(down(Down::Restart)),
        Request::Panic => fs::write("/proc/sys/kernel/sysrq", "1")
            .and_then(|()| fs::write("/proc/sysrq-trigger", "c"))
            .map(|()| Answer::Done),
    }
}

fn read_file(path: &str) -> io::Result<String> {
    let mut data = Vec::new();
    File::open(path)?.take(LARGEST_FILE).read_to_end(&mut data)?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}

fn run(argv: &[String]) -> io::Result<Output> {
    let output = Command::new("/bin/busybox").args(argv).output()?;
    Ok(Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn touch(mebibytes: u64, seed: u64) -> io::Result<()> {
    let blocks: Vec<Vec<u8>> = (0..mebibytes)
        .map(|index| {
            let mut block = vec![0u8; 1 << 20];
            // One word a page shows a lost or doubled page as well as all of them would.
            for page in block.chunks_mut(4096) {
                pattern::fill(page.get_mut(..8).unwrap_or_default(), index << 20, seed);
            }
            block
        })
        .collect();
    let mut expected = [0u8; 8];
    for (index, block) in (0u64..).zip(&blocks) {
        pattern::fill(&mut expected, index << 20, seed);
        if block.chunks(4096).any(|page| !page.starts_with(&expected)) {
            return Err(io::Error::other(format!("mebibyte {index} reads back wrong")));
        }
    }
    Ok(())
}

fn entropy(bytes: u64) -> io::Result<String> {
    let mut data = vec![0u8; usize::try_from(bytes.min(1 << 20)).unwrap_or(0)];
    File::open("/dev/hwrng")?.read_exact(&mut data)?;
    let ones: u64 = data.iter().map(|byte| u64::from(byte.count_ones())).sum();
    Ok(format!("{ones} bits of {} are set", data.len().saturating_mul(8)))
}
