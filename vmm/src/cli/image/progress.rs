//! How far a command has got: a bar on a terminal, lines like qemu-img's for programs that read them.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::Args;

/// Steps of the bar.
const STEPS: u64 = 10_000;
/// Least change that is written for programs, in percent.
const LEAST: f64 = 1.0;

/// Where it goes.
pub(super) enum Progress {
    /// Nowhere.
    Silent,
    /// To a person.
    Bar(ProgressBar),
    /// To a program; what was written last, in percent.
    Lines(Mutex<f64>),
}

impl Progress {
    /// As `--progress`, `--quiet` and what standard error and output are say.
    pub(super) fn new(args: &Args) -> Progress {
        if args.has("quiet") {
            Progress::Silent
        } else if io::stderr().is_terminal() {
            Progress::Bar(bar())
        } else if args.has("progress") {
            Progress::Lines(Mutex::new(-LEAST))
        } else {
            Progress::Silent
        }
    }

    /// Says how much is done, from 0 to 1.
    pub(super) fn show(&self, done: f64) {
        match self {
            Progress::Silent => {}
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and 1"
            )]
            Progress::Bar(bar) => bar.set_position((done.clamp(0.0, 1.0) * STEPS as f64) as u64),
            Progress::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if done * 100.0 >= *last + LEAST {
                    *last = done * 100.0;
                    line(*last);
                }
            }
        }
    }

    /// Takes the bar away, or writes the last line.
    pub(super) fn finish(&self) {
        match self {
            Progress::Silent => {}
            Progress::Bar(bar) => bar.finish_and_clear(),
            Progress::Lines(_) => {
                line(100.0);
                let _ = io::stdout().write_all(b"\n");
            }
        }
    }
}

/// A line that qemu-img's readers know. There is nowhere to say that it could not be written.
fn line(percent: f64) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "    ({percent:.2}/100%)\r").and_then(|()| out.flush());
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(STEPS);
    // A template that is not right leaves the usual one.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {elapsed} / {duration}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
