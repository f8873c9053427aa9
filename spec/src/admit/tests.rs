use super::*;

fn verdicts(text: &str) -> Vec<Verdict> {
    let manifests = Manifests::parse("vm.yaml", text).unwrap();
    manifests.documents.iter().map(|document| admit(document, &manifests)).collect()
}

fn verdict(text: &str) -> Verdict {
    verdicts(text).swap_remove(0)
}

fn fields(verdict: &Verdict) -> Vec<(&str, &str)> {
    verdict.causes.iter().map(|cause| (cause.reason.as_str(), cause.field.as_str())).collect()
}

const KUBESPHERE: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: i-wtest, namespace: sky}
spec:
  domain:
    cpu: {cores: 1}
    devices:
      disks:
      - {bootOrder: 1, disk: {bus: virtio}, name: vol-0wsve9ix}
      - {disk: {bus: virtio}, name: cloudinitdisk}
      interfaces:
      - {macAddress: "ce:44:ac:10:00:06", macvtap: {}, name: eth0}
    machine: {type: q35}
    resources: {limits: {cpu: "4", memory: 4Gi}, requests: {cpu: 1333m, memory: 4Gi}}
  hostname: wtest
  networks: [{multus: {networkName: kubesphere-virtualization-system/vxnet-lgxxk7dx}, name: eth0}]
  volumes:
  - cloudInitNoCloud: {userDataBase64: I2Nsb3VkLWNvbmZpZwo=}
    name: cloudinitdisk
  - name: vol-0wsve9ix
    persistentVolumeClaim: {claimName: tpl-vol-0wsve9ix}
"#;

#[test]
fn a_machine_of_kubesphere_is_accepted() {
    let verdict = verdict(KUBESPHERE);
    assert_eq!(fields(&verdict), []);
    let vmi = verdict.machine().unwrap();
    assert_eq!(vmi.memory_bytes(), 4 << 30);
    assert_eq!(vmi.topology().vcpus(), 1);
    assert_eq!(vmi.hostname(), "wtest");
    assert_eq!(vmi.namespace(), "sky");
    assert_eq!(vmi.grace_period_seconds(), 30);
    assert_eq!(vmi.firmware_uuid(), crate::Uuid::of_machine("i-wtest"));
    let warned: Vec<_> = verdict.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warned, ["spec.domain.firmware"], "only the missing kernel is worth a word");
}

#[test]
fn cloud_init_documents_have_kubevirts_contents() {
    let verdict = verdict(KUBESPHERE);
    let vmi = verdict.machine().unwrap();
    let crate::api::VolumeSource::CloudInitNoCloud(source) = &vmi.spec.volumes[0].source else { panic!() };
    let files = crate::cloud_init::no_cloud(vmi, source, &|_| None).unwrap();
    let uuid = crate::Uuid::of_machine("i-wtest");
    let want = format!(r#"{{"instance-id":"{uuid}","local-hostname":"wtest"}}"#);
    assert_eq!(String::from_utf8(files.meta_data).unwrap(), want);
    assert_eq!(files.user_data, b"#cloud-config\n");
    assert_eq!(files.network_config, None);
}

#[test]
fn defaults_size_and_equip_a_bare_machine() {
    let verdict = verdict(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: tiny.example}\nspec:\n  domain:\n    devices: {}\n    resources: {requests: {memory: 64M, cpu: 1500m}}\n  volumes: [{name: root, containerDisk: {image: x}}]\n",
    );
    assert_eq!(fields(&verdict), []);
    let vmi = verdict.machine().unwrap();
    assert_eq!(vmi.memory_bytes(), 64_000_000);
    assert_eq!(vmi.topology(), crate::Topology { sockets: 2, cores: 1, threads: 1 });
    assert_eq!(vmi.hostname(), "tiny");
    let devices = &vmi.spec.domain.devices;
    assert_eq!(devices.disks[0].name, "root");
    assert_eq!(devices.interfaces[0].name, "default");
    assert_eq!(vmi.spec.networks[0].source.key(), Some("pod"));
}

#[test]
fn every_fault_is_found_in_one_go_and_in_order() {
    let verdict = verdict(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: x}\nspec:\n  domain:\n    cpu:\n      core: 2\n      threads: \"1\"\n    memory: {guest: 1G i}\n    devices:\n      disks: [{name: a}]\n      tpm: {}\n",
    );
    assert_eq!(
        fields(&verdict),
        [
            ("FieldValueInvalid", "spec.domain.cpu.core"),
            ("FieldValueTypeInvalid", "spec.domain.cpu.threads"),
            ("FieldValueInvalid", "spec.domain.memory.guest"),
            ("FieldValueInvalid", "spec.domain.devices.disks[0].name"),
            ("FieldValueNotSupported", "spec.domain.devices.tpm"),
        ]
    );
    assert_eq!(verdict.causes[0].message, "unknown field \"core\": did you mean \"cores\"?");
    assert_eq!(verdict.causes[2].location.to_string(), "vm.yaml:9:14");
}

#[test]
fn the_template_of_a_virtual_machine_is_the_machine() {
    let all = verdicts(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: web}\nspec:\n  runStrategy: Always\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      domain:\n        devices: {disks: [{name: x}]}\n        memory: {guest: 1Gi}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\ndata: {c: Zm9v}\n",
    );
    assert_eq!(fields(&all[0]), [("FieldValueInvalid", "spec.template.spec.domain.devices.disks[0].name")]);
    let machine = all[0].machine().unwrap();
    assert_eq!((machine.metadata.name.as_str(), machine.memory_bytes()), ("web", 1 << 30));
    let Object::Secret(secret) = &all[1].object else { panic!() };
    assert_eq!((secret.value("a"), secret.value("c")), (Some(&b"b"[..]), Some(&b"foo"[..])));
}

#[test]
fn unknown_kinds_are_refused() {
    assert_eq!(fields(&verdict("kind: Pod\n")), [("FieldValueNotSupported", "kind")]);
    assert_eq!(fields(&verdict("spec: 1\n")), [("FieldValueRequired", "kind")]);
}

const SIZED: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  runStrategy: Always
  instancetype: {kind: VirtualMachineInstancetype, name: large}
  preference: {kind: VirtualMachinePreference, name: linux}
  template:
    spec:
      domain:
        devices: {disks: [{name: root, disk: {}}]}
      volumes: [{name: root, containerDisk: {image: x}}]
---
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineInstancetype
metadata: {name: large}
spec: {cpu: {guest: 4}, memory: {guest: 2Gi}}
---
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachinePreference
metadata: {name: linux}
spec:
  cpu: {preferredCPUTopology: spread, spreadOptions: {ratio: 2}}
  devices: {preferredDiskBus: virtio, preferredRng: {}}
";

#[test]
fn instancetypes_size_and_preferences_fill_a_machine() {
    let all = verdicts(SIZED);
    assert_eq!(all.iter().map(fields).collect::<Vec<_>>(), [vec![], vec![], vec![]]);
    let machine = all[0].machine().unwrap();
    assert_eq!(machine.memory_bytes(), 2 << 30);
    assert_eq!(machine.topology(), crate::Topology { sockets: 2, cores: 2, threads: 1 });
    let devices = &machine.spec.domain.devices;
    assert!(devices.rng.is_some());
    let crate::api::DiskDevice::Disk(disk) = &devices.disks[0].device else { panic!() };
    assert_eq!(disk.bus, Some(crate::api::DiskBus::Virtio));
}

#[test]
fn what_an_instancetype_brings_in_is_judged_like_the_machine_itself() {
    let text = SIZED
        .replace("memory: {guest: 2Gi}}", "memory: {guest: 2Gi}, gpus: [{name: g, deviceName: d}]}")
        .replace(
            "preferredRng: {}}",
            "preferredTPM: {}}\n  firmware: {preferredEfi: {}}\n  features: {preferredSmm: {}}",
        );
    let all = verdicts(&text);
    let mut got = fields(&all[0]);
    got.sort();
    assert_eq!(
        got,
        [
            ("FieldValueNotSupported", "spec.template.spec.domain.devices.gpus"),
            ("FieldValueNotSupported", "spec.template.spec.domain.devices.tpm"),
            ("FieldValueNotSupported", "spec.template.spec.domain.firmware.bootloader.efi.secureBoot"),
        ]
    );
    assert_eq!((fields(&all[1]), fields(&all[2])), (vec![], vec![]));
}

#[test]
fn a_machine_may_not_size_itself_beside_an_instancetype() {
    let text = SIZED
        .replace("devices: {disks", "memory: {guest: 1Gi}\n        cpu: {cores: 2}\n        devices: {disks");
    assert_eq!(
        fields(&verdicts(&text)[0]),
        [
            ("FieldValueInvalid", "spec.template.spec.domain.memory.guest"),
            ("FieldValueInvalid", "spec.template.spec.domain.cpu.cores"),
        ]
    );
}

#[test]
fn an_instancetype_that_is_missing_is_missed_where_it_sizes_the_machine() {
    let text = SIZED.split("---").next().unwrap();
    let verdict = &verdicts(text)[0];
    assert_eq!(fields(verdict), [("FieldValueNotSupported", "spec.instancetype")]);
    let warned: Vec<_> = verdict.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(
        warned,
        [
            "spec.preference",
            "spec.template.spec.domain.firmware",
            "spec.template.spec.domain.devices.disks[0].disk"
        ]
    );
    let own = text.replace("devices: {disks", "memory: {guest: 1Gi}\n        devices: {disks");
    assert_eq!(fields(&verdicts(&own)[0]), []);
}

#[test]
fn names_stay_names() {
    let named = |metadata: &str| {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n");
        fields(&verdict(&text))
            .into_iter()
            .map(|(reason, field)| format!("{reason} {field}"))
            .collect::<String>()
    };
    assert_eq!(named("{name: a.b-c, namespace: x}"), "");
    assert_eq!(named("{}"), "FieldValueRequired metadata.name");
    assert_eq!(named("{generateName: a-}"), "FieldValueNotSupported metadata.name");
    assert_eq!(named("{name: ../../etc}"), "FieldValueInvalid metadata.name");
    assert_eq!(named("{name: a, namespace: ..}"), "FieldValueInvalid metadata.namespace");
}

#[test]
fn migrations_need_only_the_beginning_of_a_name() {
    let named = |metadata: &str| {
        verdict(&format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {metadata}\nspec: {{vmiName: vm}}\n"
        ))
    };
    let only = named("{generateName: move-}");
    assert!(only.allowed && only.warnings.is_empty(), "{only:?}");
    let both = named("{name: a, generateName: move-}");
    assert!(both.allowed && both.warnings.len() == 1, "{both:?}");
    assert_eq!(fields(&named("{generateName: ../}")), [("FieldValueInvalid", "metadata.generateName")]);
    for none in ["{}", "{generateName: ''}"] {
        assert_eq!(fields(&named(none)), [("FieldValueRequired", "metadata.name")]);
    }
}

#[test]
fn sets_and_pools_run_one_of_their_machines() {
    let template = "{spec: {domain: {memory: {guest: 1Gi}, devices: {}}}, metadata: {labels: {a: b}}}";
    let set = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceReplicaSet\nmetadata: {{name: set}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  template: {template}\n"
    );
    assert_eq!(verdict(&set).machine().unwrap().memory_bytes(), 1 << 30);
    let wrong = verdict(&set.replace("matchLabels: {a: b}", "matchLabels: {a: c}"));
    assert_eq!(fields(&wrong), [("FieldValueInvalid", "spec.selector")]);
    let pool = format!(
        "apiVersion: pool.kubevirt.io/v1beta1\nkind: VirtualMachinePool\nmetadata: {{name: pool}}\nspec:\n  replicas: 3\n  selector: {{matchLabels: {{x: z}}}}\n  virtualMachineTemplate:\n    metadata: {{labels: {{x: z}}}}\n    spec: {{runStrategy: Never, template: {template}}}\n"
    );
    let verdict = verdict(&pool);
    assert_eq!(verdict.machine().unwrap().metadata.name, "pool");
    assert_eq!(fields(&verdict), [("FieldValueInvalid", "spec.virtualMachineTemplate.spec.runStrategy")]);
}

#[test]
fn presets_fill_machines_with_their_labels() {
    let all = verdicts(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: x, labels: {size: s}}\nspec: {domain: {devices: {}}}\n---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstancePreset\nmetadata: {name: p}\nspec:\n  selector: {matchLabels: {size: s}}\n  domain: {memory: {guest: 64Mi}, devices: {}}\n",
    );
    assert_eq!(all.iter().map(fields).collect::<Vec<_>>(), [vec![], vec![]]);
    assert_eq!(all[0].machine().unwrap().memory_bytes(), 64 << 20);
}

#[test]
fn versions_and_strategies_are_checked() {
    let text = "apiVersion: kubevirt.io/v2\nkind: VirtualMachine\nmetadata: {name: x}\nspec:\n  running: true\n  runStrategy: Always\n  dataVolumeTemplates: [{metadata: {name: d}, spec: {source: {blank: {}, http: {url: u}}, storage: {}}}]\n  template: {spec: {domain: {memory: {guest: 1Gi}, devices: {}}}}\n";
    assert_eq!(
        fields(&verdict(text)),
        [
            ("FieldValueNotSupported", "apiVersion"),
            ("FieldValueInvalid", "spec.running"),
            ("FieldValueRequired", "spec.dataVolumeTemplate[0]"),
            ("FieldValueInvalid", "spec.dataVolumeTemplate[0].source"),
        ]
    );
}
