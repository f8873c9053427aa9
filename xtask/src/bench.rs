//! `cargo xtask bench boot`: figures of a boot, in instructions and bytes.
//!
//! The emulator counts instructions in place of time (QEMU's `-icount shift=0,sleep=off`), so that a
//! nanosecond inside is an instruction of everything in the test host: its kernel, the VMM, the
//! guest. The same run gives the same figures, however busy this machine is. Nothing is asserted.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tests::host::bench::figure;
use tests::host::orders::Orders;
use tests::verdict::Line;

use crate::cargo::{Programs, Subject};
use crate::error::{Doing, Result};
use crate::host::{Boot, Ended, Host};
use crate::store::Store;

/// When a benchmark is given up.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// A line of the table.
struct Row {
    what: &'static str,
    figure: &'static str,
    wanted: &'static str,
    /// As recorded once by the same method: cloud-hypervisor v54-dev, Firecracker 1.17-dev.
    peers: [&'static str; 2],
}

const TABLE: &[Row] = &[
    Row {
        what: "exec to the guest's first user process",
        figure: figure::USER_SPACE,
        wanted: "<= 1.30 s",
        peers: ["1.353 s", "1.330 s"],
    },
    Row {
        what: "exec to the first byte on the console",
        figure: figure::FIRST_BYTE,
        wanted: "<= 0.010 s",
        peers: ["0.044 s", "0.002 s"],
    },
    Row {
        what: "  of this from the guest's first instruction on",
        figure: figure::GUEST_TO_BYTE,
        wanted: "",
        peers: ["", ""],
    },
    Row {
        what: "exec to the first byte of a guest that prints at once",
        figure: figure::BYTE_AT_ONCE,
        wanted: "",
        peers: ["", ""],
    },
    Row {
        what: "process start to the guest's first instruction",
        figure: figure::FIRST_INSTRUCTION,
        wanted: "",
        peers: ["", ""],
    },
    Row {
        what: "each further vCPU, to the first instruction",
        figure: figure::PER_CPU,
        wanted: "<= 0.5 ms",
        peers: ["", ""],
    },
    Row {
        what: "resident memory beside the guest's",
        figure: figure::MEMORY,
        wanted: "<= 5.0 MiB",
        peers: ["6.7 MiB", "6.0 MiB"],
    },
    Row { what: "binary", figure: figure::BINARY, wanted: "<= 6 MiB", peers: ["", ""] },
];

pub(crate) fn boot(store: &Store, subject: &Subject) -> Result<ExitCode> {
    let programs = Programs::build(store, subject)?;
    let host = Host::prepare(store, &programs)?;
    println!("measuring in the test host, where a nanosecond is an instruction; this takes a few minutes");
    let orders = Orders::Bench;
    let drives = Vec::new();
    let boot =
        Boot { orders, terminal: false, counting: true, memory: 2048, limit: LIMIT, silence: None, drives };
    let mut figures = BTreeMap::new();
    let ended = host.run(&boot, |line| match line {
        Line::Figure { name, value, unit } => {
            figures.insert(name, (value, unit));
        }
        Line::Note { text } => println!("{text}"),
        _ => {}
    })?;
    let size = std::fs::metadata(&programs.kubevmm).doing("looking at the binary")?.len();
    figures.insert(figure::BINARY.to_owned(), (mebibytes(size), "MiB".to_owned()));
    print(&figures);
    Ok(if ended == Ended::Whole(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::cast_precision_loss, reason = "a size is printed with two digits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn print(figures: &BTreeMap<String, (f64, String)>) {
    println!(
        "{:<54} {:>12} {:>12} {:>18} {:>12}",
        "", "kubevmm", "wanted", "cloud-hypervisor*", "Firecracker*"
    );
    for row in TABLE {
        let value = figures
            .get(row.figure)
            .map_or("not measured".to_owned(), |(value, unit)| format!("{value:.3} {unit}"));
        let [first, second] = row.peers;
        println!("{:<54} {value:>12} {:>12} {first:>18} {second:>12}", row.what, row.wanted);
    }
    println!(
        "1 vCPU, 256 MiB, Debian's cloud kernel (vmlinux), busybox initramfs; manifest with containerDisk and NoCloud.\n\
         * recorded once by the same method (v54-dev and 1.17-dev), not measured in this run"
    );
}
