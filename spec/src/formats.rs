//! Forms of names and addresses that the API demands. Each function says what is wrong, or nothing.

use std::net::IpAddr;

/// An RFC 1123 label: a host name or the name of a disk.
pub(crate) fn label(text: &str) -> Option<&'static str> {
    let fits = !text.is_empty() && text.len() <= 63 && text.bytes().all(is_label_byte) && ends_fit(text);
    (!fits).then_some(
        "must be 1 to 63 lower case letters, digits and dashes, beginning and ending with a letter or digit",
    )
}

/// An RFC 1123 subdomain: labels with dots between them, the name of an object.
pub fn subdomain(text: &str) -> Option<&'static str> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(is_label_byte) && ends_fit(part));
    (!fits).then_some(
        "must be lower case letters, digits, dashes and dots, each part beginning and ending with a letter or digit",
    )
}

/// The name of a label: `name` or `prefix/name`.
pub(crate) fn label_name(text: &str) -> Option<&'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let fits = prefix.is_none_or(|prefix| subdomain(prefix).is_none())
        && !name.is_empty()
        && name.len() <= 63
        && is_label_text(name);
    (!fits).then_some("must be a label's name such as kubernetes.io/hostname")
}

/// The value of a label, possibly empty.
pub(crate) fn label_value(text: &str) -> Option<&'static str> {
    let fits = text.is_empty() || text.len() <= 63 && is_label_text(text);
    (!fits).then_some("must be up to 63 letters, digits, dashes, dots and underscores")
}

/// The name of a port (RFC 6335 §5.1).
pub(crate) fn port_name(text: &str) -> Option<&'static str> {
    let fits = (1..=15).contains(&text.len())
        && text.bytes().all(is_label_byte)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && ends_fit(text)
        && !text.contains("--");
    (!fits).then_some("must be 1 to 15 lower case letters, digits and dashes, at least one of them a letter")
}

/// Serial numbers as libvirt takes them.
pub(crate) fn serial(text: &str) -> Option<&'static str> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-');
    if text.chars().count() > 256 {
        Some("must be at most 256 characters long")
    } else if !text.bytes().all(is_known) {
        Some("must be made of letters, digits and _ . + - only")
    } else {
        None
    }
}

/// A PCI address: domain, bus, device and function such as `0000:81:01.0`.
pub(crate) fn pci_address(text: &str) -> Option<&'static str> {
    let pattern = "xxxx:xx:xx.f";
    let fits = text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, form)| match form {
            b'x' => byte.is_ascii_hexdigit(),
            b'f' => (b'0'..=b'7').contains(&byte),
            other => byte == other,
        });
    (!fits).then_some("must be a PCI address such as 0000:81:01.0")
}

/// The six bytes of a MAC address written `aa:bb:cc:dd:ee:ff`, `aa-bb-…` or `aabb.ccdd.eeff`.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let groups: Vec<&str> = match text.len() {
        14 => text.split('.').collect(),
        _ if text.contains(':') => text.split(':').collect(),
        _ => text.split('-').collect(),
    };
    let width = if groups.len() == 3 { 4 } else { 2 };
    let fits = (groups.len() == 6 || groups.len() == 3)
        && groups
            .iter()
            .all(|group| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !fits {
        return None;
    }
    let value = u64::from_str_radix(&groups.concat(), 16).ok()?;
    let [_, _, mac @ ..] = value.to_be_bytes();
    Some(mac)
}

/// A path to a file in an image: absolute, without `.` and `..`, and not the root.
pub(crate) fn image_path(text: &str) -> Option<&'static str> {
    if text == "/" {
        return Some("must name a file, not the root");
    }
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let fits = trimmed
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    (!fits).then_some("must be an absolute path to a file, without \"..\"")
}

/// An address and how many of its first bits name its network, written `10.1.2.3/24`.
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|prefix| is_number && *prefix <= address_bits(address))?;
    Some((address, prefix))
}

/// How many bits an address has.
pub(crate) fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The name of a network interface, as Linux takes it.
pub fn interface_name(text: &str) -> Option<&'static str> {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    let fits = (1..=15).contains(&text.len()) && text.chars().all(is_plain) && text != "." && text != "..";
    (!fits).then_some(
        "is not the name of a network interface: those have 1 to 15 bytes, without blanks, / and :",
    )
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn ends_fit(text: &str) -> bool {
    !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_text(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(is_known) && is_end(text.bytes().next()) && is_end(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(check: fn(&str) -> Option<&'static str>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), None, "{text}");
        }
        for text in bad {
            assert!(check(text).is_some(), "{text}");
        }
    }

    #[test]
    fn names_follow_kubernetes() {
        all(label, &["a", "a-1", "0"], &["", "A", "-a", "a-", "a.b", "a+b", &"x".repeat(64)]);
        all(subdomain, &["a", "a.b-c"], &["", "a..b", ".a", "a_b", "a.", &"x".repeat(254)]);
        all(label_name, &["a", "A.b_c", "example.com/A"], &["", "a=b", "/a", "a/", "A/b", "a/b/c", "-a"]);
        all(label_value, &["", "A.b"], &["a b", ".a", &"x".repeat(64)]);
        all(port_name, &["http", "a1-b"], &["", "80", "Test", "a--b", "abcdefghijklmnop"]);
        all(
            interface_name,
            &["eth0", "eth0.40", "k6t-2c26b46b68f"],
            &["", "a b", "a/b", "..", "a:1", &"x".repeat(16)],
        );
        all(serial, &["SN-1_a"], &["$$$$", "a b", &"x".repeat(257)]);
    }

    #[test]
    fn addresses_and_paths_have_their_forms() {
        all(
            pci_address,
            &["0000:81:01.0", "0001:0A:ff.7"],
            &["", "0000:81:100.a", "0000:80:80:1.0", "0000:81:01.8"],
        );
        all(image_path, &["/a", "/a/b/", "/a.b"], &["/", "a", "../a", "/a/../b", "//a", "/./a", ""]);
    }

    #[test]
    fn networks_are_addresses_with_prefixes() {
        assert_eq!(cidr("10.0.2.1/24"), Some(("10.0.2.1".parse().unwrap(), 24)));
        assert_eq!(cidr("fd10::/120"), Some(("fd10::".parse().unwrap(), 120)));
        for bad in
            ["", "10.0.0.1", "10.0.0.1/33", "10.0.0/8", "::1/129", "1.2.3.4/+8", "1.2.3.4/", "/8", "a/8"]
        {
            assert_eq!(cidr(bad), None, "{bad}");
        }
    }

    #[test]
    fn mac_addresses_have_six_bytes() {
        let want = Some([0xde, 0xad, 0, 0, 0xbe, 0xaf]);
        for text in ["de:ad:00:00:be:af", "DE-AD-00-00-BE-AF", "dead.0000.beaf"] {
            assert_eq!(mac(text), want, "{text}");
        }
        for text in [
            "",
            "de:ad:00:00:be",
            "de:ad:00:00:be:af:be:af",
            "de:ad:00:00:be:ag",
            "dead00.00beaf.",
            "+1:ad:00:00:be:af",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
