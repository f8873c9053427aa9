//! `kubevmm run`.

use std::path::PathBuf;
use std::sync::Arc;

use devices::chain;

use super::args::Args;
use super::manifest::Planned;
use super::output::say;
use super::receive::Door;
use super::{Failure, manifest, surroundings};
use crate::agent::Attendants;
use crate::api::{self, Api, ApiContext, Deletion};
use crate::console::{Console, ConsoleHub, ConsoleLog, ConsolePump, LOG_FILE};
use crate::hotplug::Depot;
use crate::metrics::Metrics;
use crate::migration::transport::Address;
use crate::milestone::{Milestone, Milestones};
use crate::open::{OpenError, OpenFault, Places, Resources, RuntimeDir, Subject, clean_network};
use crate::plan::Plan;
use crate::state::{Arrival, Driver, Mailbox, Outcome, Requests, write_report};
use crate::status::{Phase, StatusKeeper};
use crate::sys::signals::Signals;
use crate::sys::{heap, kick, socket};

/// Boots the machine and waits for its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    start(args, None)
}

/// The same of a machine that comes from elsewhere, by way of `listen`.
pub(super) fn start(args: &Args, listen: Option<Address>) -> Result<u8, Failure> {
    let milestones = Arc::new(Milestones::start());
    heap::share();
    let places = places(args)?;
    // Before anything is opened, so that a signal in between ends the machine as at any other time.
    let signals = signals()?;

    let planned = manifest::plan(args, |machine| {
        milestones.reach(Milestone::Parsed);
        for left in clean_network(&places.runtime) {
            say(&format!("kubevmm: {left}\n"));
        }
        surroundings::gather(machine)
    })?;
    milestones.reach(Milestone::Planned);
    let (namespace, name) = (planned.plan.namespace.clone(), planned.plan.name.clone());
    let depot = planned.depot(args, places);
    let origin = listen.map_or(Origin::PowerOn, Origin::Stream);
    let ended = boot(planned, depot, &milestones, signals, origin);
    told(args, (&namespace, &name), ended, &milestones)
}

/// Takes signals over: those to this process, and those to vCPUs.
pub(super) fn signals() -> Result<Signals, Failure> {
    let what = "signals could not be taken over";
    let signals = Signals::block().map_err(|source| Failure::Host { what, source })?;
    kick::install().map_err(|error| Failure::Host { what, source: error.into() })?;
    Ok(signals)
}

/// Tells how a machine ended.
pub(super) fn told(
    args: &Args,
    (namespace, name): (&str, &str),
    ended: Result<Outcome, Failure>,
    milestones: &Milestones,
) -> Result<u8, Failure> {
    if args.has("timings") {
        say(&milestones.table());
    }
    if let Ok(outcome) = &ended {
        say(&format!("kubevmm: {namespace}/{name}: {}\n", outcome.reason.describe()));
    }
    if let Some(path) = args.path("exit-report") {
        let failed = |failure: &Failure| Outcome::failed(chain(failure));
        let outcome = ended.as_ref().map_or_else(failed, Outcome::clone);
        if let Err(error) = write_report(&path, (namespace, name), &outcome, milestones) {
            say(&format!("kubevmm: the exit report {} could not be written: {error}\n", path.display()));
        }
    }
    Ok(ended?.reason.exit_code())
}

/// Where a machine comes from.
pub(super) enum Origin {
    /// It is switched on.
    PowerOn,
    /// It has been somewhere.
    Arrival(Arrival),
    /// It is to come to this address.
    Stream(Address),
}

/// Opens what the plan names and runs the machine to its end.
pub(super) fn boot(
    planned: Planned,
    depot: Depot,
    milestones: &Arc<Milestones>,
    signals: Signals,
    origin: Origin,
) -> Result<Outcome, Failure> {
    let places = &depot.images;
    let (namespace, name) = (&planned.plan.namespace, &planned.plan.name);
    // One that comes back is as good as new.
    let checked = match origin {
        Origin::Stream(_) => Ok(()),
        _ => RuntimeDir::check_owner(&places.runtime, namespace, name),
    };
    let created = checked.and_then(|()| RuntimeDir::create(&places.runtime, namespace, name));
    let mut runtime = match created {
        Ok(runtime) => runtime,
        Err(error) => return Err(planned.not_opened(&[OpenFault { subject: Subject::Machine, error }])),
    };
    if places.leave_nothing {
        runtime.leave_nothing();
    }
    let deletion = Deletion::default();
    let ended = boot_in(&runtime, planned, &depot, milestones, (signals, origin), deletion.clone());
    if deletion.is_asked() {
        runtime.leave_nothing();
    }
    ended
}

/// The same in the runtime directory.
fn boot_in(
    runtime: &RuntimeDir,
    planned: Planned,
    depot: &Depot,
    milestones: &Arc<Milestones>,
    (signals, origin): (Signals, Origin),
    deletion: Deletion,
) -> Result<Outcome, Failure> {
    let places = &depot.images;
    let mut keeper = StatusKeeper::new(planned.machine(), &planned.plan);
    keeper.write_to(runtime.path());
    let mailbox = Mailbox::new().map_err(|source| Failure::Host { what: "no event queue", source })?;

    let console = ConsoleHub::new().map_err(|source| Failure::Host { what: "no serial console", source })?;
    let (requests, board) = (Requests::new(mailbox.clone()), keeper.board());
    let attendants = Attendants::start(&planned.plan, places.agent_socket, &board, &mailbox)
        .map_err(|source| Failure::Host { what: "the guest agent's thread", source })?;
    let agent = attendants.agent();
    let (vcpus, memory) = (planned.plan.cpu.topology.vcpus(), planned.plan.memory.ram.bytes());
    let metrics = Metrics::new(Arc::clone(milestones), vcpus, memory);
    let context = ApiContext {
        requests,
        board,
        agent: agent.clone(),
        console: console.clone(),
        metrics: metrics.clone(),
        deletion,
    };
    // It goes after all else, so that its clients hear of the end.
    let _api = serve(runtime, context)?;

    keeper.enter(Phase::Scheduling);
    keeper.publish();
    let (arrival, door) = match origin {
        Origin::PowerOn => (None, None),
        Origin::Arrival(arrival) => (Some(arrival), None),
        Origin::Stream(address) => (None, Some(Door::open(address, &planned.plan)?)),
    };
    let arrived = door.as_ref().map(|door| door.wait(&planned.plan, runtime, &signals)).transpose();
    let mut arrived = arrived.inspect_err(|failure| {
        keeper.fail(&chain(failure));
        mailbox.close();
    })?;
    let places = &Places { agent, lock_later: arrived.is_some(), ..places.clone() };
    let opened = Resources::open(&planned.plan, places, runtime, console.clone(), metrics)
        // Last, because it changes the user's terminal.
        .and_then(|resources| Ok((pump(&planned.plan, places, runtime, console, &mailbox)?, resources)));
    let (_pump, resources) = match opened {
        Ok(opened) => opened,
        Err(faults) => {
            let all: Vec<_> = faults.iter().map(|fault| chain(&fault.error)).collect();
            keeper.fail(&all.join("; "));
            mailbox.close();
            if let Some(arrived) = &mut arrived {
                arrived.fail(&all.join("; "));
            }
            return Err(planned.not_opened(&faults));
        }
    };
    milestones.reach(Milestone::Opened);
    let (plan, milestones) = (planned.opened(), Arc::clone(milestones));
    let arrival = match arrived {
        Some(arrived) => Some(arrived.arrival(resources.disks(&plan))),
        None => arrival,
    };
    let driver = Driver::new(plan, resources, milestones, signals, mailbox, keeper, depot.clone())?;
    let driver = driver.keeping_records_in(runtime.path());
    let ended = match arrival {
        Some(arrival) => driver.arriving(arrival).run(),
        None => driver.run(),
    };
    if let (Err(_), Some(door)) = (&ended, &door) {
        door.linger();
    }
    Ok(ended?)
}

/// Connects the console to where the command line wants it.
fn pump(
    plan: &Plan,
    places: &Places,
    runtime: &RuntimeDir,
    hub: ConsoleHub,
    mailbox: &Mailbox,
) -> Result<ConsolePump, Vec<OpenFault>> {
    let fault = |what: String, source| {
        vec![OpenFault { subject: Subject::Machine, error: OpenError::Host { what, source } }]
    };
    let own_log = plan.logs_console.then(|| runtime.path().join(LOG_FILE));
    let log = places.console_log.clone().or(own_log).map(|path| {
        ConsoleLog::open(&path).map_err(|error| fault(format!("the console's log {}", path.display()), error))
    });
    let what = || format!("the serial console ({})", places.console);
    let log = log.transpose()?;
    let console = Console::open(&places.console).map_err(|error| fault(what(), error))?;
    ConsolePump::spawn(console, log, hub, mailbox.clone()).map_err(|error| fault(what(), error))
}

/// Lets others reach the machine by its socket.
fn serve(runtime: &RuntimeDir, context: ApiContext) -> Result<Api, Failure> {
    let path = runtime.path().join(api::SOCKET);
    let served =
        socket::listen_privately(&path).and_then(|listener| Api::serve(listener, context, api::routes::ALL));
    served.map_err(|source| Failure::Host { what: "the API's socket could not be set up", source })
}

pub(super) fn places(args: &Args) -> Result<Places, Failure> {
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(Places {
        images: args.path("images"),
        cache: cache.unwrap_or_else(|| "/var/cache".into()).join("kubevmm"),
        runtime: runtime_root(args),
        console: args.parsed("console")?.unwrap_or_default(),
        console_log: args.path("console-log"),
        leave_nothing: args.has("rm"),
        agent_socket: args.has("agent-socket"),
        agent: None,
        lock_later: false,
    })
}

/// Where the runtime directories of machines are.
pub(super) fn runtime_root(args: &Args) -> PathBuf {
    let place = || variable("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into()).join("kubevmm");
    args.path("runtime-dir").unwrap_or_else(place)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
