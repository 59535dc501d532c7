//! The plan: one verdict a snapshot, each with its reasons.

use std::cmp::Reverse;

use jiff::tz::TimeZone;

use super::policy::Policy;
use super::reason::Reason;
use super::rules::{Opinion, keep_reasons};
use crate::lifecycle::SnapshotState;
use crate::model::{FUTURE_TOLERANCE, SnapshotId, Timestamp};

/// What retention needs to know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Which one.
    pub id: SnapshotId,
    /// When its run fell due.
    pub taken_at: Timestamp,
    /// Open, trashed and deleted ones are passed over.
    pub state: SnapshotState,
    /// Bytes of its packages.
    pub raw_bytes: u64,
    /// Bytes of its files.
    pub stored_bytes: u64,
    /// A pin that holds it; of several the one that holds longest.
    pub pin: Option<Pin>,
}

/// A named hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// When it ends; `None`: never by itself.
    pub until: Option<Timestamp>,
}

impl Pin {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What else the plan depends on.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The wall clock.
    pub now: Timestamp,
    /// The zone whose days, weeks and months make the buckets.
    pub zone: TimeZone,
    /// Why the clock cannot be trusted, when it cannot.
    pub clock_doubt: Option<String>,
    /// Why nothing is deleted although the policy says so, for instance a failing test of it.
    pub suspended: Option<String>,
    /// When the effective policy last changed; `None`: it is the first one.
    pub policy_changed_at: Option<Timestamp>,
}

/// Keep or delete, with reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether it stays.
    pub keep: bool,
    /// At least one: the rules and guards that keep it, or the rule that removes it.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// All reasons in words.
    pub fn words(&self) -> String {
        self.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// A snapshot on its way through the rules.
struct Candidate<'s> {
    facts: &'s SnapshotFacts,
    keep: bool,
    reasons: Vec<Reason>,
}

impl Candidate<'_> {
    fn remove(&mut self, reason: Reason) {
        self.keep = false;
        self.reasons = vec![reason];
    }

    fn guard(&mut self, reason: Reason) {
        self.keep = true;
        self.reasons.push(reason);
    }
}

/// Decides about every snapshot of one export that has files and is at rest, newest first.
///
/// The order of `snapshots` does not matter. Open, trashed and deleted ones get no verdict.
pub fn plan(snapshots: &[SnapshotFacts], policy: &Policy, at: &Circumstances) -> Vec<Verdict> {
    let mut sorted: Vec<&SnapshotFacts> = snapshots
        .iter()
        .filter(|s| matches!(s.state, SnapshotState::Complete | SnapshotState::Incomplete))
        .collect();
    sorted.sort_unstable_by_key(|s| Reverse((s.taken_at, s.id)));
    let future = at.now.plus(FUTURE_TOLERANCE);
    let counts = |s: &SnapshotFacts| s.state == SnapshotState::Complete && s.taken_at <= future;

    let times: Vec<Timestamp> = sorted.iter().filter(|s| counts(s)).map(|s| s.taken_at).collect();
    let mut by_rules = keep_reasons(policy, &times, &at.zone).into_iter();
    let mut candidates: Vec<Candidate<'_>> = sorted
        .iter()
        .map(|&facts| {
            let opinion = if counts(facts) {
                by_rules.next().unwrap_or(Opinion::Missed(None))
            } else if facts.taken_at > future {
                Opinion::Kept(vec![Reason::Future])
            } else {
                Opinion::Kept(vec![Reason::Incomplete])
            };
            judge(facts, opinion, policy)
        })
        .collect();
    remove_the_old(&mut candidates, policy, at, &counts);
    remove_the_many(&mut candidates, policy, &counts);
    apply_guards(&mut candidates, policy, at, &counts);
    candidates
        .into_iter()
        .map(|c| Verdict { id: c.facts.id, keep: c.keep, reasons: c.reasons })
        .collect()
}

fn judge<'s>(facts: &'s SnapshotFacts, opinion: Opinion, policy: &Policy) -> Candidate<'s> {
    match opinion {
        Opinion::Kept(reasons) => Candidate { facts, keep: true, reasons },
        Opinion::Missed(miss) if policy.has_keep_rules() => {
            Candidate { facts, keep: false, reasons: vec![Reason::NotKept(miss)] }
        }
        Opinion::Missed(_) => Candidate { facts, keep: true, reasons: vec![Reason::NoRule] },
    }
}

/// `max_age` is the only rule that forces removal; an incomplete snapshot leaves by it too, once a
/// complete successor exists.
fn remove_the_old(
    candidates: &mut [Candidate<'_>],
    policy: &Policy,
    at: &Circumstances,
    counts: &dyn Fn(&SnapshotFacts) -> bool,
) {
    let Some(max_age) = policy.max_age else { return };
    let now = at.now.to_jiff().to_zoned(at.zone.clone());
    // An age that reaches back beyond the calendar removes nothing.
    let Ok(limit) = now.checked_sub(max_age) else { return };
    let limit = Timestamp::from_jiff(limit.timestamp());
    let mut successor = false;
    for candidate in candidates {
        let complete = counts(candidate.facts);
        if candidate.facts.taken_at < limit {
            if complete {
                candidate.remove(Reason::MaxAge);
            } else if successor {
                candidate.remove(Reason::IncompleteExpired);
            }
        }
        successor |= complete;
    }
}

/// `max_count` and `max_total_size` come last and take the oldest first.
fn remove_the_many(
    candidates: &mut [Candidate<'_>],
    policy: &Policy,
    counts: &dyn Fn(&SnapshotFacts) -> bool,
) {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for candidate in candidates.iter_mut().filter(|c| c.keep && counts(c.facts)) {
        count += 1;
        bytes = bytes.saturating_add(candidate.facts.stored_bytes);
        if let Some(max) = policy.max_count.filter(|max| count > *max) {
            candidate.remove(Reason::MaxCount(max));
        } else if let Some(max) = policy.max_total_bytes.filter(|max| bytes > *max) {
            candidate.remove(Reason::MaxTotalSize(max));
        }
    }
}

/// Guards only ever turn a deletion into keeping, each with a printed reason, in this order.
fn apply_guards(
    candidates: &mut [Candidate<'_>],
    policy: &Policy,
    at: &Circumstances,
    counts: &dyn Fn(&SnapshotFacts) -> bool,
) {
    for candidate in candidates.iter_mut() {
        if let Some(pin) = candidate.facts.pin.as_ref().filter(|pin| pin.holds(at.now)) {
            candidate.guard(Reason::Pinned(pin.name.clone()));
        }
    }
    let keep = usize::try_from(policy.min_keep).unwrap_or(usize::MAX);
    for candidate in candidates.iter_mut().filter(|c| counts(c.facts)).take(keep) {
        if !candidate.keep {
            candidate.guard(Reason::MinKeep(policy.min_keep));
        }
    }
    if let Some(newest) = candidates.iter_mut().find(|c| counts(c.facts))
        && !newest.keep
    {
        newest.guard(Reason::NewestGood);
    }
    let grace_ends = at.policy_changed_at.map(|changed| changed.plus(policy.policy_grace));
    let doubt = if let Some(why) = &at.suspended {
        Some(Reason::Suspended(why.clone()))
    } else if let Some(why) = &at.clock_doubt {
        Some(Reason::ClockDoubt(why.clone()))
    } else if newest_is_anomalous(candidates, counts) {
        Some(Reason::NewestAnomalous)
    } else {
        grace_ends.filter(|ends| at.now < *ends).map(Reason::PolicyGrace)
    };
    let mut budget = policy.max_delete_per_sweep;
    for candidate in candidates.iter_mut().rev().filter(|c| !c.keep) {
        if let Some(doubt) = &doubt {
            candidate.guard(doubt.clone());
        } else if budget == 0 {
            candidate.guard(Reason::SweepFull(policy.max_delete_per_sweep));
        } else {
            budget -= 1;
        }
    }
}

fn newest_is_anomalous(
    candidates: &[Candidate<'_>],
    counts: &dyn Fn(&SnapshotFacts) -> bool,
) -> bool {
    let mut sizes = candidates.iter().filter(|c| counts(c.facts)).map(|c| c.facts.raw_bytes);
    match (sizes.next(), sizes.next()) {
        (Some(0), _) => true,
        (Some(newest), Some(previous)) => newest < previous.div_ceil(2),
        _ => false,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "plan_property_tests.rs"]
pub(super) mod property_tests;
