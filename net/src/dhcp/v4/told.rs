//! What a lease says, as options (RFC 2132).

use std::net::Ipv4Addr;

use super::options::{LONGEST, Options};
use super::routes::routes;
use crate::dhcp::names::{compressed, longest};
use crate::dhcp::{Lease4, mask};

/// Everything that a lease says, whether the client asked for it or not, as KubeVirt does
/// (`pkg/network/dhcp/server/server.go`, `prepareDHCPOptions`). The mask comes before the router (RFC 2132 §3.3).
pub(super) fn tell(lease: &Lease4, options: &mut Options) {
    let mut put = |code, value: &[u8]| {
        if !value.is_empty() {
            options.put(code, value);
        }
    };
    let extras = &lease.extras;
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    put(1, &mask(lease.prefix).to_be_bytes());
    put(121, &routes(lease));
    put(3, &addresses(lease.router.as_slice()));
    put(6, &addresses(&lease.dns));
    put(26, lease.mtu.map(u16::to_be_bytes).as_slice().as_flattened());
    put(12, &text(&lease.hostname));
    put(15, longest(lease.search.iter()).map_or("", String::as_str).as_bytes());
    put(119, &compressed(&lease.search, LONGEST));
    put(42, &addresses(&extras.ntp));
    put(66, &text(&extras.tftp_server));
    put(67, &text(&extras.boot_file));
    for private in extras.private.iter().filter(|private| (224..=254).contains(&private.code)) {
        put(private.code, private.value.as_bytes());
    }
}

/// As many addresses as one option holds.
fn addresses(list: &[Ipv4Addr]) -> Vec<u8> {
    list.iter().take(LONGEST / 4).flat_map(Ipv4Addr::octets).collect()
}
