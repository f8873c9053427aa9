//! What a destination leaves behind, so that its source can know when its process is gone that it never ran the machine.
//!
//! That can be known on one host alone, and there for certain: the source holds a descriptor of the destination's process, which shows
//! that all of it is gone, and one of a file that the destination empties before its guest executes anything. Neither can come to mean
//! another process or another file. Whatever else is the case — another host, other namespaces, a file that cannot be read or is empty —
//! says nothing, and leaves the source in doubt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::storage::host;
use super::wire::Session;
use crate::sys::inotify::is_of_one_host;
use crate::sys::poll::{Interest, wait};
use crate::sys::process::Process;
use crate::turns::in_turns;

/// Name of the file, in the destination's runtime directory.
const FILE: &str = "arriving";

/// How long it may take to find out what a path leads to that somebody else has told.
const LOOK: Duration = Duration::from_secs(5);

/// What a destination tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Testimony {
    /// By what its kernel is told from all others. The namespace does not say so: the first one has the same number everywhere.
    #[serde(default)]
    host: String,
    /// Its process.
    process: u32,
    /// The namespace in which that is its number: device and inode.
    namespace: (u64, u64),
    /// The file that says whether it has run the machine.
    path: String,
    /// The file's device and inode.
    file: (u64, u64),
}

/// The file, at the destination.
#[derive(Debug)]
pub struct Witness(File);

impl Witness {
    /// Writes down in `folder` that the machine of this session has not run here.
    ///
    /// # Errors
    /// The host does not take it, or a path that cannot be told.
    pub fn leave(folder: &Path, session: &Session) -> io::Result<(Self, Testimony)> {
        let path = folder.canonicalize()?.join(FILE);
        let told = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(session.to_string().as_bytes())?;
        let testimony = Testimony {
            host: host(),
            process: std::process::id(),
            namespace: namespace()?,
            path: told,
            file: identity(&file.metadata()?),
        };
        Ok((Self(file), testimony))
    }

    /// The machine is about to run here: from now on the file says nothing. It is of no matter whether that is durable, as nobody asks
    /// who was not there when it was written.
    ///
    /// # Errors
    /// The host does not take it: then the machine must not run.
    pub fn strike(&self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

/// What a source holds of its destination.
#[derive(Debug)]
pub struct Proof {
    process: Process,
    file: File,
    session: Session,
}

/// What became of a destination's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there.
    Lives,
    /// It is gone, and has never run the machine.
    NeverRan,
    /// It is gone, and may have run it.
    MayHaveRun,
}

impl Proof {
    /// Takes hold of a destination that has just told this of itself. It has to say something later, which shows that it was alive now,
    /// and that no other process had its number.
    ///
    /// # Errors
    /// It cannot be had: it is on another host, in another namespace, or has another user's files.
    pub fn of(testimony: &Testimony, session: &Session) -> io::Result<Self> {
        // Before anything is looked at that another host may have made up.
        if testimony.host.is_empty() || testimony.host != host() || testimony.namespace != namespace()? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (testimony, session) = (testimony.clone(), session.clone());
        within(LOOK, move || Self::take(&testimony, &session))
    }

    fn take(testimony: &Testimony, session: &Session) -> io::Result<Self> {
        let unknown = || io::Error::from(io::ErrorKind::Unsupported);
        let process = Process::open(testimony.process)?;
        let file = open(Path::new(&testimony.path), testimony.file)?.ok_or_else(unknown)?;
        let proof = Self { process, file, session: session.clone() };
        if proof.is_untouched() { Ok(proof) } else { Err(unknown()) }
    }

    /// What became of it; that it is gone is waited for as long as `limit`.
    pub fn find(&self, limit: Duration) -> Finding {
        match wait([(&self.process.as_fd(), Interest::Read)], Some(limit)) {
            // Nobody is left who could empty the file.
            Ok([true]) if self.is_untouched() => Finding::NeverRan,
            Ok([true]) => Finding::MayHaveRun,
            Ok([false]) => Finding::Lives,
            Err(_) => {
                thread::sleep(limit);
                Finding::Lives
            }
        }
    }

    /// Whether the file says what was written first.
    fn is_untouched(&self) -> bool {
        let expected = self.session.to_string();
        let mut found = vec![0; expected.len()];
        self.file.read_exact_at(&mut found, 0).is_ok() && found == expected.as_bytes()
    }
}

/// What `look` finds, if it does not take longer than `limit`. A path may lead to a server that does not answer, which nothing can break
/// off: the thread that waits for it is left behind.
fn within<T: Send + 'static>(
    limit: Duration,
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = mpsc::sync_channel(1);
    let looking = thread::Builder::new().name("witness".into()).stack_size(128 << 10);
    // Whoever has not waited is not to be told.
    looking.spawn(move || drop(tell.send(look())))?;
    in_turns(limit, |turn| told.recv_timeout(turn).ok()).ok_or(io::ErrorKind::TimedOut)?
}

/// Opens a file whose place somebody else has told, if it is the one that was meant and no other host can have it. Nothing but a file is
/// opened: a device might do something.
fn open(path: &Path, expected: (u64, u64)) -> io::Result<Option<File>> {
    if !path.is_absolute() {
        return Ok(None);
    }
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let metadata = place.metadata()?;
    let own = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    if !metadata.is_file() || identity(&metadata) != expected || !is_of_one_host(&own) {
        return Ok(None);
    }
    // Not even for a lease is it waited.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(own).map(Some)
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The namespace that numbers of processes are of here.
fn namespace() -> io::Result<(u64, u64)> {
    fs::metadata("/proc/self/ns/pid").map(|metadata| identity(&metadata))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn session() -> Session {
        Session::new([7; 16])
    }

    /// A process, and what it would tell of itself.
    fn destination(folder: &Path) -> (Child, Witness, Testimony) {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let (witness, testimony) = Witness::leave(folder, &session()).unwrap();
        let testimony = Testimony { process: child.id(), ..testimony };
        (child, witness, testimony)
    }

    #[test]
    fn a_process_that_is_gone_and_has_not_run_the_machine_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, _witness, testimony) = destination(folder.path());
        let proof = Proof::of(&testimony, &session()).unwrap();
        assert_eq!(proof.find(Duration::ZERO), Finding::Lives);
        // Whatever comes in its place speaks of itself.
        fs::remove_file(folder.path().join(FILE)).unwrap();
        let (mut other, struck, _) = destination(folder.path());
        struck.strike().unwrap();
        child.kill().unwrap();
        // It need not have been waited for by whoever started it.
        assert_eq!(proof.find(SOON), Finding::NeverRan);
        child.wait().unwrap();
        assert_eq!(proof.find(Duration::ZERO), Finding::NeverRan);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn one_that_was_about_to_run_the_machine_may_have_run_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, witness, testimony) = destination(folder.path());
        let proof = Proof::of(&testimony, &session()).unwrap();
        witness.strike().unwrap();
        assert_eq!(proof.find(Duration::ZERO), Finding::Lives);
        child.kill().unwrap();
        assert_eq!(proof.find(SOON), Finding::MayHaveRun);
        child.wait().unwrap();
        assert!(Proof::of(&testimony, &session()).is_err(), "it was too late for a proof");
    }

    #[test]
    fn a_path_that_leads_to_somebody_who_does_not_answer_is_given_up() {
        let (answer, asked) = mpsc::channel::<()>();
        let look = move || asked.recv().map_err(io::Error::other);
        let error = within(Duration::from_millis(10), look).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(answer);
        assert_eq!(within(SOON, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn what_is_not_certain_is_no_proof() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, _witness, told) = destination(folder.path());
        let refused = |change: &dyn Fn(&mut Testimony)| {
            let mut testimony = told.clone();
            change(&mut testimony);
            Proof::of(&testimony, &session()).is_err()
        };
        assert!(!refused(&|_| ()));
        assert!(Proof::of(&told, &Session::new([8; 16])).is_err(), "of another session");
        assert!(refused(&|told| told.namespace.1 ^= 1), "of another namespace");
        assert!(refused(&|told| told.host.push('x')), "of another host with the same namespace");
        assert!(refused(&|told| told.host.clear()), "of who knows which host");
        assert!(refused(&|told| told.file.1 ^= 1), "another file");
        assert!(refused(&|told| told.process = u32::MAX), "no process");
        assert!(refused(&|told| told.path = "arriving".into()), "a path that means something else here");
        assert!(refused(&|told| told.path.push_str(".none")));
        let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::os::unix::fs::symlink(FILE, place("link")).unwrap();
        assert!(refused(&|told| told.path = place("link")));
        // To open it would wait for somebody who writes.
        let made = Command::new("mkfifo").arg(place("fifo")).status().unwrap();
        assert!(made.success());
        let fifo = fs::metadata(place("fifo")).unwrap();
        assert!(refused(&|told| (told.path, told.file) = (place("fifo"), identity(&fifo))));
        // A file system that has no certain owner. What is open keeps its number.
        let held = File::open("/proc/self/stat").unwrap();
        let stat = identity(&held.metadata().unwrap());
        assert!(open(Path::new("/proc/self/stat"), stat).unwrap().is_none());
        assert!(open(Path::new(&told.path), told.file).unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(refused(&|_| ()), "nobody is there any more");
    }
}
