//! How long ago something was, as kubectl says it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970 of a time such as `2026-11-26T18:41:17Z` (RFC 3339, UTC).
fn seconds(time: &str) -> Option<u64> {
    let (date, rest) = time.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, at: usize, by: char| text.split(by).nth(at)?.parse::<u64>().ok();
    let (year, month, day) = (part(date, 0, '-')?, part(date, 1, '-')?, part(date, 2, '-')?);
    let clock = rest.split('.').next().unwrap_or_default();
    let (hour, minute, second) = (part(clock, 0, ':')?, part(clock, 1, ':')?, part(clock, 2, ':')?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24
    {
        return None;
    }
    // Years that begin in March end with their leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// How long ago `time` was, in one or two units; `<unknown>` if it is none.
pub(super) fn since(time: &str) -> String {
    let Some(then) = seconds(time) else { return "<unknown>".into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    short(now.saturating_sub(Duration::from_secs(then)))
}

/// A length of time in one or two units (apimachinery/pkg/util/duration).
pub(super) fn short(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = time.as_secs();
    let two = |large: u64, name: &str, small: u64, other: &str| match seconds % large / small {
        0 => format!("{}{name}", seconds / large),
        rest => format!("{}{name}{rest}{other}", seconds / large),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-11-26T18:41:17Z", 1_795_718_477),
            ("2026-11-26T18:41:17.123456Z", 1_795_718_477),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for bad in
            ["", "2026-11-26", "2026-13-26T18:41:17Z", "0000-11-26T18:41:17Z", "2026-11-26T18:41:17+01:00"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        assert_eq!(since("never"), "<unknown>");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, wanted) in [
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (120, "2m"),
            (700, "11m"),
            (11_000, "3h3m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), wanted);
        }
    }
}
