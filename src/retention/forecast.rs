//! When each snapshot will go: the plan, asked again and again about the time to come.
//!
//! It must never decide anything: it has no rule of its own. What is to come is a guess, of
//! course: snapshots when they fall due, as large as the newest, and nobody who changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::{Circumstances, SnapshotFacts, plan};
use super::policy::Policy;
use super::reason::Reason;
use crate::lifecycle::SnapshotState;
use crate::model::{SnapshotId, Timestamp};

/// Verdicts that are reckoned, at most: a fraction of a second of work.
const BUDGET: usize = 400_000;
/// The budget is spent in so many parts, each looking ahead in steps twice as long as the last:
/// what is near is foreseen to the sweep, what is far a few snapshots late.
const PARTS: usize = 8;
/// Nobody needs to know what happens later than this.
const HORIZON: Duration = Duration::from_hours(24 * 3_653);
/// A sweep that has deleted enough goes on after this.
const NEXT_SWEEP: Duration = Duration::from_hours(1);

/// When each of `snapshots` is expected to be given up, if that can be foreseen. `coming` is when
/// further snapshots fall due, in order. A moment that is not in the future means: with the next
/// sweep.
pub fn forecast(
    snapshots: &[SnapshotFacts],
    policy: &Policy,
    at: &Circumstances,
    coming: impl Iterator<Item = Timestamp>,
) -> BTreeMap<SnapshotId, Timestamp> {
    if policy.keeps_everything() {
        return BTreeMap::new();
    }
    let mut future = Future::new(snapshots, policy, at);
    let mut coming = coming.peekable();
    let end = at.now.plus(HORIZON);
    let mut spent = 0;
    future.sweep(at.now);
    while future.awaits() && spent < BUDGET {
        let stride = 1 << (spent / (BUDGET / PARTS));
        let mut moment = None;
        for _ in 0..stride {
            let Some(next) = future.next_event(coming.peek().copied()) else { break };
            if coming.next_if(|due| *due <= next).is_some() {
                future.arrive(next);
            }
            moment = Some(next);
        }
        let Some(moment) = moment.filter(|moment| *moment <= end) else { break };
        spent += future.left.len() + 1;
        future.sweep(moment);
    }
    future.gone
}

/// What is expected to be there.
struct Future<'p> {
    policy: &'p Policy,
    circumstances: Circumstances,
    left: Vec<SnapshotFacts>,
    /// Snapshots that are there today, and still are at this point.
    today: usize,
    /// Moments at which time alone may change a verdict.
    turns: BTreeSet<Timestamp>,
    gone: BTreeMap<SnapshotId, Timestamp>,
    arrived: i64,
}

impl<'p> Future<'p> {
    fn new(snapshots: &[SnapshotFacts], policy: &'p Policy, at: &Circumstances) -> Self {
        // Whatever is wrong today is over by then; nobody can say more.
        let circumstances = Circumstances { clock_doubt: None, suspended: None, ..at.clone() };
        let left: Vec<SnapshotFacts> = snapshots
            .iter()
            .filter(|s| matches!(s.state, SnapshotState::Complete | SnapshotState::Incomplete))
            .cloned()
            .collect();
        let mut turns = BTreeSet::new();
        turns.extend(at.policy_changed_at.map(|changed| changed.plus(policy.policy_grace)));
        turns.extend(left.iter().filter_map(|s| s.pin.as_ref()?.until));
        let mut future = Self {
            policy,
            circumstances,
            today: left.len(),
            left,
            turns,
            gone: BTreeMap::new(),
            arrived: 0,
        };
        let ages: Vec<_> = future.left.iter().filter_map(|s| future.comes_of_age(s)).collect();
        future.turns.extend(ages);
        future.turns.retain(|turn| *turn > at.now);
        future
    }

    /// The first moment, or one at most a day later, at which it is older than `max_age`.
    fn comes_of_age(&self, snapshot: &SnapshotFacts) -> Option<Timestamp> {
        const DAY: Duration = Duration::from_hours(24);
        let age = self.policy.max_age?;
        let zone = &self.circumstances.zone;
        let taken = snapshot.taken_at.to_jiff().to_zoned(zone.clone());
        let then = Timestamp::from_jiff(taken.checked_add(age).ok()?.timestamp());
        let is_older = |now: &Timestamp| {
            let limit = now.to_jiff().to_zoned(zone.clone()).checked_sub(age);
            limit.is_ok_and(|limit| snapshot.taken_at < Timestamp::from_jiff(limit.timestamp()))
        };
        // A month before 31 March is 28 February, and a month after that is 28 March.
        let then = then.plus(Duration::from_millis(1));
        (0..5).map(|days| then.plus(days * DAY)).find(is_older)
    }

    fn awaits(&self) -> bool {
        self.today > 0
    }

    fn next_event(&mut self, due: Option<Timestamp>) -> Option<Timestamp> {
        let turn = self.turns.first().copied();
        match (turn, due) {
            (Some(turn), Some(due)) if due < turn => Some(due),
            (Some(_), _) => self.turns.pop_first(),
            (None, due) => due,
        }
    }

    /// Another snapshot is taken, like the newest.
    fn arrive(&mut self, at: Timestamp) {
        let Some(newest) = self.left.iter().max_by_key(|s| (s.taken_at, s.id)) else { return };
        self.arrived += 1;
        let snapshot = SnapshotFacts {
            // Behind every number that the catalog has given so far.
            id: SnapshotId(i64::MAX / 2 + self.arrived),
            taken_at: at,
            state: SnapshotState::Complete,
            raw_bytes: newest.raw_bytes,
            stored_bytes: newest.stored_bytes,
            pin: None,
        };
        self.left.push(snapshot);
    }

    fn sweep(&mut self, now: Timestamp) {
        self.circumstances.now = now;
        let verdicts = plan(&self.left, self.policy, &self.circumstances);
        let full = |reason: &Reason| matches!(reason, Reason::SweepFull(_));
        if verdicts.iter().any(|verdict| verdict.reasons.iter().any(full)) {
            self.turns.insert(now.plus(NEXT_SWEEP));
        }
        let deleted: BTreeSet<SnapshotId> =
            verdicts.iter().filter(|verdict| !verdict.keep).map(|verdict| verdict.id).collect();
        if deleted.is_empty() {
            return;
        }
        self.left.retain(|snapshot| !deleted.contains(&snapshot.id));
        let ours = deleted.into_iter().filter(|id| id.0 <= i64::MAX / 2);
        let before = self.gone.len();
        self.gone.extend(ours.map(|id| (id, now)));
        self.today -= self.gone.len() - before;
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
