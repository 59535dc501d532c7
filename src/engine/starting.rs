//! What is started, in which order, and how much of it at once. It only starts what the agenda says
//! is due; it must never wait for any of it, and never start what a paused instance, a busy account
//! or a doubtful clock forbids.

use std::collections::HashMap;

use tokio::task::AbortHandle;

use super::assignment::account_is_free;
use super::shell::Shell;
use super::task::{Finished, Running, Task};
use super::{Engine, planning, step, sweep};
use crate::catalog::UnplannedSnapshot;
use crate::lifecycle::{Archive, Step};
use crate::model::{Name, Timestamp};

/// Jobs that are asked about at the same time.
const POLLS: usize = 32;
/// Files that are removed at the same time; they share commits.
const DELETIONS: usize = 16;
/// Snapshots whose scope is read at the same time.
const PLANNINGS: usize = 4;

impl Engine {
    pub(super) fn start_plannings(&mut self, now: Timestamp) {
        while self.has_room() {
            let may_start = |s: &UnplannedSnapshot| {
                s.not_before <= now && self.may_call(&s.instance, now) && !self.waits_behind(s)
            };
            let instances = self.assignment.accounts.len();
            let next = next_to_plan(&self.to_plan, &self.running, instances, may_start);
            let Some(place) = next else { return };
            let snapshot = self.to_plan.swap_remove(place);
            let export = self
                .assignment
                .exports
                .iter()
                .find(|e| e.instance == snapshot.instance && e.name == snapshot.export)
                .cloned();
            let task =
                Task::Planning(snapshot.id, snapshot.instance.clone(), snapshot.export.clone());
            let shell = self.shell.clone();
            self.start(task, async move {
                Finished::Planning(planning::run(shell, snapshot, export).await)
            });
        }
    }

    /// Whether a run of the same export that came before has not come to its end.
    pub(super) fn waits_behind(&self, run: &UnplannedSnapshot) -> bool {
        let is_same =
            |instance: &Name, export: &Name| *instance == run.instance && *export == run.export;
        self.to_plan.iter().any(|s| s.id < run.id && is_same(&s.instance, &s.export))
            || self.running.count(|task| match task {
                Task::Planning(id, instance, export) => *id < run.id && is_same(instance, export),
                _ => false,
            }) > 0
            || self.agenda.is_under_way((&run.instance, &run.export), run.id)
    }

    pub(super) fn start_sweeps(&mut self, now: Timestamp) {
        let idle = self.tasks.is_empty() && self.agenda.is_at_rest();
        for place in self.sweeps.due(now, idle) {
            if !self.has_room() || self.running.count(|task| *task == Task::Sweep(place)) > 0 {
                continue;
            }
            self.sweeps.begin(place, now);
            let unconfirmed = self.clock.unconfirmed(self.shell.clock_offset_ms(), now);
            let (shell, retention) =
                (self.shell.clone(), self.assignment.retentions[place].clone());
            self.start(Task::Sweep(place), async move {
                Finished::Sweep(sweep::run(shell, retention, unconfirmed).await)
            });
        }
    }

    /// Starts due steps, those first that take a package out of danger.
    pub(super) fn start_steps(&mut self, now: Timestamp) {
        let limits = [
            (Step::Pack, self.packs),
            (Step::Download, self.shell.limits.downloads.get()),
            (Step::Poll, POLLS),
            (Step::Request, usize::MAX),
            (Step::Delete, DELETIONS),
            (Step::Purge, DELETIONS),
        ];
        for (step, limit) in limits {
            loop {
                let running =
                    self.running.count(|task| matches!(task, Task::Step(s, ..) if *s == step));
                if running >= limit || !self.has_room() {
                    break;
                }
                let room = (limit - running, limit);
                let Some(archive) = self.take_due(step, room, now) else { break };
                if step == Step::Request {
                    // Until its answer is recorded, this request keeps its account busy.
                    self.agenda.hold(archive.clone());
                }
                let task = Task::Step(step, archive.id, archive.instance.clone());
                let shell = self.shell.clone();
                self.start(
                    task,
                    async move { Finished::Step(step::run(shell, step, archive).await) },
                );
            }
        }
    }

    /// The archive whose step is to be started next, if there is one.
    fn take_due(&mut self, step: Step, room: (usize, usize), now: Timestamp) -> Option<Archive> {
        let (accounts, running) = (&self.assignment.accounts, &self.running);
        let offset = self.shell.clock_offset_ms();
        // Room that is short is no matter of time.
        let may_purge = self.space.is_short() || self.clock.is_trusted(offset, now);
        let shell = &self.shell;
        self.agenda.take_due(step, now, |agenda, instance| {
            let allowed = || may_call(shell, accounts, running, instance, now);
            match step {
                Step::Purge if !may_purge => None,
                Step::Pack | Step::Purge | Step::Delete => Some(0),
                Step::Poll | Step::Download if allowed() => {
                    let same = |task: &Task| matches!(task, Task::Step(s, ..) if *s == step);
                    running.share(same, instance, room, accounts.len())
                }
                Step::Request if allowed() && account_is_free(agenda, accounts, instance, now) => {
                    Some(0)
                }
                Step::Poll | Step::Download | Step::Request => None,
            }
        })
    }

    fn may_call(&self, instance: &Name, now: Timestamp) -> bool {
        may_call(&self.shell, &self.assignment.accounts, &self.running, instance, now)
    }

    pub(super) fn has_room(&self) -> bool {
        self.tasks.len() < self.assignment.at_once
    }

    pub(super) fn start(
        &mut self,
        task: Task,
        work: impl Future<Output = Finished> + Send + 'static,
    ) -> AbortHandle {
        if let Some(instance) = task.calls() {
            self.shell.breakers().begin(instance);
        }
        let handle = self.tasks.spawn(work);
        self.running.add(handle.id(), task);
        handle
    }

    pub(super) fn end(&mut self, id: tokio::task::Id) -> Option<Task> {
        let task = self.running.remove(id)?;
        if let Some(instance) = task.calls() {
            self.shell.breakers().end(instance);
        }
        Some(task)
    }
}

/// Whether neither the instance nor its account is held back.
fn may_call(
    shell: &Shell,
    accounts: &HashMap<Name, Name>,
    running: &Running,
    instance: &Name,
    now: Timestamp,
) -> bool {
    let Some(account) = accounts.get(instance) else {
        return shell.breakers().allows(instance, now);
    };
    let calls =
        || running.count(|task| task.calls().is_some_and(|of| accounts.get(of) == Some(account)));
    shell.breakers().allows(instance, now) && shell.accounts().allows(account, calls, now)
}

/// The place of the snapshot whose scope is to be read next: of the instance with the fewest such
/// calls under way, so that one that answers slowly does not hold up the runs of the others.
fn next_to_plan(
    to_plan: &[UnplannedSnapshot],
    running: &Running,
    instances: usize,
    may_start: impl Fn(&UnplannedSnapshot) -> bool,
) -> Option<usize> {
    let is_planning = |task: &Task| matches!(task, Task::Planning(..));
    let free = PLANNINGS.saturating_sub(running.count(is_planning));
    if free == 0 {
        return None;
    }
    let candidates = to_plan.iter().enumerate().filter(|(_, snapshot)| may_start(snapshot));
    let ranked = candidates.filter_map(|(place, snapshot)| {
        let share = running.share(is_planning, &snapshot.instance, (free, PLANNINGS), instances);
        // Whoever was tried the longest ago: one that fails again and again is not the only one.
        Some((share?, snapshot.not_before, place))
    });
    ranked.min().map(|(.., place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SnapshotId;

    #[test]
    fn a_slow_instance_with_many_exports_leaves_room_for_the_runs_of_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let snapshot = |id, instance: &str| UnplannedSnapshot {
            id: SnapshotId(id),
            instance: instance.parse().unwrap(),
            export: "nightly".parse().unwrap(),
            taken_at: Timestamp::EARLIEST,
            attempts: 0,
            not_before: Timestamp::EARLIEST,
        };
        let mut to_plan: Vec<_> = (1..=4).map(|id| snapshot(id, "slow")).collect();
        let mut running = Running::default();
        let mut start = |to_plan: &mut Vec<UnplannedSnapshot>| -> Option<Name> {
            let place = next_to_plan(to_plan, &running, 2, |_| true)?;
            let next = to_plan.swap_remove(place);
            let task = Task::Planning(next.id, next.instance.clone(), next.export.clone());
            running.add(runtime.spawn(async {}).id(), task);
            Some(next.instance)
        };
        for _ in 0..3 {
            assert_eq!(start(&mut to_plan).unwrap().as_str(), "slow");
        }
        assert_eq!(start(&mut to_plan), None, "one is kept free");
        to_plan.push(snapshot(5, "well"));
        assert_eq!(start(&mut to_plan).unwrap().as_str(), "well");
        assert_eq!(start(&mut to_plan), None);
    }
}
