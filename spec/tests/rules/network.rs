//! Network cards and networks.

use serde_json::{Value, json};

use super::{card, rows};

#[test]
fn cards_and_networks() {
    let network = |value: Value| {
        let mut network = value;
        network["name"] = json!("default");
        ("networks.0", network)
    };
    let (name, mac, model, state) = (card("name"), card("macAddress"), card("model"), card("state"));
    let (masquerade, bridge, ports, ranges) =
        (card("masquerade"), card("bridge"), card("ports"), card("portRanges"));
    let (dhcp, pci, index, binding) =
        (card("dhcpOptions"), card("pciAddress"), card("acpiIndex"), card("binding"));
    let multus = || network(json!({"multus": {"networkName": "n"}}));
    let bridged = || (masquerade.as_str(), Value::Null);
    rows(vec![
        (
            vec![(&name, json!("other"))],
            &["Invalid devices.interfaces[0].name", "Required spec.networks[0].name"],
        ),
        (
            vec![(&name, json!("a.b")), ("networks.0.name", json!("a.b"))],
            &["Invalid devices.interfaces[0].name"],
        ),
        (vec![bridged()], &["Invalid devices.interfaces[0]"]),
        (vec![(&bridge, json!({}))], &["Invalid devices.interfaces[0]"]),
        (vec![(&binding, json!({"name": "x"}))], &["Invalid devices.interfaces[0]"]),
        (vec![multus()], &["Invalid devices.interfaces[0].name"]),
        (vec![multus(), bridged(), (&bridge, json!({}))], &[]),
        (vec![bridged(), (&card("macvtap"), json!({}))], &[]),
        (vec![bridged(), (&card("slirp"), json!({}))], &[]),
        (
            vec![multus(), bridged(), (&card("passtBinding"), json!({}))],
            &["Invalid devices.interfaces[0].name"],
        ),
        (vec![(&mac, json!("02-12-34-56-78-9A"))], &[]),
        (vec![(&mac, json!("02:12"))], &["Invalid devices.interfaces[0].macAddress"]),
        (vec![(&mac, json!("02:00:00:00:00:00"))], &["Invalid devices.interfaces[0].macAddress"]),
        (vec![(&mac, json!("01:00:00:00:00:01"))], &["NotSupported devices.interfaces[0].macAddress"]),
        (vec![(&model, json!("ne3k"))], &["NotSupported devices.interfaces[0].model"]),
        (vec![(&state, json!("asleep"))], &["Invalid devices.interfaces[0].state"]),
        (vec![(&state, json!("absent"))], &["Invalid devices.interfaces[0].state"]),
        (vec![(&pci, json!("x"))], &["Invalid devices.interfaces[0].pciAddress"]),
        (vec![(&index, json!(20000))], &["NotSupported devices.interfaces[0].acpiIndex"]),
        (vec![(&ports, json!([{"port": 0}]))], &["Required devices.interfaces[0].ports[0]"]),
        (vec![(&ports, json!([{"port": 80000}]))], &["Invalid devices.interfaces[0].ports[0]"]),
        (
            vec![(&ports, json!([{"port": 80, "protocol": "SCTP"}]))],
            &["Invalid devices.interfaces[0].ports[0].protocol"],
        ),
        (
            vec![(&ports, json!([{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]))],
            &["Duplicate devices.interfaces[0].ports[1].name"],
        ),
        (
            vec![(&ports, json!([{"port": 80, "name": "A_"}]))],
            &["Invalid devices.interfaces[0].ports[0].name"],
        ),
        (
            vec![(&ranges, json!([{"start": 9, "end": 5}]))],
            &[
                "Invalid devices.interfaces[0].portRanges[0].end",
                "Invalid devices.interfaces[0].portRanges[0].start",
            ],
        ),
        (
            vec![(&ranges, json!([{"start": 5, "end": 9}, {"start": 9, "end": 12}]))],
            &["Invalid devices.interfaces[0].portRanges", "Invalid devices.interfaces[0].portRanges[1]"],
        ),
        (vec![(&ranges, json!([{"start": 5, "end": 9}, {"start": 9, "end": 12, "protocol": "UDP"}]))], &[]),
        (
            vec![(&ranges, json!([{"start": 5, "end": 9}])), (&ports, json!([{"port": 80}]))],
            &["Invalid devices.interfaces[0].name"],
        ),
        (vec![(&dhcp, json!({"privateOptions": [{"option": 1, "value": "x"}]}))], &["Invalid spec"]),
        (
            vec![(&dhcp, json!({"ntpServers": ["::1"]}))],
            &["Invalid devices.interfaces[0].dhcpOptions.ntpServers[0]"],
        ),
        (
            vec![network(json!({"pod": {"vmNetworkCIDR": "10.1.0.0/30", "vmIPv6NetworkCIDR": "fd00::/64"}}))],
            &[],
        ),
        (
            vec![network(
                json!({"pod": {"vmNetworkCIDR": "10.1.0.0/31", "vmIPv6NetworkCIDR": "10.0.0.0/8"}}),
            )],
            &[
                "NotSupported spec.networks[0].pod.vmIPv6NetworkCIDR",
                "NotSupported spec.networks[0].pod.vmNetworkCIDR",
            ],
        ),
        (vec![network(json!({}))], &["Invalid devices.interfaces[0].name", "Required spec.networks[0]"]),
        (
            vec![network(json!({"pod": {}, "multus": {"networkName": "n"}}))],
            &["Invalid devices.interfaces[0].name", "Required spec.networks[0]"],
        ),
        (
            vec![network(json!({"multus": {"networkName": ""}})), bridged(), (&bridge, json!({}))],
            &["Required spec.networks[0]"],
        ),
        (
            vec![
                ("networks.1", json!({"name": "b", "pod": {}})),
                ("domain.devices.interfaces.1", json!({"name": "b", "bridge": {}})),
            ],
            &["Duplicate spec.interfaces"],
        ),
        (
            vec![
                ("networks.1", json!({"name": "b", "multus": {"networkName": "n", "default": true}})),
                ("domain.devices.interfaces.1", json!({"name": "b", "bridge": {}})),
            ],
            &["Invalid spec.networks"],
        ),
    ]);
}
