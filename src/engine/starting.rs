//! What is started, in which order, and how much of it at once. It only starts what the agenda says
//! is due; it must never wait for any of it, and never start what a paused instance, a busy account
//! or a doubtful clock forbids.

use tokio::task::AbortHandle;

use super::assignment::account_is_free;
use super::task::{Finished, Task};
use super::{Engine, planning, step, sweep};
use crate::catalog::UnplannedSnapshot;
use crate::lifecycle::{Archive, Step};
use crate::model::Timestamp;

/// Jobs that are asked about at the same time.
const POLLS: usize = 32;
/// Files that are removed at the same time; they share commits.
const DELETIONS: usize = 16;
/// Snapshots whose scope is read at the same time.
const PLANNINGS: usize = 4;

impl Engine {
    pub(super) fn start_plannings(&mut self, now: Timestamp) {
        while self.has_room()
            && self.running.count(|task| matches!(task, Task::Planning(..))) < PLANNINGS
        {
            let breakers = self.shell.breakers();
            let may_start =
                |s: &UnplannedSnapshot| s.not_before <= now && breakers.allows(&s.instance, now);
            let Some(place) = self.to_plan.iter().position(may_start) else { return };
            drop(breakers);
            let snapshot = self.to_plan.swap_remove(place);
            let export = self
                .assignment
                .exports
                .iter()
                .find(|e| e.instance == snapshot.instance && e.name == snapshot.export)
                .cloned();
            let task = Task::Planning(snapshot.id, snapshot.instance.clone());
            let shell = self.shell.clone();
            self.start(task, async move {
                Finished::Planning(planning::run(shell, snapshot, export).await)
            });
        }
    }

    pub(super) fn start_sweeps(&mut self, now: Timestamp) {
        let idle = self.tasks.is_empty() && self.agenda.is_at_rest();
        for place in self.sweeps.due(now, idle) {
            if !self.has_room() || self.running.count(|task| *task == Task::Sweep(place)) > 0 {
                continue;
            }
            self.sweeps.begin(place, now);
            let (shell, retention) =
                (self.shell.clone(), self.assignment.retentions[place].clone());
            self.start(Task::Sweep(place), async move {
                Finished::Sweep(sweep::run(shell, retention).await)
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
        let offset = self.shell.roma.clock_offset_ms();
        // Room that is short is no matter of time.
        let may_purge = self.space.is_short() || self.clock.is_trusted(offset, now);
        let breakers = self.shell.breakers();
        self.agenda.take_due(step, now, |agenda, instance| {
            let allowed = || breakers.allows(instance, now);
            match step {
                Step::Purge if !may_purge => None,
                Step::Pack | Step::Purge | Step::Delete => Some(0),
                Step::Poll | Step::Download if allowed() => {
                    running.share(step, instance, room, accounts.len())
                }
                Step::Request if allowed() && account_is_free(agenda, accounts, instance) => {
                    Some(0)
                }
                Step::Poll | Step::Download | Step::Request => None,
            }
        })
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
