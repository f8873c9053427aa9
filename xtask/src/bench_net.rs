//! `cargo xtask bench net`: traffic between a guest and its host, in instructions, for several VMMs side by side.
//!
//! As in `bench boot`, a nanosecond inside the test host is an instruction of everything in it, so that figures repeat
//! however busy this machine is. Nothing is asserted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::tests::host::bench_net::{Measurement, ROWS, Row, Vmm};
use ::tests::host::orders::Orders;
use ::tests::verdict::Line;

use crate::cargo::{Programs, Subject};
use crate::error::{Error, Result};
use crate::host::{Boot, Ended, Host};
use crate::peers;
use crate::store::Store;

/// When a start of the test host is given up.
const LIMIT: Duration = Duration::from_secs(90 * 60);
/// How long a line of the table may take; it is seconds where nothing else runs.
const SILENCE: Duration = Duration::from_secs(45);
/// How often a VMM is begun with: a software CPU may hang.
const ATTEMPTS: u32 = 4;

/// What is to be measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    vmms: Vec<Vmm>,
    subject: Subject,
    cloud_hypervisor: Option<PathBuf>,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut only: Option<Vec<&str>> = None;
        let mut request = Self { vmms: Vec::new(), subject: Subject::Release, cloud_hypervisor: None };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().copied().ok_or(Error(format!("{word} needs a value")));
            match *word {
                "--vmm" => only = Some(value()?.split(',').collect()),
                "--binary" => request.subject = Subject::Built(value()?.into()),
                "--peer" => {
                    let path = value()?.strip_prefix("cloud-hypervisor=");
                    let path = path.ok_or("--peer takes cloud-hypervisor=PATH")?;
                    request.cloud_hypervisor = Some(path.into());
                }
                other => return Err(Error(format!("bench net does not understand {other:?}"))),
            }
        }
        if let Some(unknown) =
            only.iter().flatten().find(|name| Vmm::ALL.iter().all(|vmm| vmm.name() != **name))
        {
            return Err(Error(format!("there is no {unknown:?} to measure")));
        }
        let brought = |vmm: &Vmm| *vmm != Vmm::CloudHypervisor || request.cloud_hypervisor.is_some();
        let wanted = |vmm: &Vmm| only.as_ref().is_none_or(|only| only.contains(&vmm.name()));
        request.vmms = Vmm::ALL.into_iter().filter(brought).filter(wanted).collect();
        if request.vmms.is_empty() { Err("there is nothing to measure".into()) } else { Ok(request) }
    }
}

pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    let programs = Programs::build(store, &request.subject)?;
    let host = Host::prepare(store, &programs)?;
    let peers = peers::disk(store, request.cloud_hypervisor.as_deref())?;
    println!("measuring in the test host, where a nanosecond is an instruction; this takes some minutes");
    let mut figures = BTreeMap::new();
    for vmm in &request.vmms {
        measure(&host, *vmm, &peers, &mut figures)?;
    }
    print(&request.vmms, &figures);
    let is_whole = figures.len() == request.vmms.len() * ROWS.len();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All lines of the table for one VMM; after a start of the host that did not end well, those that are missing.
fn measure(host: &Host, vmm: Vmm, peers: &Path, figures: &mut BTreeMap<String, f64>) -> Result<()> {
    for attempt in 0..ATTEMPTS {
        let is_there = |row: &&Row| figures.contains_key(&format!("{}/{}", vmm.name(), row.name));
        let done: Vec<_> = ROWS.iter().filter(is_there).map(|row| row.name.to_owned()).collect();
        if done.len() == ROWS.len() {
            return Ok(());
        }
        let boot = Boot {
            orders: Orders::BenchNet(Measurement { vmm, done, attempt }),
            terminal: false,
            counting: true,
            memory: 2048,
            limit: LIMIT,
            silence: Some(SILENCE),
            drives: vec![format!("file={},format=raw,if=virtio,readonly=on", peers.display())],
        };
        let ended = host.run(&boot, |line| match line {
            Line::Figure { name, value, .. } => {
                eprintln!("{name:<36} {value:>12.1}");
                figures.insert(name, value);
            }
            Line::Note { text } => println!("{text}"),
            _ => {}
        })?;
        if ended == Ended::Broken {
            eprintln!("{}: the test host hangs, and is started again for what is missing", vmm.name());
        }
    }
    Ok(())
}

fn print(vmms: &[Vmm], figures: &BTreeMap<String, f64>) {
    let columns: String = vmms.iter().map(|vmm| format!(" {:>16}", vmm.name())).collect();
    println!("{:<46} {:>13}{columns}", "instructions", "for each");
    for row in &ROWS {
        let value = |vmm: &Vmm| match figures.get(&format!("{}/{}", vmm.name(), row.name)) {
            Some(value) if *value < 100.0 => format!(" {value:>16.2}"),
            Some(value) => format!(" {value:>16.0}"),
            None => format!(" {:>16}", "-"),
        };
        let values: String = vmms.iter().map(value).collect();
        println!("{:<46} {:>13}{values}", row.what, row.unit);
    }
    println!(
        "guest of 1 vCPU and 256 MiB, Debian's cloud kernel; all of host, VMM and guest is counted, programs included"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_known_machines() {
        let request = Request::parse(&["--vmm", "kubevmm,qemu"]).unwrap();
        assert_eq!(request.vmms, [Vmm::Kubevmm, Vmm::Qemu]);
        assert_eq!(Request::parse(&[]).unwrap().vmms, Vmm::ALL[..4]);
        let peer = Request::parse(&["--peer", "cloud-hypervisor=/x"]).unwrap();
        assert_eq!((peer.vmms.len(), peer.cloud_hypervisor), (5, Some("/x".into())));
        for bad in [
            &["--vmm", "bochs"][..],
            &["--vmm"],
            &["--peer", "x=/y"],
            &["--fast"],
            &["--vmm", "cloud-hypervisor"],
        ] {
            assert!(Request::parse(bad).is_err(), "{bad:?}");
        }
    }
}
