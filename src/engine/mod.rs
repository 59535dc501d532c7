//! The conductor: decides what is due, runs it within bounds, and recovers what a dead process
//! left behind. The only place where the core meets the adapters.
//!
//! [`Engine::pass`] decides and starts, [`Engine::step_finished`] takes in what came of it; nothing
//! runs behind their backs. Work is never inside a `select!`: steps are tasks of their own that
//! run to their end. The engine never reads configuration, never talks to systemd, and never
//! changes an archive but through the catalog.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

mod agenda;
mod assignment;
mod download;
mod failure;
mod planning;
mod recovery;
mod shell;
mod step;
mod sweep;
mod task;

pub use assignment::Assignment;
pub use failure::EngineError;
pub use shell::Shell;
pub use sweep::Retention;

use crate::catalog::{NewSnapshot, Origin, UnplannedSnapshot};
use crate::lifecycle::{Archive, State, Step};
use crate::model::{ArchiveId, Timestamp};
use agenda::Agenda;
use assignment::account_is_free;
use planning::Planned;
use task::{Finished, Task};

/// Jobs that are asked about at the same time.
const POLLS: usize = 32;
/// Files that are removed at the same time; they share commits.
const DELETIONS: usize = 16;
/// Snapshots whose scope is read at the same time.
const PLANNINGS: usize = 4;
/// Retention is applied at least this often.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// Before anything else.
const LONG_AGO: Timestamp = Timestamp::EARLIEST;
/// How long retention waits for more to be stored: a sweep looks at all of an export's snapshots.
const SWEEP_DELAY: Duration = Duration::from_secs(10);
/// After a step broke, before its archive is touched again.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// The engine.
#[derive(Debug)]
pub struct Engine {
    shell: Arc<Shell>,
    assignment: Assignment,
    agenda: Agenda,
    tasks: JoinSet<Finished>,
    about: HashMap<tokio::task::Id, Task>,
    /// When each export falls due next, by its place in the assignment.
    next_due: Vec<Option<Timestamp>>,
    to_plan: Vec<UnplannedSnapshot>,
    /// When each retention is applied next, by its place in the assignment.
    next_sweep: Vec<Timestamp>,
    /// Whether something was stored since it was applied last.
    unswept: Vec<bool>,
    seen_seq: i64,
    seen_version: Option<i64>,
    next_check: Timestamp,
    packs: usize,
    draining: bool,
}

impl Engine {
    /// An engine that has not looked at anything yet; call [`Engine::recover`] first.
    pub fn new(shell: Shell, assignment: Assignment) -> Self {
        let packs = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
        Self {
            shell: Arc::new(shell),
            next_due: vec![None; assignment.exports.len()],
            next_sweep: vec![LONG_AGO; assignment.retentions.len()],
            unswept: vec![false; assignment.retentions.len()],
            assignment,
            agenda: Agenda::default(),
            tasks: JoinSet::new(),
            about: HashMap::new(),
            to_plan: Vec::new(),
            seen_seq: 0,
            seen_version: None,
            next_check: LONG_AGO,
            packs,
            draining: false,
        }
    }

    /// Settles what a dead process left in doubt, and loads what is not at rest. Call it once.
    pub async fn recover(&mut self) -> Result<(), EngineError> {
        self.seen_seq = self.shell.catalog.last_seq().await?;
        for archive in recovery::run(&self.shell).await? {
            self.agenda.put(archive);
        }
        self.to_plan = self.shell.catalog.to_plan().await?;
        let recorded = self.shell.catalog.exports().await?;
        for (export, next_due) in self.assignment.exports.iter().zip(&mut self.next_due) {
            let known =
                recorded.iter().find(|r| r.instance == export.instance && r.name == export.name);
            *next_due = known.zip(export.schedule.as_ref()).and_then(|(known, schedule)| {
                schedule.next_after(known.last_due, &self.assignment.zone)
            });
        }
        Ok(())
    }

    /// Decides and starts everything that is due; never waits for any of it. The answer is the
    /// moment at which something falls due next.
    pub async fn pass(&mut self) -> Result<Timestamp, EngineError> {
        let now = self.shell.clock.now();
        self.look_for_foreign_changes(now).await?;
        if !self.draining {
            self.open_due_runs(now).await?;
            self.start_plannings(now);
            self.start_sweeps(now);
            self.start_steps(now);
        }
        Ok(self.next_wake(now))
    }

    /// Waits for one task to end and takes in what it brings. Pends for ever while none is
    /// outstanding, and may be dropped at any time.
    pub async fn step_finished(&mut self) -> Result<(), EngineError> {
        let Some(joined) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        match joined {
            Ok((task, finished)) => {
                let own = self.about.remove(&task).and_then(Task::archive);
                self.take_in(finished, own)
            }
            Err(error) => match self.about.remove(&error.id()) {
                Some(about) => self.after_panic(about, &error).await,
                None => Ok(()),
            },
        }
    }

    /// Makes the next pass look for changes that did not come from the engine.
    pub const fn look_again(&mut self) {
        self.seen_version = None;
        self.next_check = LONG_AGO;
    }

    /// Starts nothing new from now on; running steps go on.
    pub const fn stop_starting(&mut self) {
        self.draining = true;
    }

    /// Whether a step, a planning or a sweep is running.
    pub fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Whether nothing is left to do but to wait for schedules and for the trash.
    pub fn is_at_rest(&self) -> bool {
        self.tasks.is_empty()
            && self.to_plan.is_empty()
            && self.agenda.is_at_rest()
            && !self.unswept.contains(&true)
    }

    /// One line about what is going on, for people.
    pub fn summary(&self) -> String {
        let exports = self.assignment.exports.iter().map(|export| &export.name);
        let next =
            exports.zip(&self.next_due).filter_map(|(name, due)| Some((due.as_ref()?, name))).min();
        self.agenda.summary(self.to_plan.len(), next)
    }

    /// Commands write to the same catalog: take over what they changed.
    async fn look_for_foreign_changes(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let soonest = now.plus(self.assignment.check_interval);
        // A clock that was set back would otherwise put this off until it has caught up.
        if now < self.next_check && self.next_check <= soonest {
            return Ok(());
        }
        self.next_check = soonest;
        let own_seq = self.shell.catalog.last_seq().await?;
        let version = self.shell.catalog.foreign_version(now).await?;
        if self.seen_version.replace(version) == Some(version) {
            // All up to here is our own: it need not be read when somebody else writes.
            self.seen_seq = own_seq;
            return Ok(());
        }
        let (seq, archives) = self.shell.catalog.changed_since(self.seen_seq).await?;
        self.seen_seq = seq;
        for archive in archives {
            // Our own changes are in there too; what a step has is its own business.
            let newer = self.agenda.revision(archive.id).is_none_or(|r| r < archive.revision);
            if newer && !self.agenda.is_taken(archive.id) {
                self.agenda.put(archive);
            }
        }
        let mut to_plan = self.shell.catalog.to_plan().await?;
        to_plan.retain(|snapshot| self.running(|t| *t == Task::Planning(snapshot.id)) == 0);
        self.to_plan = to_plan;
        Ok(())
    }

    async fn open_due_runs(&mut self, now: Timestamp) -> Result<(), EngineError> {
        for (export, next_due) in self.assignment.exports.iter().zip(&mut self.next_due) {
            let Some(schedule) = &export.schedule else { continue };
            let Some(first) = next_due.filter(|due| *due <= now) else { continue };
            // Whatever was missed since collapses into the newest occurrence.
            let before = first.minus(Duration::from_millis(1));
            let taken_at = schedule.due(before, now, &self.assignment.zone).unwrap_or(first);
            *next_due = schedule.next_after(taken_at, &self.assignment.zone);
            let new = NewSnapshot {
                instance: export.instance.clone(),
                export: export.name.clone(),
                origin: Origin::Schedule,
                taken_at,
                next_due: *next_due,
            };
            let id = self.shell.catalog.open_snapshot(new, now).await?;
            self.to_plan.push(UnplannedSnapshot {
                id,
                instance: export.instance.clone(),
                export: export.name.clone(),
                taken_at,
                attempts: 0,
                not_before: now,
            });
        }
        Ok(())
    }

    fn start_plannings(&mut self, now: Timestamp) {
        while self.running(|task| matches!(task, Task::Planning(_))) < PLANNINGS {
            let Some(place) = self.to_plan.iter().position(|s| s.not_before <= now) else { return };
            let snapshot = self.to_plan.swap_remove(place);
            let export = self
                .assignment
                .exports
                .iter()
                .find(|e| e.instance == snapshot.instance && e.name == snapshot.export)
                .cloned();
            let (id, shell) = (snapshot.id, self.shell.clone());
            let handle = self.tasks.spawn(async move {
                Finished::Planning(planning::run(shell, snapshot, export).await)
            });
            self.about.insert(handle.id(), Task::Planning(id));
        }
    }

    fn start_sweeps(&mut self, now: Timestamp) {
        // With nothing else to do there is nothing to wait for.
        let idle = self.tasks.is_empty() && self.agenda.is_at_rest();
        for place in 0..self.next_sweep.len() {
            let busy = self.running(|task| *task == Task::Sweep(place)) > 0;
            let due = self.next_sweep[place] <= now || (idle && self.unswept[place]);
            if busy || !due {
                continue;
            }
            self.next_sweep[place] = now.plus(SWEEP_INTERVAL);
            self.unswept[place] = false;
            let (shell, retention) =
                (self.shell.clone(), self.assignment.retentions[place].clone());
            let handle = self
                .tasks
                .spawn(async move { Finished::Sweep(sweep::run(shell, retention).await) });
            self.about.insert(handle.id(), Task::Sweep(place));
        }
    }

    /// Starts due steps, those first that take a package out of danger.
    fn start_steps(&mut self, now: Timestamp) {
        let limits = [
            (Step::Pack, self.packs),
            (Step::Download, self.shell.limits.downloads.get()),
            (Step::Poll, POLLS),
            (Step::Request, usize::MAX),
            (Step::Delete, DELETIONS),
        ];
        for (step, limit) in limits {
            let mut running = self.running(|task| matches!(task, Task::Step(s, _) if *s == step));
            while running < limit {
                let accounts = &self.assignment.accounts;
                let archive = self.agenda.take_due(step, now, |agenda, archive| {
                    step != Step::Request || account_is_free(agenda, accounts, archive)
                });
                let Some(archive) = archive else { break };
                self.start(step, archive);
                running += 1;
            }
        }
    }

    fn start(&mut self, step: Step, archive: Archive) {
        let (id, shell) = (archive.id, self.shell.clone());
        if step == Step::Request {
            // Until its answer is recorded, this request keeps its account busy.
            self.agenda.hold(archive.clone());
        }
        let handle =
            self.tasks.spawn(async move { Finished::Step(step::run(shell, step, archive).await) });
        self.about.insert(handle.id(), Task::Step(step, id));
    }

    fn running(&self, which: impl Fn(&Task) -> bool) -> usize {
        self.about.values().filter(|task| which(task)).count()
    }

    fn take_in(&mut self, finished: Finished, own: Option<ArchiveId>) -> Result<(), EngineError> {
        let now = self.shell.clock.now();
        match finished {
            Finished::Step(outcome) => match outcome? {
                step::Outcome::Changed(archives) => self.take_archives(archives, own, now),
                step::Outcome::StillRunning(archive) => {
                    self.agenda.poll_again(*archive, self.shell.limits.pace, now);
                }
            },
            Finished::Planning(planned) => match planned? {
                Planned::Done(archives) => self.take_archives(archives, own, now),
                Planned::Later(snapshot) => self.to_plan.push(snapshot),
            },
            Finished::Sweep(trashed) => self.take_archives(trashed?, own, now),
        }
        Ok(())
    }

    /// `own` is the archive that the task was about; what else it made or changed may have been
    /// seen in the catalog, and started, before the task was taken in.
    fn take_archives(&mut self, archives: Vec<Archive>, own: Option<ArchiveId>, now: Timestamp) {
        for archive in archives {
            // A new snapshot may push an old one out.
            if matches!(archive.state, State::Stored(_)) {
                let swept = self
                    .assignment
                    .retentions
                    .iter()
                    .position(|r| r.instance == archive.instance && r.export == archive.export);
                if let Some(place) = swept {
                    self.unswept[place] = true;
                    self.next_sweep[place] = self.next_sweep[place].min(now.plus(SWEEP_DELAY));
                }
            }
            if Some(archive.id) == own {
                self.agenda.put(archive);
            } else {
                self.agenda.put_if_newer(archive);
            }
        }
    }

    /// A step that broke concerns its archive only: it is settled as after a restart.
    async fn after_panic(
        &mut self,
        task: Task,
        error: &tokio::task::JoinError,
    ) -> Result<(), EngineError> {
        let now = self.shell.clock.now();
        tracing::error!(error = %error, task = ?task, "a step broke; this is a bug");
        match task {
            Task::Step(_, id) => {
                if let Some(archive) = self.shell.catalog.archive(id).await? {
                    for settled in recovery::settle(&self.shell, archive).await? {
                        self.agenda.put_not_before(settled, now.plus(AFTER_PANIC));
                    }
                }
            }
            Task::Planning(_) => {
                // Forces a fresh look at what is to be planned.
                self.seen_version = None;
                self.next_check = now.plus(AFTER_PANIC);
            }
            Task::Sweep(place) => self.next_sweep[place] = now.plus(SWEEP_INTERVAL),
        }
        Ok(())
    }

    fn next_wake(&self, now: Timestamp) -> Timestamp {
        if self.draining {
            return self.next_check.max(now);
        }
        let plannings = self.to_plan.iter().map(|s| s.not_before).filter(|at| *at > now);
        [self.agenda.next_due(now), self.next_due.iter().flatten().min().copied()]
            .into_iter()
            .flatten()
            .chain(plannings)
            .chain(self.next_sweep.iter().copied().filter(|at| *at > now))
            .chain([self.next_check])
            .min()
            .unwrap_or(self.next_check)
    }
}
