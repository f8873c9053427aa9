//! Lists of domain names as DHCP carries them (RFC 1035 §3.1).

/// Longest name, and longest label of one (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
/// Where a pointer can lead: 14 bits (RFC 1035 §4.1.4).
const REACH: usize = 0x3fff;

/// The names with the tails that they share written once (RFC 3397 §2), as far as `most` bytes go. What is no name, or
/// does not fit, is left out.
pub(super) fn compressed(names: &[String], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Where each tail written so far begins.
    let mut tails: Vec<(&str, usize)> = Vec::new();
    for name in names.iter().filter(|name| is_name(name)) {
        let (len, known) = (bytes.len(), tails.len());
        append(&mut bytes, name, &mut tails);
        if bytes.len() > most {
            bytes.truncate(len);
            tails.truncate(known);
        }
    }
    bytes
}

fn append<'a>(bytes: &mut Vec<u8>, name: &'a str, tails: &mut Vec<(&'a str, usize)>) {
    let mut rest = name;
    while !rest.is_empty() {
        if let Some((_, at)) = tails.iter().find(|(tail, at)| *tail == rest && *at <= REACH) {
            let pointer = 0xc000 | u16::try_from(*at).unwrap_or_default();
            bytes.extend_from_slice(&pointer.to_be_bytes());
            return;
        }
        tails.push((rest, bytes.len()));
        let (label, tail) = rest.split_once('.').unwrap_or((rest, ""));
        append_label(bytes, label);
        rest = tail;
    }
    bytes.push(0);
}

/// The names in full, as DHCPv6 wants them (RFC 8415 §10), as far as `most` bytes go.
pub(super) fn plain(names: &[String], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names.iter().filter(|name| is_name(name)) {
        if bytes.len() + name.len() + 2 <= most {
            name.split('.').for_each(|label| append_label(&mut bytes, label));
            bytes.push(0);
        }
    }
    bytes
}

fn append_label(bytes: &mut Vec<u8>, label: &str) {
    bytes.push(u8::try_from(label.len()).unwrap_or_default());
    bytes.extend_from_slice(label.as_bytes());
}

/// The longest of the names, which KubeVirt takes for the domain that a client is in; of equals the first.
pub(super) fn longest<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    names.fold(None, |best: Option<&String>, name| match best {
        Some(best) if best.len() >= name.len() => Some(best),
        _ => Some(name),
    })
}

fn is_name(name: &str) -> bool {
    let label = |label: &str| (1..=LONGEST_LABEL).contains(&label.len());
    name.len() <= LONGEST_NAME && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The example of RFC 3397 §2, in one piece.
    #[test]
    fn shared_tails_are_written_once() {
        let bytes = compressed(&names(&["eng.apple.com", "marketing.apple.com"]), 255);
        assert_eq!(bytes, b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04");
        let cluster = names(&["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!(compressed(&cluster, 255), b"\x07default\x03svc\x07cluster\x05local\x00\xc0\x08\xc0\x0c");
    }

    #[test]
    fn what_does_not_fit_or_is_no_name_is_left_out() {
        let list = names(&["a.b", "..", "", &"x".repeat(64), "cc.dd", "e"]);
        assert_eq!(compressed(&list, 8), b"\x01a\x01b\x00\x01e\x00");
        assert_eq!(plain(&list, 8), b"\x01a\x01b\x00\x01e\x00");
        assert_eq!(plain(&names(&["eng.a", "b.a"]), 255), b"\x03eng\x01a\x00\x01b\x01a\x00");
    }
}
