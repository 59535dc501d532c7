use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

fn runs(text: &str, from: &str, to: &str, zone: &TimeZone) -> Vec<String> {
    let (schedule, end) = (schedule(text), at(to));
    let mut moments = Vec::new();
    let mut moment = at(from);
    while let Some(next) = schedule.next_after(moment, zone).filter(|next| *next < end) {
        moments.push(next.to_string());
        moment = next;
    }
    moments
}

#[test]
fn a_nightly_run_happens_once_a_day_through_both_clock_changes() {
    // 02:30 does not exist on 29 March 2026 and exists twice on 25 October 2026.
    let spring = runs("30 2 * * *", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", &berlin());
    assert_eq!(
        spring,
        ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
    );
    let autumn = runs("30 2 * * *", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z", &berlin());
    assert_eq!(
        autumn,
        ["2026-10-24T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
    );
}

#[test]
fn an_hourly_run_happens_every_real_hour() {
    let hours = runs("0 * * * *", "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z", &berlin());
    assert_eq!(hours.len(), 23);
}

#[test]
fn missed_runs_collapse_into_one() {
    let nightly = schedule("0 2 * * *");
    let last = at("2026-11-01T02:00:00Z");
    let now = at("2026-11-05T12:00:00Z");
    let due = nightly.due(last, now, &TimeZone::UTC).map(|due| due.at);
    assert_eq!(due, Some(at("2026-11-05T02:00:00Z")));
    assert_eq!(nightly.due(at("2026-11-05T02:00:00Z"), now, &TimeZone::UTC), None);
}

#[test]
fn unusable_expressions_say_why() {
    for bad in ["", "* * * *", "0 0 2 * * *", "61 * * * *", "@often", "a b c d e"] {
        assert!(bad.parse::<Schedule>().is_err(), "{bad:?}");
    }
    let never = "0 0 30 2 *".parse::<Schedule>().unwrap_err();
    assert!(never.to_string().contains("never comes"), "{never}");
    assert_eq!(
        schedule("@daily").next_after(at("2026-01-01T12:00:00Z"), &TimeZone::UTC),
        Some(at("2026-01-02T00:00:00Z"))
    );
}

proptest! {
    #[test]
    fn what_is_due_is_never_in_the_future_and_never_taken_twice(
        last in 1_700_000_000_000_i64..1_800_000_000_000,
        gap in 0_i64..40 * 86_400_000,
        pick in 0_usize..5,
    ) {
        let texts = ["*/5 * * * *", "0 2 * * *", "30 2 * * 0", "0 0 1 * *", "15 1-3 * * *"];
        let schedule = schedule(texts[pick]);
        let (last, now) = (Timestamp::from_millis(last), Timestamp::from_millis(last + gap));
        if let Some(Due { at: due, .. }) = schedule.due(last, now, &berlin()) {
            prop_assert!(last < due && due <= now);
            // Nothing that was due is left over.
            prop_assert_eq!(schedule.due(due, now, &berlin()), None);
        } else {
            let next = schedule.next_after(last, &berlin());
            prop_assert!(next.is_none_or(|next| next > now));
        }
    }
}

#[test]
fn names_of_schedules_are_known() {
    let next = |text: &str| schedule(text).next_after(at("2026-07-15T10:30:00Z"), &TimeZone::UTC);
    for (text, expected) in [
        ("@hourly", "2026-07-15T11:00:00Z"),
        ("@daily", "2026-07-16T00:00:00Z"),
        ("@Midnight", "2026-07-16T00:00:00Z"),
        ("@weekly", "2026-07-19T00:00:00Z"),
        ("@monthly", "2026-08-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(text), Some(at(expected)), "{text}");
    }
    assert_eq!(schedule("@midnight").to_string(), "@midnight");
}

#[test]
fn missed_runs_are_counted_as_far_as_anybody_cares() {
    let (last, now) = (at("2026-11-01T02:00:00Z"), at("2026-11-05T12:00:00Z"));
    let due = schedule("0 2 * * *").due(last, now, &TimeZone::UTC).unwrap();
    assert_eq!(due, Due { at: at("2026-11-05T02:00:00Z"), missed: 3 });
    let due = schedule("* * * * *").due(last, now, &TimeZone::UTC).unwrap();
    assert_eq!(due, Due { at: now, missed: MOST_MISSED });
}

#[test]
fn jitter_puts_a_run_off_by_the_same_every_time_and_never_behind_the_next() {
    let minutes = Duration::from_mins(10);
    let nightly = schedule("0 2 * * *").with_jitter(minutes, "prod/nightly");
    let other = schedule("0 2 * * *").with_jitter(minutes, "test/nightly");
    let occurrence = at("2026-11-05T02:00:00Z");
    let starts = nightly.starts(occurrence, &TimeZone::UTC);
    assert!(occurrence <= starts && starts < occurrence.plus(minutes));
    assert_eq!(starts, nightly.clone().starts(occurrence, &TimeZone::UTC));
    assert_ne!(starts, other.starts(occurrence, &TimeZone::UTC));
    // Not before it starts, and then as the occurrence that it is.
    let last = at("2026-11-04T02:00:00Z");
    let just_before = starts.minus(Duration::from_millis(1));
    assert_eq!(nightly.due(last, just_before, &TimeZone::UTC), None);
    let due = nightly.due(last, starts, &TimeZone::UTC).unwrap();
    assert_eq!(due, Due { at: occurrence, missed: 0 });
    assert_eq!(nightly.due(occurrence, starts, &TimeZone::UTC), None);
    let often = schedule("* * * * *").with_jitter(minutes, "prod/nightly");
    for minute in 0..60 {
        let occurrence = occurrence.plus(Duration::from_mins(minute));
        let next = occurrence.plus(Duration::from_mins(1));
        assert!(often.starts(occurrence, &TimeZone::UTC) < next);
    }
}

/// The same, minute by minute, with nothing but a clock on the wall and a memory of what it showed.
mod naive {
    use jiff::ToSpan;
    use jiff::civil::DateTime;

    use super::*;

    /// `*`, `*/5`, `1-3`, `0,30`.
    fn fits(field: &str, value: i64) -> bool {
        field.split(',').any(|part| {
            let (range, step) = part.split_once('/').unwrap_or((part, "1"));
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
                None if range == "*" => (0, 99),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            (from..=to).contains(&value) && (value - from) % step.parse::<i64>().unwrap() == 0
        })
    }

    fn matches(text: &str, wall: DateTime) -> bool {
        let fields: Vec<&str> = text.split(' ').collect();
        let weekday = i64::from(wall.weekday().to_sunday_zero_offset());
        let (by_day, by_weekday) = (fits(fields[2], wall.day().into()), fits(fields[4], weekday));
        // The rule of old: if both are restricted, either will do.
        let day = match (fields[2], fields[4]) {
            ("*", _) | (_, "*") => by_day && by_weekday,
            _ => by_day || by_weekday,
        };
        fits(fields[0], wall.minute().into())
            && fits(fields[1], wall.hour().into())
            && fits(fields[3], wall.month().into())
            && day
    }

    /// All runs after `from`, up to `to`.
    pub(super) fn runs(
        text: &str,
        from: Timestamp,
        to: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Timestamp> {
        let is_hourly = text.split(' ').nth(1) == Some("*");
        let mut runs = Vec::new();
        // A memory of the day before, for what is repeated.
        let mut moment = from.minus(Duration::from_hours(24));
        let mut latest = zone.to_datetime(moment.to_jiff());
        while moment < to {
            moment = moment.plus(Duration::from_mins(1));
            let wall = zone.to_datetime(moment.to_jiff());
            let is_due = if is_hourly {
                matches(text, wall)
            } else {
                // Whatever the clock on the wall has newly reached or jumped over.
                let mut shown = latest;
                let mut any = false;
                while shown < wall {
                    shown = shown.checked_add(1.minute()).unwrap();
                    any |= matches(text, shown);
                }
                any
            };
            latest = latest.max(wall);
            if is_due && moment > from && moment <= to {
                runs.push(moment);
            }
        }
        runs
    }
}

/// Days around changes of the clock: by an hour, by half an hour, by two, in both hemispheres, at
/// midnight, and in zones that are off by odd minutes.
const CHANGES: [(&str, &str); 14] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("America/St_Johns", "2027-11-07T04:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
    ("America/Santiago", "2026-09-06T04:00:00Z"),
    ("America/Santiago", "2026-04-05T03:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Pacific/Chatham", "2026-09-26T14:00:00Z"),
    ("Asia/Kathmandu", "2026-06-01T00:00:00Z"),
];

fn expression() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        Just("*".to_owned()),
        Just("*/30".to_owned()),
        Just("*/7".to_owned()),
        (0..60).prop_map(|m: i32| m.to_string()),
        (0..30, 30..60).prop_map(|(a, b)| format!("{a},{b}")),
    ];
    let hour = prop_oneof![
        2 => Just("*".to_owned()),
        1 => Just("*/2".to_owned()),
        1 => (0..22).prop_map(|h| format!("{h}-{}", h + 2)),
        4 => (0..4).prop_map(|h: i32| h.to_string()),
        1 => (0..24).prop_map(|h: i32| h.to_string()),
    ];
    let days = prop_oneof![
        6 => Just("* * *".to_owned()),
        1 => (0..7).prop_map(|w| format!("* * {w}")),
        1 => (1..29).prop_map(|d| format!("{d} * *")),
        1 => (1..29, 0..7).prop_map(|(d, w)| format!("{d} * {w}")),
        1 => (1..13).prop_map(|m| format!("* {m} *")),
    ];
    (minute, hour, days).prop_map(|(minute, hour, days)| format!("{minute} {hour} {days}"))
}

proptest! {
    #[test]
    fn no_run_is_left_out_and_none_comes_twice_whatever_the_clocks_do(
        text in expression(),
        change in proptest::sample::select(&CHANGES[..]),
        before in 1_i64..72 * 60,
        jitter in prop_oneof![Just(0), 1_u64..7_200],
    ) {
        let zone = TimeZone::get(change.0).unwrap();
        let from = at(change.1).minus(Duration::from_mins(before.unsigned_abs()));
        let to = from.plus(Duration::from_hours(96));
        let expected = naive::runs(&text, from, to, &zone);
        let schedule = schedule(&text).with_jitter(Duration::from_secs(jitter), "prod/nightly");
        let mut found = Vec::new();
        let mut moment = from;
        while let Some(next) = schedule.next_after(moment, &zone).filter(|next| *next <= to) {
            found.push(next);
            moment = next;
        }
        prop_assert_eq!(&found, &expected, "{} in {}", text, change.0);
        // Between two occurrences it makes no difference where one asks.
        if let [.., last, end] = expected[..] {
            let within = last.plus(end.since(last) / 2);
            prop_assert_eq!(schedule.next_after(within, &zone), Some(end));
        }
        // A daemon that looks at any time takes the newest run that has started, and counts.
        let now = from.plus(Duration::from_hours(80));
        let started = expected.iter().filter(|run| schedule.starts(**run, &zone) <= now);
        let due = schedule.due(from, now, &zone);
        prop_assert_eq!(due.map(|due| due.at), started.clone().next_back().copied());
        let missed = u32::try_from(started.count().saturating_sub(1)).unwrap();
        prop_assert_eq!(due.map_or(0, |due| due.missed), missed.min(MOST_MISSED));
        for pair in expected.windows(2) {
            prop_assert!(schedule.starts(pair[0], &zone) < pair[1]);
        }
    }
}
