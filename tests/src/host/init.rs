//! The first process of the test host.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use guest::sys::{self, Down};
use guest::{early, protocol};

use super::orders::{Orders, Selection};
use super::{
    EXIT_PORT, HEARTBEAT, LINES, ORDERS_DISK, PAYLOAD, PAYLOAD_DISK, RESULTS_DISK, bench, bench_migrate,
    bench_net, demo,
};
use crate::case::{Case, Tier};
use crate::cases;
use crate::failure::{Doing, Failure};
use crate::supervisor::{self, Places, Sink};
use crate::verdict::{CaseResult, Line};

/// Where cases keep logs until they are sent out.
const RESULTS: &str = "/tmp/results";

/// Does what it is ordered to and takes the machine down.
pub fn main() -> ! {
    let status = match prepare() {
        Ok(()) => act(),
        Err(Failure(why)) => {
            println!("test host: {why}");
            255
        }
    };
    // Nothing can be done about a failure but to go down another way.
    let _ = sys::write_port(EXIT_PORT, status);
    let error = sys::down(Down::PowerOff);
    println!("test host: cannot power off: {error}");
    loop {
        std::thread::park();
    }
}

fn prepare() -> Result<(), Failure> {
    sys::leave_rootfs().doing("leaving the initramfs")?;
    early::mount_basics().doing("mounting the basics")?;
    for problem in early::insert_modules() {
        println!("test host: {problem}");
    }
    fs::create_dir_all(PAYLOAD)?;
    sys::mount(PAYLOAD_DISK, PAYLOAD, "ext4", true).doing("mounting the payload")?;
    fs::create_dir_all(RESULTS)?;
    busybox(&["ip", "link", "set", "lo", "up"])
}

fn act() -> u8 {
    let sink: Box<Sink<'_>> = match OpenOptions::new().write(true).open(LINES) {
        Ok(port) => Box::new(supervisor::lines_to(port)),
        Err(_) => Box::new(|_: &Line| {}),
    };
    sink(&Line::Up { seconds: uptime() });
    let outcome = Orders::from_disk(Path::new(ORDERS_DISK)).and_then(|orders| match orders {
        Orders::Test(selection) => test(&selection, &*sink),
        Orders::Demo => demo::interactive(),
        Orders::DemoBatch => {
            demo::batch(&demo::hello(&Path::new(PAYLOAD).join("kubevmm")), Path::new(PAYLOAD))
        }
        Orders::Bench => bench::run(&*sink).map(|()| 0),
        Orders::BenchMigrate(mover) => bench_migrate::run(mover, &*sink).map(|()| 0),
        Orders::BenchNet(what) => bench_net::run(&what, &*sink).map(|()| 0),
        Orders::Shell => shell(),
    });
    let status = outcome.unwrap_or_else(|Failure(why)| {
        println!("test host: {why}");
        sink(&Line::Note { text: why });
        254
    });
    sink(&Line::End);
    status
}

/// The number of cases that failed, at most 100. Tells all the while that the host lives.
fn test(selection: &Selection, sink: &Sink<'_>) -> Result<u8, Failure> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let heart = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                sink(&Line::Alive);
                std::thread::park_timeout(HEARTBEAT);
            }
        });
        let failed = run_cases(selection, sink);
        over.store(true, Ordering::Relaxed);
        heart.thread().unpark();
        failed
    })
}

fn run_cases(selection: &Selection, sink: &Sink<'_>) -> Result<u8, Failure> {
    let disk = std::sync::Mutex::new(
        OpenOptions::new().write(true).open(RESULTS_DISK).doing("opening the results disk")?,
    );
    let places = Places {
        kubevmm: Path::new(PAYLOAD).join("kubevmm"),
        payload: PAYLOAD.into(),
        results: RESULTS.into(),
        scratch: "/tmp/scratch".into(),
    };
    let wanted = |case: &Case| {
        (case.tier == Tier::Long) == selection.long
            && case.matches(&selection.filter)
            && !selection.done.iter().any(|done| done == case.name)
    };
    let selected: Vec<_> = cases::all().into_iter().filter(wanted).map(Case::in_test_host).collect();
    let totals = supervisor::run_all(&selected, &places, selection.jobs, &|line| {
        if let Line::Case(verdict) = line
            && (selection.keep || verdict.result != CaseResult::Passed)
            && let Ok(disk) = disk.lock()
            && let Err(Failure(why)) = send_out(&disk, &verdict.case)
        {
            sink(&Line::Note { text: format!("the logs of {} are lost: {why}", verdict.case) });
        }
        sink(line);
    });
    Ok(u8::try_from(totals.failed.min(100)).unwrap_or(100))
}

/// Appends a case's logs to the results disk as one more archive.
fn send_out(disk: &File, case: &str) -> Result<(), Failure> {
    let status = Command::new("/bin/busybox")
        .args(["tar", "-c", "-C", RESULTS, "-f", "-", case])
        .stdin(Stdio::null())
        .stdout(disk.try_clone()?)
        .status()
        .doing("starting tar")?;
    crate::ensure!(status.success(), "tar ended with {status}");
    disk.sync_all().doing("writing the results disk")
}

fn shell() -> Result<u8, Failure> {
    println!(
        "\n{}: this is the test host. /payload has kubevmm and the guest; `exit` ends it.",
        protocol::READY
    );
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/ttyS0")?;
    on_terminal(Command::new("/bin/busybox").args(["setsid", "-c", "/bin/busybox", "sh", "-l"]), &terminal)?;
    Ok(0)
}

/// Runs a program with standard streams on a terminal; its exit code.
pub(super) fn on_terminal(command: &mut Command, terminal: &File) -> io::Result<u8> {
    let status = command
        .env("HOME", "/")
        .env("PATH", "/usr/bin:/bin:/payload")
        .env("TERM", "vt100")
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal.try_clone()?)
        .status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(253))
}

fn busybox(arguments: &[&str]) -> Result<(), Failure> {
    let status = Command::new("/bin/busybox").args(arguments).status().doing("starting busybox")?;
    crate::ensure!(status.success(), "{arguments:?} ended with {status}");
    Ok(())
}

fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
}
