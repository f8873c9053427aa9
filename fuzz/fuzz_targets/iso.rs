//! Any names and contents as the files of an ISO image: those of ConfigMaps, Secrets and cloud-init data.

#![no_main]

use image::iso9660::{self, IsoFile};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 2048;

fuzz_target!(|input: &[u8]| {
    // Fields with a byte between them that is in no UTF-8 text: the label, then names and contents in turns.
    let mut fields = input.split(|byte| *byte == 0xff);
    let Ok(label) = std::str::from_utf8(fields.next().unwrap_or_default()) else { return };
    let mut files = Vec::new();
    while let Some(name) = fields.next() {
        let Ok(path) = std::str::from_utf8(name) else { return };
        files.push(IsoFile { path, contents: fields.next().unwrap_or_default() });
    }
    let allowed = iso9660::check(label, &files).is_ok();
    let made = iso9660::image(label, &files);
    assert_eq!(allowed, made.is_ok(), "check and image do not agree: {made:?}");
    let Ok(bytes) = made else { return };
    assert!(bytes.len().is_multiple_of(SECTOR));
    // ECMA-119 §8.1: the first volume descriptor.
    assert_eq!(bytes[16 * SECTOR..][..6], *b"\x01CD001");
    for file in &files {
        let found = bytes.chunks(SECTOR).any(|sector| sector.starts_with(&file.contents[..file.contents.len().min(SECTOR)]));
        assert!(found, "the contents of {:?} are not there", file.path);
    }
});
