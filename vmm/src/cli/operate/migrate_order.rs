//! What `kubevmm migrate` is to do: by its command line, by an object, and by policies.

use serde_json::{Map, Value};
use spec::api::{MigrationPolicy, Quantity, VirtualMachineInstanceMigration};
use spec::{Manifests, Object};

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::manifest;
use crate::cli::output::say;
use crate::client::Machine;
use crate::migration::transport::Address;
use crate::migration::{by_policies, connect_url};

/// An order to move a machine.
pub(super) struct Order {
    /// The machine, with its namespace.
    machine: String,
    address: Address,
    /// The object that orders it, if it is one.
    object: Option<Value>,
    policies: Vec<MigrationPolicy>,
}

impl Order {
    /// What the command line orders, or the object that it names.
    pub(super) fn read(args: &Args) -> Result<Self, Failure> {
        let (mut policies, _) = read(&files(args, "policy")?)?;
        let words = args.words()?;
        let objects = files(args, "filename")?;
        if objects.is_none() {
            let [machine, address] = words.as_slice() else {
                return Err(usage("give the name of a machine, and the address where it goes"));
            };
            let (machine, address) = ((*machine).to_owned(), local(parse(address)?));
            return Ok(Self { machine, address, object: None, policies });
        }
        let (more, mut migrations) = read(&objects)?;
        policies.extend(more);
        let (Some(migration), true) = (migrations.pop(), migrations.is_empty()) else {
            return Err(usage("-f wants a file with one VirtualMachineInstanceMigration"));
        };
        let address = match (words.as_slice(), migration.spec.send_to.as_ref()) {
            ([address], _) => parse(address)?,
            ([], Some(to)) if !to.connect_url.is_empty() => {
                connect_url(&to.connect_url).map_err(|error| usage(&error.to_string()))?
            }
            ([], _) => {
                return Err(usage(
                    "the migration does not say where to (sendTo.connectURL): give the address",
                ));
            }
            _ => {
                return Err(usage(
                    "give no more than the address, and the machine's name in the object alone",
                ));
            }
        };
        let machine = format!("{}/{}", migration.namespace(), migration.spec.vmi_name);
        // Text, numbers and lists always have a JSON form.
        let object = Some(serde_json::to_value(&migration).unwrap_or_default());
        Ok(Self { machine, address: local(address), object, policies })
    }

    /// The machine, as names are given.
    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    /// Where it goes.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The request that orders it.
    pub(super) fn body(&self, args: &Args, machine: &Machine) -> Result<String, Failure> {
        let mut body = match self.policies.as_slice() {
            [] => Map::new(),
            policies => by_policies(policies, &machine.object()?, &machine.namespace),
        };
        body.insert("address".into(), self.address.to_string().into());
        if let Some(object) = &self.object {
            body.insert("migration".into(), object.clone());
        }
        let put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put_options(args, put)?;
        Ok(Value::Object(body).to_string())
    }
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

fn parse(address: &str) -> Result<Address, Failure> {
    address.parse().map_err(|error: crate::migration::transport::BadAddress| usage(&error.to_string()))
}

/// The machine's process is in another directory, perhaps.
fn local(address: Address) -> Address {
    match address {
        Address::Unix(path) => Address::Unix(std::path::absolute(&path).unwrap_or(path)),
        network @ Address::Tcp { .. } => network,
    }
}

fn files(args: &Args, option: &str) -> Result<Option<Manifests>, Failure> {
    let files: Vec<_> = args.texts(option)?.into_iter().map(std::path::PathBuf::from).collect();
    if files.is_empty() { Ok(None) } else { manifest::load_files(&files).map(Some) }
}

/// The policies and migrations of manifests; what is wrong with any object is said.
fn read(
    manifests: &Option<Manifests>,
) -> Result<(Vec<MigrationPolicy>, Vec<VirtualMachineInstanceMigration>), Failure> {
    let (mut policies, mut migrations) = (Vec::new(), Vec::new());
    let Some(manifests) = manifests else { return Ok((policies, migrations)) };
    for document in &manifests.documents {
        let verdict = spec::admit(document, manifests);
        if !verdict.allowed || !verdict.warnings.is_empty() {
            say(&spec::report::text(&verdict));
        }
        if !verdict.allowed {
            return Err(Failure::Rejected);
        }
        match verdict.object {
            Object::MigrationPolicy(policy) => policies.push(*policy),
            Object::Migration(migration) => migrations.push(*migration),
            _ => {}
        }
    }
    Ok((policies, migrations))
}

/// What the command line says goes before that.
fn put_options(args: &Args, mut put: impl FnMut(&str, Value)) -> Result<(), Failure> {
    if let Some(bandwidth) = args.parsed::<Quantity>("bandwidth")? {
        let bytes = bandwidth.bytes().filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or_else(|| Failure::Usage("--bandwidth is to be a size, as in 64Mi".into()))?;
        put("bandwidth", bytes.into());
    }
    for (option, name) in [
        ("downtime", "downtimeMs"),
        ("completion-timeout", "completionTimeoutPerGiB"),
        ("progress-timeout", "progressTimeout"),
        ("connections", "connections"),
    ] {
        if let Some(number) = args.parsed::<u64>(option)? {
            put(name, number.into());
        }
    }
    if let Some(folder) = args.text("tls")? {
        // The machine's process is in another directory, perhaps.
        put("tls", std::path::absolute(&folder).unwrap_or_else(|_| folder.into()).to_string_lossy().into());
    }
    if let Some(name) = args.text("tls-peer")? {
        put("tlsPeer", name.into());
    }
    for (option, when) in [("allow-post-copy", "whenLate"), ("post-copy", "atOnce")] {
        if args.has(option) {
            put("postCopy", when.into());
        }
    }
    for (option, name) in [
        ("auto-converge", "autoConverge"),
        ("allow-disruption", "allowWorkloadDisruption"),
        ("copy-storage", "copyStorage"),
        // As KubeVirt has it.
        ("allow-post-copy", "allowWorkloadDisruption"),
        ("insecure", "insecure"),
    ] {
        if args.has(option) {
            put(name, true.into());
        }
    }
    let disks = args.texts("copy-disk")?;
    if !disks.is_empty() {
        put("copyDisks", disks.into());
    }
    Ok(())
}
