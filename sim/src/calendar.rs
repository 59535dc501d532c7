//! Milliseconds since the epoch as text, in the three forms that appear on the wire. PURE: must
//! never ask the time.

const DAY_MS: i64 = 86_400_000;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

struct Civil {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
    millisecond: i64,
}

/// Days to a date by the rule of 400-year cycles that begin on the first of March.
fn civil(at_ms: i64) -> Civil {
    let days = at_ms.div_euclid(DAY_MS);
    let time = at_ms.rem_euclid(DAY_MS);
    let shifted = days + 719_468;
    let cycle = shifted.div_euclid(146_097);
    let of_cycle = shifted.rem_euclid(146_097);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Civil {
        year: year + cycle * 400 + i64::from(month <= 2),
        month: usize::try_from(month).unwrap_or(1),
        day: of_year - (153 * from_march + 2) / 5 + 1,
        weekday: usize::try_from(days.rem_euclid(7)).unwrap_or(0),
        hour: time / 3_600_000,
        minute: time / 60_000 % 60,
        second: time / 1_000 % 60,
        millisecond: time % 1_000,
    }
}

/// As in the `Date` header: `Fri, 02 Jan 2026 03:04:05 GMT`.
pub(crate) fn http_date(at_ms: i64) -> String {
    let c = civil(at_ms);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[c.weekday],
        c.day,
        MONTHS[c.month - 1],
        c.year,
        c.hour,
        c.minute,
        c.second
    )
}

/// As in a job: `2026-01-02T03:04:05Z`.
pub(crate) fn iso_seconds(at_ms: i64) -> String {
    let c = civil(at_ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// As in a token: `2020-01-04T09:05:22.701000Z`.
pub(crate) fn iso_micros(at_ms: i64) -> String {
    let seconds = iso_seconds(at_ms);
    let millisecond = civil(at_ms).millisecond;
    format!("{}.{millisecond:03}000Z", seconds.trim_end_matches('Z'))
}

/// As in a signature: `20260102T030405Z`. None: it is no such date.
pub(crate) fn from_basic(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let is_digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_digit);
    let shape = text.len() == 16 && bytes.get(8) == Some(&b'T') && bytes.get(15) == Some(&b'Z');
    if !shape || !(0..15).filter(|place| *place != 8).all(is_digit) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The rule of `civil`, the other way round.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let cycle = shifted_year.div_euclid(400);
    let of_cycle = shifted_year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468;
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_as_known_dates() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_767_323_045_000), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(iso_seconds(1_575_614_944_000), "2019-12-06T06:49:04Z");
        assert_eq!(iso_seconds(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(from_basic("20260102T030405Z"), Some(1_767_323_045_000));
        assert_eq!(from_basic("19700101T000000Z"), Some(0));
        for odd in
            ["", "20260102T030405", "2026-01-02T03:04", "20261302T030405Z", "+026010+T030405Z"]
        {
            assert_eq!(from_basic(odd), None, "{odd}");
        }
        for days in 0..40_000 {
            let text = iso_seconds(days * DAY_MS).replace(['-', ':'], "");
            assert_eq!(from_basic(&text), Some(days * DAY_MS), "{text}");
        }
        assert_eq!(iso_micros(1_578_128_722_701), "2020-01-04T09:05:22.701000Z");
    }
}
