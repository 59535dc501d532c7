use std::fmt::Write as _;
use std::time::Duration;

use super::*;

use jiff::{Span, ToSpan as _};

use crate::retention::naive::naive_plan;
use crate::retention::{Count, CountRule, Period, WithinRule};

/// A plan written down by hand: what the policy is, when it is asked, and where.
struct Case {
    policy: &'static str,
    now: &'static str,
    zone: &'static str,
    clock_doubt: Option<&'static str>,
    policy_changed_at: Option<&'static str>,
}

const NOON: Case = Case {
    policy: "",
    now: "2026-11-24T12:00Z",
    zone: "UTC",
    clock_doubt: None,
    policy_changed_at: None,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

/// `last=2 within_daily=1mo max_age=2y`: the keys of the configuration without `keep_`.
fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap();
        let period = |word| Period::ALL.into_iter().find(|period| period.adverb() == word);
        match key {
            "max_age" => policy.max_age = Some(span(value)),
            "max_count" => policy.max_count = Some(value.parse().unwrap()),
            "max_total_size" => policy.max_total_bytes = Some(value.parse().unwrap()),
            "min_keep" => policy.min_keep = value.parse().unwrap(),
            "grace" => policy.policy_grace = Duration::from_hours(value.parse().unwrap()),
            "sweep" => policy.max_delete_per_sweep = value.parse().unwrap(),
            _ if key.starts_with("within") => {
                let period = key.strip_prefix("within_").map(|word| period(word).unwrap());
                policy.within.push(WithinRule { period, span: span(value) });
            }
            _ => {
                let count = match value {
                    "-1" => Count::Unlimited,
                    count => Count::Limited(count.parse().unwrap()),
                };
                let period = (key != "last").then(|| period(key).unwrap());
                policy.counts.push(CountRule { period, count });
            }
        }
    }
    policy
}

/// `2026-11-24T02:00Z incomplete pin=audit raw=7 stored=3`; 100 and 10 bytes unless it says so.
fn snapshot(id: i64, text: &str) -> SnapshotFacts {
    let mut words = text.split_whitespace();
    let mut facts = SnapshotFacts {
        id: SnapshotId(id),
        taken_at: at(words.next().unwrap()),
        state: SnapshotState::Complete,
        raw_bytes: 100,
        stored_bytes: 10,
        pin: None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("pin", name)) => facts.pin = Some(Pin { name: name.to_owned(), until: None }),
            Some(("raw", bytes)) => facts.raw_bytes = bytes.parse().unwrap(),
            Some(("stored", bytes)) => facts.stored_bytes = bytes.parse().unwrap(),
            _ => facts.state = word.parse().unwrap(),
        }
    }
    facts
}

impl Case {
    fn circumstances(&self) -> Circumstances {
        Circumstances {
            now: at(self.now),
            zone: TimeZone::get(self.zone).unwrap(),
            clock_doubt: self.clock_doubt.map(str::to_owned),
            suspended: None,
            policy_changed_at: self.policy_changed_at.map(at),
        }
    }

    /// Each line is a snapshot and, after ` : `, what becomes of it.
    #[track_caller]
    fn check(&self, expected: &str) {
        let lines: Vec<(&str, &str)> =
            expected.trim().lines().map(|line| line.trim().split_once(" : ").unwrap()).collect();
        // The first line is the newest, also among those of one moment; the plan gets them in the
        // wrong order.
        let snapshots: Vec<SnapshotFacts> =
            (1..).zip(lines.iter().rev()).map(|(id, (text, _))| snapshot(id, text)).collect();
        let verdicts = plan(&snapshots, &policy(self.policy), &self.circumstances());
        let found: Vec<String> = lines
            .iter()
            .zip(snapshots.iter().rev())
            .map(|((text, _), facts)| {
                let verdict = verdicts.iter().find(|verdict| verdict.id == facts.id);
                let verdict = verdict.map_or("-".to_owned(), |verdict| {
                    let reasons: Vec<String> =
                        verdict.reasons.iter().map(Reason::to_string).collect();
                    let word = if verdict.keep { "keep" } else { "delete" };
                    format!("{word}, {}", reasons.join(", "))
                });
                format!("{text} : {verdict}")
            })
            .collect();
        let expected: Vec<String> =
            lines.iter().map(|(text, verdict)| format!("{text} : {verdict}")).collect();
        assert_eq!(found, expected, "{}", self.policy);
    }
}

#[track_caller]
fn check(policy: &'static str, expected: &str) {
    Case { policy, ..NOON }.check(expected);
}

#[test]
fn the_last_ones() {
    check(
        "last=2",
        "2026-11-24T02:00Z : keep, last 1/2
         2026-11-24T01:00Z : keep, last 2/2
         2026-11-23T02:00Z : delete, no rule keeps it (nearest last: 2 newer)",
    );
    // Of one moment the later record is the newer.
    check(
        "last=1",
        "2026-11-24T02:00Z : keep, last 1/1
         2026-11-24T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
    assert_eq!(plan(&[], &policy("last=1"), &NOON.circumstances()), []);
}

#[test]
fn rules_keep_on_their_own_account() {
    check(
        "last=1 daily=2 within=12h",
        "2026-11-24T10:00Z : keep, last 1/1, daily 1/2, within
         2026-11-24T02:00Z : keep, within
         2026-11-23T20:00Z : keep, daily 2/2
         2026-11-23T02:00Z : delete, no rule keeps it (nearest daily: newer that day)",
    );
}

#[test]
fn the_hour_that_comes_twice_is_two_hours() {
    Case { policy: "hourly=3", now: "2026-10-25T06:00Z", zone: "Europe/Berlin", ..NOON }.check(
        "2026-10-25T03:10+01:00 : keep, hourly 1/3
         2026-10-25T02:50+01:00 : keep, hourly 2/3
         2026-10-25T02:10+01:00 : delete, no rule keeps it (nearest hourly: newer that hour)
         2026-10-25T02:50+02:00 : keep, hourly 3/3
         2026-10-25T02:10+02:00 : delete, no rule keeps it (nearest hourly: newer that hour)
         2026-10-25T01:50+02:00 : delete, no rule keeps it (nearest hourly: 3 newer)",
    );
}

#[test]
fn the_hour_that_is_skipped_is_no_hour() {
    Case { policy: "hourly=9", now: "2026-03-29T06:00Z", zone: "Europe/Berlin", ..NOON }.check(
        "2026-03-29T03:10+02:00 : keep, hourly 1/9
         2026-03-29T01:50+01:00 : keep, hourly 2/9
         2026-03-29T01:10+01:00 : keep, oldest hourly 3/9",
    );
}

#[test]
fn days_are_those_of_the_zone() {
    let policy = "daily=2";
    // All but the last lie on 23 November of UTC.
    Case { policy, zone: "Europe/Berlin", ..NOON }.check(
        "2026-11-24T00:30+01:00 : keep, daily 1/2
         2026-11-23T23:30+01:00 : keep, daily 2/2
         2026-11-23T01:30+01:00 : delete, no rule keeps it (nearest daily: newer that day)
         2026-11-23T00:30+01:00 : delete, no rule keeps it (nearest daily: newer that day)",
    );
    Case { policy, ..NOON }.check(
        "2026-11-24T00:30+01:00 : keep, daily 1/2
         2026-11-23T23:30+01:00 : delete, no rule keeps it (nearest daily: newer that day)
         2026-11-23T01:30+01:00 : delete, no rule keeps it (nearest daily: newer that day)
         2026-11-23T00:30+01:00 : keep, daily 2/2",
    );
}

#[test]
fn weeks_belong_to_the_iso_year() {
    // The last week of 2026 is its 53rd and ends on Sunday, 3 January 2027.
    Case { policy: "weekly=3", now: "2027-01-12T12:00Z", ..NOON }.check(
        "2027-01-11T02:00Z : keep, weekly 1/3
         2027-01-04T02:00Z : keep, weekly 2/3
         2027-01-03T02:00Z : keep, weekly 3/3
         2027-01-01T02:00Z : delete, no rule keeps it (nearest weekly: newer that week)
         2026-12-28T02:00Z : delete, no rule keeps it (nearest weekly: newer that week)",
    );
    // Monday, 29 December 2025 opens the first week of 2026.
    Case { policy: "weekly=9", now: "2026-01-05T00:00Z", ..NOON }.check(
        "2026-01-04T02:00Z : keep, weekly 1/9
         2025-12-29T02:00Z : delete, no rule keeps it (nearest weekly: newer that week)
         2025-12-28T02:00Z : keep, weekly 2/9",
    );
}

#[test]
fn months_quarters_and_years() {
    let now = "2026-12-05T12:00Z";
    Case { policy: "monthly=3", now, ..NOON }.check(
        "2026-12-01T00:00Z : keep, monthly 1/3
         2026-11-30T23:59Z : keep, monthly 2/3
         2026-11-01T00:00Z : delete, no rule keeps it (nearest monthly: newer that month)
         2025-11-30T00:00Z : keep, monthly 3/3
         2025-10-31T00:00Z : delete, no rule keeps it (nearest monthly: 3 newer)",
    );
    Case { policy: "quarterly=3", now, ..NOON }.check(
        "2026-10-01T00:00Z : keep, quarterly 1/3
         2026-09-30T23:59Z : keep, quarterly 2/3
         2026-07-01T00:00Z : delete, no rule keeps it (nearest quarterly: newer that quarter)
         2025-09-30T00:00Z : keep, quarterly 3/3
         2025-06-30T00:00Z : delete, no rule keeps it (nearest quarterly: 3 newer)",
    );
    // A new year begins an hour earlier in Berlin than in UTC.
    Case { policy: "yearly=2", now, zone: "Europe/Berlin", ..NOON }.check(
        "2026-01-01T00:00+01:00 : keep, yearly 1/2
         2025-12-31T23:59+01:00 : keep, yearly 2/2
         2025-01-01T00:00+01:00 : delete, no rule keeps it (nearest yearly: newer that year)",
    );
}

#[test]
fn the_oldest_is_kept_while_there_is_budget() {
    check(
        "monthly=12",
        "2026-11-24T02:00Z : keep, monthly 1/12
         2026-11-10T02:00Z : delete, no rule keeps it (nearest monthly: newer that month)
         2026-11-01T02:00Z : keep, oldest monthly 2/12",
    );
    check(
        "monthly=1 yearly=2",
        "2026-11-24T02:00Z : keep, monthly 1/1, yearly 1/2
         2026-11-10T02:00Z : delete, no rule keeps it (nearest monthly: newer that month)
         2026-11-01T02:00Z : keep, oldest yearly 2/2",
    );
}

#[test]
fn minus_one_never_runs_out() {
    check(
        "daily=-1",
        "2026-11-24T10:00Z : keep, daily
         2026-11-24T02:00Z : delete, no rule keeps it (nearest daily: newer that day)
         2026-11-23T02:00Z : keep, daily
         2020-02-29T12:00Z : keep, daily
         2020-02-29T02:00Z : keep, oldest daily",
    );
}

#[test]
fn a_window_is_measured_from_the_newest_and_clamped_to_the_month() {
    // 31 March less a month is 28 February; the day itself is no longer inside.
    Case { policy: "within=1mo", now: "2027-09-01T00:00Z", ..NOON }.check(
        "2027-03-31T02:00Z : keep, within
         2027-02-28T02:01Z : keep, within
         2027-02-28T02:00Z : delete, no rule keeps it (nearest within: too old)
         2027-02-27T02:00Z : delete, no rule keeps it (nearest within: too old)",
    );
    // In a leap year it is the 29th.
    Case { policy: "within=1mo", now: "2028-09-01T00:00Z", ..NOON }.check(
        "2028-03-31T02:00Z : keep, within
         2028-02-29T02:01Z : keep, within
         2028-02-29T02:00Z : delete, no rule keeps it (nearest within: too old)",
    );
}

#[test]
fn a_day_is_one_of_the_calendar_and_24h_are_24_hours() {
    // From noon to noon over the autumn change are 25 hours.
    let berlin = Case { now: "2026-10-26T00:00Z", zone: "Europe/Berlin", ..NOON };
    Case { policy: "within=1d", ..berlin }.check(
        "2026-10-25T12:00+01:00 : keep, within
         2026-10-24T12:30+02:00 : keep, within
         2026-10-24T12:00+02:00 : delete, no rule keeps it (nearest within: too old)",
    );
    Case { policy: "within=24h", ..berlin }.check(
        "2026-10-25T12:00+01:00 : keep, within
         2026-10-24T13:30+02:00 : keep, within
         2026-10-24T12:30+02:00 : delete, no rule keeps it (nearest within: too old)",
    );
    // Half past two came twice that night; hours count from the one that is meant.
    Case { policy: "within=3h", ..berlin }.check(
        "2026-10-25T02:30+01:00 : keep, within
         2026-10-25T00:31+02:00 : keep, within
         2026-10-25T00:30+02:00 : delete, no rule keeps it (nearest within: too old)",
    );
}

#[test]
fn windows_with_buckets() {
    check(
        "within_daily=3d",
        "2026-11-24T02:00Z : keep, within daily
         2026-11-24T01:00Z : delete, no rule keeps it (nearest within daily: newer that day)
         2026-11-23T02:00Z : keep, within daily
         2026-11-21T03:00Z : keep, within daily
         2026-11-21T02:00Z : delete, no rule keeps it (nearest within daily: newer that day)
         2026-11-20T02:00Z : delete, no rule keeps it (nearest within daily: too old)",
    );
    check(
        "within_hourly=1d within_weekly=2w within_monthly=2mo within_quarterly=1y within_yearly=3y",
        "2026-11-24T02:30Z : keep, within hourly, within weekly, within monthly, \
         within quarterly, within yearly
         2026-11-24T02:00Z : delete, no rule keeps it (nearest within hourly: newer that hour)
         2026-11-23T02:31Z : keep, within hourly
         2026-11-15T02:00Z : keep, within weekly
         2026-10-31T02:00Z : keep, within monthly
         2026-09-24T02:31Z : keep, within monthly, within quarterly
         2025-12-01T02:00Z : keep, within quarterly, within yearly
         2024-05-01T02:00Z : keep, within yearly
         2023-11-24T02:30Z : delete, no rule keeps it (nearest within yearly: too old)",
    );
    check(
        "within_daily=3d",
        "2026-11-24T02:00Z : keep, within daily
         2026-11-24T01:00Z : keep, oldest within daily",
    );
}

#[test]
fn without_a_keep_rule_only_ceilings_delete() {
    let expected = "2026-11-24T02:00Z : keep, no keep rule
                    2006-11-24T02:00Z : keep, no keep rule";
    check("", expected);
    check(
        "max_count=1",
        "2026-11-24T02:00Z : keep, no keep rule
         2026-11-23T02:00Z : delete, more than max_count 1",
    );
}

#[test]
fn what_is_not_at_rest_gets_no_verdict() {
    check(
        "last=1",
        "2026-11-24T03:00Z open : -
         2026-11-24T02:00Z : keep, last 1/1
         2026-11-23T02:00Z trashed : -
         2026-11-22T02:00Z deleted : -
         2026-11-21T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
}

#[test]
fn incomplete_snapshots_neither_count_nor_go_by_counting() {
    check(
        "last=1 max_count=1",
        "2026-11-24T02:00Z incomplete : keep, incomplete
         2026-11-23T02:00Z : keep, last 1/1
         2026-11-22T02:00Z incomplete : keep, incomplete
         2026-11-21T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
    check(
        "max_age=2d",
        "2026-11-24T02:00Z : keep, no keep rule
         2026-11-22T13:00Z incomplete : keep, incomplete
         2026-11-22T02:00Z incomplete : delete, incomplete and older than max_age
         2026-11-21T02:00Z incomplete pin=audit : keep, incomplete and older than max_age, \
         pinned: audit",
    );
    // While nothing complete follows it, an incomplete snapshot is the best there is.
    check(
        "max_age=2d min_keep=0",
        "2026-11-22T02:00Z incomplete : keep, incomplete
         2026-11-21T02:00Z : keep, older than max_age, newest good snapshot
         2026-11-20T02:00Z incomplete : delete, incomplete and older than max_age",
    );
}

#[test]
fn snapshots_from_the_future_are_kept_and_do_not_count() {
    check(
        "last=1 within=1d",
        "2027-11-24T02:00Z : keep, dated in the future
         2026-11-24T12:05:00.001Z incomplete : keep, dated in the future
         2026-11-24T12:05Z : keep, last 1/1, within
         2026-11-23T12:06Z : keep, within
         2026-11-23T12:05Z : delete, no rule keeps it (nearest within: too old)",
    );
}

#[test]
fn max_age_forces_removal() {
    check(
        "last=-1 max_age=2d",
        "2026-11-24T02:00Z : keep, last
         2026-11-22T12:00Z : keep, last
         2026-11-22T11:59Z : delete, older than max_age",
    );
    // It is measured by the clock, not from the newest, and clamped like every month.
    Case { policy: "last=-1 max_age=1mo", now: "2027-03-31T12:00Z", ..NOON }.check(
        "2027-03-30T02:00Z : keep, last
         2027-02-28T12:00Z : keep, last
         2027-02-28T11:59Z : delete, older than max_age",
    );
}

#[test]
fn ceilings_come_last_and_take_the_oldest() {
    check(
        "daily=9 max_count=2",
        "2026-11-24T10:00Z : keep, daily 1/9
         2026-11-24T02:00Z : delete, no rule keeps it (nearest daily: newer that day)
         2026-11-23T02:00Z : keep, daily 2/9
         2026-11-22T02:00Z : delete, more than max_count 2
         2026-11-21T02:00Z pin=audit : keep, more than max_count 2, pinned: audit",
    );
    check(
        "last=-1 max_total_size=25",
        "2026-11-24T02:00Z : keep, last
         2026-11-23T02:00Z incomplete stored=99 : keep, incomplete
         2026-11-22T02:00Z stored=15 : keep, last
         2026-11-21T02:00Z stored=1 : delete, more than max_total_size 25
         2026-11-20T02:00Z stored=0 : delete, more than max_total_size 25",
    );
    check(
        "last=-1 max_total_size=25 max_count=1",
        "2026-11-24T02:00Z stored=99 : keep, more than max_total_size 25, min_keep 1
         2026-11-23T02:00Z stored=0 : delete, more than max_count 1",
    );
}

#[test]
fn pins_and_minimum_guard_first() {
    check(
        "last=1 min_keep=3",
        "2026-11-24T02:00Z pin=month-end : keep, last 1/1, pinned: month-end
         2026-11-23T02:00Z incomplete : keep, incomplete
         2026-11-22T02:00Z pin=audit : keep, no rule keeps it (nearest last: 1 newer), pinned: audit
         2026-11-21T02:00Z : keep, no rule keeps it (nearest last: 1 newer), min_keep 3
         2026-11-20T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
}

#[test]
fn the_newest_good_snapshot_always_stays() {
    check(
        "max_age=1d min_keep=0",
        "2026-11-22T03:00Z incomplete : keep, incomplete
         2026-11-22T02:00Z : keep, older than max_age, newest good snapshot
         2026-11-21T02:00Z : delete, older than max_age",
    );
}

#[test]
fn a_clock_in_doubt_deletes_nothing() {
    let doubt = Case {
        policy: "last=1",
        clock_doubt: Some("behind the newest event"),
        policy_changed_at: Some("2026-11-24T11:00Z"),
        ..NOON
    };
    // The first guard speaks, though the others would hold as well.
    doubt.check(
        "2026-11-24T02:00Z raw=0 : keep, last 1/1
    2026-11-23T02:00Z : keep, no rule keeps it (nearest last: 1 newer), \
    clock not trustworthy: behind the newest event
    2026-11-22T02:00Z pin=audit : keep, no rule keeps it (nearest last: 1 newer), pinned: audit",
    );
}

#[test]
fn an_anomalous_newest_snapshot_deletes_nothing() {
    let kept = "keep, no rule keeps it (nearest last: 1 newer), newest snapshot is empty or \
                shrunk by half";
    let gone = "delete, no rule keeps it (nearest last: 1 newer)";
    for (newest, previous, expected) in [
        (49, 100, kept),
        (50, 100, gone),
        // Half of five is two and a half.
        (2, 5, kept),
        (3, 5, gone),
        (0, 100, kept),
        (0, 0, kept),
        (1_000, 1, gone),
    ] {
        let policy_changed_at = Some("2026-11-24T11:00Z").filter(|_| expected == kept);
        Case { policy: "last=1", policy_changed_at, ..NOON }.check(&format!(
            "2026-11-25T02:00Z raw=0 : keep, dated in the future
             2026-11-24T03:00Z incomplete raw=0 : keep, incomplete
             2026-11-24T02:00Z raw={newest} : keep, last 1/1
             2026-11-23T02:00Z raw={previous} : {expected}"
        ));
    }
}

#[test]
fn a_changed_policy_only_plans_for_a_while() {
    let changed = |now| Case {
        policy: "last=1 grace=24",
        policy_changed_at: Some("2026-11-24T00:00Z"),
        now,
        ..NOON
    };
    changed("2026-11-24T23:59:59.999Z").check(
        "2026-11-24T02:00Z : keep, last 1/1
         2026-11-23T02:00Z : keep, no rule keeps it (nearest last: 1 newer), policy changed, \
         only planned until 2026-11-25T00:00:00.000Z",
    );
    changed("2026-11-25T00:00Z").check(
        "2026-11-24T02:00Z : keep, last 1/1
         2026-11-23T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
}

#[test]
fn a_sweep_is_limited_and_takes_the_oldest_first() {
    check(
        "last=1 sweep=2",
        "2026-11-24T02:00Z : keep, last 1/1
    2026-11-23T02:00Z : keep, no rule keeps it (nearest last: 1 newer), only 2 deletions a sweep
         2026-11-22T02:00Z : delete, no rule keeps it (nearest last: 1 newer)
         2026-11-21T02:00Z pin=audit : keep, no rule keeps it (nearest last: 1 newer), pinned: audit
         2026-11-20T02:00Z : delete, no rule keeps it (nearest last: 1 newer)",
    );
}

#[test]
fn a_policy_has_one_canonical_line() {
    let line = |text| policy(text).to_string();
    let nothing = "keep everything max_delete_per_sweep=50 min_keep=1 policy_grace=86400s \
                   trash=604800s";
    assert_eq!(line(""), nothing);
    assert_eq!(line("daily=7 last=-1"), line("last=-1 daily=7"), "the order says nothing");
    let words = [
        "last=2",
        "last=3",
        "last=-1",
        "daily=2",
        "within=2d",
        "within=2mo",
        "within_daily=2d",
        "max_age=2d",
        "max_count=2",
        "max_total_size=2",
        "min_keep=2",
    ];
    let lines: std::collections::BTreeSet<String> = words.iter().map(|word| line(word)).collect();
    assert_eq!(lines.len(), words.len(), "every key shows: {lines:?}");
}

/// Three years in a zone with daylight saving: hourly at the end, daily before, irregular at first.
#[test]
fn three_years_of_snapshots_leave_what_the_book_says() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let now = at("2026-11-24T12:00Z");
    let start = "2023-11-24T02:00[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    let mut times = Vec::new();
    let irregular = [3, 11, 1, 26, 7, 90, 2, 15];
    let mut day = start;
    for days in irregular.into_iter().cycle() {
        if day.timestamp() > at("2024-11-24T00:00Z").to_jiff() {
            break;
        }
        times.push(Timestamp::from_jiff(day.timestamp()));
        day = day.checked_add(days.days().hours(5)).unwrap();
    }
    let mut day = "2024-11-25T02:30[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
    while day.timestamp() < at("2026-10-20T00:00Z").to_jiff() {
        times.push(Timestamp::from_jiff(day.timestamp()));
        day = day.checked_add(1.day()).unwrap();
    }
    let mut hour = at("2026-10-20T00:10Z");
    while hour < now {
        times.push(hour);
        hour = hour.plus(Duration::from_hours(1));
    }
    let facts = |(id, taken_at): (i64, &Timestamp)| SnapshotFacts {
        id: SnapshotId(id),
        taken_at: *taken_at,
        ..snapshot(id, "2026-01-01T00:00Z")
    };
    let snapshots: Vec<SnapshotFacts> = (1..).zip(&times).map(facts).collect();
    let rules = "last=3 hourly=26 daily=14 weekly=8 monthly=12 quarterly=6 yearly=3 \
                 within_daily=1mo sweep=9999";
    let policy = policy(rules);
    let case = Case { now: "2026-11-24T12:00Z", zone: "Europe/Berlin", ..NOON };
    let verdicts = plan(&snapshots, &policy, &case.circumstances());
    let opinion = naive_plan(&snapshots, &policy, &case.circumstances());
    assert_eq!(verdicts.len(), snapshots.len());
    let mut text = format!("{rules}\n{} snapshots\n", snapshots.len());
    let mut gone = std::collections::BTreeMap::<String, u32>::new();
    for verdict in &verdicts {
        let (keep, reasons) = &opinion[&verdict.id.0];
        assert_eq!((verdict.keep, &verdict.words()), (*keep, &reasons.join(", ")));
        let taken_at = times[usize::try_from(verdict.id.0 - 1).unwrap()].to_jiff();
        let local = taken_at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %:z %a");
        if verdict.keep {
            writeln!(text, "keep {local}  {}", verdict.words()).unwrap();
        } else {
            *gone.entry(verdict.words()).or_default() += 1;
        }
    }
    for (why, count) in gone {
        writeln!(text, "delete {count:>4}  {why}").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/retention/three_years.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "not what three_years.txt says (UPDATE_GOLDEN=1 writes it):\n{text}");
}
