//! The steps that all bindings are made of. Each is written down before it is taken.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use super::SetupError;
use super::record::{Record, Step};
use super::setting;
use crate::netlink::{Interface, Kind, Netlink, NetlinkError, NewInterface, NewKind};
use crate::{IpNet, MacAddress, Tap};

/// Writes a record to where it survives the process.
pub type Save<'a> = &'a mut dyn FnMut(&Record) -> io::Result<()>;

/// Takes steps and writes them down.
pub(super) struct Maker<'a> {
    pub(super) netlink: &'a mut Netlink,
    /// What is left on interfaces, to tell who made them.
    pub(super) mark: &'a str,
    pub(super) record: &'a mut Record,
    pub(super) save: Save<'a>,
}

impl Maker<'_> {
    /// Writes down what comes next.
    pub(super) fn will(&mut self, step: Step) -> Result<(), SetupError> {
        self.record.steps.push(step);
        (self.save)(self.record).map_err(SetupError::Record)
    }

    /// Makes an interface and marks it. Should a dead run of the same machine have left one of this name, that one goes.
    pub(super) fn interface(
        &mut self,
        name: &str,
        kind: NewKind<'_>,
        mac: MacAddress,
        mtu: Option<u32>,
    ) -> Result<u32, SetupError> {
        let index = random_index();
        self.will(Step::Interface { index, name: name.to_owned() })?;
        let new = NewInterface { name, kind, mac: Some(mac), mtu, index: Some(index) };
        match self.netlink.create(&new) {
            Err(error) if error.is_existing() => {
                self.remove_own(name, error)?;
                self.netlink.create(&new)?;
            }
            result => result?,
        }
        self.netlink.set_alias(index, self.mark)?;
        Ok(index)
    }

    /// Removes what this machine itself has left behind under that name; else the error stands.
    fn remove_own(&mut self, name: &str, error: NetlinkError) -> Result<(), SetupError> {
        let found = self.netlink.interface(name)?;
        if found.alias.as_deref() != Some(self.mark) {
            return Err(error.into());
        }
        Ok(self.netlink.delete_interface(found.index)?)
    }

    /// Makes a tap as a port of `bridge`. It goes when its files are closed, so nothing is written down.
    pub(super) fn tap(&mut self, name: &str, queues: u16, mtu: u32, bridge: u32) -> Result<Tap, SetupError> {
        let tap = Tap::create(name, queues)?;
        let index = self.netlink.interface(name)?.index;
        self.netlink.set_alias(index, self.mark)?;
        self.no_ipv6(name)?;
        self.netlink.set_mtu(index, mtu)?;
        self.netlink.set_master(index, Some(bridge))?;
        self.netlink.set_up(index, true)?;
        Ok(tap.reread_mtu())
    }

    /// Keeps the kernel from giving an interface of ours addresses that nobody asked for.
    pub(super) fn no_ipv6(&mut self, name: &str) -> Result<(), SetupError> {
        setting::write_if_there(&setting::of_interface("ipv6", name, "disable_ipv6"), "1")
    }

    /// Changes a setting of an interface that is not ours.
    pub(super) fn interface_setting(
        &mut self,
        interface: &Interface,
        version: &str,
        key: &str,
        after: &str,
    ) -> Result<(), SetupError> {
        let path = setting::of_interface(version, &interface.name, key);
        let Some(before) = setting::read(&path)?.filter(|before| before != after) else { return Ok(()) };
        self.will(Step::InterfaceSetting {
            interface: interface.index,
            version: version.to_owned(),
            key: key.to_owned(),
            before,
            after: after.to_owned(),
        })?;
        setting::write(&path, after)
    }

    /// Changes a setting of the namespace.
    pub(super) fn setting(&mut self, path: &str, after: &str) -> Result<(), SetupError> {
        let Some(before) = setting::read(path)?.filter(|before| before != after) else { return Ok(()) };
        self.will(Step::Setting { path: path.to_owned(), before, after: after.to_owned() })?;
        setting::write(path, after)
    }

    /// Takes all addresses, and with them the routes, off an interface.
    pub(super) fn take_addresses(&mut self, interface: &Interface) -> Result<Vec<IpNet>, SetupError> {
        let index = interface.index;
        let all = self.netlink.addresses()?;
        let addresses = all.iter().filter(|a| a.interface == index && a.permanent).map(|a| a.net);
        let addresses = addresses.collect::<Vec<_>>();
        let saved = self.netlink.save(index)?;
        self.will(Step::Moved { interface: index, addresses: addresses.clone(), saved })?;
        for address in all.iter().filter(|a| a.interface == index && a.net.is_v4()) {
            // Secondary addresses go with their first.
            crate::netlink::unless_missing(self.netlink.remove_address(index, address.net))?;
        }
        self.interface_setting(interface, "ipv6", "disable_ipv6", "1")?;
        Ok(addresses)
    }

    /// The interface of that name, which has to be a bridge.
    pub(super) fn bridge(&mut self, name: &str) -> Result<Interface, SetupError> {
        let found = self.netlink.interface(name)?;
        if found.kind != Kind::Bridge {
            return Err(SetupError::WrongKind { name: name.to_owned(), wanted: "bridge" });
        }
        Ok(found)
    }
}

/// An index that is known before the interface exists; what has it later is beyond doubt the same interface.
pub(super) fn random_index() -> u32 {
    const FIRST: u64 = 1_000_000;
    const COUNT: u64 = 1_000_000_000;
    u32::try_from(FIRST + random() % COUNT).unwrap_or(u32::MAX >> 1)
}

/// A locally administered address.
pub(super) fn random_mac() -> MacAddress {
    let [a, b, c, d, e, ..] = random().to_ne_bytes();
    MacAddress([0x02, a, b, c, d, e])
}

/// A number that nobody else has; the standard library has it of the kernel.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
