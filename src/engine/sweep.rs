//! Applies retention: asks the planner, moves what must go to the trash, and writes down why the
//! rest stays. Removing files is an ordinary step, later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::failure::EngineError;
use super::foresight::{Foresight, Retention, behind, foresee};
use super::shell::Shell;
use crate::catalog::{CatalogError, Change, SnapshotRecord, VerdictNote};
use crate::lifecycle::{Archive, Deletion, Event, State};
use crate::model::{SnapshotId, Timestamp};
use crate::retention::Verdict;

/// Retention is applied at least this often.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// How long retention waits for more to be stored: a sweep looks at all of an export's snapshots.
const SWEEP_DELAY: Duration = Duration::from_secs(10);

/// When each retention is applied next, by its place in the assignment.
#[derive(Debug)]
pub(super) struct Sweeps {
    next: Vec<Timestamp>,
    /// Whether something was stored since it was applied last.
    unswept: Vec<bool>,
}

impl Sweeps {
    /// All are due at once.
    pub(super) fn new(count: usize) -> Self {
        Self { next: vec![Timestamp::EARLIEST; count], unswept: vec![false; count] }
    }

    /// What is due. With nothing else to do there is nothing to wait for.
    pub(super) fn due(&self, now: Timestamp, idle: bool) -> Vec<usize> {
        let due = |place: &usize| self.next[*place] <= now || (idle && self.unswept[*place]);
        (0..self.next.len()).filter(due).collect()
    }

    /// It is applied now, or could not be: the next time is an hour away.
    pub(super) fn begin(&mut self, place: usize, now: Timestamp) {
        self.next[place] = now.plus(SWEEP_INTERVAL);
        self.unswept[place] = false;
    }

    /// A new snapshot may push an old one out.
    pub(super) fn stored(&mut self, place: usize, now: Timestamp) {
        self.unswept[place] = true;
        self.next[place] = self.next[place].min(now.plus(SWEEP_DELAY));
    }

    /// Whether all that was stored was looked at.
    pub(super) fn is_done(&self) -> bool {
        !self.unswept.contains(&true)
    }

    /// The moment the first falls due that is not due already.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.next.iter().copied().filter(|at| *at > now).min()
    }

    /// The clock was set back: none is further away than it was meant to be.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        for next in &mut self.next {
            *next = now.plus(SWEEP_INTERVAL).min(*next);
        }
    }
}

/// Sweeps one export; the answer holds the archives that were moved to the trash. `unconfirmed`
/// says why the clock must not be believed although nobody contradicts it.
pub(super) async fn run(
    shell: Arc<Shell>,
    retention: Retention,
    unconfirmed: Option<String>,
) -> Result<Vec<Archive>, EngineError> {
    // Read before the clock: an event that is recorded meanwhile does not make the clock doubtful.
    let latest = shell.catalog.latest_event_time().await?;
    let now = shell.clock.now();
    let clock_doubt = clock_doubt(&shell, latest, now).or(unconfirmed);
    let foresight = foresee(&shell.catalog, &retention, now, clock_doubt).await?;
    note_kept(&shell, &foresight, now).await?;
    let mut trashed = Vec::new();
    for verdict in foresight.verdicts.iter().filter(|verdict| !verdict.keep) {
        trashed.extend(trash(&shell, &retention, verdict, now).await?);
    }
    Ok(trashed)
}

/// A clock that went back, or that differs from ROMA's, must not decide what is old.
fn clock_doubt(shell: &Shell, latest: Option<Timestamp>, now: Timestamp) -> Option<String> {
    behind(latest, now).or_else(|| shell.clock_doubt())
}

/// Only what changed is written: a sweep that decides nothing new costs no commit.
async fn note_kept(
    shell: &Shell,
    foresight: &Foresight,
    now: Timestamp,
) -> Result<(), EngineError> {
    let known: HashMap<SnapshotId, &SnapshotRecord> =
        foresight.records.iter().map(|record| (record.id, record)).collect();
    let notes: Vec<VerdictNote> = foresight
        .verdicts
        .iter()
        .filter(|verdict| verdict.keep)
        .filter_map(|verdict| {
            let (words, record) = (verdict.words(), known.get(&verdict.id)?);
            let expected = foresight.expected_delete_at.get(&verdict.id).copied();
            let expected = steady(record.expected_delete_at, expected, now);
            let is_new = record.kept_because.as_ref() != Some(&words)
                || record.expected_delete_at != expected;
            is_new.then_some(VerdictNote {
                id: verdict.id,
                kept_because: Some(words),
                expected_delete_at: expected,
            })
        })
        .collect();
    if !notes.is_empty() {
        shell.catalog.note_verdicts(notes, now).await?;
    }
    Ok(())
}

/// What lies far ahead is a guess: as long as it changes by little it stays as it was written, so
/// that not every sweep writes all of them anew.
fn steady(
    written: Option<Timestamp>,
    expected: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    const PART: u32 = 16;
    let (Some(written), Some(expected)) = (written, expected) else { return expected };
    let (earlier, later) = (written.min(expected), written.max(expected));
    let is_little = later.since(earlier) <= earlier.since(now) / PART;
    Some(if is_little { written } else { expected })
}

/// Moves all stored parts of a snapshot to the trash, or none.
async fn trash(
    shell: &Shell,
    retention: &Retention,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<Vec<Archive>, EngineError> {
    let purge_at = now.plus(retention.policy.trash);
    let deletion =
        Deletion { reason: verdict.words(), policy: Some(retention.policy_hash.clone()) };
    let changes: Vec<Change> = shell
        .catalog
        .archives_of(verdict.id)
        .await?
        .into_iter()
        .filter(|archive| matches!(archive.state, State::Stored(_)))
        .map(|archive| {
            let deletion = deletion.clone();
            Change::new(archive, Event::DeletionDecided { deletion, purge_at })
        })
        .collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    match shell.catalog.commit_all(changes, now).await {
        Ok(archives) => Ok(archives),
        // Changed by a command meanwhile: the next sweep sees it as it is.
        Err(CatalogError::Stale(_)) => Ok(Vec::new()),
        // Pinned meanwhile, or the only good one by now.
        Err(CatalogError::Refused(why)) => {
            tracing::info!(snapshot.id = %verdict.id, "stays after all: {why}");
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}
