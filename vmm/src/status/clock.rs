//! Points in time as Kubernetes writes them (RFC 3339, UTC).

use std::time::{SystemTime, UNIX_EPOCH};

use spec::api::Time;

const DAY: u64 = 24 * 60 * 60;

/// The present, in whole seconds.
pub fn now() -> Time {
    Time(seconds(SystemTime::now()))
}

/// Seconds since 1970 as RFC 3339 has them.
pub fn rfc3339(seconds: u64) -> String {
    self::seconds(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// A point in time in whole seconds, such as `2026-11-26T18:41:17Z`.
pub(super) fn seconds(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / DAY);
    let rest = seconds % DAY;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The day of the proleptic Gregorian calendar that is so many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, so that a leap day is a year's last; 719,468 days before 1970 was the first
    // day of March of the year 0. Four centuries have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, again and again: 153 in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_those_of_date() {
        // By `date --utc --date @N +%FT%TZ`.
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_718_477, "2026-11-26T18:41:17Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (since, text) in known {
            assert_eq!(seconds(UNIX_EPOCH + Duration::from_secs(since)), text);
        }
    }
}
