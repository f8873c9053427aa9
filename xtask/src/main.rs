//! Tasks of this repository: `cargo xtask --help`.

mod bench;
mod bench_block;
mod bench_migrate;
mod bench_net;
mod bench_snapshot;
mod cargo;
mod cloud;
mod conformance;
mod cpio;
mod debian;
mod demo;
mod error;
mod fuzz;
mod guest_image;
mod host;
mod kernel;
mod kvm;
mod lz4;
mod mounts;
mod peers;
mod process;
mod qemu;
mod shell;
mod soak;
mod soak_faults;
mod store;
mod tally;
mod test;

use std::process::ExitCode;

use cargo::Subject;
use error::{Error, Result};
use soak_faults::What;
use store::Store;

const HELP: &str = "\
Tasks of the kubevmm repository

  cargo xtask demo                    boot resources/examples/hello.yaml with its console here (Ctrl-] leaves);
                                      without a terminal: show its greeting and power it off
  cargo xtask test [TIER] [OPTIONS]   run tests: all tiers, or one of
                                        unit     cargo test of the whole workspace
                                        payload  small kernels on this machine's /dev/kvm
                                        host     stock Linux guests in the test host (emulated; needs no /dev/kvm)
      --filter TEXT                     only cases whose names contain TEXT, or one of TEXT,TEXT,…
      --keep                            keep logs of cases that pass, too
      --counting                        the test host's clock counts instructions, so that no case fails because this
                                        machine is busy
      --dev                             test an unoptimised kubevmm, which builds faster
      --binary PATH                     test a kubevmm that is there already
  cargo xtask test cloud              Debian with systemd and cloud-init as the guest (needs root for debootstrap; 10 minutes)
      --prepare                         only make its disk
  cargo xtask soak [fio|kill|snapshots]  fio with verification in that guest, on a qcow2 image; and machines that are killed
                                      ten times while their guests write blocks, and files (kill-files)
      --minutes N                       so many minutes of fio (30)
      --counting, --dev                 as of test
  cargo xtask soak migrate [OPTIONS]  move machines between processes on this machine's KVM, and have something go wrong each
                                      time (kill, cut, alter, stall, full disk, …, at each phase); a table of what came of it
      --runs N, --seed N, --jobs N      how many (700), which, how many at once (4)
      --filter TEXT                     only runs whose names contain TEXT, or one of TEXT,TEXT,… ('tls: cut', 'at Go')
      --first N                         begin with the run that has this number
      --dev, --binary PATH              of a build for debugging, or of a kubevmm that is there already
  cargo xtask soak snapshot-faults [OPTIONS]  the same of snapshots: a machine or the command is killed, or a disk is full, at each
                                      step of taking one; --runs, --seed, --jobs, --first, --filter, --dev, --binary as
                                      above
  cargo xtask bench boot              measure boot time, memory and size in instructions and bytes
      --binary PATH                     of a kubevmm that is there already
  cargo xtask bench snapshot          measure snapshots and restores of a payload with 4 GiB on this machine's KVM
  cargo xtask bench migrate           measure moves of a payload with 1 GiB in use on this machine's KVM
      --peer qemu                       move a Linux guest in the test host instead, in instructions, beside QEMU
      --binary PATH                     with a kubevmm that is there already
  cargo xtask bench block [OPTIONS]   measure kubevmm image side by side with qemu-img (minutes; needs 6 GB of tmpfs)
      --filter TEXT                     only lines that contain TEXT, or one of TEXT,TEXT,…
      --quick                           a tenth of the requests, once instead of three times
      --disk DIR                        measure files on a disk there as well
      --binary PATH                     measure a kubevmm that is there already
  cargo xtask bench net [OPTIONS]     measure traffic between guest and host, in instructions, beside QEMU (with and
                                      without vhost-net)
      --vmm NAME,NAME                   only these: kubevmm, kubevmm-vhost, qemu, qemu-vhost
      --peer cloud-hypervisor=PATH      measure this cloud-hypervisor as well
      --binary PATH                     measure a kubevmm that is there already
  cargo xtask conformance             compare check's verdicts with KubeVirt's and print the score
  cargo xtask fuzz TARGET             throw inputs at a target of fuzz/ (check, qcow2, iso, net) until one does harm
      --seconds N                       for so long (60)
  cargo xtask guest-image             prepare the example guest and say where it is
  cargo xtask host                    a shell in the test host

Everything is cached in target/kubevmm; logs of failed cases are in target/kubevmm/results/CASE.
Kernels, busybox and QEMU come out of Debian's archive and are not installed.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(Error(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", "cloud"] => cloud::run(&Store::open()?),
        ["test", "cloud", "--prepare"] => {
            cloud::LongHost::with_debian(&Store::open()?, &Subject::Release).map(|_| ExitCode::SUCCESS)
        }
        ["soak", "migrate", rest @ ..] => {
            soak_faults::run(&Store::open()?, &soak_faults::Request::parse(What::Migrations, rest)?)
        }
        ["soak", "snapshot-faults", rest @ ..] => {
            soak_faults::run(&Store::open()?, &soak_faults::Request::parse(What::Snapshots, rest)?)
        }
        ["soak", rest @ ..] => soak::run(&Store::open()?, &soak::Request::parse(rest)?),
        ["test", rest @ ..] => test::run(&Store::open()?, &test::Request::parse(rest)?),
        ["demo"] => demo::run(&Store::open()?),
        ["bench", "boot"] => bench::boot(&Store::open()?, &Subject::Release),
        ["bench", "boot", "--binary", path] => bench::boot(&Store::open()?, &Subject::Built(path.into())),
        ["bench", "snapshot"] => bench_snapshot::snapshot(&Store::open()?),
        ["bench", "migrate"] => bench_snapshot::migrate(&Store::open()?),
        ["bench", "migrate", rest @ ..] => {
            bench_migrate::run(&Store::open()?, &bench_migrate::Request::parse(rest)?)
        }
        ["bench", "block", rest @ ..] => {
            bench_block::run(&Store::open()?, &bench_block::Request::parse(rest)?)
        }
        ["bench", "net", rest @ ..] => bench_net::run(&Store::open()?, &bench_net::Request::parse(rest)?),
        ["conformance"] => conformance::run(&Store::open()?),
        ["fuzz", rest @ ..] => fuzz::run(&Store::open()?, &fuzz::Request::parse(rest)?),
        ["guest-image"] => guest(&Store::open()?),
        ["host"] => shell::run(&Store::open()?),
        [] | ["help" | "--help" | "-h", ..] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => {
            eprint!("no such task: {}\n\n{HELP}", other.join(" "));
            Ok(ExitCode::from(2))
        }
    }
}

fn guest(store: &Store) -> Result<ExitCode> {
    let programs = cargo::Programs::build(store, &cargo::Subject::Release)?;
    let image = guest_image::prepare(store, &kernel::Kernel::unpack(store)?, &programs)?;
    println!("as a folder: {}\nas an OCI image layout: {}", image.rootfs.display(), image.layout.display());
    Ok(ExitCode::SUCCESS)
}
