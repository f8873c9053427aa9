//! Kinds beside machines: what each must hold.

use serde_json::{Value, json};
use spec::{Manifests, admit};

/// The causes that an object of this kind gives.
fn causes(api: &str, kind: &str, rest: Value) -> Vec<String> {
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let manifests = Manifests::parse("object.json", &object.to_string()).unwrap();
    let verdict = admit(&manifests.documents[0], &manifests);
    let short = |cause: &spec::Cause| {
        format!("{} {}", cause.reason.as_str().trim_start_matches("FieldValue"), cause.field)
    };
    let mut causes: Vec<_> = verdict.causes.iter().map(short).collect();
    causes.sort();
    causes
}

#[track_caller]
fn rows(api: &str, kind: &str, rows: Vec<(Value, &[&str])>) {
    for (rest, want) in rows {
        assert_eq!(causes(api, kind, rest.clone()), want, "{rest}");
    }
}

#[test]
fn migration_policies() {
    let policy = |more: Value| {
        let mut spec = json!({"selectors": {"virtualMachineInstanceSelector": {"a": "1"}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"spec": spec})
    };
    rows(
        "migrations.kubevirt.io/v1alpha1",
        "MigrationPolicy",
        vec![
            (policy(json!({"allowAutoConverge": true, "bandwidthPerMigration": "64Mi"})), &[]),
            (policy(json!({"completionTimeoutPerGiB": -1})), &["Invalid spec.completionTimeoutPerGiB"]),
            (policy(json!({"bandwidthPerMigration": "-1"})), &["Invalid spec.bandwidthPerMigration"]),
            (policy(json!({"maxDowntimeMs": 1})), &[]),
            (policy(json!({"maxDowntimeMs": 0})), &["Invalid spec.maxDowntimeMs"]),
            (policy(json!({"maxDowntimeMs": 2_000_001})), &["Invalid spec.maxDowntimeMs"]),
            (policy(json!({"experimental": {"compression": "zstd"}})), &[]),
            (json!({"spec": {}}), &["Required spec.selectors"]),
        ],
    );
}

#[test]
fn migrations() {
    rows(
        "kubevirt.io/v1",
        "VirtualMachineInstanceMigration",
        vec![
            (json!({"spec": {"vmiName": "vm"}}), &[]),
            (json!({"spec": {}}), &["Required spec.vmiName"]),
            (json!({}), &["Required spec"]),
            (
                json!({"spec": {"vmiName": "vm", "addedNodeSelector": {"zone": "b"}, "priority": "user-triggered",
                                "sendTo": {"migrationID": "m", "connectURL": "tcp://b:4444"},
                                "receive": {"migrationID": "m"}}}),
                &[],
            ),
            (
                json!({"spec": {"vmiName": "vm", "sendTo": {"migrationID": "m"}, "receive": {"migrationID": "n"}}}),
                &["Invalid spec.receive.migrationID"],
            ),
            (json!({"spec": {"vmiName": "vm", "receive": {}}}), &["Required spec.receive.migrationID"]),
            (json!({"spec": {"vmiName": "vm", "priority": "soon"}}), &["NotSupported spec.priority"]),
            (
                json!({"spec": {"vmiName": "vm"}, "status": {"phase": "Whatever", "migrationState": null}}),
                &[],
            ),
        ],
    );
}

#[test]
fn data_volumes() {
    let size = || json!({"resources": {"requests": {"storage": "1Gi"}}});
    let volume = |source: Value| json!({"spec": {"source": source, "storage": size()}});
    let both = json!({"spec": {"source": {"blank": {}}, "sourceRef": {"kind": "DataSource", "name": "s"}, "storage": size()}});
    let modes = json!({"accessModes": ["ReadWriteSometimes"], "resources": {"requests": {"storage": 0}}});
    rows(
        "cdi.kubevirt.io/v1beta1",
        "DataVolume",
        vec![
            (volume(json!({"blank": {}})), &[]),
            (volume(json!({"http": {"url": "https://example.org/disk.img"}})), &[]),
            (volume(json!({"registry": {"url": "docker://quay.io/a"}})), &[]),
            (volume(json!({"upload": {}})), &[]),
            (json!({"spec": {"source": {"pvc": {"namespace": "a", "name": "b"}}, "storage": {}}}), &[]),
            (json!({"spec": {"sourceRef": {"kind": "DataSource", "name": "s"}, "storage": {}}}), &[]),
            (volume(json!({})), &["Invalid spec.source"]),
            (volume(json!({"blank": {}, "upload": {}})), &["Invalid spec.source"]),
            (volume(json!({"http": {"url": "example.org"}})), &["Invalid spec.source.http.url"]),
            (volume(json!({"s3": {}})), &["Required spec.source.s3.url"]),
            (volume(json!({"gcs": {"url": ""}})), &["Required spec.source.gcs.url"]),
            (volume(json!({"registry": {"url": "quay.io/a"}})), &["Invalid spec.source.registry.url"]),
            (volume(json!({"registry": {}})), &["Invalid spec.source.registry"]),
            (volume(json!({"snapshot": {"namespace": "a"}})), &["Required spec.source.snapshot.name"]),
            (
                volume(json!({"imageio": {"url": "https://e"}})),
                &[
                    "Required spec.source.imageio.certConfigMap",
                    "Required spec.source.imageio.diskId",
                    "Required spec.source.imageio.secretRef",
                ],
            ),
            (
                volume(json!({"vddk": {"url": "https://e", "uuid": "1", "secretRef": "s"}})),
                &["Required spec.source.vddk.backingFile", "Required spec.source.vddk.thumbprint"],
            ),
            (both, &["Invalid spec.source"]),
            (json!({"spec": {"storage": size()}}), &["Invalid spec.source"]),
            (json!({"spec": {"source": {"blank": {}}}}), &["Invalid spec"]),
            (
                json!({"spec": {"source": {"blank": {}}, "pvc": modes, "contentType": "archive"}}),
                &[
                    "Invalid spec.contentType",
                    "Invalid spec.pvc.resources.requests.storage",
                    "NotSupported spec.pvc.accessModes[0]",
                ],
            ),
        ],
    );
}

#[test]
fn claims_secrets_config_maps_and_networks() {
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Block"});
    rows(
        "v1",
        "PersistentVolumeClaim",
        vec![
            (json!({"spec": claim}), &[]),
            (json!({"spec": {}}), &["Required spec.accessModes", "Required spec.resources.requests.storage"]),
        ],
    );
    rows(
        "v1",
        "Secret",
        vec![
            (json!({"data": {"a.b": "YQ=="}, "stringData": {"c": "d"}}), &[]),
            (json!({"stringData": {"a/b": ""}}), &["Invalid stringData[a/b]"]),
            (
                json!({"stringData": {"..": "", ".": ""}}),
                &["Invalid stringData[..]", "Invalid stringData[.]"],
            ),
            (json!({"stringData": {"a": "x".repeat((1 << 20) + 1)}}), &["Invalid data"]),
        ],
    );
    rows(
        "v1",
        "ConfigMap",
        vec![(json!({"data": {"a": "b"}, "binaryData": {"a": "YQ=="}}), &["Invalid data[a]"])],
    );
    rows(
        "k8s.cni.cncf.io/v1",
        "NetworkAttachmentDefinition",
        vec![
            (json!({"spec": {"config": "{\"type\": \"bridge\"}"}}), &[]),
            (json!({"spec": {"config": "{\"type\": "}}), &["Invalid spec.config"]),
            (json!({"spec": {"config": "{}"}}), &["Invalid spec.config"]),
        ],
    );
}

#[test]
fn instancetypes_preferences_and_presets() {
    let api = "instancetype.kubevirt.io/v1beta1";
    rows(
        api,
        "VirtualMachineInstancetype",
        vec![
            (
                json!({"spec": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi", "overcommitPercent": 15}}}),
                &[],
            ),
            (
                json!({"spec": {"cpu": {"guest": 0}, "memory": {"guest": "0", "overcommitPercent": 101}}}),
                &[
                    "Invalid spec.memory.overcommitPercent",
                    "NotSupported spec.cpu.guest",
                    "NotSupported spec.memory.guest",
                ],
            ),
            (
                json!({"spec": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi", "overcommitPercent": 1, "hugepages": {"pageSize": "2Mi"}}}}),
                &["Invalid spec.memory.overcommitPercent"],
            ),
        ],
    );
    rows(
        api,
        "VirtualMachinePreference",
        vec![
            (json!({"spec": {"cpu": {"preferredCPUTopology": "preferCores"}}}), &[]),
            (
                json!({"spec": {"cpu": {"preferredCPUTopology": "heap", "spreadOptions": {"across": "Moons"}}}}),
                &["Invalid spec.cpu.preferredCPUTopology", "Invalid spec.cpu.spreadOptions.across"],
            ),
            (
                json!({"spec": {"cpu": {"spreadOptions": {"across": "CoresThreads", "ratio": 3}}}}),
                &["Invalid spec.cpu.spreadOptions.ratio"],
            ),
        ],
    );
    let selector = json!({"matchLabels": {"a": "b"}});
    rows(
        "kubevirt.io/v1",
        "VirtualMachineInstancePreset",
        vec![(json!({"spec": {"selector": selector}}), &["Required spec.domain"])],
    );
}

#[test]
fn virtual_machines() {
    let template = json!({"spec": {"domain": {"memory": {"maxGuest": "2Gi"}, "resources": {"requests": {"memory": "1Gi"}}, "devices": {}}}});
    rows(
        "kubevirt.io/v1",
        "VirtualMachine",
        vec![
            (
                json!({"spec": {"runStrategy": "Always", "instancetype": {"kind": "Size"}, "template": {"spec": {"domain": {"memory": {"guest": "1Gi"}, "devices": {}}}}}}),
                &["Invalid spec.instancetype.kind", "Required spec.instancetype.name"],
            ),
            (
                json!({"spec": {"runStrategy": "Always", "template": template}}),
                &["Invalid spec.template.spec.domain.memory.guest"],
            ),
        ],
    );
}

/// A schema refuses `null` where a value is needed, and a cluster then names no field.
#[test]
fn null_is_no_value() {
    let credentials = json!([{"sshPublicKey": {"source": {"secret": {"secretName": "s"}}, "propagationMethod": {"qemuGuestAgent": {"users": null}}}}]);
    let spec =
        json!({"domain": {"memory": {"guest": "1Gi"}, "devices": {}}, "accessCredentials": credentials});
    assert_eq!(causes("kubevirt.io/v1", "VirtualMachineInstance", json!({"spec": spec})), ["Required "]);
}

#[test]
fn of_two_objects_with_a_name_the_first_counts() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let manifests = Manifests::parse("s.yaml", &format!("{secret}---\n{secret}")).unwrap();
    let verdicts: Vec<_> = manifests.documents.iter().map(|document| admit(document, &manifests)).collect();
    assert!(verdicts.iter().all(|verdict| verdict.allowed));
    assert_eq!(verdicts[0].warnings, []);
    assert_eq!(
        verdicts[1].warnings[0].message,
        "there is another Secret of this name at s.yaml:3:12: that one counts"
    );
}
