//! `kubevmm up`: machines that are kept.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use net::socket;
use spec::report;

use super::args::Args;
use super::detach::detach;
use super::output::say;
use super::{Failure, manifest, refuge, run};
use crate::api::{self, Api};
use crate::fleet::{FleetContext, Folder, Launch, Moves, Ordered, ROUTES, Supervisor, orders, wanted};
use crate::sys::signals::Signals;

/// Options of `run` that every machine gets, with paths as their values.
const PATHS: [&str; 5] = ["volumes", "secrets", "configmaps", "images", "evict-tls"];
/// Options of `run` that every machine gets as they are.
const WORDS: [&str; 3] = ["multus", "pod-network", "evict-tls-peer"];
/// Options of `run` that every machine gets, without a value.
pub(super) const FLAGS: [&str; 1] = ["evict-insecure"];
/// Where whoever started a service wants to be told that it is ready (sd_notify(3)).
pub(super) const NOTIFY: &str = "NOTIFY_SOCKET";
/// Keeps the machines of the manifests until it is told to end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let each_goes_elsewhere = refuge::check(args)?;
    let manifests = manifest::load(args)?;
    let (wanted, verdicts) = wanted(&manifests);
    verdicts.iter().for_each(|verdict| say(&report::text(verdict)));
    if verdicts.iter().any(|verdict| !verdict.allowed) {
        return Err(Failure::Rejected);
    }
    if wanted.is_empty() {
        return Err(Failure::Usage("the manifests hold nothing that could be run".into()));
    }
    if !each_goes_elsewhere && (wanted.len() > 1 || !wanted.iter().all(|wanted| wanted.is_one())) {
        say("kubevmm: --evict-to has no {name} in it: of several machines only one can go there\n");
    }
    let (root, name) = (absolute(&run::runtime_root(args))?, fleet_name(args)?);
    if args.has("detach") {
        return detach(args, &manifests, &root, &name);
    }
    // From here on this supervisor or none has the fleet.
    let folder = Folder::take(&root, &name)?;
    let files: Vec<_> = manifests.sources().iter().map(|source| (source.file(), source.text())).collect();
    let files = folder.keep(&files).map_err(host("the manifests could not be kept"))?;
    let options = handed_on(args)?;
    let signals = Signals::block().map_err(host("signals could not be taken over"))?;
    let launch = Launch { files, options, runtime: root.clone() };
    let failed = || host("the supervisor could not start");
    let (orders, inbox) = orders().map_err(failed())?;
    let socket = folder.path().join(api::SOCKET);
    let ordered = Ordered::of(&verdicts);
    let moves = Moves::begin(folder.path(), root.clone(), ordered).map_err(failed())?;
    let supervisor = Supervisor::new(folder, launch, wanted, signals, inbox).map_err(failed())?;
    let supervisor = supervisor.with_moves(moves.clone());
    let context = FleetContext { orders, view: supervisor.view(), runtime: root, moves };
    let listener = socket::listen_privately(&socket).map_err(failed())?;
    let _api = Api::serve(listener, context, ROUTES).map_err(failed())?;
    supervisor.run(ready)?;
    Ok(0)
}

/// The fleet's name: as given, or as the first manifest is called.
fn fleet_name(args: &Args) -> Result<String, Failure> {
    if let Some(name) = args.text("fleet")? {
        return Ok(name);
    }
    let stem = args.files()?.first().and_then(|file| file.file_stem()).unwrap_or_default().to_string_lossy();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let name: String = stem.chars().map(|letter| if fits(letter) { letter } else { '-' }).collect();
    Ok(if stem == "-" { "default".into() } else { name })
}

/// What every machine is started with: a supervisor that comes after this one may work in another folder.
fn handed_on(args: &Args) -> Result<Vec<OsString>, Failure> {
    let mut options = Vec::new();
    for (name, value) in args.given() {
        let value = match name {
            name if PATHS.contains(&name) => absolute(Path::new(value))?.into_os_string(),
            "evict-to" => whole_address(value)?,
            name if WORDS.contains(&name) => value.to_owned(),
            name if FLAGS.contains(&name) => {
                options.push(format!("--{name}").into());
                continue;
            }
            _ => continue,
        };
        options.extend([format!("--{name}").into(), value]);
    }
    Ok(options)
}

/// An address that does not depend on the current folder.
fn whole_address(address: &OsStr) -> Result<OsString, Failure> {
    match address.to_str().and_then(|address| address.strip_prefix("unix:")) {
        Some(path) => Ok(format!("unix:{}", absolute(Path::new(path))?.display()).into()),
        None => Ok(address.to_owned()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(host("the current folder is not known"))
}

/// Tells whoever started this that all machines were started.
fn ready() {
    let told = std::env::var_os(NOTIFY).map(|to| tell(&to));
    if let Some(Err(error)) = told {
        say(&format!("kubevmm: the service manager cannot be told that the fleet is up: {error}\n"));
    }
}

fn tell(to: &OsString) -> io::Result<()> {
    let name = to.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(to))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

pub(super) fn host(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Host { what, source }
}
