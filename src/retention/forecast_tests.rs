use super::*;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::retention::naive::naive_plan;
use crate::retention::plan::property_tests::{policy, world};
use crate::retention::{Count, CountRule, Period, Pin};

const HOUR: Duration = Duration::from_hours(1);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn snapshot(id: i64, taken_at: Timestamp) -> SnapshotFacts {
    SnapshotFacts {
        id: SnapshotId(id),
        taken_at,
        state: SnapshotState::Complete,
        raw_bytes: 100,
        stored_bytes: 10,
        pin: None,
    }
}

fn circumstances(now: &str) -> Circumstances {
    Circumstances {
        now: at(now),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        clock_doubt: None,
        suspended: None,
        policy_changed_at: None,
    }
}

fn keep(period: Option<Period>, count: u32) -> Policy {
    let counts = vec![CountRule { period, count: Count::Limited(count) }];
    Policy { counts, ..Policy::default() }
}

fn every(step: Duration, first: Timestamp) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(first), move |last| Some(last.plus(step)))
}

/// By snapshot, in words.
fn words(expected: &BTreeMap<SnapshotId, Timestamp>) -> Vec<String> {
    expected.iter().map(|(id, at)| format!("{id} {at}")).collect()
}

#[test]
fn a_counted_snapshot_goes_when_enough_newer_ones_have_come() {
    let snapshots: Vec<_> =
        (1..=3).map(|n| snapshot(n, at(&format!("2026-11-{:02}T02:00Z", 20 + n)))).collect();
    let now = circumstances("2026-11-23T12:00Z");
    let coming = every(24 * HOUR, at("2026-11-24T02:00Z"));
    let expected = forecast(&snapshots, &keep(None, 3), &now, coming);
    assert_eq!(
        words(&expected),
        [
            "s1 2026-11-24T02:00:00.000Z",
            "s2 2026-11-25T02:00:00.000Z",
            "s3 2026-11-26T02:00:00.000Z",
        ]
    );
    // Without a schedule nobody knows when a newer one comes.
    let none = forecast(&snapshots, &keep(None, 3), &now, std::iter::empty());
    assert_eq!(none, BTreeMap::new());
    let everything = Policy::default();
    assert_eq!(forecast(&snapshots, &everything, &now, every(HOUR, now.now)), BTreeMap::new());
}

#[test]
fn time_alone_ends_ages_pins_and_the_grace_of_a_new_policy() {
    let mut snapshots: Vec<_> =
        (1..=4).map(|n| snapshot(n, at(&format!("2026-11-{:02}T02:00Z", 10 + n)))).collect();
    let pin = |until| Some(Pin { name: "audit".to_owned(), until });
    snapshots[1].pin = pin(Some(at("2027-03-01T00:00Z")));
    snapshots[2].pin = pin(None);
    let policy = Policy { max_age: Some("1mo".parse().unwrap()), ..Policy::default() };
    let now = circumstances("2026-11-23T12:00Z");
    let expected = forecast(&snapshots, &policy, &now, std::iter::empty());
    assert_eq!(words(&expected), ["s1 2026-12-11T02:00:00.001Z", "s2 2027-03-01T00:00:00.000Z",]);
    let changed = Circumstances { policy_changed_at: Some(at("2026-11-23T11:00Z")), ..now };
    let expected = forecast(&snapshots, &keep(None, 1), &changed, std::iter::empty());
    assert_eq!(words(&expected), ["s1 2026-11-24T11:00:00.000Z", "s2 2027-03-01T00:00:00.000Z",]);
}

#[test]
fn a_sweep_that_is_full_goes_on_an_hour_later() {
    let snapshots: Vec<_> =
        (1..=4).map(|n| snapshot(n, at(&format!("2026-11-{:02}T02:00Z", 10 + n)))).collect();
    let policy = Policy { max_delete_per_sweep: 1, ..keep(None, 1) };
    let now = circumstances("2026-11-23T12:00Z");
    let expected = forecast(&snapshots, &policy, &now, std::iter::empty());
    assert_eq!(
        words(&expected),
        [
            "s1 2026-11-23T12:00:00.000Z",
            "s2 2026-11-23T13:00:00.000Z",
            "s3 2026-11-23T14:00:00.000Z",
        ]
    );
}

/// Ten years of hourly snapshots, and a history as long: it ends, and what is near is exact.
#[test]
fn a_long_history_takes_no_longer() {
    let now = circumstances("2026-11-23T12:00Z");
    let snapshots: Vec<_> = (1..=50_000_i64)
        .map(|n| snapshot(n, now.now.minus(HOUR * u32::try_from(n).unwrap())))
        .collect();
    let expected = forecast(
        &snapshots,
        &keep(Some(Period::Hour), 49_999),
        &now,
        every(HOUR, now.now.plus(HOUR)),
    );
    assert_eq!(expected.get(&SnapshotId(50_000)), Some(&now.now), "it is over already");
    assert!(expected.len() < 50_000);
    // The newest goes when a thousand newer ones have come, or a little later, because so far ahead
    // the steps are large.
    let coming = every(HOUR, now.now.plus(HOUR));
    let counted = forecast(&snapshots[..100], &keep(None, 1_000), &now, coming);
    assert_eq!(counted.len(), 100);
    let (exact, found) = (now.now.plus(HOUR * 1_000), counted[&SnapshotId(1)]);
    assert!(found >= exact && found <= exact.plus(HOUR * 16), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is foreseen is what happens if everything happens as foreseen: a life of sweeps by the
    /// naive reading of the rules, one after every snapshot, agrees to the moment.
    #[test]
    fn a_life_goes_as_foreseen((at, snapshots) in world(), policy in policy()) {
        // What time alone decides falls between two sweeps of this life.
        let policy = Policy {
            max_delete_per_sweep: u32::MAX,
            policy_grace: Duration::ZERO,
            max_age: None,
            ..policy
        };
        let mut snapshots = snapshots;
        for pin in snapshots.iter_mut().filter_map(|snapshot| snapshot.pin.as_mut()) {
            pin.until = None;
        }
        let step = 6 * HOUR;
        let coming = || every(step, at.now.plus(step)).take(60);
        let expected = forecast(&snapshots, &policy, &at, coming());
        let mut left: Vec<SnapshotFacts> = snapshots.clone();
        let mut now = Circumstances { clock_doubt: None, ..at.clone() };
        let mut arrived = 1_000_000;
        let mut gone = BTreeMap::new();
        for moment in std::iter::once(at.now).chain(coming()) {
            if moment > at.now {
                let at_rest = |s: &&SnapshotFacts| {
                    matches!(s.state, SnapshotState::Complete | SnapshotState::Incomplete)
                };
                let Some(newest) = left.iter().filter(at_rest).max_by_key(|s| (s.taken_at, s.id))
                else { break };
                arrived += 1;
                let (raw_bytes, stored_bytes) = (newest.raw_bytes, newest.stored_bytes);
                left.push(SnapshotFacts { raw_bytes, stored_bytes, ..snapshot(arrived, moment) });
            }
            now.now = moment;
            let opinion = naive_plan(&left, &policy, &now);
            left.retain(|s| opinion.get(&s.id.0).is_none_or(|(keep, _)| *keep));
            let deleted = opinion.iter().filter(|(id, (keep, _))| !keep && **id < 1_000_000);
            gone.extend(deleted.map(|(id, _)| (SnapshotId(*id), moment)));
        }
        let end = now.now;
        if policy.keeps_everything() {
            prop_assert!(expected.is_empty());
            return Ok(());
        }
        let until_end: BTreeMap<_, _> =
            expected.into_iter().filter(|(_, foreseen)| *foreseen <= end).collect();
        prop_assert_eq!(until_end, gone);
    }
}
