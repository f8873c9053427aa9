//! From a plan to the end of its machine.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use devices::chain;
use net::socket;
use spec::api::VirtualMachineInstance;

use super::Failure;
use super::manifest::Planned;
use super::receive::{Coming, Door, Found, NothingCame, Terms, Wanted};
use crate::agent::{Attendants, Awakening};
use crate::api::{self, Api, ApiContext, Deletion};
use crate::console::{Console, ConsoleHub, ConsoleLog, ConsolePump, ConsoleTarget, LOG_FILE};
use crate::hotplug::Depot;
use crate::machine::map_memory;
use crate::metrics::Metrics;
use crate::migration::record::Records;
use crate::milestone::{Milestone, Milestones};
use crate::open::{MadeImage, OpenError, OpenFault, Places, Resources, RuntimeDir, Subject};
use crate::plan::Plan;
use crate::snapshot::{CheckThread, Unchecked};
use crate::state::{Arrival, Driver, Event, Mailbox, Outcome, Requests, RunError};
use crate::status::{Phase, StatusKeeper};
use crate::sys::signals::Signals;

/// Where a machine comes from.
pub(super) enum Origin {
    /// It is switched on.
    PowerOn,
    /// It comes out of a snapshot, its guest needs this of its agent, and this of its memory is to be checked while it runs.
    Snapshot(Arrival, Awakening, Option<Unchecked>),
    /// It is to come to this address.
    Stream(Wanted),
}

impl Origin {
    fn awakening(&self) -> Awakening {
        match self {
            Self::Snapshot(_, awakening, _) => awakening.clone(),
            Self::Stream(_) => Awakening::moved(),
            Self::PowerOn => Awakening::default(),
        }
    }
}

/// A machine that has ended.
pub(super) struct Ended {
    /// How.
    pub(super) outcome: Result<Outcome, Failure>,
    /// What others know it by until they are told how it ended.
    pub(super) runtime: Option<RuntimeDir>,
}

/// Opens what the plan names and runs the machine to its end.
pub(super) fn boot(
    planned: Planned,
    depot: Depot,
    milestones: &Arc<Milestones>,
    signals: Signals,
    origin: Origin,
) -> Ended {
    let places = &depot.images;
    let (namespace, name) = (&planned.plan.namespace, &planned.plan.name);
    let created = match origin {
        Origin::Stream(_) => RuntimeDir::create_to_receive(&places.runtime, namespace, name),
        _ => RuntimeDir::create(&places.runtime, namespace, name),
    };
    let mut runtime = match created {
        Ok(runtime) => runtime,
        Err(error) => {
            let outcome = Err(planned.not_opened(&[OpenFault { subject: Subject::Machine, error }]));
            return Ended { outcome, runtime: None };
        }
    };
    if places.leave_nothing {
        runtime.leave_nothing();
    }
    let deletion = Deletion::default();
    let outcome = boot_in(&runtime, planned, &depot, milestones, (signals, origin), deletion.clone());
    if deletion.is_asked() {
        runtime.leave_nothing();
    }
    Ended { outcome, runtime: Some(runtime) }
}

/// The same in the runtime directory.
fn boot_in(
    runtime: &RuntimeDir,
    mut planned: Planned,
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
    let awakening = origin.awakening();
    let attendants = Attendants::start(&planned.plan, places.agent_socket, awakening, &board, &mailbox)
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
    let lock_later = matches!(origin, Origin::Stream(_));
    let places = &Places { agent, lock_later, ..places.clone() };
    let made = match &origin {
        Origin::Stream(Wanted { takes_copies: true, .. }) => MadeImage::all(&planned.plan),
        _ => Ok(Vec::new()),
    };
    let open = || Resources::open(&planned.plan, places, runtime, console.clone(), metrics);
    let opened = made.and_then(|made| Ok((made, open()?)));
    let fail = |faults: &[OpenFault], keeper: &mut StatusKeeper| {
        keeper.fail(&all_of(faults));
        mailbox.close();
    };
    let (made, mut resources) = match opened {
        Ok(opened) => opened,
        Err(faults) => {
            fail(&faults, &mut keeper);
            return Err(planned.not_opened(&faults));
        }
    };
    milestones.reach(Milestone::Opened);
    // Connected last, because it changes the user's terminal.
    let pump = Rc::new(OnceCell::new());
    let connect = connection(&planned.plan, places, runtime, console, &mailbox, &pump);
    let (mut door, mut _checking) = (None, None);
    let arrival = match origin {
        Origin::Stream(wanted) => {
            let terms = Terms { takes_copies: wanted.takes_copies, made };
            let wanted = wanted.or_called(&planned.migration_id);
            let door = door.insert(Door::open(wanted, &planned.plan, runtime.path())?);
            let vmi = planned.machine();
            let machine = (&mut planned.plan, &mut resources);
            let coming = receive(door, machine, (runtime, &signals), (terms, depot, &vmi), connect);
            let (arrival, found) = coming.inspect_err(|failure| {
                keeper.fail(&chain(failure));
                mailbox.close();
            })?;
            found.into_iter().for_each(|found| found.tell(&mut keeper));
            Some(arrival)
        }
        origin => {
            if let Err(faults) = connect() {
                fail(&faults, &mut keeper);
                return Err(planned.not_opened(&faults));
            }
            match origin {
                Origin::Snapshot(arrival, _, unchecked) => {
                    _checking = unchecked.map(|memory| check(memory, &mailbox)).transpose()?;
                    Some(arrival)
                }
                _ => None,
            }
        }
    };
    let (refuge, strategy) = (planned.refuge.clone(), planned.machine().spec.eviction_strategy);
    let (plan, milestones) = (planned.opened(), Arc::clone(milestones));
    let driver = Driver::new(plan, resources, milestones, signals, mailbox, keeper, depot.clone())?;
    let driver = driver.keeping_records_in(runtime.path()).evicted_to(refuge, strategy);
    let ended = match arrival {
        Some(arrival) => driver.arriving(arrival).run(),
        None => driver.run(),
    };
    if let (Err(_), Some(door)) = (&ended, &door) {
        door.linger();
    }
    ended.map_err(|error| match error {
        RunError::Arrival(error) if error.is::<NothingCame>() => Failure::NotSo(error.to_string()),
        error => error.into(),
    })
}

/// Has memory checked while the machine runs, which is told if something is wrong with it.
fn check(memory: Unchecked, mailbox: &Mailbox) -> Result<CheckThread, Failure> {
    let mailbox = mailbox.clone();
    let begun = memory.check_meanwhile(move |error| mailbox.post(Event::Damaged(chain(&error))));
    begun.map_err(|source| Failure::Host { what: "no thread could be started to check memory", source })
}

/// Waits for the machine of `plan`, and has it come; `connect` connects the console when it has.
fn receive(
    door: &Door,
    (plan, resources): (&mut Plan, &mut Resources),
    (runtime, signals): (&RuntimeDir, &Signals),
    (terms, depot, vmi): (Terms, &Depot, &VirtualMachineInstance),
    connect: impl FnOnce() -> Result<(), Vec<OpenFault>> + 'static,
) -> Result<(Arrival, Vec<Found>), Failure> {
    let ram = map_memory(&plan.memory).map_err(|error| Failure::NotSo(chain(&error)))?;
    let connect = || connect().map_err(|faults| all_of(&faults));
    let mut incoming = door.wait(signals)?;
    let found = terms.agree(&mut incoming, (plan, resources), depot, vmi).map_err(Failure::NotSo)?;
    let coming = Coming {
        incoming,
        disks: resources.disks(plan),
        records: Records::new(runtime.path()),
        peer: door.address(),
        made: terms.made,
        connect: Box::new(connect),
    };
    Ok((Arrival::from(ram, coming), found))
}

fn all_of(faults: &[OpenFault]) -> String {
    faults.iter().map(|fault| chain(&fault.error)).collect::<Vec<_>>().join("; ")
}

/// What connects the console to where the command line wants it, and leaves its pump in `place`.
fn connection(
    plan: &Plan,
    places: &Places,
    runtime: &RuntimeDir,
    hub: ConsoleHub,
    mailbox: &Mailbox,
    place: &Rc<OnceCell<ConsolePump>>,
) -> impl FnOnce() -> Result<(), Vec<OpenFault>> + use<> {
    let own_log = plan.logs_console.then(|| runtime.path().join(LOG_FILE));
    let log = places.console_log.clone().or(own_log);
    let (target, mailbox, place) = (places.console.clone(), mailbox.clone(), Rc::clone(place));
    move || {
        let pump = pump(&target, log.as_deref(), hub, &mailbox)?;
        place.get_or_init(|| pump);
        Ok(())
    }
}

/// Connects the console to `target`; what it says is added to `log`.
fn pump(
    target: &ConsoleTarget,
    log: Option<&Path>,
    hub: ConsoleHub,
    mailbox: &Mailbox,
) -> Result<ConsolePump, Vec<OpenFault>> {
    let fault = |what: String, source| {
        vec![OpenFault { subject: Subject::Machine, error: OpenError::Host { what, source } }]
    };
    let log = log.map(|path| {
        ConsoleLog::open(path).map_err(|error| fault(format!("the console's log {}", path.display()), error))
    });
    let what = || format!("the serial console ({target})");
    let log = log.transpose()?;
    let console = Console::open(target).map_err(|error| fault(what(), error))?;
    ConsolePump::spawn(console, log, hub, mailbox.clone()).map_err(|error| fault(what(), error))
}

/// Lets others reach the machine by its socket.
fn serve(runtime: &RuntimeDir, context: ApiContext) -> Result<Api, Failure> {
    let path = runtime.path().join(api::SOCKET);
    let served =
        socket::listen_privately(&path).and_then(|listener| Api::serve(listener, context, api::routes::ALL));
    served.map_err(|source| Failure::Host { what: "the API's socket could not be set up", source })
}
