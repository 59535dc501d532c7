//! When the daemon looks after what is stored: it compares catalog and vault at its start and every
//! day, and reads files again in between. Beside everything else, never before READY, and never in
//! the way of a stop: both can be broken off anywhere and begin again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::Engine;
use super::failure::EngineError;
use super::keeper::{Finding, Keeper};
use super::scrub::{Scrub, Turn};
use super::task::{Finished, Task};
use crate::lifecycle::{Archive, Step};
use crate::model::Timestamp;
use crate::settings::Verify;

/// From one comparison to the next.
const EVERY: Duration = Duration::from_hours(24);
/// After one that broke.
const AFTER_FAILURE: Duration = Duration::from_hours(1);

/// What is due, and what is running.
#[derive(Debug)]
pub(super) struct Upkeep {
    next: Timestamp,
    scrub: Scrub,
    running: Vec<AbortHandle>,
}

impl Upkeep {
    pub(super) const fn new(verify: Verify, now: Timestamp) -> Self {
        Self { next: now, scrub: Scrub::new(verify, now), running: Vec::new() }
    }

    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let scrub = self.scrub.next(now);
        [Some(self.next), scrub].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// No moment is further away than it was meant to be.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        self.next = self.next.min(now.plus(EVERY));
        self.scrub.clock_went_back(now);
    }

    /// A task that broke begins again later.
    pub(super) fn broke(&mut self, task: &Task, now: Timestamp) {
        match task {
            Task::Reconcile => self.next = now.plus(AFTER_FAILURE),
            _ => self.scrub.finished(&Turn::default(), now),
        }
    }

    pub(super) fn scrubbed(&mut self, turn: &Turn, now: Timestamp) {
        self.scrub.finished(turn, now);
    }

    /// Nobody shall wait for it.
    pub(super) fn stop(&mut self) {
        self.running.drain(..).for_each(|task| task.abort());
    }
}

impl Engine {
    pub(super) fn start_upkeep(&mut self, now: Timestamp) {
        let runs = |task: Task| self.running.count(|other| *other == task) > 0;
        let (reconciling, scrubbing) = (runs(Task::Reconcile), runs(Task::Scrub));
        self.upkeep.running.retain(|task| !task.is_finished());
        if !self.has_room() {
            return;
        }
        if !reconciling && self.upkeep.next <= now {
            self.upkeep.next = now.plus(EVERY);
            let keeper = Keeper::of(&self.shell);
            let work = async move { Finished::Reconcile(reconcile(keeper).await) };
            let handle = self.start(Task::Reconcile, work);
            self.upkeep.running.push(handle);
            return;
        }
        let busy = self.running.count(|task| {
            matches!(task, Task::Step(Step::Download | Step::Pack, ..) | Task::Reconcile)
        }) > 0;
        if !scrubbing && !reconciling && self.upkeep.scrub.is_due(now, busy) {
            let (scrub, keeper) = (self.upkeep.scrub, Keeper::of(&self.shell));
            let work = async move { Finished::Scrub(scrub.turn(keeper).await) };
            let handle = self.start(Task::Scrub, work);
            self.upkeep.running.push(handle);
        }
    }
}

/// Compares catalog and vault; the answer holds what was on its way and is stored now, and one of
/// each export that has a stored file again. Those that went from the trash to `damaged` are not in
/// it, for there may be very many: their step finds that they were changed.
async fn reconcile(keeper: Keeper) -> Result<Vec<Archive>, EngineError> {
    let mut changed = Vec::new();
    let mut grown = BTreeSet::new();
    let (mut damaged, mut unreadable, mut quarantined, mut back) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut tell = |finding: Finding| match finding {
        Finding::Sound(_) | Finding::Changed(_) => {}
        Finding::Damaged { .. } => damaged += 1,
        Finding::Restored(archive) => {
            back += 1;
            if grown.insert((archive.instance.clone(), archive.export.clone())) {
                changed.push(archive);
            }
        }
        Finding::Found(archive) => {
            back += 1;
            changed.push(archive);
        }
        Finding::Unreadable { .. } => unreadable += 1,
        Finding::Quarantined { .. } => quarantined += 1,
    };
    keeper.reconcile(&mut tell).await?;
    if damaged + unreadable + quarantined + back > 0 {
        tracing::warn!(damaged, unreadable, quarantined, back, "catalog and vault were compared");
    } else {
        tracing::info!("catalog and vault agree");
    }
    Ok(changed)
}
