//! `kubevmm image` beside `qemu-img`: same output, same fields, same exit codes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Whether QEMU's tools are there; says what was skipped if not.
fn available(test: &str) -> bool {
    let there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let all = there("qemu-img") && there("qemu-io");
    if !all {
        eprintln!("skipped: {test} needs qemu-img and qemu-io, which are not installed");
    }
    all
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, line: &str) -> Output {
        loop {
            let output = Command::new(program).args(words(line)).current_dir(self.0.path()).output().unwrap();
            // Between fork and exec, another test's child shares all our locks for a moment.
            let error = String::from_utf8_lossy(&output.stderr);
            if !error.contains("lock") && !error.contains("in use") {
                return output;
            }
        }
    }

    fn qemu(&self, line: &str) -> Output {
        self.run("qemu-img", line)
    }

    fn ours(&self, line: &str) -> Output {
        self.run(env!("CARGO_BIN_EXE_kubevmm"), &format!("image {line}"))
    }

    /// Both exit codes and outputs for the same line.
    fn both(&self, line: &str) -> [(i32, String); 2] {
        [self.qemu(line), self.ours(line)].map(|output| (output.status.code().unwrap(), text(&output)))
    }

    fn json(&self, line: &str) -> [Value; 2] {
        self.both(line).map(|(code, text)| {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {code} {error}: {text}"))
        })
    }

    fn qemu_io(&self, image: &str, commands: &[&str]) {
        let mut all = vec!["-f", "qcow2"];
        for command in commands {
            all.extend(["-c", command]);
        }
        all.push(image);
        let output = Command::new("qemu-io").args(all).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success() && !text(&output).contains("failed"), "{output:?}");
    }

    /// A chain of two qcow2 images over a raw one, with data in each, and a compressed image.
    fn images(&self) {
        std::fs::write(
            self.path("base.raw"),
            [vec![1; 1 << 20], vec![0; 1 << 20], vec![2; 1 << 20]].concat(),
        )
        .unwrap();
        for line in [
            "create -q -f qcow2 -b base.raw -F raw middle.qcow2 4M",
            "create -q -f qcow2 -o cluster_size=4k -b middle.qcow2 -F qcow2 top.qcow2 5M",
            "create -q -f qcow2 -o extended_l2=on,cluster_size=128k,lazy_refcounts=on,refcount_bits=32 ext.qcow2 8M",
            "create -q -f qcow2 -o compat=0.10 old.qcow2 8M",
            "convert -c -O qcow2 -o compression_type=zstd base.raw packed.qcow2",
        ] {
            assert!(self.qemu(line).status.success(), "{line}");
        }
        self.qemu_io("middle.qcow2", &["write -P 3 64k 128k", "write -z 2M 64k"]);
        self.qemu_io("top.qcow2", &["write -P 4 100k 8k", "write -z 3M 4k", "write -P 5 4M 12k"]);
        self.qemu_io("ext.qcow2", &["write -P 6 4k 8k", "write -z 1M 4k", "write -P 7 3M 200k"]);
        self.qemu_io("old.qcow2", &["write -P 6 1M 1M"]);
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether each field of ours that QEMU has too is the same.
fn agrees(theirs: &Value, ours: &Value, at: &str) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in ours {
                let other = theirs.get(name).unwrap_or_else(|| panic!("{at}: QEMU has no {name}"));
                agrees(other, value, &format!("{at}.{name}"));
            }
        }
        _ => assert_eq!(theirs, ours, "{at}"),
    }
}

const IMAGES: [&str; 6] = ["base.raw", "middle.qcow2", "top.qcow2", "ext.qcow2", "old.qcow2", "packed.qcow2"];

#[test]
fn info_says_the_same() {
    if !available("info_says_the_same") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    for image in IMAGES {
        let [theirs, ours] = dir.json(&format!("info --output=json {image}"));
        agrees(&theirs, &ours, image);
        for name in ["virtual-size", "actual-size", "format", "filename", "dirty-flag"] {
            assert!(ours.get(name).is_some(), "{image}: {name}");
        }
        let [(_, theirs), (_, ours)] = dir.both(&format!("info {image}"));
        for line in ours.lines() {
            assert!(theirs.lines().any(|their| their == line), "{image}: {line:?} is not in\n{theirs}");
        }
    }
    assert_eq!(dir.both("info nowhere").map(|(code, _)| code), [1, 1]);
    std::fs::write(dir.path("short.qcow2"), b"QFI\xfb").unwrap();
    assert_eq!(dir.both("info -f qcow2 short.qcow2").map(|(code, _)| code), [1, 1]);
}

#[test]
fn maps_are_the_same() {
    if !available("maps_are_the_same") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    let chain = |image: &str| match image {
        "middle.qcow2" => " --backing raw:base.raw",
        "top.qcow2" => " --backing qcow2:middle.qcow2 --backing raw:base.raw",
        _ => "",
    };
    for image in IMAGES {
        let theirs: Value =
            serde_json::from_str(&text(&dir.qemu(&format!("map --output=json {image}")))).unwrap();
        let ours: Value =
            serde_json::from_str(&text(&dir.ours(&format!("map -o json{} {image}", chain(image))))).unwrap();
        let (theirs, ours) = (theirs.as_array().unwrap(), ours.as_array().unwrap());
        assert_eq!(whole(theirs), whole(ours), "{image}");
        let (theirs, ours) =
            [dir.qemu(&format!("map {image}")), dir.ours(&format!("map{} {image}", chain(image)))]
                .map(|output| text(&output))
                .into();
        if image != "packed.qcow2" {
            assert_eq!(theirs, ours);
        }
    }
    let [theirs, ours] = dir.json("map --output=json -s 1M -l 2M old.qcow2");
    assert_eq!(theirs, ours);
    assert!(!dir.ours("map top.qcow2").status.success(), "a backing file is opened only by its name here");
}

/// First byte, length, and all else that is said of an extent.
type Stretch = (u64, u64, Vec<(String, Value)>);

/// Extents with neighbours of one kind joined: where compressed clusters begin is not said by everybody. The place of
/// zeroes is not compared: QEMU names the cluster that is kept for some.
fn whole(extents: &[Value]) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = vec![];
    for extent in extents {
        let number = |name: &str| extent[name].as_u64().unwrap();
        let zero = extent["zero"] == true;
        let kind: Vec<_> = extent
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| match name.as_str() {
                "start" | "length" => false,
                "offset" => !zero,
                _ => true,
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        match all.last_mut() {
            Some((_, length, last)) if *last == kind && extent.get("offset").is_none_or(|_| zero) => {
                *length += number("length");
            }
            _ => all.push((number("start"), number("length"), kind)),
        }
    }
    all
}

#[test]
fn checks_find_the_same_and_end_the_same_way() {
    if !available("checks_find_the_same_and_end_the_same_way") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    for image in &IMAGES[1..] {
        for line in [format!("check --output=json {image}"), format!("check --output json -r all {image}")] {
            let [theirs, ours] = dir.json(&line);
            assert_eq!(theirs, ours, "{line}");
        }
        let [(code, theirs), (our_code, ours)] = dir.both(&format!("check -q {image}"));
        assert_eq!((code, theirs), (our_code, ours));
    }
    let [theirs, ours] = dir.both("check old.qcow2");
    assert_eq!(theirs, ours);
    assert_eq!(dir.both("check -f raw base.raw").map(|(code, _)| code), [63, 63]);
    assert_eq!(dir.both("check nowhere").map(|(code, _)| code), [1, 1]);
    assert_eq!(dir.ours("check --repair=some top.qcow2").status.code(), Some(1));

    let place = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let good = std::fs::read(dir.path("old.qcow2")).unwrap();
    let block = place(&good, place(&good, 48));
    for (cluster, count, code) in [(100, 1, 3), (6, 0, 2)] {
        let mut bad = good.clone();
        bad.resize(101 << 16, 0);
        bad[block + 2 * cluster + 1] = count;
        for copy in ["a.qcow2", "b.qcow2"] {
            std::fs::write(dir.path(copy), &bad).unwrap();
        }
        assert_eq!(dir.both("check a.qcow2").map(|(code, _)| code), [code, code]);
        let theirs: Value =
            serde_json::from_str(&text(&dir.qemu("check --output=json -r all a.qcow2"))).unwrap();
        let ours: Value =
            serde_json::from_str(&text(&dir.ours("check --output=json --repair b.qcow2"))).unwrap();
        // A count that is wrong may be one corruption or two, with the mark that goes by it.
        assert_eq!(theirs.get("corruptions-fixed").is_some(), ours.get("corruptions-fixed").is_some());
        for name in ["leaks-fixed", "corruptions", "leaks"] {
            assert_eq!(theirs.get(name), ours.get(name), "{name}: {theirs} {ours}");
        }
        assert_eq!(dir.both("check b.qcow2").map(|(code, _)| code), [0, 0]);
    }
}

#[test]
fn new_images_are_described_and_made_alike() {
    if !available("new_images_are_described_and_made_alike") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    for options in [
        "-f raw x 3M",
        "x 1000",
        "-f qcow2 x 1.5G",
        "-fqcow2 -ocluster_size=512 x 64k",
        "-f qcow2 -o compat=0.10 x 1T",
        "-f qcow2 -o compression_type=zstd,extended_l2=on,refcount_bits=64,lazy_refcounts=on x 1G",
        "-f qcow2 -o preallocation=metadata x 10M",
        "-f qcow2 -o preallocation=full,refcount_bits=1 x 3M",
        "-f raw -o preallocation=falloc x 2M",
        "-f qcow2 -o backing_file=base.raw,backing_fmt=raw x",
        "-f qcow2 -F qcow2 -b middle.qcow2 x 9M",
    ] {
        let theirs = dir.qemu(&format!("create {options}"));
        let theirs = (text(&theirs), text(&dir.qemu("info --output=json x")));
        std::fs::remove_file(dir.path("x")).unwrap();
        let ours = dir.ours(&format!("create {options}"));
        assert!(ours.status.success(), "{ours:?}");
        if !options.starts_with("x") && !options.contains("backing") && !options.contains("-b ") {
            assert_eq!(text(&ours), theirs.0);
        }
        let info = text(&dir.qemu("info --output=json x"));
        let [mut theirs, mut ours] =
            [theirs.1, info].map(|info| serde_json::from_str::<Value>(&info).unwrap());
        for value in [&mut theirs, &mut ours] {
            // Space and length of the file differ by what is written of it first.
            value.as_object_mut().unwrap().retain(|name, _| name != "actual-size" && name != "children");
        }
        assert_eq!(theirs, ours, "{options}");
        if ours["format"] == "qcow2" {
            assert_eq!(dir.both("check -q x").map(|(code, _)| code), [0, 0], "{options}");
        }
    }
    for bad in [
        "-f qcow2 x",
        "-f qcow2 -o cluster_size=3 x 1M",
        "-f raw -o cluster_size=64k x 1M",
        "-f qcow2 -b nowhere -F raw x 1M",
        "-f qcow2 x 1Q",
    ] {
        assert_eq!(dir.both(&format!("create {bad}")).map(|(code, _)| code), [1, 1], "{bad}");
    }
    assert_eq!(dir.ours("create -f vmdk x 1M").status.code(), Some(1));
    assert_eq!(dir.ours("create -f qcow2 -b base.raw x").status.code(), Some(1), "a format is never guessed");
}

#[test]
fn copies_hold_the_same_and_compare_says_so() {
    if !available("copies_hold_the_same_and_compare_says_so") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    for options in [
        "-O qcow2 ext.qcow2",
        "-O raw packed.qcow2",
        "-c -O qcow2 old.qcow2",
        "-O qcow2 -c -o compression_type=zstd,cluster_size=2M base.raw",
        "-O qcow2 -o compat=0.10 -S 0 -m 2 -W -t none -T none base.raw",
    ] {
        let image = options.rsplit(' ').next().unwrap();
        let ours = dir.ours(&format!("convert -p {options} copy"));
        assert!(ours.status.success(), "{ours:?}");
        assert!(text(&ours).ends_with("    (100.00/100%)\r\n"), "{}", text(&ours));
        assert_eq!(dir.both(&format!("compare {image} copy")).map(|(code, _)| code), [0, 0], "{options}");
    }
    assert!(
        dir.ours("convert -q --backing qcow2:middle.qcow2 --backing raw:base.raw top.qcow2 flat")
            .status
            .success()
    );
    assert_eq!(dir.qemu("compare top.qcow2 flat").status.code(), Some(0));
    let [theirs, ours] = dir.both("compare flat base.raw");
    assert_eq!((theirs.0, ours.0), (1, 1));
    assert_eq!(theirs.1, ours.1);
    std::fs::copy(dir.path("base.raw"), dir.path("longer.raw")).unwrap();
    assert!(dir.ours("resize -q -f raw longer.raw +1M").status.success());
    for line in
        ["compare base.raw longer.raw", "compare -s base.raw longer.raw", "compare -q nowhere base.raw"]
    {
        let [theirs, ours] = dir.both(line);
        assert_eq!(theirs, ours, "{line}");
    }
    assert_eq!(dir.ours("convert top.qcow2 other").status.code(), Some(1), "what lies below has to be named");
    assert_eq!(dir.ours("convert -c -O raw base.raw other").status.code(), Some(1));
}

#[test]
fn resized_images_have_the_size_that_was_asked_for() {
    if !available("resized_images_have_the_size_that_was_asked_for") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    let size = |image: &str| {
        let info: Value =
            serde_json::from_str(&text(&dir.qemu(&format!("info --output=json {image}")))).unwrap();
        info["virtual-size"].as_u64().unwrap()
    };
    for (line, expected) in [
        ("-f qcow2 old.qcow2 9M", 9 << 20),
        ("-f qcow2 old.qcow2 +512", (9 << 20) + 512),
        ("-f raw base.raw 4M", 4 << 20),
        ("-f raw --shrink base.raw -2M", 2 << 20),
    ] {
        let ours = dir.ours(&format!("resize {line}"));
        assert!(ours.status.success() && text(&ours) == "Image resized.\n", "{ours:?}");
        assert_eq!(size(words(line).iter().find(|word| word.contains('.')).unwrap()), expected);
    }
    assert_eq!(dir.both("resize -f raw base.raw 1M").map(|(code, _)| code), [1, 1], "without --shrink");
    let guessed = dir.ours("resize ext.qcow2 16M");
    assert!(String::from_utf8_lossy(&guessed.stderr).contains("no format was given"));
}

#[test]
fn benches_end_with_the_line_that_qemu_img_ends_with() {
    if !available("benches_end_with_the_line_that_qemu_img_ends_with") {
        return;
    }
    let dir = Dir::new();
    dir.images();
    for line in [
        "bench -f qcow2 -c 100 -d 8 -s 8k -S 64k -o 1M ext.qcow2",
        "bench -f qcow2 -c 100 -d 8 -w --pattern 17 --flush-interval 10 ext.qcow2",
        "bench -f qcow2 -c 64 -d 16 -w --pattern 18 --flush-interval 16 -t none -n ext.qcow2",
        "bench -f raw -c 10 -t writethrough -i threads -U base.raw",
    ] {
        let lines = dir.both(line).map(|(code, text)| {
            assert_eq!(code, 0, "{line}");
            text.lines()
                .map(|line| line.trim_start_matches("Run completed in ").to_owned())
                .collect::<Vec<_>>()
        });
        let [theirs, ours] = lines;
        assert_eq!(theirs.len(), ours.len());
        assert_eq!(theirs[..theirs.len() - 1], ours[..ours.len() - 1]);
        let seconds = ours.last().unwrap().strip_suffix(" seconds.").unwrap();
        assert!(seconds.parse::<f64>().unwrap() < 60.0 && seconds.split_once('.').unwrap().1.len() == 3);
    }
    dir.qemu_io("ext.qcow2", &["read -P 18 0 256k"]);
    let undrained =
        dir.ours("bench -f qcow2 -c 64 -d 16 -w --pattern 18 --flush-interval 5 --no-drain ext.qcow2");
    assert!(text(&undrained).contains("undrained flush every 5"), "{undrained:?}");
    assert_eq!(dir.ours("bench -s 1G ext.qcow2").status.code(), Some(1));
    let bench = Path::new("ext.qcow2");
    assert_eq!(dir.ours(&format!("bench --pattern 3 {}", bench.display())).status.code(), Some(1));
}

#[test]
fn programs_may_have_yaml() {
    let dir = Dir::new();
    assert!(dir.ours("create -q -f qcow2 a.qcow2 1M").status.success());
    assert!(text(&dir.ours("info -o yaml a.qcow2")).contains("\nvirtual-size: 1048576\n"));
    assert!(text(&dir.ours("check -o yaml a.qcow2")).contains("\ntotal-clusters: 16\n"));
    let map = text(&dir.ours("map --output=yaml a.qcow2"));
    assert!(map.starts_with("- ") && map.contains("length: 1048576\n"), "{map}");
    assert_eq!(dir.ours("info -o toml a.qcow2").status.code(), Some(1));
}

#[test]
fn a_backing_file_that_is_not_named_is_asked_for_by_its_option() {
    let dir = Dir::new();
    assert!(dir.ours("create -q base.raw 1M").status.success());
    assert!(dir.ours("create -q -f qcow2 -b base.raw -F raw top.qcow2").status.success());
    let refused = dir.ours("map top.qcow2");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains("base.raw") && error.contains("--backing FORMAT:FILE"), "{error}");
    assert!(dir.ours("map --backing raw:base.raw top.qcow2").status.success());
}
