//! Lengths of time as Kubernetes writes them (Go's `time.ParseDuration`): `5m0s`, `1.5h`, `300ms`.

use std::time::Duration;

/// Units, longer names first, in nanoseconds.
const UNITS: [(&str, f64); 8] =
    [("ms", 1e6), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ns", 1.0), ("h", 3.6e12), ("m", 6e10), ("s", 1e9)];

/// Reads a length of time that is not negative; `None` if it is none.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let (name, size) = UNITS.into_iter().find(|(name, _)| unit.starts_with(name))?;
        nanoseconds += number.parse::<f64>().ok()? * size;
        rest = unit.get(name.len()..)?;
    }
    Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_does() {
        for (text, milliseconds) in [
            ("5m0s", 300_000),
            ("0", 0),
            ("0s", 0),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("1h2m3s4ms", 3_723_004),
            ("+.5s", 500),
            ("2500µs", 2),
        ] {
            assert_eq!(parse(text).map(|time| time.as_millis()), Some(milliseconds), "{text}");
        }
        for bad in ["", "5", "-5s", "s", "5 s", "5x", ".s", "1e5s", "999999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
