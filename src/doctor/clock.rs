//! How far a server's clock is off, as far as an object tells that its compiler read `__DATE__` and `__TIME__`.
//!
//! They are local time, and nothing says of which zone. Zones are quarters of an hour apart, so that much less than
//! that is seen, and much more is not told from a zone.

use std::time::SystemTime;

/// What stands before the time in the object.
pub(super) const MARK: &str = "distcc-doctor clock ";
/// How far apart zones may be, in seconds.
const ZONE_SECONDS: i64 = 15 * 60;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The seconds by which the clock is ahead (or, below zero, behind), where a job lasted from `began` to `ended` here.
pub(super) fn seconds_ahead(object: &[u8], began: SystemTime, ended: SystemTime) -> Option<i64> {
    let at = object.windows(MARK.len()).position(|part| part == MARK.as_bytes())? + MARK.len();
    let text = object[at..].split(|byte| *byte == 0).next()?;
    let there = seconds_of(std::str::from_utf8(text).ok()?)?;
    let here =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|age| age.as_secs() as i64);
    // Where in its time the job read the clock, nobody knows.
    let (early, late) = (within_zone(there - here(began)?), within_zone(there - here(ended)?));
    Some(if early >= 0 && late <= 0 {
        0
    } else if early.abs() < late.abs() {
        early
    } else {
        late
    })
}

/// A difference without the whole zones in it.
fn within_zone(difference: i64) -> i64 {
    let rest = difference.rem_euclid(ZONE_SECONDS);
    if rest > ZONE_SECONDS / 2 { rest - ZONE_SECONDS } else { rest }
}

/// `Nov  3 2026 01:16:37`, as if it were in Greenwich, in seconds since 1970.
fn seconds_of(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace();
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let mut number = |most: i64| words.next()?.parse::<i64>().ok().filter(|value| (0..=most).contains(value));
    let (day, year) = (number(31)?, number(9999)?);
    let mut clock = words
        .next()?
        .split(':')
        .map(|part| part.parse::<i64>().ok().filter(|value| (0..=60).contains(value)));
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Years that begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_counted_from_1970() {
        let cases = [
            ("Jan  1 1970 00:00:00", 0),
            ("Feb 29 2024 12:00:01", 1_709_208_001),
            ("Nov 23 2026 01:16:37", 1_795_396_597),
            ("Dec 31 1999 23:59:59", 946_684_799),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds_of(text), Some(expected), "{text}");
        }
        for text in ["", "Nov", "Foo 1 2026 00:00:00", "Nov 99 2026 00:00:00", "??? ?? ???? ??:??:??"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }

    #[test]
    fn clocks_differ_by_what_is_no_zone() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_396_597);
        let ended = began + Duration::from_secs(2);
        let cases = [
            ("01:16:37", 0),
            ("01:16:39", 0),
            ("01:16:36", -1),
            ("02:16:38", 0),
            ("01:17:37", 58),
            ("06:45:37", -60),
        ];
        for (time, expected) in cases {
            let object = format!("\0\0{MARK}Nov 23 2026 {time}\0rest");
            assert_eq!(seconds_ahead(object.as_bytes(), began, ended), Some(expected), "{time}");
        }
        assert_eq!(seconds_ahead(b"nothing", began, ended), None);
    }
}
