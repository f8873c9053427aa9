//! Undoing what a record tells of, newest first.

use super::maker::Save;
use super::record::{Leftover, Record, Step};
use super::setting;
use super::{HostSetup, SetupError, make};
use crate::netlink::{Interface, NetlinkError, unless_missing};
use crate::nft::Nft;

impl HostSetup {
    /// Undoes all that `record` tells of, and takes out of it what is undone; `save` is called after each step.
    ///
    /// Nothing is touched but what is beyond doubt the thing that was made or changed: interfaces by index, name and
    /// mark, settings and addresses only while they are as they were made. What is gone already is no fault, so it can
    /// be called again and again. What could not be undone stays in the record, and is told. Settings that other machines
    /// of this namespace need, too, stay in it without a word: undo it again when those have ended.
    pub fn undo(&mut self, record: &mut Record, save: Save<'_>) -> Vec<Leftover> {
        if record.namespace.is_some_and(|namespace| namespace != self.namespace) {
            // What was made went with its namespace, or is out of reach in it.
            let why = "it was made in another network namespace".to_owned();
            let what = "the guest's network".to_owned();
            return if record.is_empty() { Vec::new() } else { vec![Leftover { what, why }] };
        }
        let mut left = Vec::new();
        for at in (0..record.steps.len()).rev() {
            let Some(step) = record.steps.get(at).cloned() else { continue };
            if step.is_for_all() && self.others_are_here().unwrap_or(true) {
                continue;
            }
            match self.undo_step(&step) {
                Ok(()) => drop(record.steps.remove(at)),
                Err(error) => left.push(Leftover { what: step.to_string(), why: chain(&error) }),
            }
            // Should it not be writable now, then a later run finds things done that are written down as to do.
            let _ = save(record);
        }
        left
    }

    fn undo_step(&mut self, step: &Step) -> Result<(), SetupError> {
        match step {
            Step::Interface { index, name } => self.delete_own(*index, name),
            Step::SharedBridge { index, name } => self.delete_unused(*index, name),
            Step::Rules { table } => Ok(Nft::open()?.delete(table)?),
            Step::Moved { interface, saved, .. } => self.with(*interface, |setup, _| {
                saved.iter().try_for_each(|saved| setup.netlink.put_back(saved))
            }),
            Step::Renamed { interface, before, after } => self.with(*interface, |setup, found| {
                if found.name != *after {
                    // It was never renamed, only switched off for it perhaps.
                    return setup.netlink.set_up(found.index, true);
                }
                setup.netlink.set_up(found.index, false)?;
                setup.netlink.rename(found.index, before)?;
                setup.netlink.set_up(found.index, true)
            }),
            Step::Mac { interface, before, after } => self.with(*interface, |setup, found| {
                if found.mac != Some(*after) {
                    return Ok(());
                }
                setup.netlink.set_up(found.index, false)?;
                setup.netlink.set_mac(found.index, *before)?;
                setup.netlink.set_up(found.index, true)
            }),
            Step::Port { interface, bridge } => self.with(*interface, |setup, found| {
                if found.master != Some(*bridge) {
                    return Ok(());
                }
                setup.netlink.set_master(found.index, None)
            }),
            Step::InterfaceSetting { interface, version, key, before, after } => {
                let Some(found) = self.find(*interface)? else { return Ok(()) };
                reset(&setting::of_interface(version, &found.name, key), before, after)
            }
            Step::Setting { path, before, after } => reset(path, before, after),
        }
    }

    fn find(&mut self, index: u32) -> Result<Option<Interface>, NetlinkError> {
        Ok(self.netlink.interfaces()?.into_iter().find(|interface| interface.index == index))
    }

    /// Does something to an interface if it is still there, and may cease to be at any time.
    fn with(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut Self, &Interface) -> Result<(), NetlinkError>,
    ) -> Result<(), SetupError> {
        let Some(found) = self.find(index)? else { return Ok(()) };
        match act(self, &found) {
            Err(error) if error.is_missing() && self.find(index)?.is_none() => Ok(()),
            result => Ok(result?),
        }
    }

    fn delete_own(&mut self, index: u32, name: &str) -> Result<(), SetupError> {
        let Some(found) = self.find(index)? else { return Ok(()) };
        // Between making and marking it has no mark; then the random index and the name have to do.
        let marked = found.alias.as_deref().is_none_or(|alias| alias == self.mark);
        if found.name != name || !marked {
            return Ok(());
        }
        Ok(unless_missing(self.netlink.delete_interface(index))?)
    }

    fn delete_unused(&mut self, index: u32, name: &str) -> Result<(), SetupError> {
        let all = self.netlink.interfaces()?;
        let Some(found) = all.iter().find(|interface| interface.index == index) else { return Ok(()) };
        let marked = found.alias.as_deref().is_none_or(|alias| alias == make::SHARED);
        let mine = |interface: &Interface| interface.alias.as_deref() == Some(self.mark.as_str());
        let used = all.iter().any(|interface| interface.master == Some(index) && !mine(interface));
        if found.name != name || !marked || used {
            return Ok(());
        }
        Ok(unless_missing(self.netlink.delete_interface(index))?)
    }

    /// Whether machines other than this one have something in the namespace.
    fn others_are_here(&mut self) -> Result<bool, SetupError> {
        let other =
            |alias: &str| alias.starts_with(super::MARK) && alias != self.mark && alias != make::SHARED;
        Ok(self.netlink.interfaces()?.iter().any(|interface| interface.alias.as_deref().is_some_and(other)))
    }
}

/// Sets back what is still as it was set.
fn reset(path: &str, before: &str, after: &str) -> Result<(), SetupError> {
    if setting::read(path)?.as_deref() == Some(after) { setting::write(path, before) } else { Ok(()) }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interface { name, .. } => write!(f, "network interface {name}"),
            Self::SharedBridge { name, .. } => write!(f, "bridge {name}"),
            Self::Rules { table } => write!(f, "packet rules in table {table}"),
            Self::Moved { addresses, .. } => write!(f, "addresses taken off an interface: {addresses:?}"),
            Self::Renamed { before, after, .. } => write!(f, "interface {after}, which was {before}"),
            Self::Mac { before, .. } => write!(f, "interface whose address was {before}"),
            Self::Port { interface, .. } => write!(f, "interface {interface}, a port of a bridge"),
            Self::InterfaceSetting { version, key, before, .. } => {
                write!(f, "setting {key} of {version}, which was {before}")
            }
            Self::Setting { path, before, .. } => write!(f, "setting {path}, which was {before}"),
        }
    }
}
