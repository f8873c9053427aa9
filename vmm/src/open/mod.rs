//! Opening what a plan names: files, disks, taps, sockets. After this nothing new is opened.

mod disk;
mod host_network;
pub(crate) mod layers;
mod network;
mod new_image;
mod runtime;
mod scratch;
mod surroundings;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use block::{Disk, DiskError, MarkedDisk};
use devices::say;
use image::{Reference, Store};
use net::socket;

pub use host_network::{HostNetwork, HostNetworkError, clean as clean_network};
pub use network::NicLink;
pub use new_image::MadeImage;
pub use runtime::RuntimeDir;
pub use surroundings::look_around;

use crate::agent::AgentHandle;
use crate::console::{ConsoleHub, ConsoleTarget};
use crate::metrics::Metrics;
use crate::migration::storage::FilesDisk;
use crate::plan::{DevicePlan, DiskPlan, FileSource, Function, NicPlan, Plan};

/// Socket of the guest agent's port in the runtime directory.
const AGENT_SOCKET: &str = "agent.sock";

/// Something of the host could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be opened or made.
    #[error("{what} {} could not be opened", path.display())]
    File {
        /// What it is for.
        what: String,
        /// Where it is.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// An image could not be found or read.
    #[error("{what}")]
    Image {
        /// What it is for.
        what: String,
        /// Why.
        #[source]
        source: image::ImageError,
    },
    /// A reference makes no sense.
    #[error("{what}")]
    Reference {
        /// What it is for.
        what: String,
        /// Why.
        #[source]
        source: image::ReferenceError,
    },
    /// A disk could not be opened.
    #[error("disk {name}")]
    Disk {
        /// Name of the disk.
        name: String,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// An ISO image could not be made.
    #[error("disk {name}: its ISO image could not be made")]
    Iso {
        /// Name of the disk.
        name: String,
        /// Why.
        #[source]
        source: image::iso9660::IsoError,
    },
    /// A network interface could not be opened.
    #[error("interface {name}")]
    Tap {
        /// Name of the interface in the manifest.
        name: String,
        /// Why.
        #[source]
        source: net::TapError,
    },
    /// What a network card is on could not be made.
    #[error("interface {name}")]
    Network {
        /// Name of the interface in the manifest.
        name: String,
        /// Why.
        #[source]
        source: HostNetworkError,
    },
    /// User-mode networking could not be started.
    #[error("interface {name}")]
    Passt {
        /// Name of the interface in the manifest.
        name: String,
        /// Why.
        #[source]
        source: Box<net::passt::PasstError>,
    },
    /// The VM runs already.
    #[error("{namespace}/{name} runs already (its runtime directory {} is locked)", directory.display())]
    Running {
        /// Namespace of the VM.
        namespace: String,
        /// Name of the VM.
        name: String,
        /// Where its files are.
        directory: PathBuf,
    },
    /// The VM was handed over by a process that has not heard what became of it.
    #[error(
        "{namespace}/{name} was moved to {peer}, and runs there unless that failed: see there first, then kubevmm delete {name}"
    )]
    HandedOver {
        /// Namespace of the VM.
        namespace: String,
        /// Name of the VM.
        name: String,
        /// Where to.
        peer: String,
    },
    /// A host resource could not be had.
    #[error("{what} could not be set up")]
    Host {
        /// What it is.
        what: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// What of a machine could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Its kernel or initrd, which the manifest names.
    Boot,
    /// The disk of this name.
    Disk(String),
    /// The network card of this name.
    Card(String),
    /// Something that the manifest does not name.
    Machine,
}

/// Something that could not be opened.
#[derive(Debug)]
pub struct OpenFault {
    /// What it is.
    pub subject: Subject,
    /// Why.
    pub error: OpenError,
}

/// Where things are found and kept on this host.
#[derive(Clone, Debug)]
pub struct Places {
    /// Local store of container images.
    pub images: Option<PathBuf>,
    /// Files taken out of images.
    pub cache: PathBuf,
    /// Root of runtime directories.
    pub runtime: PathBuf,
    /// Where the serial console goes.
    pub console: ConsoleTarget,
    /// File that the serial console's output is added to.
    pub console_log: Option<PathBuf>,
    /// Nothing is to be left in the runtime directory at the end.
    pub leave_nothing: bool,
    /// The guest agent's port is left to whoever connects to a socket of the runtime directory.
    pub agent_socket: bool,
    /// Who speaks to the guest's agent, if the port is not left to others.
    pub agent: Option<AgentHandle>,
    /// Another process has the disks: they are not locked before they are taken over ([`Disk::hold`]).
    pub lock_later: bool,
}

/// A file and how messages call it.
#[derive(Debug)]
pub struct NamedFile {
    /// The file.
    pub file: File,
    /// As in `kernel /boot/vmlinux of image X`.
    pub name: String,
}

/// What stands behind one function of the plan.
#[derive(Debug)]
pub enum Backend {
    /// A disk, with marks on what is written to it.
    Disk(Arc<MarkedDisk>),
    /// A network card's other end.
    Nic(NicLink),
    /// A unix socket at which whoever wants to talk to a console port connects.
    Socket(UnixListener),
    /// The thread that speaks to the guest's agent.
    Agent(AgentHandle),
    /// Nothing of the host.
    None,
}

/// Everything that is open, from the first boot to the end.
#[derive(Debug)]
pub struct Resources {
    /// The kernel.
    pub kernel: NamedFile,
    /// The initrd.
    pub initrd: Option<NamedFile>,
    /// In step with the plan's functions.
    pub backends: Vec<Backend>,
    /// The watchdog has fired; outlives the machine's resets.
    pub watchdog_fired: Arc<AtomicBool>,
    /// The serial console, for every machine that is built to plug itself in.
    pub console: ConsoleHub,
    /// Where what all of them do is counted.
    pub metrics: Metrics,
    /// What was made in the host's network. Last, so that it goes when nothing uses it any more.
    pub network: HostNetwork,
}

impl Resources {
    /// Opens all that `plan` names; sockets are made in `runtime`. Its serial port is to be plugged into `console`, what it
    /// does is to be counted in `metrics`.
    ///
    /// # Errors
    /// Everything that could not be opened; what could be is closed again.
    pub fn open(
        plan: &Plan,
        places: &Places,
        runtime: &RuntimeDir,
        console: ConsoleHub,
        metrics: Metrics,
    ) -> Result<Self, Vec<OpenFault>> {
        let store = Store::new(places.images.clone(), places.cache.clone());
        let mut faults = Vec::new();
        let mut open = |what, source: &FileSource| {
            let subject = match source {
                FileSource::Path(_) => Subject::Machine,
                FileSource::Image { .. } => Subject::Boot,
            };
            keep(&mut faults, subject, open_file(&store, what, source))
        };
        let kernel = open("kernel", &plan.kernel.kernel);
        let initrd = plan.kernel.initrd.as_ref().and_then(|initrd| open("initrd", initrd));
        let mut network = HostNetwork::new(&places.runtime, &plan.namespace, &plan.name);
        let mut backends = Vec::with_capacity(plan.functions.len());
        for function in &plan.functions {
            let backend = open_backend(&store, places, runtime, &mut network, function);
            backends.extend(keep(&mut faults, subject_of(function), backend));
        }
        let (Some(kernel), true) = (kernel, faults.is_empty()) else { return Err(faults) };
        let watchdog_fired = Arc::default();
        Ok(Self { kernel, initrd, backends, watchdog_fired, console, metrics, network })
    }
}

impl Resources {
    /// The disks of `plan`, by their names.
    pub fn disks(&self, plan: &Plan) -> Vec<(String, Arc<dyn Disk>)> {
        let named =
            plan.functions.iter().zip(&self.backends).filter_map(|(function, backend)| match backend {
                Backend::Disk(disk) => Some((function.name.clone(), Arc::clone(disk) as Arc<dyn Disk>)),
                _ => None,
            });
        named.collect()
    }

    /// Puts other disks in the place of those with these names.
    pub fn replace_disks(&mut self, plan: &Plan, disks: Vec<(String, Arc<MarkedDisk>)>) {
        for (name, disk) in disks {
            let place = plan.functions.iter().position(|function| function.name == name);
            if let Some(backend) = place.and_then(|place| self.backends.get_mut(place)) {
                *backend = Backend::Disk(disk);
            }
        }
    }

    /// Who speaks to the guest's agent, if kubevmm does.
    pub fn agent(&self) -> Option<&AgentHandle> {
        self.backends.iter().find_map(|backend| match backend {
            Backend::Agent(agent) => Some(agent),
            _ => None,
        })
    }
}

/// By what the only file below `disk` is told from all others, on any host, if it was taken out of a container image.
pub(crate) fn base_of(places: &Places, disk: &dyn Disk) -> Option<String> {
    match disk.bases().as_slice() {
        [base] => disk::content_of(&places.cache, base.path()),
        _ => None,
    }
}

/// A disk of files whose contents are yet to come: to be written, and as the guest sees it.
///
/// # Errors
/// The host has no memory for it.
pub(crate) fn incoming_files(name: &str, bytes: u64) -> Result<FilesDisk, OpenError> {
    disk::incoming_iso(name, bytes)
}

/// Opens a disk that is added to a running machine.
pub(crate) fn disk(places: &Places, name: &str, plan: &DiskPlan) -> Result<Backend, OpenError> {
    let store = Store::new(places.images.clone(), places.cache.clone());
    open_disk(&store, places, name, plan)
}

/// Opens what a network card is on that is added to a running machine, and makes it before if the plan says so.
pub(crate) fn card(name: &str, plan: &NicPlan, host: &mut HostNetwork) -> Result<Backend, OpenError> {
    Ok(Backend::Nic(network::open(name, plan, host)?))
}

/// Puts a fault aside and goes on.
fn keep<T>(faults: &mut Vec<OpenFault>, subject: Subject, result: Result<T, OpenError>) -> Option<T> {
    result.map_err(|error| faults.push(OpenFault { subject, error })).ok()
}

fn subject_of(function: &Function) -> Subject {
    match &function.device {
        DevicePlan::Disk(_) => Subject::Disk(function.name.clone()),
        DevicePlan::Nic(_) => Subject::Card(function.name.clone()),
        DevicePlan::Console { .. } | DevicePlan::Rng | DevicePlan::Balloon { .. } => Subject::Machine,
    }
}

fn open_backend(
    store: &Store,
    places: &Places,
    runtime: &RuntimeDir,
    network: &mut HostNetwork,
    function: &Function,
) -> Result<Backend, OpenError> {
    Ok(match &function.device {
        DevicePlan::Disk(disk) => open_disk(store, places, &function.name, disk)?,
        DevicePlan::Nic(nic) => Backend::Nic(network::open(&function.name, nic, network)?),
        DevicePlan::Console { .. } => {
            if let Some(agent) = &places.agent {
                return Ok(Backend::Agent(agent.clone()));
            }
            let path = runtime.path().join(AGENT_SOCKET);
            let fail = |source| OpenError::File { what: "socket".into(), path: path.clone(), source };
            Backend::Socket(socket::listen(&path).map_err(fail)?)
        }
        DevicePlan::Rng | DevicePlan::Balloon { .. } => Backend::None,
    })
}

fn open_disk(store: &Store, places: &Places, name: &str, plan: &DiskPlan) -> Result<Backend, OpenError> {
    let disk = disk::open(store, &places.cache, name, plan, places.lock_later)?;
    tell_of_claim(name, disk.as_ref());
    Ok(Backend::Disk(Arc::new(MarkedDisk::new(disk))))
}

/// Says of a disk that is held if only its lock keeps others from writing it.
pub(crate) fn tell_of_claim(name: &str, disk: &dyn Disk) {
    if disk.is_unclaimed() {
        say!(
            "kubevmm: disk {name}: this process may not claim the device, only lock it: others that have it by another node, as in another \
             container, are not kept from writing it"
        );
    }
}

fn open_file(store: &Store, what: &str, source: &FileSource) -> Result<NamedFile, OpenError> {
    let (path, name) = match source {
        FileSource::Path(path) => (path.clone(), format!("{what} {}", path.display())),
        FileSource::Image { image, path } => {
            let what = format!("{what} {path} of image {image}");
            let reference = reference(&what, image)?;
            let file = store.file(&reference, path);
            (file.map_err(|source| OpenError::Image { what: what.clone(), source })?, what)
        }
    };
    let file = File::open(&path).map_err(|source| OpenError::File { what: what.into(), path, source })?;
    Ok(NamedFile { file, name })
}

fn reference(what: &str, image: &str) -> Result<Reference, OpenError> {
    Reference::parse(image).map_err(|source| OpenError::Reference { what: what.to_owned(), source })
}
