use std::fs;

use super::*;

const MACHINE: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: x}
spec:
  domain: {memory: {guest: 1Gi}, devices: {}}
  volumes:
  - {name: a, persistentVolumeClaim: {claimName: there}}
  - {name: b, dataVolume: {name: gone}}
  - {name: c, cloudInitNoCloud: {secretRef: {name: given}, networkDataSecretRef: {name: filed}}}
  - {name: d, configMap: {name: maybe, optional: true}}
  - {name: e, secret: {secretName: ../../etc}}
---
apiVersion: v1
kind: Secret
metadata: {name: given}
stringData: {userdata: hello}
";

#[test]
fn names_are_found_among_objects_and_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (volumes, secrets) = (folder.path().join("volumes"), folder.path().join("secrets"));
    fs::create_dir_all(volumes.join("there")).unwrap();
    fs::write(volumes.join("there/disk.img"), "").unwrap();
    fs::create_dir_all(secrets.join("filed/..data")).unwrap();
    std::os::unix::fs::symlink("gone", secrets.join("filed/..data_tmp")).unwrap();
    fs::write(secrets.join("filed/networkdata"), "net").unwrap();
    let manifests = Manifests::parse("x", MACHINE).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let pod = folder.path().join("private");
    fs::create_dir_all(pod.join("vmi-disks/b")).unwrap();
    let places = Places {
        volumes: Some(volumes.clone()),
        secrets: Some(secrets),
        pod: Some(pod.clone()),
        ..Places::default()
    };
    let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
    assert_eq!(resolved.claims["there"], Claim::File(volumes.join("there/disk.img")));
    assert_eq!(resolved.secrets["given"]["userdata"], b"hello");
    assert_eq!(resolved.secrets["filed"].len(), 1);
    let missing: Vec<_> = resolved.missing.iter().map(|missing| missing.path.as_str()).collect();
    assert_eq!(missing, ["spec.volumes[1].dataVolume", "spec.volumes[4].secret"]);
    assert!(resolved.missing[0].message.contains("put gone/disk.img"), "{}", resolved.missing[0].message);

    let mut verdict = verdict;
    verdict.miss(&manifests.documents[0], &resolved.missing, true);
    assert!(!verdict.allowed);
    assert_eq!(verdict.causes[0].location.to_string(), "x:9:15");

    fs::write(pod.join("vmi-disks/b/disk.img"), "").unwrap();
    let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
    assert_eq!(resolved.claims["gone"], Claim::File(pod.join("vmi-disks/b/disk.img")));
}

#[test]
fn a_folder_that_cannot_be_read_is_not_taken_for_one_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("maybe"), "a file").unwrap();
    let manifests = Manifests::parse("x", MACHINE).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let places = Places { config_maps: Some(folder.path().to_owned()), ..Places::default() };
    let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
    let missing =
        resolved.missing.iter().find(|missing| missing.path == "spec.volumes[3].configMap").unwrap();
    assert!(missing.message.contains("maybe cannot be read: Not a directory"), "{}", missing.message);
}

const CLAIMS: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: x, namespace: default}
spec:
  domain: {memory: {guest: 1Gi}, devices: {}}
  volumes:
  - {name: v, persistentVolumeClaim: {claimName: c}}
---
";

/// What becomes of the claim `c` with an object among the manifests and these files (or none) in its folder.
fn claim(object: &str, files: Option<&[&str]>) -> Result<Claim, String> {
    let folder = tempfile::tempdir().unwrap();
    if let Some(files) = files {
        fs::create_dir(folder.path().join("c")).unwrap();
        files.iter().for_each(|file| fs::write(folder.path().join("c").join(file), "").unwrap());
    }
    let manifests = Manifests::parse("x", &format!("{CLAIMS}{object}")).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let places = Places { volumes: Some(folder.path().to_owned()), ..Places::default() };
    let mut resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
    let relative = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_owned();
    match (resolved.claims.remove("c"), resolved.missing.pop()) {
        (Some(Claim::File(path)), None) => Ok(Claim::File(relative(path))),
        (Some(Claim::Qcow2(path)), None) => Ok(Claim::Qcow2(relative(path))),
        (Some(Claim::New { image, bytes }), None) => Ok(Claim::New { image: relative(image), bytes }),
        (None, Some(missing)) => Err(missing.message),
        other => panic!("{other:?}"),
    }
}

fn pvc(spec: &str) -> String {
    format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: c}}\nspec: {{{spec}}}\n")
}

fn blank(spec: &str) -> String {
    format!(
        "apiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\nmetadata: {{name: c}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn the_name_of_an_image_says_its_format() {
    assert_eq!(claim("", Some(&["disk.img"])), Ok(Claim::File("c/disk.img".into())));
    assert_eq!(claim("", Some(&["disk.qcow2", "lost+found"])), Ok(Claim::Qcow2("c/disk.qcow2".into())));
    assert!(claim("", Some(&["disk.qcow2", "disk.img"])).unwrap_err().contains("keep one"));
    assert!(claim("", Some(&["other.img"])).unwrap_err().contains("put c/disk.img"));
    assert!(claim("", None).is_err());
}

#[test]
fn an_image_below_another_one_that_kept_its_name_is_not_taken_for_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    let claim = folder.path().join("c");
    fs::create_dir(&claim).unwrap();
    for file in ["disk.img", "disk.qcow2", "disk.1f.img"] {
        fs::write(claim.join(file), "").unwrap();
    }
    let manifests = Manifests::parse("x", CLAIMS).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let places = Places { volumes: Some(folder.path().to_owned()), ..Places::default() };
    let found = || resolve(verdict.machine().unwrap(), &manifests, &places);
    assert!(found().missing[0].message.contains("keep one"), "another file is called like a base");
    fs::remove_file(claim.join("disk.1f.img")).unwrap();
    fs::hard_link(claim.join("disk.img"), claim.join("disk.1f.img")).unwrap();
    assert_eq!(found().claims.remove("c"), Some(Claim::Qcow2(claim.join("disk.qcow2"))));
}

#[test]
fn no_image_is_made_where_one_is_missing_over_its_bases() {
    let sized = pvc("resources: {requests: {storage: 1Gi}}");
    for base in ["disk.1f.img", "disk.1f.qcow2"] {
        let refused = claim(&sized, Some(&[base])).unwrap_err();
        assert!(refused.contains(base) && refused.contains("put it back"), "{refused}");
    }
    assert!(claim(&sized, Some(&[".disk.1f.qcow2"])).is_ok(), "what never had its name is nothing");
}

#[test]
fn an_empty_claim_gets_an_image_of_its_size() {
    let new = |bytes| Ok(Claim::New { image: "c/disk.img".into(), bytes });
    let request = "accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}";
    assert_eq!(claim(&pvc(request), Some(&[])), new(1 << 30));
    assert_eq!(claim(&pvc(request), None), new(1 << 30), "the folder is made as well");
    let uneven = "resources: {requests: {storage: 3000000}}";
    assert_eq!(claim(&pvc(uneven), Some(&[])), new(2 << 20), "whole mebibytes");
    let storage = format!("source: {{blank: {{}}}}, storage: {{{request}}}");
    assert_eq!(claim(&blank(&storage), Some(&[])), new(1 << 30));
    let with_overhead = format!("source: {{blank: {{}}}}, pvc: {{{request}}}");
    // 1 GiB / 1.06 is 966.03 MiB.
    assert_eq!(claim(&blank(&with_overhead), Some(&[])), new(966 << 20));
    let kept = claim(&pvc(request), Some(&["disk.img"]));
    assert_eq!(kept, Ok(Claim::File("c/disk.img".into())), "an image that is there stays");
}

#[test]
fn no_image_is_made_where_there_should_be_data_or_a_device() {
    let request = "resources: {requests: {storage: 1Gi}}";
    for (object, word) in [
        (pvc(&format!("{request}, volumeMode: Block")), "block device"),
        (pvc(&format!("{request}, dataSource: {{kind: VolumeSnapshot, name: s}}")), "is filled from"),
        (pvc("accessModes: [ReadWriteOnce]"), "how large"),
        (pvc("resources: {requests: {storage: 1000}}"), "too small"),
        (
            blank(&format!("source: {{http: {{url: \"http://x/y\"}}}}, storage: {{{request}}}")),
            "filled from http",
        ),
        (
            blank(&format!("sourceRef: {{kind: DataSource, name: s}}, storage: {{{request}}}")),
            "is filled from",
        ),
    ] {
        let message = claim(&object, Some(&[])).unwrap_err();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn templates_of_machines_give_sizes_too() {
    let machine = "
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: vm}
spec:
  runStrategy: Always
  dataVolumeTemplates:
  - metadata: {name: c}
    spec: {source: {blank: {}}, storage: {resources: {requests: {storage: 5Mi}}}}
  template: {spec: {domain: {devices: {}}}}
";
    assert_eq!(claim(machine, Some(&[])), Ok(Claim::New { image: "c/disk.img".into(), bytes: 5 << 20 }));
}

#[test]
fn a_folder_that_no_object_could_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("big")).unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join("big").join(name), vec![0; 600 << 10]).unwrap();
    }
    let text =
        CLAIMS.replace("persistentVolumeClaim: {claimName: c}", "secret: {secretName: big, optional: true}");
    let manifests = Manifests::parse("x", text.trim_end_matches("---\n")).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let places = Places { secrets: Some(folder.path().to_owned()), ..Places::default() };
    let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
    assert!(resolved.missing[0].message.contains("1 MiB"), "{}", resolved.missing[0].message);
}

const NETWORKS: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: x, namespace: shop}
spec:
  domain:
    memory: {guest: 1Gi}
    devices:
      interfaces: [{name: a, bridge: {}}, {name: b, bridge: {}}, {name: c, bridge: {}}, {name: d, bridge: {}}]
  networks:
  - {name: a, multus: {networkName: lan}}
  - {name: b, multus: {networkName: infra/lan}}
  - {name: c, multus: {networkName: gone}}
  - {name: d, multus: {networkName: broken}}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: lan, namespace: shop}
spec: {config: '{"type": "bridge", "bridge": "br-shop"}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: lan, namespace: infra, annotations: {k8s.v1.cni.cncf.io/resourceName: macvtap.network.kubevirt.io/eth1}}
spec: {config: '{"type": "macvtap", "mtu": 9000}'}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: broken, namespace: shop}
spec: {config: '{"type": "bridge", "bridge": "a/b"}'}
"#;

#[test]
fn networks_are_found_in_their_namespace() {
    use crate::cni::CniPlugin;
    let manifests = Manifests::parse("x", NETWORKS).unwrap();
    let verdict = crate::admit(&manifests.documents[0], &manifests);
    let resolved = resolve(verdict.machine().unwrap(), &manifests, &Places::default());
    assert_eq!(resolved.networks["a"].plugin, CniPlugin::Bridge { bridge: "br-shop".into(), vlan: None });
    assert_eq!(resolved.networks["b"].plugin, CniPlugin::Macvtap { master: Some("eth1".into()) });
    assert_eq!((resolved.networks["b"].mtu, resolved.networks.len()), (Some(9000), 2));
    let [missing] = &resolved.missing[..] else { panic!("{:?}", resolved.missing) };
    assert_eq!(missing.path, "spec.networks[3].multus.networkName");
    assert!(missing.message.contains("(x:29:8)") && missing.message.contains("a/b"), "{}", missing.message);
}
