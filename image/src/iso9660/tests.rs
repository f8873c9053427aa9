use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

fn make(label: &str, files: &Files) -> Vec<u8> {
    let files: Vec<IsoFile<'_>> = files.iter().map(|(path, contents)| IsoFile { path, contents }).collect();
    image(label, &files).unwrap()
}

fn le32(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
}

/// Reads an image back by one of its two trees, by nothing but the standards.
struct Reader<'a> {
    image: &'a [u8],
    joliet: bool,
}

impl Reader<'_> {
    fn read(image: &[u8], joliet: bool) -> Files {
        let descriptor = &image[(16 + usize::from(joliet)) * SECTOR..][..SECTOR];
        assert_eq!(descriptor[0], 1 + u8::from(joliet));
        assert_eq!(&descriptor[1..6], b"CD001");
        assert_eq!(le32(&descriptor[80..]) * SECTOR, image.len());
        let mut files = Files::new();
        Reader { image, joliet }.walk("", &descriptor[156..190], &mut files);
        files
    }

    fn extent(&self, record: &[u8]) -> &[u8] {
        &self.image[le32(&record[2..]) * SECTOR..][..le32(&record[10..])]
    }

    fn walk(&self, prefix: &str, record: &[u8], files: &mut Files) {
        for sector in self.extent(record).chunks(SECTOR) {
            let mut at = 0;
            while at < SECTOR && sector[at] != 0 {
                let record = &sector[at..at + usize::from(sector[at])];
                at += record.len();
                let ident = &record[33..33 + usize::from(record[32])];
                if ident == [0] || ident == [1] {
                    continue;
                }
                let path = format!("{prefix}{}", self.name(record, ident));
                if record[25] & 2 != 0 {
                    self.walk(&format!("{path}/"), record, files);
                } else {
                    assert!(files.insert(path, self.extent(record).to_vec()).is_none());
                }
            }
        }
    }

    fn name(&self, record: &[u8], ident: &[u8]) -> String {
        if self.joliet {
            let units = ident.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            return char::decode_utf16(units).map(Result::unwrap).collect();
        }
        let mut name = vec![];
        let mut fields = &record[(33 + ident.len()).next_multiple_of(2)..];
        while fields.len() >= 4 {
            let (field, rest) = fields.split_at(usize::from(fields[2]));
            fields = rest;
            match &field[..2] {
                b"NM" => name.extend(&field[5..]),
                b"CE" => {
                    let start = le32(&field[4..]) * SECTOR + le32(&field[12..]);
                    fields = &self.image[start..start + le32(&field[20..])];
                }
                _ => {}
            }
        }
        String::from_utf8(name).unwrap()
    }
}

fn seed() -> Files {
    let mut files = Files::new();
    for (path, contents) in [
        ("user-data", &b"#cloud-config\n"[..]),
        ("meta-data", b"{}"),
        ("network-config", b""),
        ("openstack/latest/meta_data.json", &[7; 5000]),
        ("openstack/latest/user_data", b"x"),
    ] {
        files.insert(path.into(), contents.into());
    }
    files.insert("l".repeat(253), b"long".to_vec());
    files
}

#[test]
fn both_trees_read_back_and_repeat() {
    let files = seed();
    let image = make("cidata", &files);
    assert_eq!(image, make("cidata", &files));
    assert_eq!(Reader::read(&image, false), files);
    let joliet = Reader::read(&image, true);
    assert_eq!(joliet.len(), files.len());
    assert_eq!(joliet["openstack/latest/meta_data.json"], [7; 5000]);
}

/// Runs a tool on an image, or says by name that it is not there.
fn tool(name: &str, args: &[&str], image: &[u8]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.iso");
    std::fs::write(&path, image).unwrap();
    let args = args.iter().map(|&arg| if arg == "IMAGE" { path.to_str().unwrap() } else { arg });
    match Command::new(name).args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(_) => {
            eprintln!("skipped: {name} is not installed, so the image was not checked with it");
            None
        }
    }
}

#[test]
fn isoinfo_agrees() {
    let files = seed();
    let image = make("config-2", &files);
    let Some(rock_ridge) = tool("isoinfo", &["-f", "-R", "-i", "IMAGE"], &image) else { return };
    for path in files.keys() {
        assert!(rock_ridge.lines().any(|line| line == format!("/{path}")), "{path} in\n{rock_ridge}");
    }
    let joliet = tool("isoinfo", &["-f", "-J", "-i", "IMAGE"], &image).unwrap();
    assert!(joliet.lines().any(|line| line == "/openstack/latest/meta_data.json"), "{joliet}");
    let contents = tool("isoinfo", &["-R", "-x", "/user-data", "-i", "IMAGE"], &image).unwrap();
    assert_eq!(contents, "#cloud-config\n");
    let descriptor = tool("isoinfo", &["-d", "-i", "IMAGE"], &image).unwrap();
    assert!(descriptor.contains("Volume id: config-2"), "{descriptor}");
    assert!(descriptor.contains("Rock Ridge") && descriptor.contains("Joliet with UCS level 3"));
}

/// An optional ConfigMap that is not there is a disk without files.
#[test]
fn a_long_label_and_no_files_at_all() {
    let label = "a label of thirty-two characters";
    let image = make(label, &Files::new());
    assert!(Reader::read(&image, false).is_empty() && Reader::read(&image, true).is_empty());
    let Some(descriptor) = tool("isoinfo", &["-d", "-i", "IMAGE"], &image) else { return };
    assert!(descriptor.contains(&format!("Volume id: {label}")), "{descriptor}");
}

#[test]
fn bsdtar_agrees() {
    // libarchive follows a continued name only where it lies right behind the directory.
    let files: Files = seed().into_iter().filter(|(path, _)| path.len() < 100).collect();
    let Some(listed) = tool("bsdtar", &["-tf", "IMAGE"], &make("cidata", &files)) else { return };
    for path in files.keys() {
        assert!(listed.lines().any(|line| line == path), "{path} in\n{listed}");
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let file = |path| [IsoFile { path, contents: b"" }];
    for path in ["", "/x", "x/", "a//b", "../x", "a/./b", "a\0b", "a/b/c/d/e/f/g/h", &"x".repeat(256)] {
        assert!(matches!(image("x", &file(path)), Err(IsoError::Path { .. })), "{path}");
    }
    let clash = [IsoFile { path: "a", contents: b"" }, IsoFile { path: "a/b", contents: b"" }];
    assert!(image("x", &clash).is_err());
    assert!(image("x", &[clash[0], clash[0]]).is_err());
    for label in ["", &"x".repeat(33), "ümlaut", "a\nb"] {
        assert_eq!(image(label, &[]), Err(IsoError::Label(label.into())));
        assert_eq!(check(label, &[]), Err(IsoError::Label(label.into())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_names_read_back(
        names in prop::collection::btree_set("([a-zA-Z0-9._~ é]{1,40}|[a-c]{90,160}|[a-c]{200,253})", 1..120),
        nested in any::<bool>(),
    ) {
        let files: Files = names
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "." | ".."))
            .map(|name| (if nested { format!("dir.d/{name}") } else { name.clone() }, name.into_bytes()))
            .collect();
        let image = make("cidata", &files);
        prop_assert_eq!(Reader::read(&image, false), files.clone());
        let contents = |files: Files| { let mut all: Vec<_> = files.into_values().collect(); all.sort(); all };
        prop_assert_eq!(contents(Reader::read(&image, true)), contents(files));
    }
}
