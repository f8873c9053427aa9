//! From files to the one machine that a command is about.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use devices::chain;
use spec::api::VirtualMachineInstance;
use spec::{Cause, Document, Manifests, Places, Reason, Resolved, Verdict, Warning, report};

use super::Failure;
use super::args::Args;
use super::choose::choose;
use super::images;
use super::output::say;
use super::refuge::refuge;
use crate::hotplug::Depot;
use crate::open::{self, OpenFault, Subject};
use crate::plan::{
    self, BadLimit, BadTap, DevicePlan, Fault, Options, Plan, PlanError, Surroundings, TapSource,
};
use crate::state::Refuge;

/// Where KubeVirt's pods have what their machine refers to.
pub(super) const POD: &str = "/var/run/kubevirt-private";
/// Options that say where things are.
const PLACES: [&str; 4] = ["volumes", "secrets", "configmaps", "images"];

/// Reads all files; every error is said.
pub(super) fn load(args: &Args) -> Result<Manifests, Failure> {
    load_files(args.files()?)
}

/// The same of these files.
pub(super) fn load_files(files: &[PathBuf]) -> Result<Manifests, Failure> {
    spec::load(files).map_err(|errors| {
        for error in &errors {
            say(&report::load_error(error));
        }
        Failure::Rejected
    })
}

/// Where the things are that manifests only name.
pub(super) fn places(args: &Args) -> Places {
    Places {
        volumes: args.path("volumes"),
        secrets: args.path("secrets"),
        config_maps: args.path("configmaps"),
        pod: Some(PathBuf::from(POD)).filter(|pod| pod.is_dir()),
    }
}

/// Looks up everything that a machine refers to.
pub(super) fn resolve(machine: &VirtualMachineInstance, manifests: &Manifests, args: &Args) -> Resolved {
    let mut resolved = spec::resolve(machine, manifests, &places(args));
    resolved.missing.extend(images::missing(machine, args));
    resolved
}

/// Whether the command line says where such things are.
pub(super) fn names_places(args: &Args) -> bool {
    PLACES.iter().any(|place| args.has(place))
}

/// An object's kind and name, for people.
pub(super) fn called(document: &Document) -> String {
    let or_none = |text: &str, none: &str| if text.is_empty() { none.into() } else { text.to_owned() };
    format!("{} {}", or_none(document.kind(), "(no kind)"), or_none(document.name(), "(no name)"))
}

/// A plan, and the manifest that it was made from.
pub(super) struct Planned {
    pub(super) plan: Plan,
    machine: VirtualMachineInstance,
    verdict: Verdict,
    document: Document,
    options: Options,
    /// The NetworkAttachmentDefinitions among the manifests.
    definitions: Arc<Manifests>,
    /// What a VirtualMachineInstanceMigration of the manifests calls the migration by which the machine is to come; empty if none does.
    pub(super) migration_id: String,
    /// Where the machine goes if its process is to end.
    pub(super) refuge: Option<Refuge>,
}

impl Planned {
    /// The machine of a snapshot, whose object is in `file` and whose plan is known. `options` are for cards that are added later.
    pub(super) fn saved(plan: Plan, file: PathBuf, options: Options) -> Result<Self, Failure> {
        let nonsense = || Failure::NotSo(format!("{} describes no machine", file.display()));
        let manifests = spec::load(std::slice::from_ref(&file)).map_err(|errors| {
            errors.iter().for_each(|error| say(&report::load_error(error)));
            Failure::Rejected
        })?;
        let document = choose(&manifests, None)?;
        // It was admitted when it was started.
        let verdict = spec::admit(document, &manifests);
        let mut machine = verdict.machine().cloned().ok_or_else(nonsense)?;
        take_identity(&mut machine, &plan);
        let definitions = Arc::default();
        let (document, migration_id) = (document.clone(), String::new());
        Ok(Self { plan, machine, verdict, document, options, definitions, migration_id, refuge: None })
    }

    /// The machine that the manifest describes, admitted and with KubeVirt's defaults.
    pub(super) fn machine(&self) -> VirtualMachineInstance {
        self.machine.clone()
    }

    /// Where devices are found that are added later.
    pub(super) fn depot(&self, args: &Args, images: open::Places) -> Depot {
        let (options, definitions) = (self.options.clone(), Arc::clone(&self.definitions));
        Depot { claims: places(args), images, options, definitions }
    }

    /// What is still needed once everything is open: neither the manifest nor what was read of it into disks.
    pub(super) fn opened(self) -> Plan {
        self.plan.without_contents()
    }

    /// Says what could not be opened, at the lines that name it.
    pub(super) fn not_opened(mut self, faults: &[OpenFault]) -> Failure {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            faults.iter().partition(|fault| fault.subject != Subject::Machine);
        let errors: Vec<_> = here
            .into_iter()
            .map(|fault| PlanError::missing(self.field(&fault.subject), chain(&fault.error)))
            .collect();
        if !errors.is_empty() {
            self.verdict.warnings.clear();
            fault(&mut self.verdict, &self.document, &errors);
            say(&report::text(&self.verdict));
        }
        for fault in elsewhere {
            say(&format!("kubevmm: {}\n", chain(&fault.error)));
        }
        let all: Vec<_> = faults.iter().map(|fault| chain(&fault.error)).collect();
        Failure::NotOpened(all.join("; "))
    }

    /// Where the machine's specification names the thing.
    fn field(&self, subject: &Subject) -> String {
        let spec = self.verdict.machine().map(|machine| &machine.spec);
        let place = |list: &str, index: Option<usize>| index.map(|index| format!("{list}[{index}]"));
        let found = match subject {
            Subject::Boot => Some("spec.domain.firmware.kernelBoot.container".to_owned()),
            Subject::Disk(name) => {
                let index = spec.and_then(|spec| spec.volumes.iter().position(|volume| volume.name == *name));
                place("spec.volumes", index)
            }
            Subject::Card(name) => {
                let cards = spec.map(|spec| &spec.domain.devices.interfaces);
                let index = cards.and_then(|cards| cards.iter().position(|card| card.name == *name));
                place("spec.domain.devices.interfaces", index)
            }
            Subject::Machine => None,
        };
        found.unwrap_or_else(|| "spec".into())
    }
}

/// A machine that comes out of a snapshot is who its plan says.
fn take_identity(machine: &mut VirtualMachineInstance, plan: &Plan) {
    let is_another = machine.metadata.name != plan.name;
    machine.metadata.name.clone_from(&plan.name);
    if is_another {
        machine.spec.hostname = None;
    }
    if let Some(firmware) = &mut machine.spec.domain.firmware
        && firmware.uuid.as_ref().is_none_or(|uuid| *uuid != plan.smbios.uuid)
    {
        machine.metadata.uid.clear();
        firmware.uuid = Some(plan.smbios.uuid.clone());
        firmware.serial = None;
    }
    if is_another {
        machine.metadata.uid.clear();
    }
    for card in &mut machine.spec.domain.devices.interfaces {
        let planned = plan.functions.iter().find_map(|function| match &function.device {
            DevicePlan::Nic(nic) if nic.network == card.name => Some(nic.mac),
            _ => None,
        });
        if let (Some(address), Some(planned)) = (&mut card.mac_address, planned) {
            *address = planned.to_string();
        }
    }
}

/// What of the host stands for networks, for cards that are added to a machine.
pub(super) fn networks(args: &Args) -> Result<Options, Failure> {
    Ok(Options {
        taps: taps(args)?,
        multus: args.pairs("multus")?,
        pod_network: args.text("pod-network")?,
        nic_limits: limits(args, "nic-limit")?,
        ..Options::default()
    })
}

/// What an option limits, with the limits.
fn limits<L: FromStr<Err = BadLimit>>(args: &Args, option: &str) -> Result<Vec<(String, L)>, Failure> {
    let fault = |error: BadLimit| Failure::Usage(format!("--{option}: {error}"));
    let pairs = args.pairs(option)?.into_iter();
    pairs.map(|(name, limit)| Ok((name, limit.parse().map_err(fault)?))).collect()
}

pub(super) fn taps(args: &Args) -> Result<Vec<(String, TapSource)>, Failure> {
    let fault = |error: BadTap| Failure::Usage(format!("--tap: {error}"));
    let pairs = args.pairs("tap")?.into_iter();
    pairs.map(|(network, tap)| Ok((network, tap.parse().map_err(fault)?))).collect()
}

/// Plans the machine that the command line names. Faults and warnings are said at their lines; `look` is called between
/// admission and planning, and says what the host's network is like.
pub(super) fn plan(
    args: &Args,
    look: impl FnOnce(&VirtualMachineInstance) -> Result<Surroundings, Failure>,
) -> Result<Planned, Failure> {
    let mut options = Options {
        kernel: args.path("kernel"),
        initrd: args.path("initrd"),
        append: args.text("append")?,
        clocks_run_while_paused: args.has("guest-sees-pauses"),
        disk_limits: limits(args, "disk-limit")?,
        ..networks(args)?
    };
    let name = args.text("name")?;
    let manifests = load(args)?;
    let document = choose(&manifests, name.as_deref())?;
    let mut verdict = spec::admit(document, &manifests);
    if verdict.allowed || options.kernel.is_some() {
        leave_booting_to_the_plan(&mut verdict);
    }
    let Some(machine) = verdict.machine() else { return Err(refuse(&verdict)) };
    let machine = replica(machine, args)?;
    let resolved = resolve(&machine, &manifests, args);
    if !verdict.allowed {
        verdict.miss(document, &resolved.missing, true);
        return Err(refuse(&verdict));
    }
    let interfaces = format!("{}spec.domain.devices.interfaces", verdict.machine_base());
    options.cards_are_defaults = !document.has(&interfaces);
    let surroundings = look(&machine)?;
    match plan::make(&machine, &options, &resolved, &surroundings) {
        Ok((plan, warnings)) => {
            warn(&mut verdict, document, &warnings);
            say(&report::text(&verdict));
            let definitions = Arc::new(manifests.only("NetworkAttachmentDefinition"));
            let migration_id = migration_id(&machine, &manifests)?;
            let document = document.clone();
            let refuge = refuge(args, &machine, &manifests)?;
            Ok(Planned { plan, machine, verdict, document, options, definitions, migration_id, refuge })
        }
        Err(errors) => {
            fault(&mut verdict, document, &errors);
            say(&report::text(&verdict));
            let is_host = errors.iter().all(|error| error.fault == Fault::Host);
            Err(if is_host { Failure::Missing } else { Failure::Rejected })
        }
    }
}

/// What the migration is called by which the machine is to come, if the manifests have one that receives it.
fn migration_id(machine: &VirtualMachineInstance, manifests: &Manifests) -> Result<String, Failure> {
    let of_kind = |document: &&Document| document.kind() == "VirtualMachineInstanceMigration";
    for document in manifests.documents.iter().filter(of_kind) {
        let verdict = spec::admit(document, manifests);
        let spec::Object::Migration(migration) = &verdict.object else { continue };
        let is_its_own =
            migration.spec.vmi_name == machine.metadata.name && migration.namespace() == machine.namespace();
        if let Some(received) = migration.spec.receive.as_ref().filter(|_| is_its_own) {
            if !verdict.allowed {
                return Err(refuse(&verdict));
            }
            return Ok(received.migration_id.clone());
        }
    }
    Ok(String::new())
}

/// The machine under the name that the command line gives to one of a template.
fn replica(machine: &VirtualMachineInstance, args: &Args) -> Result<VirtualMachineInstance, Failure> {
    let mut machine = machine.clone();
    if let Some(name) = args.text("replica")? {
        if let Some(fault) = spec::formats::subdomain(&name) {
            return Err(Failure::Usage(format!("--replica: {name:?} {fault}")));
        }
        machine.metadata.name = name;
    }
    Ok(machine)
}

/// Says what is wrong with an object that is not admitted.
pub(super) fn refuse(verdict: &Verdict) -> Failure {
    say(&report::text(verdict));
    Failure::Rejected
}

/// Admission warns of machines that boot from firmware. With `--kernel` they do not, and without they are no machines
/// that can be planned.
fn leave_booting_to_the_plan(verdict: &mut Verdict) {
    let firmware = format!("{}spec.domain.firmware", verdict.machine_base());
    let loaders = ["", ".bootloader.bios", ".bootloader.efi"].map(|end| format!("{firmware}{end}"));
    verdict.warnings.retain(|warning| !loaders.contains(&warning.path));
}

fn warn(verdict: &mut Verdict, document: &Document, warnings: &[PlanError]) {
    for warning in warnings {
        let path = format!("{}{}", verdict.machine_base(), warning.field);
        let (message, location) = (warning.message.clone(), document.locate(&path));
        verdict.warnings.push(Warning { path, message, location });
    }
    verdict.warnings.sort_by_key(|warning| (warning.location.line(), warning.location.column()));
}

fn fault(verdict: &mut Verdict, document: &Document, errors: &[PlanError]) {
    for error in errors {
        let path = format!("{}{}", verdict.machine_base(), error.field);
        let reason = match error.fault {
            Fault::Manifest => Reason::NotSupported,
            Fault::Host => Reason::NotFound,
        };
        let (message, location) = (error.message.clone(), document.locate(&path));
        verdict.causes.push(Cause { reason, field: path.clone(), path, message, location });
    }
    verdict.causes.sort_by_key(|cause| (cause.location.line(), cause.location.column()));
    verdict.allowed = false;
}
