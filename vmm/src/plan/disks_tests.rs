use std::fs;

use spec::{Manifests, Places};

use crate::plan::{
    self, Blocks, Cache, DevicePlan, DiskPlan, DiskSource, Io, OnError, Options, Plan, Storage,
};

/// Plans a machine with these disks and volumes (flow lists), with more for its `domain` and more documents.
fn plan_with(disks: &str, volumes: &str, domain: &str, more: &str) -> Result<Plan, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (claim, image) in [("raw", "disk.img"), ("cow", "disk.qcow2")] {
        fs::create_dir(folder.path().join(claim)).unwrap();
        fs::write(folder.path().join(claim).join(image), "").unwrap();
    }
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: x, namespace: default}}\nspec:\n  domain:\n    \
         memory: {{guest: 256Mi}}\n    cpu: {{cores: 2}}\n{domain}    devices:\n      autoattachPodInterface: false\n      disks: \
         {disks}\n  volumes: {volumes}\n{more}"
    );
    let manifests = Manifests::parse("x", &text).unwrap();
    let verdict = spec::admit(&manifests.documents[0], &manifests);
    assert!(verdict.allowed, "{}", spec::report::text(&verdict));
    let places = Places { volumes: Some(folder.path().to_owned()), ..Places::default() };
    let vmi = verdict.machine().unwrap();
    let resolved = spec::resolve(vmi, &manifests, &places);
    let options = Options { kernel: Some("vmlinux".into()), ..Options::default() };
    let relative = |storage: &mut Storage| match storage {
        Storage::Raw(path) | Storage::Qcow2(path) | Storage::RawOrNew { path, .. } => {
            *path = path.strip_prefix(folder.path()).unwrap_or(path).to_owned();
        }
        Storage::Device(_) => {}
    };
    let (mut plan, _) = plan::make(vmi, &options, &resolved, &plan::Surroundings::default())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for function in &mut plan.functions {
        if let DevicePlan::Disk(disk) = &mut function.device
            && let DiskSource::Storage(storage) | DiskSource::Ephemeral(storage) = &mut disk.source
        {
            relative(storage);
        }
    }
    Ok(plan)
}

fn disks(plan: &Plan) -> Vec<&DiskPlan> {
    let disks = plan.functions.iter().filter_map(|function| match &function.device {
        DevicePlan::Disk(disk) => Some(disk),
        _ => None,
    });
    disks.collect()
}

fn one(disk: &str, volume: &str) -> DiskPlan {
    let plan = plan_with(&format!("[{{name: d, {disk}}}]"), &format!("[{{name: d, {volume}}}]"), "", "");
    disks(&plan.unwrap())[0].clone()
}

const VIRTIO: &str = "disk: {bus: virtio}";
const RAW: &str = "persistentVolumeClaim: {claimName: raw}";

#[test]
fn each_volume_becomes_its_storage() {
    let source = |volume: &str| one(VIRTIO, volume).source;
    let raw = || Storage::Raw("raw/disk.img".into());
    let cow = || Storage::Qcow2("cow/disk.qcow2".into());
    assert_eq!(source(RAW), DiskSource::Storage(raw()));
    assert_eq!(source("dataVolume: {name: cow}"), DiskSource::Storage(cow()));
    let ephemeral = |claim| source(&format!("ephemeral: {{persistentVolumeClaim: {{claimName: {claim}}}}}"));
    assert_eq!(ephemeral("raw"), DiskSource::Ephemeral(raw()));
    assert_eq!(ephemeral("cow"), DiskSource::Ephemeral(cow()));
    assert_eq!(source("emptyDisk: {capacity: 3000000}"), DiskSource::Empty(2 << 20));
    let made = Storage::RawOrNew { path: "/x/y.img".into(), capacity: 1 << 30 };
    let host = |rest: &str| source(&format!("hostDisk: {{path: /x/y.img, {rest}}}"));
    assert_eq!(host("type: DiskOrCreate, capacity: 1Gi"), DiskSource::Storage(made));
    assert_eq!(host("type: Disk"), DiskSource::Storage(Storage::Raw("/x/y.img".into())));
    let DiskSource::Iso { label, files } = source("cloudInitConfigDrive: {userData: x}") else { panic!() };
    assert_eq!((label.as_str(), files.len()), ("config-2", 2));
}

#[test]
fn an_empty_claim_is_made_but_nothing_can_be_read_from_it() {
    let claim = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: new}\nspec: {resources: {requests: {storage: 1Gi}}}\n";
    let disk = format!("[{{name: d, {VIRTIO}}}]");
    let plan = |volume: &str| plan_with(&disk, &format!("[{{name: d, {volume}}}]"), "", claim);
    let made = plan("persistentVolumeClaim: {claimName: new}").unwrap();
    let image = Storage::RawOrNew { path: "new/disk.img".into(), capacity: 1 << 30 };
    assert_eq!(disks(&made)[0].source, DiskSource::Storage(image));
    let errors = plan("ephemeral: {persistentVolumeClaim: {claimName: new}}").unwrap_err();
    assert!(errors[0].contains("is empty"), "{errors:?}");
}

#[test]
fn every_field_of_a_disk_is_carried() {
    let disk = one(
        "disk: {bus: virtio, readonly: true}, serial: s1, tag: t, cache: writethrough, io: threads, errorPolicy: enospace, \
         bootOrder: 2, blockSize: {custom: {logical: 4096, physical: 8192, discardGranularity: 65536}}",
        RAW,
    );
    assert!(disk.read_only && !disk.shareable && !disk.dedicated_io_thread);
    assert_eq!((disk.serial.as_str(), disk.tag.as_str(), disk.boot_order), ("s1", "t", Some(2)));
    assert_eq!((disk.cache, disk.io, disk.on_error), (Cache::Writethrough, Io::Threads, OnError::Enospace));
    let blocks = Blocks::Custom { logical: 4096, physical: 8192, discard_granularity: Some(65536) };
    assert_eq!(disk.blocks, blocks);
    assert_eq!(one("disk: {bus: virtio}, blockSize: {matchVolume: {}}", RAW).blocks, Blocks::Volume);
    let plain = one(VIRTIO, RAW);
    assert_eq!((plain.cache, plain.io, plain.on_error), (Cache::Auto, Io::Auto, OnError::Stop));
    assert_eq!((plain.blocks, plain.queues, plain.read_only), (Blocks::Smallest, 1, false));
    assert!(one("disk: {bus: virtio}, shareable: true", RAW).shareable);
    let shared = "hostDisk: {path: /x/y.img, type: Disk, shared: true}";
    assert!(one(VIRTIO, shared).shareable);
}

#[test]
fn what_is_read_only() {
    let read_only = |disk, volume| one(disk, volume).read_only;
    assert!(read_only("cdrom: {bus: sata}", RAW));
    assert!(!read_only("cdrom: {bus: scsi, readonly: false}", RAW));
    assert!(read_only(VIRTIO, "persistentVolumeClaim: {claimName: raw, readOnly: true}"));
    assert!(read_only("lun: {bus: scsi, readonly: true}", RAW));
    assert!(read_only(VIRTIO, "cloudInitNoCloud: {userData: x}"), "a disk of files cannot be written");
}

#[test]
fn config_drives_tell_of_tags() {
    let plan = plan_with(
        "[{name: root, disk: {bus: virtio}, tag: system, serial: s1}, {name: seed, disk: {bus: virtio}}]",
        "[{name: root, emptyDisk: {capacity: 1Gi}}, {name: seed, cloudInitConfigDrive: {userData: x}}]",
        "",
        "",
    );
    let plan = plan.unwrap();
    let DiskSource::Iso { files, .. } = &disks(&plan)[1].source else { panic!() };
    let meta: serde_json::Value = serde_json::from_slice(&files[0].data).unwrap();
    let device = serde_json::json!({
        "type": "disk", "bus": "pci", "address": format!("0000:{}", plan.functions[0].address), "serial": "s1",
        "tags": ["system"],
    });
    assert_eq!(meta["devices"], serde_json::json!([device]));
}

/// The threads of each disk, and how many there are in all.
fn threads(policy: &str, dedicated: &[bool]) -> (Vec<Vec<u16>>, u16) {
    let item =
        |(number, own): (usize, &bool)| format!("{{name: d{number}, {VIRTIO}, dedicatedIOThread: {own}}}");
    let disks: Vec<_> = dedicated.iter().enumerate().map(item).collect();
    let volume = |number| format!("{{name: d{number}, emptyDisk: {{capacity: 1Gi}}}}");
    let volumes: Vec<_> = (0..dedicated.len()).map(volume).collect();
    let plan =
        plan_with(&format!("[{}]", disks.join(", ")), &format!("[{}]", volumes.join(", ")), policy, "")
            .unwrap();
    let of = |function: &plan::Function| {
        matches!(function.device, DevicePlan::Disk(_)).then(|| function.io_threads.clone())
    };
    (plan.functions.iter().filter_map(of).collect(), plan.io_threads)
}

#[test]
fn io_threads_follow_the_policy() {
    let three = [false, true, false];
    assert_eq!(threads("", &three), (vec![vec![0], vec![1], vec![0]], 2));
    assert_eq!(threads("    ioThreadsPolicy: shared\n", &three), (vec![vec![0], vec![1], vec![0]], 2));
    // Two vCPUs allow four threads, of which one is taken.
    let auto = "    ioThreadsPolicy: auto\n";
    assert_eq!(threads(auto, &three), (vec![vec![1], vec![3], vec![2]], 4));
    let (turns, count) = threads(auto, &[false; 6]);
    assert_eq!((turns, count), ([1, 2, 3, 4, 1, 2].map(|thread| vec![thread]).to_vec(), 5));
    let pool = "    ioThreadsPolicy: supplementalPool\n    ioThreads: {supplementalPoolThreadCount: 3}\n";
    assert_eq!(threads(pool, &[false; 2]), (vec![vec![1, 2, 3]; 2], 4));
}

#[test]
fn odd_blocks_and_labels_are_refused() {
    let disk = |blocks: &str| format!("[{{name: d, {VIRTIO}, blockSize: {{custom: {blocks}}}}}]");
    let volume = format!("[{{name: d, {RAW}}}]");
    let refused = plan_with(&disk("{logical: 65536, physical: 65536}"), &volume, "", "").unwrap_err();
    assert!(refused[0].contains("blockSize"), "{refused:?}");
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b}\n";
    let label = format!("[{{name: d, configMap: {{name: m, volumeLabel: {}}}}}]", "x".repeat(33));
    let refused = plan_with(&format!("[{{name: d, {VIRTIO}}}]"), &label, "", map).unwrap_err();
    assert!(refused[0].contains("volume label"), "{refused:?}");
}

#[test]
fn contents_survive_a_text_and_are_not_shown() {
    let disk = format!("[{{name: d, {VIRTIO}}}]");
    let plan = plan_with(&disk, "[{name: d, cloudInitNoCloud: {userData: hush}}]", "", "").unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert!(text.contains("aHVzaA=="), "{text}");
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(back.functions, plan.functions);
    let without = plan.without_contents();
    let DevicePlan::Disk(DiskPlan { source: DiskSource::Iso { files, .. }, .. }) =
        &without.functions[0].device
    else {
        panic!("{without:?}")
    };
    assert!(files.iter().all(|file| file.data.capacity() == 0), "memory is kept");
    let shown = serde_json::to_string(&without).unwrap();
    assert!(shown.contains("user-data") && !shown.contains("aHVzaA=="), "{shown}");
}
