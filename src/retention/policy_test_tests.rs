use super::*;

use crate::retention::{Count, CountRule, Period};

fn policy(rules: &[(Option<Period>, u32)], test: PolicyTest) -> Policy {
    let rule = |(period, count): &(Option<Period>, u32)| CountRule {
        period: *period,
        count: Count::Limited(*count),
    };
    Policy { counts: rules.iter().map(rule).collect(), tests: vec![test], ..Policy::default() }
}

fn test(given: &str, at: &str, expect: &str) -> PolicyTest {
    PolicyTest {
        given: given.parse().unwrap(),
        at: at.parse().unwrap(),
        expect: expect.split_whitespace().map(|moment| moment.parse().unwrap()).collect(),
    }
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

#[test]
fn a_year_of_days_leaves_what_is_expected() {
    let days = "2026-12-31 2026-12-30 2026-12-29";
    let yearly = test("daily since 2026-01-01", "2026-12-31", days);
    assert_eq!(failing_test(&policy(&[(None, 3)], yearly), &berlin()), None);
    let months = "2026-12-31 2026-11-30 2026-10-31";
    let monthly = test("daily since 2026-01-01", "2026-12-31", months);
    assert_eq!(failing_test(&policy(&[(Some(Period::Month), 3)], monthly), &berlin()), None);
}

#[test]
fn a_failure_says_what_was_kept_and_why() {
    let wrong = test("daily since 2026-12-01", "2026-12-31", "2026-12-31 2026-12-01");
    let failure = failing_test(&policy(&[(None, 2)], wrong), &berlin()).unwrap();
    assert_eq!(failure.to_string(), "test 1 of the retention policy fails: 2026-12-01 is not kept");
    assert_eq!(failure.missing, ["2026-12-01"]);
    let pair = |day: &str, words: &str| (day.to_owned(), words.to_owned());
    assert_eq!(failure.surplus, [pair("2026-12-30", "last 2/2")]);
    assert_eq!(failure.kept, [pair("2026-12-31", "last 1/2"), pair("2026-12-30", "last 2/2")]);
}

#[test]
fn a_test_of_nothing_is_none() {
    let before = test("daily since 2026-01-01", "2025-12-31", "");
    let failure = failing_test(&policy(&[(None, 2)], before), &berlin()).unwrap();
    let said = "test 1 of the retention policy fails: no snapshot is given by that time";
    assert_eq!(failure.to_string(), said);
    // Cut off, it would be another history.
    let endless = test("every 1s since 2026-01-01", "2026-12-31", "2026-01-03");
    let failure = failing_test(&policy(&[(None, 1)], endless), &berlin()).unwrap();
    assert!(failure.to_string().ends_with("longer than any real one"), "{failure}");
}

#[test]
fn times_are_compared_to_the_moment_and_phrases_by_the_day() {
    let times = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"];
    let given = Given::Times(times.iter().map(|time| time.parse().unwrap()).collect());
    let at = "2026-10-26".parse().unwrap();
    let both = |expect: &str| PolicyTest {
        given: given.clone(),
        at,
        expect: expect.split_whitespace().map(|moment| moment.parse().unwrap()).collect(),
    };
    // The hour that comes twice is two hours.
    let twice = policy(
        &[(Some(Period::Hour), 2)],
        both("2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00"),
    );
    assert_eq!(failing_test(&twice, &berlin()), None);
    let once = policy(&[(Some(Period::Day), 1)], both("2026-10-25T02:30:00+02:00"));
    let failure = failing_test(&once, &berlin()).unwrap();
    assert_eq!(failure.missing, ["2026-10-25T00:30:00.000Z"]);
    assert_eq!(failure.surplus.len(), 1);
}

#[test]
fn phrases_reckon_from_the_first_one() {
    let given: Given = "monthly since 2026-01-31".parse().unwrap();
    let until = "2026-04-30T12:00:00Z".parse().unwrap();
    let days: Vec<String> = given
        .times(until, &TimeZone::UTC)
        .iter()
        .map(|at| day_of(*at, &TimeZone::UTC).to_string())
        .collect();
    assert_eq!(days, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]);
    let every: Given = "every 6h since 2026-01-31".parse().unwrap();
    assert_eq!(every.times("2026-02-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC).len(), 5);
}

#[test]
fn what_is_no_phrase_is_refused() {
    for text in [
        "",
        "daily",
        "daily since",
        "daily since yesterday",
        "sometimes since 2026-01-01",
        "every since 2026-01-01",
        "every 0h since 2026-01-01",
        "every -1d since 2026-01-01",
        "daily since 2026-02-30",
    ] {
        assert!(text.parse::<Given>().is_err(), "{text}");
    }
    for text in ["2026-13-01", "2026-01-01T25:00:00Z", "2026-01-01T02:00", "2026", "x"] {
        assert!(text.parse::<Moment>().is_err(), "{text}");
    }
}

#[test]
fn a_history_without_end_is_cut() {
    let endless = test("every 1ms since 2026-01-01", "2026-12-31", "2026-12-31");
    assert!(failing_test(&policy(&[(None, 1)], endless), &berlin()).is_some());
}

/// The guards of the moment are not part of it, those of the policy are.
#[test]
fn a_test_asks_for_what_is_left_in_the_end() {
    let one = test("daily since 2026-01-01", "2026-12-31", "2026-12-31 2026-12-30");
    let strict = Policy { max_delete_per_sweep: 1, min_keep: 2, ..policy(&[(None, 1)], one) };
    assert_eq!(failing_test(&strict, &berlin()), None);
}
