use std::os::unix::fs::PermissionsExt;

use block::ops::{CreateOptions, Format, create};
use block::{Blocking, QcowDisk, QcowOptions, RawDisk, RawOptions};

use super::*;

const SIZE: u64 = 1 << 20;

fn raw(folder: &Path) -> (PathBuf, Arc<MarkedDisk>) {
    let path = folder.join(RAW);
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    let disk = RawDisk::open(&path, RawOptions::default()).unwrap();
    (path, Arc::new(MarkedDisk::new(Arc::new(disk))))
}

fn qcow2(folder: &Path) -> (PathBuf, Arc<MarkedDisk>) {
    let path = folder.join(QCOW2);
    create(&path, &CreateOptions::new(Format::Qcow2, SIZE)).unwrap();
    let disk = QcowDisk::open(&path, &QcowOptions::default()).unwrap();
    (path, Arc::new(MarkedDisk::new(Arc::new(disk))))
}

fn write(disk: &dyn Disk, byte: u8) {
    Blocking::open(disk).unwrap().write(0, &[byte; 4096]).unwrap();
}

fn read(disk: &dyn Disk) -> u8 {
    let mut bytes = [0; 4096];
    Blocking::open(disk).unwrap().read(0, &mut bytes).unwrap();
    bytes[0]
}

fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

/// Has an overlay that was made come as far as `step`.
fn advance(place: &mut Place, step: Step) {
    match step {
        Step::Made => {}
        // As if the last rename had failed.
        Step::Named => {
            fs::rename(&place.hidden, &place.named).unwrap();
            place.step = Step::Named;
        }
        _ => place.take_over().unwrap(),
    }
}

#[test]
fn whatever_fails_a_folder_is_as_it_was_and_the_disk_goes_on() {
    for make in [raw, qcow2] {
        let folder = tempfile::tempdir().unwrap();
        let (path, disk) = make(folder.path());
        write(&*disk, 1);
        let before = names(folder.path());
        let others = fs::copy(&path, folder.path().join("copy")).and_then(|_| {
            fs::rename(&path, folder.path().join("moved"))?;
            fs::rename(folder.path().join("copy"), &path)
        });
        others.unwrap();
        assert!(Place::make(&path, "1f", &disk).is_err(), "another file is taken for the disk's");
        fs::rename(folder.path().join("moved"), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for step in [Step::Made, Step::Named, Step::Alone] {
            let (mut place, new) = Place::make(&path, "1f", &disk).unwrap();
            assert_eq!(names(folder.path()).len(), 3);
            assert_eq!(fs::metadata(&place.hidden).unwrap().permissions().mode() & 0o777, 0o640);
            advance(&mut place, step);
            drop((place, new));
            assert_eq!(names(folder.path()), before, "{step:?}");
            assert!(fs::symlink_metadata(&path).is_ok_and(|file| file.is_file()));
            write(&*disk, 2);
        }
        drop(disk);
        let opened = QcowDisk::open(&path, &QcowOptions::default());
        assert_eq!(opened.is_ok(), before == [QCOW2]);
    }
}

/// The byte on the disk that a manifest's next start opens, whatever is in the folder of its claim.
fn at_next_start(folder: &Path) -> u8 {
    const MACHINE: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: x}
spec:
  domain: {memory: {guest: 64Mi}, devices: {disks: [{name: d, disk: {}}]}}
  volumes: [{name: d, persistentVolumeClaim: {claimName: c}}]
";
    let manifests = spec::Manifests::parse("x", MACHINE).unwrap();
    let verdict = spec::admit(&manifests.documents[0], &manifests);
    let places = spec::resolve::Places { volumes: folder.parent().map(Path::to_owned), ..Default::default() };
    let mut resolved = spec::resolve::resolve(verdict.machine().unwrap(), &manifests, &places);
    match resolved.claims.remove("c") {
        Some(spec::resolve::Claim::File(raw)) => read(&RawDisk::open(&raw, RawOptions::default()).unwrap()),
        Some(spec::resolve::Claim::Qcow2(image)) => {
            let backing = crate::open::layers::below(&image).unwrap();
            read(&QcowDisk::open(&image, &QcowOptions { backing, ..QcowOptions::default() }).unwrap())
        }
        other => panic!("{other:?}: {:?}", resolved.missing),
    }
}

#[test]
fn whoever_dies_on_the_way_back_leaves_the_guests_state() {
    for (make, step) in [
        (raw as fn(&Path) -> _, Step::Made),
        (raw, Step::Named),
        (raw, Step::Alone),
        (qcow2, Step::Made),
        (qcow2, Step::Named),
    ] {
        let mut deeds = 0;
        for done in 0.. {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("c");
            fs::create_dir(&folder).unwrap();
            let (path, disk) = make(&folder);
            write(&*disk, 7);
            let (mut place, new) = Place::make(&path, "1f", &disk).unwrap();
            advance(&mut place, step);
            drop((disk, new));
            deeds = place.way_back().len();
            place.way_back().into_iter().take(done).for_each(|deed| deed.perform().unwrap());
            place.step = Step::Kept;
            assert_eq!(at_next_start(&folder), 7, "{step:?}, after {done} of {deeds}");
            if done == deeds {
                break;
            }
        }
        assert!(deeds > 1);
    }
}

#[test]
fn an_overlay_hides_what_is_written_from_its_base_which_others_may_read_then() {
    let folder = tempfile::tempdir().unwrap();
    let (path, disk) = raw(folder.path());
    write(&*disk, 1);
    let exchange = |path: &Path, id: &str| {
        let (mut place, new) = Place::make(path, id, &disk).unwrap();
        place.take_over().unwrap();
        place.step = Step::Kept;
        disk.exchange(new).lend().unwrap();
        place.base.clone()
    };
    let first = exchange(&path, "1");
    assert_eq!((read(&*disk), disk.info().size_bytes), (1, SIZE));
    write(&*disk, 2);
    let second = exchange(&folder.path().join(QCOW2), "2");
    write(&*disk, 3);
    assert_eq!(names(folder.path()), ["disk.1.img", "disk.2.qcow2", QCOW2]);
    let shared = RawOptions { read_only: true, ..RawOptions::default() };
    assert_eq!(read(&RawDisk::open(&first, shared).unwrap()), 1);
    assert!(RawDisk::open(&first, RawOptions::default()).is_err(), "a base is written");
    let backing = vec![block::qcow2::Backing::Raw(first)];
    let options = |read_only, backing| QcowOptions { read_only, backing, ..QcowOptions::default() };
    assert_eq!(read(&QcowDisk::open(&second, &options(true, backing.clone())).unwrap()), 2);
    assert!(QcowDisk::open(&folder.path().join(QCOW2), &options(true, Vec::new())).is_err());
    drop(disk);
    let backing = [vec![block::qcow2::Backing::Qcow2(second)], backing].concat();
    let disk = QcowDisk::open(&folder.path().join(QCOW2), &options(false, backing)).unwrap();
    assert_eq!(read(&disk), 3);
}

#[test]
fn what_is_no_claim_or_not_ours_alone_has_nothing_laid_over_it() {
    let storage = Storage::Raw("/x/disk.img".into());
    let mut plan = DiskPlan {
        source: DiskSource::Storage(storage.clone()),
        read_only: false,
        cache: crate::plan::Cache::Auto,
        io: crate::plan::Io::Auto,
        on_error: crate::plan::OnError::Stop,
        shareable: false,
        serial: String::new(),
        blocks: crate::plan::Blocks::Smallest,
        queues: 1,
        dedicated_io_thread: false,
        boot_order: None,
        tag: String::new(),
        limit: None,
    };
    assert_eq!(check(&plan, &storage, true), Ok(()));
    assert!(check(&plan, &storage, false).is_err());
    assert!(check(&plan, &Storage::Device("/dev/x".into()), true).is_err());
    plan.shareable = true;
    assert!(check(&plan, &storage, true).is_err());
}
