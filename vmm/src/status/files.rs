//! The status and the events in files of the runtime directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The VirtualMachineInstance as it is, or as it was at its end.
pub const VMI_FILE: &str = "vmi.json";
/// Events, one Event object a line, the oldest first.
pub const EVENTS_FILE: &str = "events.jsonl";
/// Events before those.
const OLD_EVENTS_FILE: &str = "events.old.jsonl";
/// All of them, which outlive the machine.
pub const FILES: [&str; 3] = [VMI_FILE, EVENTS_FILE, OLD_EVENTS_FILE];
/// Length at which events begin a new file, in bytes; no more than twice as much is kept.
const EVENTS_BYTES: u64 = 256 << 10;

/// The files of one machine.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// The file of events and its length, once one was written.
    events: Option<(File, u64)>,
}

impl Files {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), events: None }
    }

    /// Writes the object, whole or not at all.
    pub(super) fn write_vmi(&self, text: &str) -> io::Result<()> {
        let partial = self.directory.join(".vmi.json.partial");
        let written =
            write(&partial, text).and_then(|()| fs::rename(&partial, self.directory.join(VMI_FILE)));
        if written.is_err() {
            // What takes up space that is missing is of no use to anybody.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Adds an event. A line that could not be written whole is taken back.
    pub(super) fn add_event(&mut self, text: &str) -> io::Result<()> {
        if self.events.as_ref().is_some_and(|(_, length)| *length >= EVENTS_BYTES) {
            self.events = None;
            fs::rename(self.directory.join(EVENTS_FILE), self.directory.join(OLD_EVENTS_FILE))?;
        }
        let (file, length) = match &mut self.events {
            Some(open) => open,
            none => none.insert(open_events(&self.directory)?),
        };
        let line = format!("{text}\n");
        match file.write_all(line.as_bytes()) {
            Ok(()) => *length += line.len() as u64,
            Err(error) => {
                let _ = file.set_len(*length);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn open_events(directory: &Path) -> io::Result<(File, u64)> {
    let path = directory.join(EVENTS_FILE);
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_do_not_grow_beyond_their_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path());
        let line = "x".repeat(1 << 10);
        for _ in 0..2000 {
            files.add_event(&line).unwrap();
        }
        let length = |name| fs::metadata(directory.path().join(name)).unwrap().len();
        let most = EVENTS_BYTES + 1025;
        assert!(length(EVENTS_FILE) <= most && length(OLD_EVENTS_FILE) <= most);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let text = fs::read_to_string(directory.path().join(OLD_EVENTS_FILE)).unwrap();
        assert!(text.lines().all(|found| found == line));
    }

    #[test]
    fn an_object_is_there_whole_or_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path());
        files.write_vmi("{}").unwrap();
        fs::create_dir(directory.path().join(".vmi.json.partial")).unwrap();
        files.write_vmi("{\"a\":1}").unwrap_err();
        assert_eq!(fs::read_to_string(directory.path().join(VMI_FILE)).unwrap(), "{}\n");
    }
}
