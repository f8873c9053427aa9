//! `cargo xtask bench migrate --peer qemu`: what it costs to move a Linux guest, in instructions, for kubevmm and others side by
//! side. As in `bench boot`, a nanosecond inside the test host is an instruction of everything in it. Nothing is asserted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ::tests::host::bench_migrate::{Mover, ROWS};
use ::tests::host::orders::Orders;
use ::tests::verdict::Line;

use crate::cargo::{Programs, Subject};
use crate::error::{Error, Result};
use crate::host::{Boot, Ended, Host};
use crate::peers;
use crate::store::Store;

/// When a start of the test host is given up; it takes a minute where nothing else runs.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// How often each is begun with: a software CPU may hang.
const ATTEMPTS: u32 = 3;
const MOVERS: [Mover; 2] = [Mover::Kubevmm, Mover::Qemu];

/// What is to be measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    subject: Subject,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        match words {
            ["--peer", "qemu"] => Ok(Self { subject: Subject::Release }),
            ["--peer", "qemu", "--binary", path] => Ok(Self { subject: Subject::Built(path.into()) }),
            other => Err(Error(format!("bench migrate does not understand {other:?}"))),
        }
    }
}

pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    let programs = Programs::build(store, &request.subject)?;
    let host = Host::prepare(store, &programs)?;
    let peers = peers::disk(store, None)?;
    println!("measuring in the test host, where a nanosecond is an instruction; this takes a few minutes");
    let mut figures = BTreeMap::new();
    for mover in MOVERS {
        measure(&host, mover, &peers, &mut figures)?;
    }
    print(&figures);
    let is_whole = figures.len() == MOVERS.len() * ROWS.len();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(host: &Host, mover: Mover, peers: &Path, figures: &mut BTreeMap<String, f64>) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let boot = Boot {
            orders: Orders::BenchMigrate(mover),
            terminal: false,
            counting: true,
            memory: 2048,
            limit: LIMIT,
            silence: None,
            drives: vec![format!("file={},format=raw,if=virtio,readonly=on", peers.display())],
        };
        let ended = host.run(&boot, |line| match line {
            Line::Figure { name, value, .. } => drop(figures.insert(name, value)),
            Line::Note { text } => println!("{text}"),
            _ => {}
        })?;
        if ended != Ended::Broken {
            break;
        }
        eprintln!("{}: the test host hangs, and is started again", mover.name());
    }
    Ok(())
}

fn print(figures: &BTreeMap<String, f64>) {
    let columns: String = MOVERS.iter().map(|mover| format!(" {:>12}", mover.name())).collect();
    println!("{:<62}{columns}", "");
    for row in &ROWS {
        let value = |mover: &Mover| match figures.get(&format!("{}/{}", mover.name(), row.name)) {
            Some(value) => format!(" {value:>12.2}"),
            None => format!(" {:>12}", "-"),
        };
        let values: String = MOVERS.iter().map(value).collect();
        println!("{:<62}{values}", row.what);
    }
    println!(
        "guest of 1 vCPU and 256 MiB, Debian's cloud kernel, that has filled 128 MiB and writes to 1 MiB each 5 ms; by a unix socket;\n\
         a millisecond is a million instructions, of both VMMs, host and guest together"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_peer() {
        assert_eq!(Request::parse(&["--peer", "qemu"]).unwrap().subject, Subject::Release);
        let built = Request::parse(&["--peer", "qemu", "--binary", "/x"]).unwrap();
        assert_eq!(built.subject, Subject::Built("/x".into()));
        for bad in [&["--peer", "bochs"][..], &["--binary", "/x"], &["--peer"]] {
            assert!(Request::parse(bad).is_err(), "{bad:?}");
        }
    }
}
