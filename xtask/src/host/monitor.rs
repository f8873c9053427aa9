//! QEMU's monitor, asked what a test host does that says nothing any more.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::{Doing, Result};

/// A second look, after this pause, tells a processor that is stuck from one that works.
const LOOKS: usize = 2;
const PAUSE: Duration = Duration::from_secs(1);
/// Where the processor is, and which interrupts are there for it.
const QUESTIONS: &str = "info registers\ninfo lapic\ninfo pic\n";
/// What is told of that: a line that begins with one of these words.
const TOLD: [&str; 4] = ["RIP=", "ISR", "IRR", "EFER="];

/// A monitor at QEMU's standard input and output.
#[derive(Debug)]
pub(super) struct Monitor {
    log: PathBuf,
}

impl Monitor {
    /// Has QEMU, which is not started yet, listen there, and answer into the file `log`.
    pub(super) fn attach(command: &mut Command, log: &Path) -> Result<Self> {
        let answers = File::create(log).and_then(|_| OpenOptions::new().append(true).open(log));
        let answers = answers.doing("creating a file for QEMU's monitor")?;
        command.args(["-chardev", "stdio,id=monitor,signal=off", "-mon", "chardev=monitor"]);
        command.stdin(Stdio::piped()).stdout(answers);
        Ok(Self { log: log.to_owned() })
    }

    /// What the host's processor does, in a few lines; the whole of it is in the log.
    pub(super) fn ask(&self, qemu: &mut Child) -> String {
        let before = fs::metadata(&self.log).map_or(0, |log| log.len());
        for _ in 0..LOOKS {
            let asked = qemu.stdin.as_mut().map(|input| input.write_all(QUESTIONS.as_bytes()));
            if !matches!(asked, Some(Ok(()))) {
                return "QEMU cannot be asked".into();
            }
            thread::sleep(PAUSE);
            self.note(&threads(qemu.id()));
        }
        let answers = fs::read(&self.log).unwrap_or_default();
        let new = answers.get(usize::try_from(before).unwrap_or(usize::MAX)..).unwrap_or_default();
        format!("{}\nmore is in {}", told(&String::from_utf8_lossy(new)), self.log.display())
    }

    fn note(&self, text: &str) {
        let log = OpenOptions::new().append(true).open(&self.log);
        // Who looks for it finds it missing.
        let _ = log.and_then(|mut log| writeln!(log, "\n{text}"));
    }
}

/// The lines that say most.
fn told(answers: &str) -> String {
    let lines = answers.lines().filter(|line| TOLD.iter().any(|word| line.starts_with(word)));
    lines.map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What QEMU's threads are called, whether they run, and how long they have.
fn threads(process: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats.map(|stat| stat.split(' ').take(15).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_a_processor_does_is_told_in_a_few_lines() {
        let answers = "(qemu) info registers\r\nRAX=0000000000000000 RBX=1\r\n\
                       RIP=ffffffff81a0 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\nEFER=0000000000001d01\r\n\
                       (qemu) info lapic\r\nISR\t\t 236\r\nIRR\t\t (none)\r\n";
        let told = told(answers);
        assert_eq!(told.lines().count(), 4, "{told}");
        assert!(told.contains("HLT=1") && told.contains("236"), "{told}");
    }

    /// Held while a program is started: until that runs, it has all open that this process has, and others' inputs with it.
    static STARTING: Mutex<()> = Mutex::new(());

    /// A program in QEMU's place, and its monitor. What QEMU is told besides is nothing to `script`.
    fn stand_in(name: &str, script: &str) -> (Child, Monitor) {
        let log = std::env::temp_dir().join(format!("kubevmm-monitor-{name}-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let monitor = Monitor::attach(&mut command, &log).unwrap();
        let _starting = STARTING.lock();
        (command.spawn().unwrap(), monitor)
    }

    #[test]
    fn what_is_answered_is_told_and_kept_but_not_what_was_said_before() {
        let script = "echo RIP=old; while read question; do case $question in \
                      'info registers') echo RIP=1; echo RAX=2;; 'info pic') echo ISR;; esac; done";
        let (mut child, monitor) = stand_in("answers", script);
        while fs::read(&monitor.log).unwrap().is_empty() {
            thread::yield_now();
        }
        let told = monitor.ask(&mut child);
        drop(child.stdin.take());
        child.wait().unwrap();
        let log = fs::read_to_string(&monitor.log).unwrap();
        fs::remove_file(&monitor.log).unwrap();
        // To the last question the answer may be late.
        assert!(told.starts_with("RIP=1\nISR\n"), "{told}");
        assert!(told.ends_with(&format!("\nmore is in {}", monitor.log.display())), "{told}");
        assert_eq!(log.matches("RAX=2").count(), LOOKS, "{log}");
        assert_eq!(log.matches(&format!("\n{} (sh)", child.id())).count(), LOOKS, "{log}");
    }

    #[test]
    fn one_that_has_ended_says_nothing() {
        let (mut child, monitor) = stand_in("ended", "exit");
        // To wait for it in one go would close its input here, too.
        while child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        assert!(child.stdin.is_some());
        assert_eq!(monitor.ask(&mut child), "QEMU cannot be asked");
        fs::remove_file(&monitor.log).unwrap();
    }
}
