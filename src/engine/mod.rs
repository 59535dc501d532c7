//! The conductor: decides what is due, runs it within bounds, and recovers what a dead process
//! left behind. The only place where the core meets the adapters.
//!
//! [`Engine::pass`] decides and starts, [`Engine::step_finished`] takes in what came of it; nothing
//! runs behind their backs. Work is never inside a `select!`: steps are tasks of their own that
//! run to their end. The engine never reads configuration, never talks to systemd, and never
//! changes an archive but through the catalog.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

mod accounts;
mod agenda;
mod assignment;
mod breaker;
mod clockwatch;
mod coverage;
mod download;
mod due;
mod failure;
mod foreign;
mod foresight;
mod keeper;
mod owner;
mod packing;
mod planning;
mod rebuild;
mod recent;
mod reconcile;
mod recovery;
mod removal;
mod restoring;
mod scrub;
mod shell;
mod signs;
mod space;
mod starting;
mod step;
mod sweep;
mod task;
mod transfer;
mod upkeep;

pub use assignment::Assignment;
pub use failure::EngineError;
pub use foresight::{Foresight, Retention, behind, foresee};
pub use keeper::{Finding, Keeper};
pub use rebuild::{Gathered, History, LeftAlone, Proven, arrange, gather};
pub use reconcile::Tell;
pub use restoring::{RestoreError, RestoreOrder, RestoreProgress, Restorer, restored_file_name};
pub use shell::{Health, Shell};

use crate::catalog::UnplannedSnapshot;
use crate::lifecycle::{Archive, State, Step};
use crate::model::{ArchiveId, Timestamp};
use agenda::Agenda;
use clockwatch::{ClockWatch, Move};
use due::DueRuns;
use foreign::Foreign;
use planning::Planned;
use recovery::Unsettled;
use space::{Change, Space};
use sweep::Sweeps;
use task::{Finished, Running, Task};
use upkeep::Upkeep;

/// Before anything else.
const LONG_AGO: Timestamp = Timestamp::EARLIEST;
/// A planning is never further away than this, unless the clock was set back meanwhile.
const FARTHEST_PLANNING: Duration = Duration::from_hours(1);

/// The engine.
#[derive(Debug)]
pub struct Engine {
    shell: Arc<Shell>,
    assignment: Assignment,
    agenda: Agenda,
    tasks: JoinSet<Finished>,
    running: Running,
    /// Tasks that broke, to be settled by the next pass.
    broken: Vec<Task>,
    unsettled: Unsettled,
    due: DueRuns,
    to_plan: Vec<UnplannedSnapshot>,
    sweeps: Sweeps,
    upkeep: Upkeep,
    clock: ClockWatch,
    space: Space,
    seen_seq: i64,
    foreign: Foreign,
    next_check: Timestamp,
    packs: usize,
    draining: bool,
}

impl Engine {
    /// An engine that has not looked at anything yet; call [`Engine::recover`] first.
    pub fn new(shell: Shell, assignment: Assignment) -> Self {
        let packs = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
        let now = shell.clock.now();
        Self {
            clock: ClockWatch::new(now),
            upkeep: Upkeep::new(assignment.verify, now),
            shell: Arc::new(shell),
            due: DueRuns::default(),
            space: Space::new(),
            sweeps: Sweeps::new(assignment.retentions.len()),
            assignment,
            agenda: Agenda::default(),
            tasks: JoinSet::new(),
            running: Running::default(),
            broken: Vec::new(),
            unsettled: Unsettled::default(),
            to_plan: Vec::new(),
            seen_seq: 0,
            foreign: Foreign::default(),
            next_check: LONG_AGO,
            packs,
            draining: false,
        }
    }

    /// Settles what a dead process left in doubt, and loads what is not at rest. Call it once.
    pub async fn recover(&mut self) -> Result<(), EngineError> {
        self.seen_seq = self.shell.catalog.last_seq().await?;
        for archive in recovery::run(&self.shell, &mut self.unsettled).await? {
            self.agenda.put(archive);
        }
        self.to_plan = self.shell.catalog.to_plan().await?;
        let now = self.shell.clock.now();
        for (account, until) in self.shell.catalog.paused_accounts().await? {
            self.shell.accounts().restore(account, until, now);
        }
        self.clock = ClockWatch::new(now);
        // What was written by a clock that ran ahead is not waited for.
        self.forget_far_moments(now);
        self.due.load(&self.shell, &self.assignment, now).await
    }

    /// Decides and starts everything that is due; never waits for any of it. The answer is the
    /// moment at which something falls due next.
    pub async fn pass(&mut self) -> Result<Timestamp, EngineError> {
        let now = self.shell.clock.now();
        self.look_at_the_clock(now).await?;
        self.look_at_the_disk(now).await?;
        self.settle_doubts(now).await?;
        self.look_for_foreign_changes(now).await?;
        if !self.draining {
            self.to_plan.extend(self.due.open(&self.shell, &self.assignment, now).await?);
            self.start_plannings(now);
            self.start_sweeps(now);
            self.start_steps(now);
            self.start_upkeep(now);
        }
        self.record_notices(now).await?;
        let wake = self.next_wake(now);
        self.clock.sleeps_until(wake);
        Ok(wake)
    }

    /// Waits for one task to end and takes in what it brings. Pends for ever while none is
    /// outstanding, and may be dropped at any time.
    pub async fn step_finished(&mut self) -> Result<(), EngineError> {
        let Some(joined) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        match joined {
            Ok((id, finished)) => {
                let task = self.end(id);
                if task.as_ref().is_some_and(Task::removes) && self.space.is_short() {
                    self.space.look_again();
                }
                self.take_in(finished, task.and_then(|task| task.archive()))
            }
            Err(error) if error.is_cancelled() => {
                self.end(error.id());
                Ok(())
            }
            Err(error) => {
                if let Some(task) = self.end(error.id()) {
                    tracing::error!(error = %error, task = ?task, "a step broke; this is a bug");
                    self.broken.push(task);
                }
                Ok(())
            }
        }
    }

    /// Makes the next pass look for changes that did not come from the engine.
    pub fn look_again(&mut self) {
        self.foreign.forget();
        self.next_check = LONG_AGO;
    }

    /// Starts nothing new from now on; running steps go on.
    pub fn stop_starting(&mut self) {
        self.draining = true;
        self.upkeep.stop();
    }

    /// Whether a step, a planning, a sweep or a look at the vault is running.
    pub fn is_busy(&self) -> bool {
        !self.tasks.is_empty() || !self.broken.is_empty()
    }

    /// Whether a package may be on its way.
    pub fn is_downloading(&self) -> bool {
        self.running.count(|task| matches!(task, Task::Step(Step::Download, ..))) > 0
    }

    /// Whether nothing is left to do but to wait for schedules and for the trash.
    pub fn is_at_rest(&self) -> bool {
        !self.is_busy()
            && self.to_plan.is_empty()
            && self.agenda.is_at_rest()
            && self.sweeps.is_done()
    }

    /// One line about what is going on, for people.
    pub fn summary(&self) -> String {
        let next = self.due.first_of(&self.assignment);
        let queued = self.to_plan.iter().filter(|run| self.waits_behind(run)).count();
        let mut words = vec![self.agenda.summary((self.to_plan.len() - queued, queued), next)];
        let breakers = self.shell.breakers();
        let now = self.shell.clock.now();
        words.extend(breakers.paused(now).into_iter().map(|name| format!("{name} paused")));
        let accounts = self.shell.accounts();
        let paused = accounts.paused(now).into_iter();
        words.extend(paused.map(|name| format!("account {name} paused")));
        words.join(", ")
    }

    /// A clock that was set makes moments once near seem far away, or the other way round.
    async fn look_at_the_clock(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let moved = self.clock.look(now);
        if moved != Move::Ordinary {
            tracing::warn!(%now, ?moved, "the clock was set, or the machine slept");
            self.shell.roma.forget_clocks();
        }
        if moved == Move::Back {
            self.forget_far_moments(now);
            self.due.load(&self.shell, &self.assignment, now).await?;
        }
        Ok(())
    }

    /// What waited for room is tried as soon as there is some.
    async fn look_at_the_disk(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let change = self.space.look(&self.shell, now).await;
        if self.space.is_short() && self.running.count(Task::removes) == 0 {
            self.agenda.hasten_purge(self.space.missing_bytes(), now);
        }
        if matches!(change, Change::Enough(_) | Change::More) {
            self.agenda.hasten(&[Step::Download, Step::Pack, Step::Delete], now);
        }
        match change {
            Change::None | Change::More => Ok(()),
            Change::Short(notice) | Change::Enough(notice) => {
                Ok(self.shell.catalog.notify(vec![notice], now).await?)
            }
        }
    }

    fn forget_far_moments(&mut self, now: Timestamp) {
        self.space.look_again();
        self.agenda.clock_went_back(now);
        self.sweeps.clock_went_back(now);
        self.upkeep.clock_went_back(now);
        self.shell.breakers().clock_went_back(now);
        self.shell.accounts().clock_went_back(now);
        self.plan_soon(now);
    }

    /// No planning waits longer than it was meant to, and the first one for nothing.
    fn plan_soon(&mut self, now: Timestamp) {
        for snapshot in &mut self.to_plan {
            let wait = if snapshot.attempts == 0 { Duration::ZERO } else { FARTHEST_PLANNING };
            snapshot.not_before = snapshot.not_before.min(now.plus(wait));
        }
    }

    /// Records what concerns no single archive.
    async fn record_notices(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let mut notices = self.shell.breakers().take_notices();
        notices.extend(self.shell.accounts().take_notices());
        notices.extend(self.clock.notice(self.shell.clock_offset_ms(), now));
        if notices.is_empty() {
            return Ok(());
        }
        Ok(self.shell.catalog.notify(notices, now).await?)
    }

    /// Commands write to the same catalog: take over what they changed.
    async fn look_for_foreign_changes(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let soonest = now.plus(self.assignment.check_interval);
        // A clock that was set back would otherwise put this off until it has caught up.
        if now < self.next_check && self.next_check <= soonest {
            return Ok(());
        }
        self.next_check = soonest;
        if self.foreign.is_silent(&self.shell.catalog) {
            return Ok(());
        }
        let own_seq = self.shell.catalog.last_seq().await?;
        let version = self.shell.catalog.foreign_version(now).await?;
        if !self.foreign.is_new(version) {
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
                self.agenda.put_as_of(archive, now);
            }
        }
        let mut to_plan = self.shell.catalog.to_plan().await?;
        let planned =
            |id| self.running.count(|t| matches!(t, Task::Planning(s, ..) if *s == id)) > 0;
        to_plan.retain(|snapshot| !planned(snapshot.id));
        self.to_plan = to_plan;
        self.plan_soon(now);
        Ok(())
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
            Finished::Sweep(changed) | Finished::Reconcile(changed) => {
                self.take_archives(changed?, own, now);
            }
            Finished::Scrub(turn) => self.upkeep.scrubbed(&turn?, now),
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
                    self.sweeps.stored(place, now);
                }
            }
            if Some(archive.id) == own {
                self.agenda.put(archive);
            } else {
                self.agenda.put_if_newer(archive);
            }
        }
    }

    fn next_wake(&self, now: Timestamp) -> Timestamp {
        if self.draining {
            return self.next_check.max(now);
        }
        let plannings = self.to_plan.iter().map(|s| s.not_before).filter(|at| *at > now);
        [
            self.agenda.next_due(now),
            self.due.first(),
            self.sweeps.next(now),
            self.upkeep.next(now),
            self.shell.breakers().next_end(now),
            self.shell.accounts().next_end(now),
            self.space.next_look(),
            self.unsettled.next(),
            Some(self.next_check),
        ]
        .into_iter()
        .flatten()
        .chain(plannings)
        .min()
        .unwrap_or(self.next_check)
    }
}
