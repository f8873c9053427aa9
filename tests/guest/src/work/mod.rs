//! A guest in the midst of work whose every result can be checked, by itself or from outside: it keeps time, holds a conversation
//! over TCP, writes files with fsync, and compiles programs. `init work HOST:PORT FOLDER`; FOLDER is on a disk and has a compiler.

mod builds;
mod files;
mod time;

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use guest::clocks::{self, Clock};
use guest::duplex;
use guest::progress::{PROGRESS, Progress, STOP};

/// How often it is told how far the work is.
const REPORT: Duration = Duration::from_millis(50);
/// Pauses of the conversation, so that it leaves time for the rest.
const PACE: Duration = Duration::from_millis(20);

/// What the threads share.
#[derive(Debug, Default)]
struct Work {
    ticks: AtomicU64,
    naps: AtomicU64,
    looks: AtomicU64,
    sent: AtomicU64,
    taken: AtomicU64,
    files: AtomicU64,
    builds: AtomicU64,
    /// The latest time that any processor has seen, in nanoseconds.
    latest: AtomicU64,
    failed: Mutex<Option<String>>,
    stopped: AtomicBool,
}

impl Work {
    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst)
    }

    /// Notes what has failed, unless something has before, and has all the rest end.
    fn fail(&self, what: &str, why: &io::Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!("{what}: {why}"));
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn progress(&self, over: bool) -> io::Result<Progress> {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let milliseconds =
            |clock| clocks::read(clock).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Ok(Progress {
            ticks: count(&self.ticks),
            naps: count(&self.naps),
            looks: count(&self.looks),
            sent: count(&self.sent),
            taken: count(&self.taken),
            files: count(&self.files),
            builds: count(&self.builds),
            monotonic: milliseconds(Clock::Monotonic)?,
            realtime: milliseconds(Clock::Realtime)?,
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            over,
        })
    }
}

/// Works until it is told to stop, or until something is wrong.
pub(crate) fn run(peer: &str, folder: &Path) -> ! {
    let work = Arc::new(Work::default());
    // Whoever is called may look at once.
    if let Err(error) = work.progress(false).and_then(|progress| tell(&progress)) {
        work.fail("telling", &error);
    }
    let threads = begin(&work, peer, folder).unwrap_or_else(|error| {
        work.fail("beginning", &error);
        Vec::new()
    });
    loop {
        if Path::new(STOP).exists() {
            work.stopped.store(true, Ordering::SeqCst);
        }
        let over = threads.iter().all(JoinHandle::is_finished);
        if let Err(error) = work.progress(over).and_then(|progress| tell(&progress)) {
            work.fail("telling", &error);
        }
        if over {
            std::process::exit(0);
        }
        thread::sleep(REPORT);
    }
}

fn begin(work: &Arc<Work>, peer: &str, folder: &Path) -> io::Result<Vec<JoinHandle<()>>> {
    let stream = TcpStream::connect(peer)?;
    let (to, from) = (stream.try_clone()?, stream);
    let places = ["files-0", "files-1", "builds"].map(|name| folder.join(name));
    for place in &places {
        fs::create_dir_all(place)?;
    }
    let [first, second, third] = places;
    let tools = folder.join("tools");
    Ok(vec![
        spawn(work, "sending", move |work| send(work, &to)),
        spawn(work, "taking", move |work| take(work, &from)),
        spawn(work, "the clocks of processor 0", |work| time::look(work, 0)),
        spawn(work, "the clocks of processor 1", |work| time::look(work, 1)),
        spawn(work, "the timer", time::tick),
        spawn(work, "sleep", time::nap),
        spawn(work, "files 0", move |work| files::write(work, &first)),
        spawn(work, "files 1", move |work| files::write(work, &second)),
        spawn(work, "compiling", move |work| builds::build(work, &tools, &third)),
    ])
}

fn spawn(
    work: &Arc<Work>,
    what: &'static str,
    job: impl FnOnce(&Work) -> io::Result<()> + Send + 'static,
) -> JoinHandle<()> {
    let work = Arc::clone(work);
    thread::spawn(move || {
        if let Err(why) = job(&work) {
            work.fail(what, &why);
        }
    })
}

/// Whoever reads finds the whole of it.
fn tell(progress: &Progress) -> io::Result<()> {
    let new = format!("{PROGRESS}.new");
    fs::write(&new, serde_json::to_vec(progress)?)?;
    fs::rename(new, PROGRESS)
}

fn send(work: &Work, stream: &TcpStream) -> io::Result<()> {
    let paced = || {
        thread::sleep(PACE);
        work.goes_on()
    };
    duplex::send(stream, duplex::TO_HOST, &work.sent, paced)?;
    stream.shutdown(Shutdown::Write)
}

/// At the end, all that is still on its way is taken.
fn take(work: &Work, stream: &TcpStream) -> io::Result<()> {
    let pause = || {
        if work.goes_on() {
            thread::sleep(PACE);
        }
    };
    duplex::take(stream, duplex::TO_GUEST, &work.taken, pause)
}
