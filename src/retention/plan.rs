//! The plan: one verdict a snapshot, each with its reasons.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::policy::{Period, Policy};
use super::rules::keep_reasons;
use crate::lifecycle::SnapshotState;
use crate::model::{SnapshotId, Timestamp};

/// How far a snapshot may be ahead of the clock before it counts as dated in the future.
const FUTURE_TOLERANCE: Duration = Duration::from_mins(5);

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
    /// The name of a pin that holds it.
    pub pin: Option<String>,
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

/// Why a snapshot stays or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A counting rule: the `number`-th of its buckets, `of` all it has (`None`: unlimited).
    Counted {
        /// `None` for `keep_last`.
        period: Option<Period>,
        /// 1 for the newest.
        number: u32,
        /// The rule's budget.
        of: Option<u32>,
        /// Kept because the rule has budget left and nothing older exists.
        oldest: bool,
    },
    /// A window before the newest snapshot.
    Within {
        /// `None` for `keep_within`.
        period: Option<Period>,
        /// Kept because nothing older exists.
        oldest: bool,
    },
    /// The policy has no keep rule.
    NoRule,
    /// Dated later than the clock.
    Future,
    /// A part is missing; it neither counts nor is removed by counting rules.
    Incomplete,
    /// A person holds it.
    Pinned(String),
    /// One of the newest `min_keep`.
    MinKeep(u32),
    /// The newest complete snapshot of an export is never deleted.
    NewestGood,
    /// The clock cannot be trusted.
    ClockDoubt(String),
    /// The newest snapshot is empty or shrunk by more than half: nothing goes until somebody knows
    /// why.
    NewestAnomalous,
    /// The policy changed a short while ago and only plans until then.
    PolicyGrace(Timestamp),
    /// This sweep has deleted enough.
    SweepFull(u32),
    /// No keep rule holds it any more.
    NotKept,
    /// Older than `max_age`.
    MaxAge,
    /// More than `max_count`.
    MaxCount(u64),
    /// More than `max_total_size`.
    MaxTotalSize(u64),
    /// Incomplete, a complete successor exists, and it is older than `max_age`.
    IncompleteExpired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted { period, number, of, oldest } => {
                let name = period.map_or("last", Period::adverb);
                let prefix = if *oldest { "oldest " } else { "" };
                match of {
                    Some(of) => write!(f, "{prefix}{name} {number}/{of}"),
                    None => write!(f, "{prefix}{name} {number}"),
                }
            }
            Self::Within { period, oldest } => {
                let prefix = if *oldest { "oldest " } else { "" };
                let name = period.map_or(String::new(), |p| format!(" {}", p.adverb()));
                write!(f, "{prefix}within{name}")
            }
            Self::NoRule => f.write_str("no keep rule"),
            Self::Future => f.write_str("dated in the future"),
            Self::Incomplete => f.write_str("incomplete"),
            Self::Pinned(name) => write!(f, "pinned: {name}"),
            Self::MinKeep(count) => write!(f, "min_keep {count}"),
            Self::NewestGood => f.write_str("newest good snapshot"),
            Self::ClockDoubt(why) => write!(f, "clock not trustworthy: {why}"),
            Self::NewestAnomalous => f.write_str("newest snapshot is empty or shrunk by half"),
            Self::PolicyGrace(until) => write!(f, "policy changed, only planned until {until}"),
            Self::SweepFull(count) => write!(f, "only {count} deletions a sweep"),
            Self::NotKept => f.write_str("no rule keeps it"),
            Self::MaxAge => f.write_str("older than max_age"),
            Self::MaxCount(count) => write!(f, "more than max_count {count}"),
            Self::MaxTotalSize(bytes) => write!(f, "more than max_total_size {bytes}"),
            Self::IncompleteExpired => f.write_str("incomplete and older than max_age"),
        }
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
            let reasons = if counts(facts) {
                by_rules.next().unwrap_or_default()
            } else if facts.taken_at > future {
                vec![Reason::Future]
            } else {
                vec![Reason::Incomplete]
            };
            judge(facts, reasons, policy)
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

fn judge<'s>(facts: &'s SnapshotFacts, reasons: Vec<Reason>, policy: &Policy) -> Candidate<'s> {
    if !reasons.is_empty() {
        Candidate { facts, keep: true, reasons }
    } else if policy.has_keep_rules() {
        Candidate { facts, keep: false, reasons: vec![Reason::NotKept] }
    } else {
        Candidate { facts, keep: true, reasons: vec![Reason::NoRule] }
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
        if let Some(pin) = &candidate.facts.pin {
            candidate.guard(Reason::Pinned(pin.clone()));
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
    let doubt = if let Some(why) = &at.clock_doubt {
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
mod property_tests;
