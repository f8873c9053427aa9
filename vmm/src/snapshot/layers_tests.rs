use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use block::ops::{CreateOptions, Format, create};
use serde_json::json;

use super::*;

const SIZE: u64 = 1 << 20;

/// An image over another one over a raw one, the topmost first.
fn chain(folder: &Path) -> [PathBuf; 3] {
    let [top, middle, raw] = ["disk.3.qcow2", "disk.2.qcow2", "disk.1.img"];
    File::create(folder.join(raw)).unwrap().set_len(SIZE).unwrap();
    for (image, base, kind) in [(middle, raw, Format::Raw), (top, middle, Format::Qcow2)] {
        let options = CreateOptions {
            backing: Some((base.to_owned(), kind)),
            ..CreateOptions::new(Format::Qcow2, SIZE)
        };
        create(&folder.join(image), &options).unwrap();
    }
    [top, middle, raw].map(|name| folder.join(name))
}

fn record(contents: KeptDisk, layers: Vec<Layer>) -> DiskRecord {
    DiskRecord { name: "data".into(), bytes: SIZE, contents, layers }
}

/// A record of what a snapshot leaves below an overlay, and its image.
fn below_overlay(top: &Path) -> (DiskRecord, Storage) {
    let storage = Storage::Qcow2(top.to_owned());
    let layers = layers(&storage).unwrap();
    let contents = KeptDisk::Below { file: storage.clone(), modified: Some(layers[0].modified) };
    (record(contents, layers), storage)
}

#[test]
fn every_image_of_a_chain_has_to_be_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let files = chain(folder.path());
    let (record, storage) = below_overlay(&files[0]);
    assert_eq!(
        record.layers.iter().map(|layer| &layer.file).collect::<Vec<_>>(),
        files.iter().collect::<Vec<_>>()
    );
    let text = serde_json::to_string(&record).unwrap();
    let record: DiskRecord = serde_json::from_str(&text).unwrap();
    for file in &files {
        check_in_place(&record, &storage).unwrap();
        check_below(&record).unwrap();
        let refused = |what: &str| {
            for said in [check_in_place(&record, &storage), check_below(&record)] {
                let said = said.unwrap_err().to_string();
                assert!(said.contains(&file.display().to_string()) && said.contains(what), "{said}");
            }
        };
        let (open, was) = (File::options().write(true).open(file).unwrap(), file.metadata().unwrap());
        let time = was.modified().unwrap();
        open.set_modified(SystemTime::now() + Duration::from_secs(7)).unwrap();
        refused("was written to since");
        // Longer, with the time that it had.
        open.set_len(was.len() + 512).unwrap();
        open.set_modified(time).unwrap();
        refused("was written to since");
        open.set_len(was.len()).unwrap();
        open.set_modified(time).unwrap();
        let aside = folder.path().join("aside");
        fs::rename(file, &aside).unwrap();
        refused("does not exist");
        // As of a folder that was put back with its times.
        fs::copy(&aside, file).unwrap();
        File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn of_a_former_program_only_the_image_itself_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let [top, _, raw] = chain(folder.path());
    let (new, storage) = below_overlay(&top);
    let old = json!({
        "name": "data", "bytes": SIZE,
        "contents": {"kind": "below", "file": storage, "modified": new.layers[0].modified},
    });
    let old: DiskRecord = serde_json::from_value(old).unwrap();
    assert_eq!(old, record(new.contents.clone(), Vec::new()));
    File::options().write(true).open(raw).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(check_below(&new).is_err());
    check_below(&old).unwrap();
    File::options().write(true).open(top).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(check_below(&old).is_err() && check_in_place(&old, &storage).is_err());
}

#[test]
fn disks_that_a_machine_goes_on_with_are_no_part_of_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let [top, middle, _] = chain(folder.path());
    let (new, storage) = below_overlay(&top);
    let in_place = record(KeptDisk::InPlace { modified: Some(new.layers[0].modified) }, new.layers);
    File::options().write(true).open(middle).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    check_below(&in_place).unwrap();
    assert!(check_in_place(&in_place, &storage).is_err());
    let copied = record(KeptDisk::Copied { file: "disk-data.raw".into() }, Vec::new());
    check_in_place(&copied, &storage).unwrap();
    assert_eq!(layers(&Storage::Device("/dev/null".into())).unwrap(), [], "devices do not tell");
}
