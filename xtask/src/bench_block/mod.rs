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
use tools::{Cost, Tools};

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

/// The best of one program's ways: the least time, which way that was, and the least processor time.
#[derive(Debug, Clone)]
struct Best {
    time: Duration,
    way: String,
    processor: Duration,
}

impl Best {
    /// Keeps the better ones.
    fn take(best: &mut Option<Best>, cost: Cost, way: &str) {
        let best = best.get_or_insert_with(|| Best {
            time: Duration::MAX,
            way: String::new(),
            processor: Duration::MAX,
        });
        if cost.time < best.time {
            best.time = cost.time;
            best.way = way.to_owned();
        }
        best.processor = best.processor.min(cost.processor);
    }
}

/// Measures and prints.
pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    process::need("qemu-img", "qemu-utils")?;
    let tools = Tools { kubevmm: vmm(store, &request.subject)? };
    let mut places = vec![("tmpfs", PathBuf::from(TMPFS))];
    places.extend(request.disk.clone().map(|disk| ("disk", disk)));
    println!(
        "{:<58} {:>8} {:<18} {:>8} {:<18} {:>6} {:>8} {:>8} {:>6} {:>7}",
        "", "qemu-img", "", "kubevmm", "", "ratio", "CPU", "CPU", "ratio", "wanted"
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
        "Seconds, the best of {} round(s) and of each program's ways to do I/O. A ratio is how many times less kubevmm takes.\n\
         CPU is the time of all processors, user and system; other work on the machine does not change it.",
        request.rounds()
    );
    Ok(ExitCode::SUCCESS)
}

fn measure(tools: &Tools, request: &Request, case: &Case) -> Result<()> {
    let (mut theirs, mut ours) = (None, None);
    for _ in 0..request.rounds() {
        for way in requests::QEMU {
            if let Some(cost) = requests::qemu(tools, case, way, request.quick)? {
                Best::take(&mut theirs, cost, &way.name());
            }
        }
        for way in requests::OURS {
            if let Some(cost) = requests::kubevmm(tools, case, way, request.quick)? {
                Best::take(&mut ours, cost, &way.name());
            }
        }
    }
    print(&case.name(), theirs.as_ref(), ours.as_ref(), case.wanted());
    Ok(())
}

fn print(name: &str, theirs: Option<&Best>, ours: Option<&Best>, wanted: f64) {
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        println!("{name:<58} (could not be measured)");
        return;
    };
    let ratio = |theirs: Duration, ours: Duration| theirs.as_secs_f64() / ours.as_secs_f64().max(1e-6);
    println!(
        "{name:<58} {:>8.3} {:<18} {:>8.3} {:<18} {:>6.2} {:>8.3} {:>8.3} {:>6.2} {:>7}",
        theirs.time.as_secs_f64(),
        theirs.way,
        ours.time.as_secs_f64(),
        ours.way,
        ratio(theirs.time, ours.time),
        theirs.processor.as_secs_f64(),
        ours.processor.as_secs_f64(),
        ratio(theirs.processor, ours.processor),
        format!(">= {wanted}")
    );
}
