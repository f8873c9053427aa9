//! Other devices, names, life, probes and scheduling.

use serde_json::{Value, json};

use super::{CARD, rows};

#[test]
fn other_devices() {
    let devices = |key: &'static str, value: Value| (key, value);
    rows(vec![
        (
            vec![devices("domain.devices.inputs", json!([{"name": "i", "type": "mouse", "bus": "ps2"}]))],
            &["Invalid devices.inputs[0].bus", "Invalid devices.inputs[0].type"],
        ),
        (
            vec![devices("domain.devices.sound", json!({"name": "", "model": "sb16"}))],
            &["Invalid spec.Sound"],
        ),
        (
            vec![devices("domain.devices.video", json!({"type": "voodoo"}))],
            &["NotSupported devices.video.type"],
        ),
        (
            vec![
                devices("domain.devices.video", json!({"type": "vga"})),
                ("domain.devices.autoattachGraphicsDevice", json!(false)),
            ],
            &["Invalid spec.video"],
        ),
        (
            vec![devices("domain.devices.panicDevices", json!([{"model": "bad"}]))],
            &["Invalid devices.panicDevices[0].model"],
        ),
        (vec![devices("domain.devices.watchdog", json!({"name": "w"}))], &[]),
        (
            vec![devices("domain.devices.watchdog", json!({"name": "w", "diag288": {}}))],
            &["NotSupported devices.watchdog"],
        ),
        (
            vec![devices("domain.devices.watchdog", json!({"name": "w", "i6300esb": {"action": "bark"}}))],
            &["NotSupported devices.watchdog.i6300esb.action"],
        ),
        (vec![devices("domain.devices.gpus", json!([{"name": "g"}]))], &["NotSupported devices.gpus"]),
        (
            vec![devices("domain.devices.watchdog", json!({"name": "w"})), ("architecture", json!("s390x"))],
            &["NotSupported spec.architecture"],
        ),
        (
            vec![
                devices("domain.devices.watchdog", json!({"name": "w", "i6300esb": {}})),
                ("architecture", json!("s390x")),
            ],
            &["NotSupported devices.watchdog", "NotSupported spec.architecture"],
        ),
        (vec![("domain.ioThreadsPolicy", json!("many"))], &["Invalid ioThreadsPolicy"]),
        (vec![("domain.ioThreadsPolicy", json!("supplementalPool"))], &["Invalid ioThreads.count"]),
        (vec![devices("domain.devices.tpm", json!({"enabled": false}))], &[]),
    ]);
}

#[test]
fn names_life_and_probes() {
    rows(vec![
        (vec![("hostname", json!("a_b"))], &["Invalid spec.hostname"]),
        (vec![("subdomain", json!("a..b"))], &["Invalid spec.subdomain"]),
        (vec![("serviceAccountName", json!("a+b"))], &["Invalid spec.serviceAccountName"]),
        (vec![("dnsPolicy", json!("Never"))], &["NotSupported spec.dnsPolicy"]),
        (vec![("dnsPolicy", json!("None"))], &["Required spec.dnsConfig"]),
        (vec![("dnsPolicy", json!("None")), ("dnsConfig", json!({}))], &["Required nameservers"]),
        (
            vec![("dnsConfig", json!({"nameservers": ["x"], "searches": ["_"], "options": [{}]}))],
            &["Invalid nameservers", "Invalid options", "Invalid searchDomains"],
        ),
        (vec![("startStrategy", json!("Slow"))], &["Invalid spec.startStrategy"]),
        (
            vec![("startStrategy", json!("Paused")), ("livenessProbe", json!({"guestAgentPing": {}}))],
            &["Invalid spec.startStrategy"],
        ),
        (
            vec![("domain.memory.reservedOverhead", json!({"memLock": "Perhaps"}))],
            &["NotSupported memory.reservedOverhead.memLock"],
        ),
        (vec![("evictionStrategy", json!("Flee"))], &["Invalid spec.evictionStrategy"]),
        (vec![("domain.rebootPolicy", json!("Never"))], &["Invalid rebootPolicy"]),
        (vec![("architecture", json!("vax"))], &["NotSupported spec.architecture"]),
        (
            vec![("architecture", json!("arm64")), ("domain.devices.watchdog", json!({"name": "w"}))],
            &["NotSupported devices.watchdog", "NotSupported spec.architecture"],
        ),
        (vec![("readinessProbe", json!({}))], &["Required spec.readinessProbe"]),
        (
            vec![("readinessProbe", json!({"tcpSocket": {"port": 1}, "exec": {"command": ["a"]}}))],
            &["Invalid spec.readinessProbe"],
        ),
        (vec![("readinessProbe", json!({"tcpSocket": {"port": "http"}}))], &[]),
        (
            vec![
                ("livenessProbe", json!({"httpGet": {"port": 1}})),
                ("networks.0", json!({"name": "default", "multus": {"networkName": "n"}})),
                (CARD, json!({"name": "default", "bridge": {}})),
            ],
            &["Invalid spec.livenessProbe.httpGet"],
        ),
        (vec![("accessCredentials", json!([{}]))], &["Invalid spec.accessCredentials[0]"]),
        (
            vec![(
                "accessCredentials",
                json!([{"sshPublicKey": {"source": {"secret": {"secretName": "s"}}, "propagationMethod": {"noCloud": {}}}}]),
            )],
            &["Invalid spec.accessCredentials[0].sshPublicKey.propagationMethod"],
        ),
        (
            vec![("accessCredentials", json!([{"userPassword": {"source": {}, "propagationMethod": {}}}]))],
            &[
                "Invalid spec.accessCredentials[0].userPassword.propagationMethod",
                "Invalid spec.accessCredentials[0].userPassword.source",
            ],
        ),
        (vec![("/metadata.labels", json!({"kubevirt.io/nodeName": "n"}))], &["NotSupported metadata.labels"]),
    ]);
}

#[test]
fn scheduling() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let terms = format!("Invalid spec.nodeAffinity.{required}.nodeSelectorTerms");
    let (operator, values) =
        (format!("{terms}[0].matchExpressions[0].operator"), format!("{terms}[0].matchFields[0].values"));
    let weight = format!("Invalid spec.podAffinity.{preferred}[0].weight");
    let key = format!("Invalid spec.podAntiAffinity.{required}[0].topologyKey");
    rows(vec![
        (vec![("affinity", json!({"nodeAffinity": {required: {"nodeSelectorTerms": []}}}))], &[&terms]),
        (
            vec![(
                "affinity",
                json!({"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]}}}),
            )],
            &[&operator],
        ),
        (
            vec![(
                "affinity",
                json!({"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]}]}}}),
            )],
            &[&values],
        ),
        (
            vec![(
                "affinity",
                json!({"podAffinity": {preferred: [{"weight": 0, "podAffinityTerm": {"topologyKey": "a"}}]}}),
            )],
            &[&weight],
        ),
        (vec![("affinity", json!({"podAntiAffinity": {required: [{"topologyKey": ""}]}}))], &[&key]),
        (
            vec![(
                "topologySpreadConstraints",
                json!([
                    {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["b"]},
                    {"maxSkew": 2, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule",
                     "labelSelector": {"matchLabels": {"b": "c"}}, "matchLabelKeys": ["d", "b", "="]},
                ]),
            )],
            &[
                "Duplicate spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}",
                "Invalid spec.topologySpreadConstraints[0].matchLabelKeys",
                "Invalid spec.topologySpreadConstraints[1].matchLabelKeys[1]",
                "Invalid spec.topologySpreadConstraints[1].matchLabelKeys[2]",
            ],
        ),
        (
            vec![(
                "topologySpreadConstraints",
                json!([{"maxSkew": 0, "topologyKey": "=", "whenUnsatisfiable": "Cry"}]),
            )],
            &[
                "Invalid spec.topologySpreadConstraints[0].maxSkew",
                "Invalid spec.topologySpreadConstraints[0].topologyKey",
                "Invalid spec.topologySpreadConstraints[0].whenUnsatisfiable",
            ],
        ),
    ]);
}
