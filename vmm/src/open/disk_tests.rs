use block::Blocking;

use super::*;
use crate::plan::{Blocks, OnError};

fn plan(source: DiskSource) -> DiskPlan {
    DiskPlan {
        source,
        read_only: false,
        cache: Cache::Auto,
        io: Io::Auto,
        on_error: OnError::Stop,
        shareable: false,
        serial: String::new(),
        blocks: Blocks::Smallest,
        queues: 1,
        dedicated_io_thread: false,
        boot_order: None,
        tag: String::new(),
        limit: None,
    }
}

fn open_plan(plan: &DiskPlan, cache: &Path) -> Result<Arc<dyn Disk>, OpenError> {
    open(&Store::new(None, cache.to_owned()), cache, "d", plan, false)
}

fn read(disk: &dyn Disk, offset: u64) -> Vec<u8> {
    let mut bytes = vec![1; 4096];
    Blocking::open(disk).unwrap().read(offset, &mut bytes).unwrap();
    bytes
}

fn write(disk: &dyn Disk, offset: u64, byte: u8) {
    let mut io = Blocking::open(disk).unwrap();
    io.write(offset, &[byte; 4096]).unwrap();
    io.flush().unwrap();
}

/// A qcow2 image of 4 MiB whose block at 1 MiB is sevens.
fn qcow2(folder: &Path) -> PathBuf {
    let path = folder.join("disk.qcow2");
    ops::create(&path, &CreateOptions::new(Format::Qcow2, 4 << 20)).unwrap();
    write(&QcowDisk::open(&path, &QcowOptions::default()).unwrap(), 1 << 20, 7);
    path
}

fn raw(folder: &Path) -> PathBuf {
    let path = folder.join("disk.img");
    let mut bytes = vec![0; 4 << 20];
    bytes[1 << 20..(1 << 20) + 4096].fill(7);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_qcow2_claim_is_written_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(DiskSource::Storage(Storage::Qcow2(qcow2(folder.path()))));
    let disk = open_plan(&plan, folder.path()).unwrap();
    assert_eq!(disk.info().size_bytes, 4 << 20);
    assert_eq!(read(&*disk, 1 << 20), [7; 4096]);
    write(&*disk, 2 << 20, 9);
    assert!(open_plan(&plan, folder.path()).is_err(), "nobody else may write it meanwhile");
    drop(disk);
    let disk = open_plan(&plan, folder.path()).unwrap();
    assert_eq!((read(&*disk, 1 << 20), read(&*disk, 2 << 20)), (vec![7; 4096], vec![9; 4096]));
}

/// What the guest can write is never taken for another format.
#[test]
fn the_format_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let inner = qcow2(folder.path());
    let renamed = folder.path().join("disk.img");
    fs::rename(inner, &renamed).unwrap();
    let disk = open_plan(&plan(DiskSource::Storage(Storage::Raw(renamed))), folder.path()).unwrap();
    assert!(read(&*disk, 0).starts_with(b"QFI\xfb"));
    drop(disk);
    let raw = raw(folder.path());
    let misnamed = folder.path().join("disk.qcow2");
    fs::rename(raw, &misnamed).unwrap();
    assert!(open_plan(&plan(DiskSource::Storage(Storage::Qcow2(misnamed))), folder.path()).is_err());
}

#[test]
fn ephemeral_disks_forget_and_leave_their_claim_alone() {
    let folder = tempfile::tempdir().unwrap();
    for storage in [Storage::Raw(raw(folder.path())), Storage::Qcow2(qcow2(folder.path()))] {
        let (path, _) = place(&storage);
        let (path, before) = (path.to_owned(), fs::read(path).unwrap());
        let plan = plan(DiskSource::Ephemeral(storage));
        let disk = open_plan(&plan, folder.path()).unwrap();
        // As many VMs as like may read one claim.
        let other = open_plan(&plan, folder.path()).unwrap();
        write(&*disk, 2 << 20, 9);
        write(&*disk, 1 << 20, 8);
        assert_eq!((read(&*disk, 1 << 20), read(&*disk, 2 << 20)), (vec![8; 4096], vec![9; 4096]));
        assert_eq!((read(&*other, 1 << 20), read(&*other, 2 << 20)), (vec![7; 4096], vec![0; 4096]));
        drop(disk);
        let disk = open_plan(&plan, folder.path()).unwrap();
        assert_eq!((read(&*disk, 1 << 20), read(&*disk, 2 << 20)), (vec![7; 4096], vec![0; 4096]));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn an_image_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claim/disk.img");
    let plan = plan(DiskSource::Storage(Storage::RawOrNew { path, capacity: 1 << 20 }));
    let disk = open_plan(&plan, folder.path()).unwrap();
    assert_eq!(disk.info().size_bytes, 1 << 20);
    write(&*disk, 0, 5);
    drop(disk);
    assert_eq!(read(&*open_plan(&plan, folder.path()).unwrap(), 0), [5; 4096]);
}

#[test]
fn an_iso_is_read_only_and_has_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let files = vec![IsoFile { name: "a".into(), data: b"x".to_vec() }];
    let plan = plan(DiskSource::Iso { label: "cfgdata".into(), files });
    let disk = open_plan(&plan, folder.path()).unwrap();
    assert!(disk.info().read_only);
    assert_eq!(&read(&*disk, 16 * 2048)[40..47], b"cfgdata");
}

#[test]
fn shareable_disks_are_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(DiskSource::Storage(Storage::Raw(raw(folder.path()))));
    let held = open_plan(&plan, folder.path()).unwrap();
    assert!(open_plan(&plan, folder.path()).is_err());
    drop(held);
    let shared = DiskPlan { shareable: true, ..plan };
    let _first = open_plan(&shared, folder.path()).unwrap();
    open_plan(&shared, folder.path()).unwrap();
}

#[test]
fn an_image_that_was_changed_is_unpacked_anew_even_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let file = File::create(&path).unwrap();
    let copy_at = |nanoseconds| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, nanoseconds);
        file.set_modified(time).unwrap();
        copy_of(folder.path(), &path).unwrap()
    };
    assert_eq!(copy_at(1000), copy_at(1000));
    assert_ne!(copy_at(1000), copy_at(2000));
}

#[test]
fn a_disk_that_another_process_has_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let source = Storage::RawOrNew { path: path.clone(), capacity: 1 << 20 };
    let plan = plan(DiskSource::Storage(source));
    let open_later = || open(&Store::new(None, folder.path().into()), folder.path(), "d", &plan, true);
    assert!(open_later().is_err() && !path.exists());
    let theirs = open_plan(&plan, folder.path()).unwrap();
    let ours = open_later().unwrap();
    assert!(ours.hold().is_err());
    theirs.let_go().unwrap();
    ours.hold().unwrap();
}

#[test]
fn a_disk_out_of_an_image_is_known_by_its_digest_also_when_it_was_unpacked() {
    let (cache, digest) = (Path::new("/cache"), "0123456789abcdef".repeat(4));
    let of = |path: &str| content_of(cache, Path::new(path));
    let disk = format!("/cache/{digest}/disk");
    assert_eq!(of(&disk), Some(format!("{digest}/disk")));
    let copy = copy_of(cache, Path::new(&disk)).unwrap();
    assert_eq!(copy, Path::new(&format!("/cache/unpacked/{digest}-disk.raw")));
    assert_eq!(content_of(cache, &copy), of(&disk));
    for other in
        ["/cache/0123/disk", "/elsewhere/disk", "/cache/unpacked/1-2-3-4.5.raw", "/cache", "/cache/unpackedx"]
    {
        assert_eq!(of(other), None, "{other}");
    }
    assert_eq!(of(&format!("/cache/{digest}")), None);
    assert_eq!(of(&format!("/cache/{digest}/a/b")), None);
    assert_eq!(of(&format!("/cache/{}/disk", digest.replace('0', "x"))), None);
}

/// An image names what is below it, and only a base in its own folder counts, as what its name says.
#[test]
fn only_a_base_of_the_same_folder_lies_below_a_claim() {
    let folder = tempfile::tempdir().unwrap();
    let claim = folder.path().join("claim");
    fs::create_dir(&claim).unwrap();
    fs::rename(raw(folder.path()), claim.join("disk.1f.img")).unwrap();
    for name in ["other.img", "disk.img"] {
        fs::copy(claim.join("disk.1f.img"), claim.join(name)).unwrap();
    }
    let path = claim.join("disk.qcow2");
    let whole = claim.join("disk.1f.img").display().to_string();
    let names = ["other.img", "disk.img", "../claim/disk.1f.img", &whole, "disk.1f.img"];
    for (number, name) in names.iter().enumerate() {
        let options = CreateOptions {
            // What it says of the format counts as little.
            backing: Some(((*name).to_owned(), Format::Qcow2)),
            overwrite: true,
            ..CreateOptions::new(Format::Qcow2, 4 << 20)
        };
        ops::create(&path, &options).unwrap();
        for source in [DiskSource::Storage, DiskSource::Ephemeral] {
            let opened = open_plan(&plan(source(Storage::Qcow2(path.clone()))), folder.path());
            match opened {
                Ok(disk) => {
                    assert_eq!(number, names.len() - 1, "{name} is opened");
                    assert_eq!(read(&*disk, 1 << 20), [7; 4096]);
                }
                Err(error) => assert!(number < names.len() - 1, "{name}: {}", devices::chain(&error)),
            }
        }
    }
}
