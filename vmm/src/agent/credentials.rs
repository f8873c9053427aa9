//! Keys and passwords of `spec.accessCredentials`: put in when an agent is there, and again when their Secrets change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::AgentError;
use super::session::{Session, Sink};
use super::text::tame;
use crate::plan::{CredentialKind, CredentialPlan};
use crate::sys::inotify::Inotify;

/// Time in which changes of Secrets are collected: files change one by one.
const COLLECT: Duration = Duration::from_secs(1);
/// Time until a guest whose file systems are frozen is tried again.
const FROZEN: Duration = Duration::from_secs(10);

/// What is to be put in, and when.
#[derive(Debug)]
pub(super) struct Credentials {
    all: Vec<CredentialPlan>,
    watch: Option<Inotify>,
    due: Option<Instant>,
}

/// What the Secrets hold at present.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Users and their keys.
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// Users and their passwords.
    pub(super) passwords: BTreeMap<String, Vec<u8>>,
    /// Secrets that cannot be read any more.
    pub(super) faults: Vec<String>,
}

impl Credentials {
    pub(super) fn new(all: Vec<CredentialPlan>) -> Self {
        let watch = watch(&all);
        Self { all, watch, due: None }
    }

    /// What is readable when a Secret has changed.
    pub(super) fn watch(&self) -> Option<&Inotify> {
        self.watch.as_ref()
    }

    /// There is an agent that may have nothing of it yet.
    pub(super) fn begin(&mut self) {
        self.due = (!self.all.is_empty()).then(Instant::now);
    }

    /// A Secret has changed.
    pub(super) fn note_change(&mut self) {
        if self.watch.as_ref().is_some_and(Inotify::forget) {
            self.due = Some(Instant::now() + COLLECT);
        }
    }

    /// When there is something to put in.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Puts everything in, if it is time.
    ///
    /// # Errors
    /// The agent is lost.
    pub(super) fn put_in(&mut self, session: &mut Session, sink: &Sink) -> Result<(), AgentError> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        if session.is_frozen() {
            self.due = Some(Instant::now() + FROZEN);
            return Ok(());
        }
        self.due = None;
        session.put_in(&self.wanted(), sink)
    }

    fn wanted(&mut self) -> Wanted {
        let mut wanted = Wanted::default();
        for credential in &mut self.all {
            if let Some(folder) = &credential.folder {
                match spec::read_values(folder) {
                    Ok(Some(values)) => credential.values = values,
                    Ok(None) => wanted.faults.push(format!("the Secret {:?} is gone", credential.secret)),
                    Err(error) => wanted.faults.push(error),
                }
            }
            wanted.add(credential);
        }
        wanted
    }
}

/// Watches the folders of Secrets; a host that cannot has them read when an agent comes.
fn watch(all: &[CredentialPlan]) -> Option<Inotify> {
    let folders: Vec<_> = all.iter().filter_map(|credential| credential.folder.as_deref()).collect();
    if folders.is_empty() {
        return None;
    }
    let watch = Inotify::new().and_then(|watch| {
        folders.iter().try_for_each(|folder| watch.tell_of_folder(folder))?;
        Ok(watch)
    });
    let unwatched = |error| {
        devices::say!("kubevmm: changes of the Secrets in accessCredentials are not noticed: {error}")
    };
    watch.map_err(unwatched).ok()
}

impl Wanted {
    fn add(&mut self, credential: &CredentialPlan) {
        match &credential.kind {
            CredentialKind::SshKeys { users } => {
                let text =
                    credential.values.values().map(|value| String::from_utf8_lossy(value).into_owned());
                let lines: Vec<String> = text.flat_map(|text| lines(&text)).collect();
                for user in users {
                    self.keys.entry(user.clone()).or_default().extend(lines.iter().cloned());
                }
            }
            CredentialKind::Passwords => {
                let passwords =
                    credential.values.iter().map(|(user, value)| (tame(user), value.trim_ascii().to_vec()));
                self.passwords.extend(passwords.filter(|(_, password)| !password.is_empty()));
            }
        }
    }
}

/// The keys in a text, one a line.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}
