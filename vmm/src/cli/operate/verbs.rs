//! Commands that have something done.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::client::{ClientError, Machine};

use super::{kept, names};

/// How often it is looked whether a machine has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the command if it is one of these. What one machine refuses does not keep the others from it.
pub(super) fn main(name: &str, args: &Args) -> Option<Result<u8, Failure>> {
    let verb: fn(&Machine, &Args) -> Result<String, Failure> = match name {
        "pause" => |machine, _| put(machine, &machine.subresource("pause"), "", "is paused"),
        "unpause" => |machine, _| put(machine, &machine.subresource("unpause"), "", "goes on"),
        "soft-reboot" => |machine, _| put(machine, &machine.subresource("softreboot"), "", "reboots"),
        "reset" => |machine, _| put(machine, &machine.subresource("reset"), "", "is reset"),
        "stop" => stop,
        "restart" => restart,
        "delete" => delete,
        _ => return None,
    };
    let machines = match name {
        "stop" | "restart" => names::machines_or_kept(args),
        _ => names::machines(args),
    };
    Some(machines.and_then(|machines| each(&machines, args, verb)))
}

/// Stops a machine. One that a fleet keeps would be started again by that, now or once it has waited for long enough: the fleet is
/// told, and with a time of its own or none the machine is, too.
fn stop(machine: &Machine, args: &Args) -> Result<String, Failure> {
    let grace = grace(args, "gracePeriod")?;
    let is_kept = order_kept(machine, args, "stop")?;
    let scheduled = || Ok(format!("VM {machine} was scheduled to stop"));
    if is_kept && is_plain(args) {
        return scheduled();
    }
    match put(machine, &machine.vm_subresource("stop"), &grace, "is stopped") {
        Err(Failure::Client(ClientError::Ended(_))) if is_kept => scheduled(),
        stopped => stopped,
    }
}

/// Stops a machine and starts it again.
fn restart(machine: &Machine, args: &Args) -> Result<String, Failure> {
    let scheduled = || Ok(format!("VM {machine} was scheduled to restart"));
    if is_plain(args) && order_kept(machine, args, "restart")? {
        return scheduled();
    }
    let grace = grace(args, "gracePeriodSeconds")?;
    match put(machine, &machine.vm_subresource("restart"), &grace, "restarts") {
        // It waits to be started, or is not to run: the fleet knows which.
        Err(Failure::Client(ClientError::Ended(_))) if order_kept(machine, args, "restart")? => scheduled(),
        restarted => restarted,
    }
}

/// Whether the guest has its usual time.
fn is_plain(args: &Args) -> bool {
    !args.has("force") && args.value("grace-period").is_none()
}

/// Asks the fleet that keeps the machine for `verb`; false if none does.
fn order_kept(machine: &Machine, args: &Args, verb: &str) -> Result<bool, Failure> {
    kept::order_kept(args, &machine.namespace, &machine.name, verb)
}

fn each(
    machines: &[Machine],
    args: &Args,
    verb: impl Fn(&Machine, &Args) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut last = Ok(0);
    for machine in machines {
        match verb(machine, args) {
            Ok(text) => print(&format!("{text}\n"))?,
            Err(failure) => {
                if let Err(earlier) = std::mem::replace(&mut last, Err(failure)) {
                    let _ = writeln!(std::io::stderr(), "kubevmm: {}", devices::chain(&earlier));
                }
            }
        }
    }
    last
}

fn put(machine: &Machine, path: &str, body: &str, done: &str) -> Result<String, Failure> {
    let answer = machine.ask("PUT", path, body)?;
    let begun = if answer.code == 202 { ": its guest was asked to" } else { "" };
    Ok(format!("VMI {machine} {done}{begun}"))
}

/// The guest's time as the body of a request.
fn grace(args: &Args, key: &str) -> Result<String, Failure> {
    let seconds: Option<u32> = args.parsed("grace-period")?;
    Ok(match (args.has("force"), seconds) {
        (true, Some(1..)) => {
            return Err(Failure::Usage("--force leaves no time: give it or --grace-period".into()));
        }
        (true, _) => format!("{{\"{key}\":0}}"),
        (false, Some(seconds)) => format!("{{\"{key}\":{seconds}}}"),
        (false, None) => String::new(),
    })
}

fn delete(machine: &Machine, args: &Args) -> Result<String, Failure> {
    match machine.ask("DELETE", &machine.path(), &grace(args, "gracePeriodSeconds")?) {
        Ok(_) if args.has("no-wait") => return Ok(format!("VMI {machine} is to be deleted")),
        Ok(_) => wait_for_end(machine)?,
        Err(ClientError::Ended(_)) => machine.forget()?,
        Err(error) => return Err(error.into()),
    }
    Ok(format!("VMI {machine} is deleted"))
}

/// Waits until the process has ended. It has its own time limit.
fn wait_for_end(machine: &Machine) -> Result<(), Failure> {
    let slow = Instant::now() + Duration::from_secs(5);
    let mut is_told = false;
    while machine.runs() {
        std::thread::sleep(LOOK);
        if !is_told && Instant::now() > slow {
            is_told = true;
            let _ = writeln!(std::io::stderr(), "kubevmm: waiting for the guest of {machine} to power off");
        }
    }
    Ok(())
}
