//! Seconds since 1970 and the date and time that the clock's registers show.

const DAY: i64 = 86_400;
/// Days of 400 years, after which the Gregorian calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// 0000-03-01 and 9999-12-31T23:59:59, between which the clock's four digits of the year suffice.
const FIRST: i64 = -EPOCH_DAYS * DAY;
const LAST: i64 = 253_402_300_799;

/// A point in time as the clock shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) second: u8,
    pub(super) minute: u8,
    /// 0 to 23.
    pub(super) hour: u8,
    /// 1 (Sunday) to 7.
    pub(super) weekday: u8,
    pub(super) day: u8,
    pub(super) month: u8,
    /// Year within the century.
    pub(super) year: u8,
    pub(super) century: u8,
}

impl DateTime {
    /// The date and time in UTC, brought into the years 0 to 9999.
    pub(super) fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST, LAST);
        let (days, second_of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        Self {
            second: small(second_of_day % 60),
            minute: small(second_of_day / 60 % 60),
            hour: small(second_of_day / 3600),
            // 1970-01-01 was a Thursday.
            weekday: small((days + 4).rem_euclid(7) + 1),
            day: small(day),
            month: small(month),
            year: small(year % 100),
            century: small(year / 100),
        }
    }

    /// Seconds since 1970. Fields outside their range count on, as 61 seconds are a minute and one; the weekday
    /// follows from the date.
    pub(super) fn to_unix(self) -> i64 {
        let year = i64::from(self.century) * 100 + i64::from(self.year);
        let days = days_to(year, i64::from(self.month), i64::from(self.day));
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute);
        days * DAY + minutes * 60 + i64::from(self.second)
    }
}

/// Year, month and day that lie `days` after 1970-01-01. Years begin in March inside, so that the leap day is last.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let leaps = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Days from 1970-01-01 to a date.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let months = (month - 1).max(0) + 10;
    let (year, month_from_march) = (year - 1 + months / 12, months % 12);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_DAYS
}

fn small(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let date = |seconds| {
            let at = DateTime::from_unix(seconds);
            (u32::from(at.century) * 100 + u32::from(at.year), at.month, at.day, at.weekday)
        };
        assert_eq!(date(0), (1970, 1, 1, 5));
        assert_eq!(date(951_782_400), (2000, 2, 29, 3));
        assert_eq!(date(1_709_251_199), (2024, 2, 29, 5));
        assert_eq!(date(4_107_542_400), (2100, 3, 1, 2));
        assert_eq!(date(-1), (1969, 12, 31, 4));
        let time = DateTime::from_unix(1_709_251_199);
        assert_eq!((time.hour, time.minute, time.second), (23, 59, 59));
    }

    #[test]
    fn every_day_comes_back() {
        for days in (FIRST / DAY..=LAST / DAY).step_by(13) {
            let seconds = days * DAY + days.rem_euclid(DAY);
            assert_eq!(DateTime::from_unix(seconds).to_unix(), seconds);
        }
        for seconds in [FIRST, LAST] {
            assert_eq!(DateTime::from_unix(seconds).to_unix(), seconds);
        }
    }

    #[test]
    fn times_beyond_four_digits_stop_at_the_ends() {
        assert_eq!(DateTime::from_unix(i64::MAX), DateTime::from_unix(LAST));
        assert_eq!(DateTime::from_unix(i64::MIN), DateTime::from_unix(FIRST));
    }

    #[test]
    fn impossible_fields_count_on() {
        let mut at = DateTime::from_unix(951_782_400);
        at.day = 30;
        assert_eq!(at.to_unix(), 951_868_800);
        at.month = 0;
        let _no_panic = at.to_unix();
        let most = 255;
        let all = DateTime {
            second: most,
            minute: most,
            hour: most,
            weekday: most,
            day: most,
            month: most,
            year: most,
            century: most,
        };
        let _no_panic = DateTime::from_unix(all.to_unix());
    }
}
