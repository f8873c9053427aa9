//! `cargo xtask demo`: the example machine on this terminal.

use std::io::IsTerminal;
use std::process::{Command, ExitCode};
use std::time::Duration;

use tests::host::orders::Orders;

use crate::cargo::{Programs, Subject};
use crate::error::{Doing, Result};
use crate::guest_image;
use crate::host::{Boot, Ended, Host};
use crate::kernel::Kernel;
use crate::kvm::{self, Kvm};
use crate::store::Store;

/// When the demo without a person at the terminal is given up.
const BATCH_LIMIT: Duration = Duration::from_secs(5 * 60);

pub(crate) fn run(store: &Store) -> Result<ExitCode> {
    let person = std::io::stdin().is_terminal();
    let programs = Programs::build(store, &Subject::Release)?;
    match kvm::look() {
        Kvm::Hardware => here(store, &programs, person),
        Kvm::Software => {
            println!(
                "This machine's /dev/kvm has no hardware virtualization below it, which Linux guests need."
            );
            emulated(store, &programs, person)
        }
        Kvm::Absent(why) => {
            println!("This machine has no KVM to use ({why}).");
            emulated(store, &programs, person)
        }
    }
}

/// On this machine's KVM, with the very command that a person would type.
fn here(store: &Store, programs: &Programs, person: bool) -> Result<ExitCode> {
    guest_image::prepare(store, &Kernel::unpack(store)?, programs)?;
    println!("{} run resources/examples/hello.yaml", programs.kubevmm.display());
    let mut command = if person {
        let mut command = Command::new(&programs.kubevmm);
        command.args(["run", "resources/examples/hello.yaml"]);
        command
    } else {
        let mut command = Command::new(&programs.runner);
        command.arg("demo").arg(&programs.kubevmm);
        command
    };
    let status = command.current_dir(&store.root).status().doing("starting kubevmm")?;
    Ok(code(status.code().unwrap_or(1)))
}

/// In the test host, whose serial port is this terminal.
fn emulated(store: &Store, programs: &Programs, person: bool) -> Result<ExitCode> {
    println!(
        "Running in the test host instead: an emulated machine that has it. That is slower, not different."
    );
    let host = Host::prepare(store, programs)?;
    println!("kubevmm run resources/examples/hello.yaml");
    let boot = Boot {
        orders: if person { Orders::Demo } else { Orders::DemoBatch },
        terminal: true,
        counting: false,
        memory: 1536,
        drives: Vec::new(),
        silence: None,
        limit: if person { Duration::from_secs(24 * 3600) } else { BATCH_LIMIT },
    };
    match host.run(&boot, |_| {})? {
        Ended::Whole(status) => Ok(code(status)),
        Ended::Broken => {
            Err("the test host went down: QEMU's software CPU does so now and then; try again".into())
        }
    }
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
