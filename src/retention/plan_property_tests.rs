use std::time::Duration;

use super::*;
use crate::retention::Period;

use jiff::{Span, ToSpan as _};
use proptest::prelude::*;
use proptest::sample::select;

use crate::retention::naive::naive_plan;
use crate::retention::{Count, CountRule, WithinRule};

const HOUR_MS: i64 = 3_600_000;

/// Distances into the past at several scales, so that every kind of bucket repeats and runs out.
fn distance() -> impl Strategy<Value = i64> {
    prop_oneof![
        (0_i64..40).prop_map(|tens| tens * 600_000),
        (0_i64..3 * 144).prop_map(|tens| tens * 600_000),
        (0_i64..60 * 24).prop_map(|hours| hours * HOUR_MS),
        (0_i64..1_500 * 4).prop_map(|quarters| quarters * 6 * HOUR_MS),
        // A little into the future, around the tolerance of five minutes.
        (0_i64..20).prop_map(|halves| halves * -30_000),
    ]
}

fn fact() -> impl Strategy<Value = (i64, SnapshotState, u64, u64, Option<Option<i64>>)> {
    use SnapshotState as S;
    let states = prop_oneof![
        16 => Just(S::Complete),
        3 => Just(S::Incomplete),
        1 => select(vec![S::Open, S::Trashed, S::Deleted]),
    ];
    // Half of the pins end, around now or in the next days.
    let pin = prop::option::weighted(0.08, prop::option::of(-5_i64..200));
    let raw = prop_oneof![1 => Just(0_u64), 30 => 40_u64..100];
    (distance(), states, raw, 0_u64..50, pin)
}

/// A time near both clock changes of a year as well as any other.
fn now() -> impl Strategy<Value = Timestamp> {
    let changes = ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2027-01-01T00:00:00Z"];
    // Half-hours; often the hours of the change itself, which come twice or not at all.
    let distance = prop_oneof![0_i64..14, -200_i64..400];
    (select(changes.to_vec()), distance)
        .prop_map(|(day, hours)| Timestamp::from_millis(at_ms(day) + hours * HOUR_MS / 2))
}

fn at_ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millis()
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let zones = ["Europe/Berlin", "Europe/Berlin", "Australia/Lord_Howe", "UTC"];
    let doubt = prop::option::weighted(0.05, Just("behind the newest event".to_owned()));
    let changed = prop::option::weighted(0.2, 0_i64..48);
    (now(), select(zones.to_vec()), doubt, changed).prop_map(|(now, zone, clock_doubt, hours)| {
        Circumstances {
            now,
            zone: TimeZone::get(zone).unwrap(),
            clock_doubt,
            suspended: None,
            policy_changed_at: hours
                .map(|hours| Timestamp::from_millis(now.as_millis() - hours * HOUR_MS)),
        }
    })
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        (1_i64..100).prop_map(i64::hours),
        (1_i64..100).prop_map(i64::days),
        (1_i64..40).prop_map(i64::months),
        (0_i64..3, 0_i64..14, 0_i64..5, 1_i64..40, 0_i64..50).prop_map(|(y, mo, w, d, h)| y
            .years()
            .months(mo)
            .weeks(w)
            .days(d)
            .hours(h)),
    ]
}

/// For each period, and for none, perhaps a rule with a value of `values`.
fn rules<T: std::fmt::Debug + 'static>(
    values: &BoxedStrategy<T>,
) -> impl Strategy<Value = Vec<(Option<Period>, T)>> + use<T> {
    let kinds = std::iter::once(None).chain(Period::ALL.map(Some));
    let each: Vec<_> = kinds
        .map(|kind| {
            let value = prop::option::weighted(0.3, values.clone());
            value.prop_map(move |value| Some((kind, value?)))
        })
        .collect();
    each.prop_map(|rules| rules.into_iter().flatten().collect())
}

pub(in crate::retention) fn policy() -> impl Strategy<Value = Policy> {
    let count = prop_oneof![
        8 => (1_u32..6).prop_map(Count::Limited),
        1 => Just(Count::Unlimited),
    ];
    let (count, span) = (count.boxed(), span().boxed());
    let age = prop::option::weighted(0.3, span.clone());
    let max_count = prop::option::weighted(0.3, 1_u64..20);
    let max_bytes = prop::option::weighted(0.3, 1_u64..600);
    let small = (0_u32..4, 0_u64..48, prop_oneof![0_u32..6, Just(50)]);
    (rules(&count), rules(&span), age, max_count, max_bytes, small).prop_map(
        |(counts, within, max_age, max_count, max_total_bytes, (min_keep, grace, sweep))| Policy {
            counts: counts.into_iter().map(|(period, count)| CountRule { period, count }).collect(),
            within: within.into_iter().map(|(period, span)| WithinRule { period, span }).collect(),
            max_age,
            max_count,
            max_total_bytes,
            min_keep,
            policy_grace: Duration::from_hours(grace),
            max_delete_per_sweep: sweep,
            ..Policy::default()
        },
    )
}

/// A moment and a few dozen snapshots before it, in no order.
pub(in crate::retention) fn world() -> impl Strategy<Value = (Circumstances, Vec<SnapshotFacts>)> {
    (circumstances(), prop::collection::vec(fact(), 0..40)).prop_map(|(at, facts)| {
        let snapshots = (1..)
            .zip(facts)
            .map(|(id, (distance, state, raw_bytes, stored_bytes, pin))| SnapshotFacts {
                id: SnapshotId(id),
                taken_at: Timestamp::from_millis(at.now.as_millis() - distance),
                state,
                raw_bytes,
                stored_bytes,
                pin: pin.map(|hours| Pin {
                    name: "audit".to_owned(),
                    until: hours
                        .map(|hours| Timestamp::from_millis(at.now.as_millis() + hours * HOUR_MS)),
                }),
            })
            .collect();
        (at, snapshots)
    })
}

fn is_at_rest(snapshot: &SnapshotFacts) -> bool {
    matches!(snapshot.state, SnapshotState::Complete | SnapshotState::Incomplete)
}

/// The same policy with nothing but its counting rules, and no limit to a sweep.
fn counting_only(policy: Policy) -> Policy {
    Policy {
        within: Vec::new(),
        max_age: None,
        max_count: None,
        max_total_bytes: None,
        max_delete_per_sweep: u32::MAX,
        ..policy
    }
}

fn survivors(snapshots: &[SnapshotFacts], verdicts: &[Verdict]) -> Vec<SnapshotFacts> {
    let gone = |s: &&SnapshotFacts| !verdicts.iter().any(|v| v.id == s.id && !v.keep);
    snapshots.iter().filter(gone).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_plan_is_what_a_naive_reading_of_the_rules_says(
        (at, snapshots) in world(),
        policy in policy(),
    ) {
        let mut opinion = naive_plan(&snapshots, &policy, &at);
        for verdict in plan(&snapshots, &policy, &at) {
            let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
            let expected = opinion.remove(&verdict.id.0);
            prop_assert_eq!(expected, Some((verdict.keep, reasons)), "{}", verdict.id);
        }
        prop_assert!(opinion.is_empty(), "without verdict: {opinion:?}");
    }

    #[test]
    fn the_order_of_the_snapshots_does_not_matter(
        ((at, snapshots), shuffled) in world().prop_flat_map(|(at, snapshots)| {
            let shuffled = Just(snapshots.clone()).prop_shuffle();
            (Just((at, snapshots)), shuffled)
        }),
        policy in policy(),
    ) {
        let verdicts = plan(&snapshots, &policy, &at);
        prop_assert_eq!(&verdicts, &plan(&shuffled, &policy, &at));
        let age = |v: &Verdict| {
            snapshots.iter().find(|s| s.id == v.id).map(|s| Reverse((s.taken_at, s.id)))
        };
        prop_assert!(verdicts.is_sorted_by_key(age), "newest first");
    }

    /// Whatever the policy says, these hold.
    #[test]
    fn the_guards_hold((at, snapshots) in world(), policy in policy()) {
        let verdicts = plan(&snapshots, &policy, &at);
        let at_rest = snapshots.iter().filter(|s| is_at_rest(s)).count();
        prop_assert_eq!(verdicts.len(), at_rest);
        let deleted: Vec<&SnapshotFacts> = verdicts
            .iter()
            .filter(|verdict| !verdict.keep)
            .filter_map(|verdict| snapshots.iter().find(|s| s.id == verdict.id))
            .collect();
        prop_assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
        let held = |s: &SnapshotFacts| s.pin.as_ref().is_some_and(|pin| pin.holds(at.now));
        prop_assert!(deleted.iter().all(|s| !held(s) && is_at_rest(s)));
        prop_assert!(deleted.len() <= usize::try_from(policy.max_delete_per_sweep).unwrap());
        prop_assert!(deleted.is_empty() || at.clock_doubt.is_none());
        prop_assert!(deleted.is_empty() || !policy.keeps_everything());
        let complete = |s: &&SnapshotFacts| s.state == SnapshotState::Complete;
        let newest = snapshots.iter().filter(complete).max_by_key(|s| (s.taken_at, s.id));
        let past = at.now.plus(Duration::from_mins(5));
        let newest_past = snapshots
            .iter()
            .filter(complete)
            .filter(|s| s.taken_at <= past)
            .max_by_key(|s| (s.taken_at, s.id));
        for newest in newest.into_iter().chain(newest_past) {
            prop_assert!(!deleted.iter().any(|s| s.id == newest.id), "{newest:?}");
        }
        let left = snapshots.iter().filter(complete).count()
            - deleted.iter().copied().filter(complete).count();
        let had = snapshots.iter().filter(complete).count();
        prop_assert!(left >= had.min(usize::try_from(policy.min_keep).unwrap()));
    }

    /// What a count rule spared once it spares again: nothing melts away by planning often.
    #[test]
    fn counting_rules_delete_nothing_more_the_second_time(
        (at, snapshots) in world(),
        policy in policy(),
    ) {
        let policy = counting_only(policy);
        let left = survivors(&snapshots, &plan(&snapshots, &policy, &at));
        let again = plan(&left, &policy, &at);
        prop_assert!(again.iter().all(|verdict| verdict.keep), "{again:?}");
    }

    /// A sweep that had to stop early is finished by the next ones, at the same moment and with the
    /// same result as one without a limit.
    #[test]
    fn many_small_sweeps_end_where_one_large_one_does(
        (at, snapshots) in world(),
        policy in policy(),
        step in 1_u32..5,
    ) {
        let large = counting_only(policy);
        let small = Policy { max_delete_per_sweep: step, ..large.clone() };
        let at_once = survivors(&snapshots, &plan(&snapshots, &large, &at));
        let mut left = snapshots;
        loop {
            let next = survivors(&left, &plan(&left, &small, &at));
            if next.len() == left.len() {
                break;
            }
            left = next;
        }
        prop_assert_eq!(left, at_once);
    }

    /// Time alone brings nothing back: what an age rule gives up once it gives up for good, and the
    /// other rules do not look at the clock at all.
    #[test]
    fn what_goes_by_age_does_not_come_back(
        (at, snapshots) in world(),
        policy in policy(),
        hours in 0_i64..2_000,
    ) {
        // The guards of the moment end with time, and what lay in the future begins to count.
        let policy = Policy {
            policy_grace: Duration::ZERO,
            max_delete_per_sweep: u32::MAX,
            ..policy
        };
        let now = Circumstances { clock_doubt: None, policy_changed_at: None, ..at.clone() };
        let mut snapshots = snapshots;
        snapshots.retain(|snapshot| snapshot.taken_at <= at.now);
        for snapshot in &mut snapshots {
            snapshot.pin = None;
            snapshot.raw_bytes = 100;
        }
        let later = Timestamp::from_millis(at.now.as_millis() + hours * HOUR_MS);
        let deleted = |at: &Circumstances| -> std::collections::BTreeSet<SnapshotId> {
            let verdicts = plan(&snapshots, &policy, at).into_iter();
            verdicts.filter(|verdict| !verdict.keep).map(|verdict| verdict.id).collect()
        };
        let (first, then) = (deleted(&now), deleted(&Circumstances { now: later, ..now.clone() }));
        prop_assert!(first.is_subset(&then), "{first:?} {then:?}");
        if policy.max_age.is_none() {
            prop_assert_eq!(first, then);
        }
    }
}
