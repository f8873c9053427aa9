use proptest::prelude::*;

use super::*;

/// A header with a right checksum.
fn header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size);
    block[148..156].fill(b' ');
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padded(contents: &[u8]) -> Vec<u8> {
    let mut out = contents.to_vec();
    out.resize(contents.len().next_multiple_of(512), 0);
    out
}

fn names(archive: &[u8]) -> io::Result<Vec<(String, u64)>> {
    let mut tarball = Tarball::new(archive);
    let mut all = vec![];
    while let Some(entry) = tarball.next_entry()? {
        all.push((entry.path, entry.size));
    }
    Ok(all)
}

#[test]
fn the_pax_size_wins_so_that_contents_are_never_taken_for_headers() {
    let smuggled = header("smuggled", b'0', b"0");
    let record = b"12 size=512\n";
    let archive = [
        header("pax", b'x', format!("{:o}", record.len()).as_bytes()),
        padded(record),
        header("real", b'0', b"0"),
        smuggled,
        header("after", b'0', b"0"),
    ]
    .concat();
    assert_eq!(names(&archive).unwrap(), [("real".into(), 512), ("after".into(), 0)]);
}

#[test]
fn directories_and_links_have_no_contents_whatever_they_claim() {
    let archive = [header("dir", b'5', b"1000"), header("file", b'0', b"0")].concat();
    assert_eq!(names(&archive).unwrap(), [("dir".into(), 0), ("file".into(), 0)]);
}

#[test]
fn hostile_headers_are_errors() {
    let base256 = |first: u8| [&[first][..], &[0xff; 11]].concat();
    let cases = [
        header("x", b'0', b"7777777"),
        header("x", b'L', b"77777777777"),
        header("x", b'x', b"77777777777"),
        header("x", b'0', &base256(0x80)),
        header("x", b'0', &base256(0xff)),
        header("x", b'0', b"9"),
        header("x", b'S', b"0"),
        [header("p", b'x', b"3"), padded(b"9 x")].concat(),
        [header("p", b'x', b"4"), padded(b"4 xy")].concat(),
        [header("p", b'x', b"12"), padded(b"18446744073709551616 a=b\n")].concat(),
        [header("p", b'x', b"13"), padded(b"11 size=-1\n"), header("x", b'0', b"0")].concat(),
        vec![1; 512],
        vec![1; 100],
    ];
    for (number, case) in cases.iter().enumerate() {
        assert!(names(case).is_err(), "case {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_archives_never_panic(at in 0..2048usize, byte in any::<u8>(), cut in 0..2048usize) {
        let record = b"20 path=long/name/x\n";
        let mut archive = [
            header("p", b'x', b"24"),
            padded(record),
            header("file", b'0', b"12"),
            padded(b"0123456789"),
        ]
        .concat();
        archive[at] = byte;
        let _ = names(&archive);
        let _ = names(&archive[..cut]);
    }
}
