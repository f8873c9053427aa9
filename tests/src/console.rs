//! A program's output as it comes: kept in a file and searchable.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure};

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    text: Mutex<Text>,
    changed: Condvar,
}

/// What a program has printed so far.
#[derive(Clone)]
pub struct Console {
    shared: Arc<Shared>,
    log: PathBuf,
}

impl Console {
    /// Collects `source` until it ends, into memory and into `log`.
    ///
    /// # Errors
    /// If the log cannot be created.
    pub fn collect(mut source: impl Read + Send + 'static, log: &Path) -> Result<Self, Failure> {
        let mut file = File::create(log).doing("creating a console log")?;
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                let piece = buffer.get(..length).unwrap_or_default();
                // The log is a help for people; a full disk shall not stop the test.
                let _ = file.write_all(piece);
                ours.text.lock().unwrap_or_else(PoisonError::into_inner).bytes.extend_from_slice(piece);
                ours.changed.notify_all();
            }
            ours.text.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            ours.changed.notify_all();
        });
        Ok(Self { shared, log: log.to_owned() })
    }

    /// All text so far.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self.shared.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text.bytes).into_owned()
    }

    /// How often `needle` has come so far.
    #[must_use]
    pub fn count(&self, needle: &str) -> usize {
        self.text().matches(needle).count()
    }

    /// Waits until `needle` has come.
    ///
    /// # Errors
    /// If the output ends or the limit passes before.
    pub fn wait_for(&self, needle: &str, limit: Duration) -> Result<(), Failure> {
        self.wait_for_times(needle, 1, limit)
    }

    /// Waits until `needle` has come so many times.
    ///
    /// # Errors
    /// If the output ends or the limit passes before.
    pub fn wait_for_times(&self, needle: &str, times: usize, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        let mut text = self.shared.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if String::from_utf8_lossy(&text.bytes).matches(needle).count() >= times {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.ended || left.is_zero() {
                let why = if text.ended { "the output ended" } else { "time ran out" };
                let tail = tail(&String::from_utf8_lossy(&text.bytes), 12);
                let log = self.log.display();
                return Err(Failure(format!(
                    "{why} before {needle:?} came {times} time(s); {log} ends:\n{tail}"
                )));
            }
            text = self.shared.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of the output.
    pub fn wait_end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut text = self.shared.text.lock().unwrap_or_else(PoisonError::into_inner);
        while !text.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            text = self.shared.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The last lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_text_or_with_the_output() {
        let log = std::env::temp_dir().join(format!("kubevmm-console-test-{}", std::process::id()));
        let console = Console::collect(&b"one two two"[..], &log).unwrap();
        console.wait_for_times("two", 2, Duration::from_secs(5)).unwrap();
        let failure = console.wait_for("three", Duration::from_secs(5)).unwrap_err();
        assert!(failure.0.contains("the output ended"), "{failure}");
        assert_eq!(std::fs::read(&log).unwrap(), b"one two two");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
