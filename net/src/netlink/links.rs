//! Interfaces: listing, making, changing, deleting.

use super::message::{Attributes, Message, Received, u32_at};
use super::socket::Mode;
use super::{Interface, Kind, MacvtapMode, Netlink, NetlinkError, Parent};
use crate::MacAddress;

/// `struct ifinfomsg`.
const INFO_LEN: usize = 16;
/// `IFLA_*` that the libc crate lacks or that belong together, linux/if_link.h.
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const PROTINFO: u16 = 12;
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const NET_NS_FD: u16 = 28;
const LINK_NETNSID: u16 = 37;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const MACVLAN_MODE: u16 = 1;
const TUN_TYPE: u16 = 3;
const TUN_MULTI_QUEUE: u16 = 8;
const VETH_PEER: u16 = 1;
const BRPORT_HAIRPIN: u16 = 4;
const BRPORT_LEARNING: u16 = 8;

/// Longest name of an interface, in bytes.
const LONGEST_NAME: usize = 15;
/// Longest alias of an interface, in bytes.
pub(crate) const LONGEST_ALIAS: usize = 255;

/// An interface to be made. It is switched off at first.
#[derive(Clone, Debug)]
pub struct NewInterface<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is to be.
    pub kind: NewKind<'a>,
    /// Its address; a random one else.
    pub mac: Option<MacAddress>,
    /// Longest payload; the kernel's default else.
    pub mtu: Option<u32>,
    /// Its number, so that it is known before the interface is there; the kernel's choice else.
    pub index: Option<u32>,
}

/// What a new interface is to be.
#[derive(Clone, Copy, Debug)]
pub enum NewKind<'a> {
    /// A bridge.
    Bridge,
    /// An interface that leads nowhere.
    Dummy,
    /// A macvtap on the interface with index `parent`.
    Macvtap {
        /// What it is on.
        parent: u32,
        /// To whom its frames go.
        mode: MacvtapMode,
    },
    /// A virtual cable, whose other end is called `peer`.
    Veth {
        /// The other end's name.
        peer: &'a str,
    },
}

/// How a bridge treats what comes in by one of its ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortSettings {
    /// Whether it remembers who is behind the port.
    pub learning: Option<bool>,
    /// Whether frames may leave by the port that they came in by.
    pub hairpin: Option<bool>,
}

impl MacvtapMode {
    /// linux/if_link.h, `enum macvlan_mode`.
    fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Private, Self::Vepa, Self::Bridge, Self::Passthru].into_iter().find(|m| m.number() == number)
    }
}

impl Netlink {
    /// All interfaces, by index.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, NetlinkError> {
        let header = info(0, 0, 0);
        let mut all =
            self.socket.dump(libc::RTM_GETLINK, &header, "listing the network interfaces", read_interface)?;
        all.sort_by_key(|interface| interface.index);
        Ok(all)
    }

    /// The interface of that name.
    ///
    /// # Errors
    /// [`NetlinkError::NoInterface`], or the kernel cannot be asked.
    pub fn interface(&mut self, name: &str) -> Result<Interface, NetlinkError> {
        let found = self.interfaces()?.into_iter().find(|interface| interface.name == name);
        found.ok_or_else(|| NetlinkError::NoInterface(name.to_owned()))
    }

    /// Whether this process may change anything here: asks for a change of nothing.
    pub fn may_configure(&mut self) -> bool {
        let message = Mode::Change.message(libc::RTM_SETLINK, &info(0, 0, 0));
        match self.socket.ask(message, "asking for a change of nothing") {
            Ok(()) => true,
            // What is refused for its lack of sense would have been allowed.
            Err(error) => matches!(error, NetlinkError::Refused { .. }) && !error.is_forbidden(),
        }
    }

    /// Makes an interface.
    ///
    /// # Errors
    /// The name or the index is taken or impossible, the kernel has no such kind, or it is not allowed.
    pub fn create(&mut self, new: &NewInterface<'_>) -> Result<(), NetlinkError> {
        let doing = format!("making {} {:?}", new.kind.text(), new.name);
        check_name(new.name, &doing)?;
        let mut message = Mode::Create
            .message(libc::RTM_NEWLINK, &info(new.index.unwrap_or(0), 0, 0))
            .with_text(IFNAME, new.name)
            .with_some(ADDRESS, new.mac.map(|mac| mac.0))
            .with_some(MTU, new.mtu.map(u32::to_ne_bytes));
        if let NewKind::Macvtap { parent, .. } = new.kind {
            message = message.with(LINK, &parent.to_ne_bytes());
        }
        let message = message.nest(LINKINFO, |m| new.kind.describe(m));
        self.socket.ask(message, &doing)
    }

    /// Deletes an interface. All that hangs on it (addresses, routes, its other end) goes with it.
    ///
    /// # Errors
    /// It is not there, cannot be deleted, or that is not allowed.
    pub fn delete_interface(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = Mode::Change.message(libc::RTM_DELLINK, &info(index, 0, 0));
        self.socket.ask(message, &format!("deleting network interface {index}"))
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let flag = libc::IFF_UP.cast_unsigned();
        let message = Mode::Change.message(libc::RTM_NEWLINK, &info(index, if up { flag } else { 0 }, flag));
        self.socket.ask(message, &format!("switching network interface {index} {}", on_off(up)))
    }

    /// Gives an interface another address. Most kinds have to be switched off for it.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_mac(&mut self, index: u32, mac: MacAddress) -> Result<(), NetlinkError> {
        self.change(index, &format!("giving network interface {index} the address {mac}"), |message| {
            message.with(ADDRESS, &mac.0)
        })
    }

    /// Gives an interface another name. Older kernels want it switched off for that.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`]; or the name is taken or impossible.
    pub fn rename(&mut self, index: u32, name: &str) -> Result<(), NetlinkError> {
        let doing = format!("giving network interface {index} the name {name:?}");
        check_name(name, &doing)?;
        self.change(index, &doing, |message| message.with_text(IFNAME, name))
    }

    /// Sets the longest payload.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        self.change(index, &format!("setting the MTU of network interface {index} to {mtu}"), |message| {
            message.with(MTU, &mtu.to_ne_bytes())
        })
    }

    /// Makes an interface a port of a bridge, or of none.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_master(&mut self, index: u32, bridge: Option<u32>) -> Result<(), NetlinkError> {
        let doing = match bridge {
            Some(bridge) => format!("making network interface {index} a port of bridge {bridge}"),
            None => format!("taking network interface {index} off its bridge"),
        };
        self.change(index, &doing, |message| message.with(MASTER, &bridge.unwrap_or(0).to_ne_bytes()))
    }

    /// Leaves a text on an interface: up to 255 bytes.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        let end = alias.floor_char_boundary(LONGEST_ALIAS);
        self.change(index, &format!("marking network interface {index}"), |message| {
            message.with(IFALIAS, alias.get(..end).unwrap_or_default().as_bytes())
        })
    }

    /// Moves an interface into another network namespace.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn move_to(&mut self, index: u32, namespace: &super::Namespace) -> Result<(), NetlinkError> {
        let fd = namespace.raw_fd().cast_unsigned();
        self.change(
            index,
            &format!("moving network interface {index} to another network namespace"),
            |message| message.with(NET_NS_FD, &fd.to_ne_bytes()),
        )
    }

    /// Sets how a bridge treats one of its ports.
    ///
    /// # Errors
    /// As [`Netlink::delete_interface`].
    pub fn set_port(&mut self, index: u32, settings: PortSettings) -> Result<(), NetlinkError> {
        let mut header = info(index, 0, 0);
        // The only part of an interface's configuration that is asked for by family.
        header[0] = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
        let message = Mode::Change.message(libc::RTM_SETLINK, &header).nest(PROTINFO, |message| {
            message
                .with_some(BRPORT_LEARNING, settings.learning.map(|on| [u8::from(on)]))
                .with_some(BRPORT_HAIRPIN, settings.hairpin.map(|on| [u8::from(on)]))
        });
        self.socket.ask(message, &format!("setting up bridge port {index}"))
    }

    fn change(
        &mut self,
        index: u32,
        doing: &str,
        add: impl FnOnce(Message) -> Message,
    ) -> Result<(), NetlinkError> {
        let message = Mode::Change.message(libc::RTM_NEWLINK, &info(index, 0, 0));
        self.socket.ask(add(message), doing)
    }
}

impl NewKind<'_> {
    fn text(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Dummy => "dummy",
            Self::Macvtap { .. } => "macvtap",
            Self::Veth { .. } => "virtual cable",
        }
    }

    fn describe(self, message: Message) -> Message {
        match self {
            Self::Bridge => message.with(INFO_KIND, b"bridge"),
            Self::Dummy => message.with(INFO_KIND, b"dummy"),
            Self::Macvtap { mode, .. } => message
                .with(INFO_KIND, b"macvtap")
                .nest(INFO_DATA, |m| m.with(MACVLAN_MODE, &mode.number().to_ne_bytes())),
            Self::Veth { peer } => message.with(INFO_KIND, b"veth").nest(INFO_DATA, |m| {
                let mut name = info(0, 0, 0).to_vec();
                name.extend(Message::attribute_text(IFNAME, peer));
                m.with(VETH_PEER, &name)
            }),
        }
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn check_name(name: &str, doing: &str) -> Result<(), NetlinkError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    if name.is_empty() || name.len() > LONGEST_NAME || name == "." || name == ".." || name.contains(bad) {
        return Err(NetlinkError::Refused {
            doing: doing.to_owned(),
            said: Some("interfaces have names of 1 to 15 bytes without spaces, slashes and colons".into()),
            source: std::io::Error::from_raw_os_error(libc::EINVAL),
        });
    }
    Ok(())
}

/// `struct ifinfomsg`.
fn info(index: u32, flags: u32, change: u32) -> [u8; INFO_LEN] {
    let mut bytes = [0; INFO_LEN];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn read_interface(received: &Received<'_>) -> Option<Interface> {
    let flags = u32_at(received.body, 8)?;
    let is = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
    let all = received.attributes(INFO_LEN);
    let parent = all.u32(LINK).filter(|index| *index != 0);
    let elsewhere = all.find(LINK_NETNSID).is_some();
    Some(Interface {
        index: u32_at(received.body, 4)?,
        name: all.text(IFNAME)?,
        kind: read_kind(all, is(libc::IFF_LOOPBACK)),
        mac: all.find(ADDRESS).and_then(MacAddress::from_slice),
        mtu: all.u32(MTU).unwrap_or_default(),
        up: is(libc::IFF_UP),
        carrier: is(libc::IFF_LOWER_UP),
        master: all.u32(MASTER).filter(|index| *index != 0),
        parent: parent.map(|index| if elsewhere { Parent::Elsewhere(index) } else { Parent::Here(index) }),
        alias: all.text(IFALIAS).filter(|alias| !alias.is_empty()),
    })
}

fn read_kind(all: Attributes<'_>, loopback: bool) -> Kind {
    let linkinfo = all.inside(LINKINFO);
    let data = linkinfo.inside(INFO_DATA);
    let flag = |kind| data.find(kind).and_then(|value| value.first().copied());
    match linkinfo.text(INFO_KIND).as_deref() {
        None if loopback => Kind::Loopback,
        None => Kind::Card,
        Some("bridge") => Kind::Bridge,
        Some("veth") => Kind::Veth,
        Some("macvtap") => {
            let mode = data.u32(MACVLAN_MODE).and_then(MacvtapMode::from_number);
            Kind::Macvtap(mode.unwrap_or_default())
        }
        // Tun and tap are one kind; the type is `IFF_TUN` or `IFF_TAP`.
        Some("tun") if flag(TUN_TYPE).is_none_or(|kind| i32::from(kind) == libc::IFF_TAP) => {
            Kind::Tap { multi_queue: flag(TUN_MULTI_QUEUE) == Some(1) }
        }
        Some(other) => Kind::Other(other.to_owned()),
    }
}
