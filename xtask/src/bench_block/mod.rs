//! `cargo xtask bench block`: `kubevmm image` side by side with `qemu-img`, on the same files in the
//! same run. Of each program the best of its ways to do I/O counts. Nothing is asserted.

mod cases;
mod convert;
mod requests;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cargo::{Subject, vmm};
use crate::error::{Error, Result};
use crate::process;
use crate::store::{Store, empty_folder};

use cases::Case;
use tools::Tools;

/// Where files live whose I/O costs nothing but processor time.
const TMPFS: &str = "/dev/shm/kubevmm-bench";
/// How often each is measured; the best counts.
const ROUNDS: u32 = 3;

/// What to measure.
pub(crate) struct Request {
    filters: Vec<String>,
    quick: bool,
    disk: Option<PathBuf>,
    subject: Subject,
}

impl Request {
    /// Reads the task's arguments.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut request = Self { filters: vec![], quick: false, disk: None, subject: Subject::Release };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| Error(format!("{word} needs a value")));
            match *word {
                "--filter" => request.filters.extend(value()?.split(',').map(str::to_owned)),
                "--quick" => request.quick = true,
                "--disk" => request.disk = Some(PathBuf::from(value()?).join("kubevmm-bench")),
                "--binary" => request.subject = Subject::Built(value()?.into()),
                other => return Err(Error(format!("bench block has no option {other}"))),
            }
        }
        Ok(request)
    }

    fn takes(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|text| name.contains(text.as_str()))
    }

    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { ROUNDS }
    }
}

/// The best of one program's ways: how long it took, and which way that was.
#[derive(Debug, Clone)]
struct Best {
    time: Duration,
    way: String,
}

impl Best {
    /// Keeps the better one.
    fn take(best: &mut Option<Best>, time: Duration, way: &str) {
        if best.as_ref().is_none_or(|best| time < best.time) {
            *best = Some(Best { time, way: way.to_owned() });
        }
    }
}

/// Measures and prints.
pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    process::need("qemu-img", "qemu-utils")?;
    let tools = Tools { kubevmm: vmm(store, &request.subject)? };
    let mut places = vec![("tmpfs", PathBuf::from(TMPFS))];
    places.extend(request.disk.clone().map(|disk| ("disk", disk)));
    println!(
        "{:<44} {:>9} {:<19} {:>9} {:<19} {:>6} {:>7}",
        "", "qemu-img", "", "kubevmm", "", "ratio", "wanted"
    );
    for (name, folder) in &places {
        empty_folder(folder)?;
        let measured = cases::all(name, folder)
            .into_iter()
            .filter(|case| request.takes(&case.name()))
            .try_for_each(|case| measure(&tools, request, &case));
        let measured = measured.and_then(|()| convert::all(&tools, request, name, folder));
        // Whatever came of it, the space is given back.
        let _ = std::fs::remove_dir_all(folder);
        measured?;
    }
    println!(
        "Seconds, the best of {} rounds and of each program's ways to do I/O; ratio is how many times faster kubevmm is.",
        request.rounds()
    );
    Ok(ExitCode::SUCCESS)
}

fn measure(tools: &Tools, request: &Request, case: &Case) -> Result<()> {
    let (mut theirs, mut ours) = (None, None);
    for _ in 0..request.rounds() {
        for way in requests::QEMU {
            Best::take(&mut theirs, requests::qemu(tools, case, way, request.quick)?, &way.name());
        }
        for way in requests::OURS {
            Best::take(&mut ours, requests::kubevmm(tools, case, way, request.quick)?, &way.name());
        }
    }
    print(&case.name(), theirs.as_ref(), ours.as_ref(), case.wanted());
    Ok(())
}

fn print(name: &str, theirs: Option<&Best>, ours: Option<&Best>, wanted: f64) {
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return };
    let ratio = theirs.time.as_secs_f64() / ours.time.as_secs_f64().max(1e-6);
    println!(
        "{name:<44} {:>9.3} {:<19} {:>9.3} {:<19} {ratio:>6.2} {:>7}",
        theirs.time.as_secs_f64(),
        theirs.way,
        ours.time.as_secs_f64(),
        ours.way,
        format!(">= {wanted}")
    );
}
