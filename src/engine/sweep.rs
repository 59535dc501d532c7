//! Applies retention: asks the planner, moves what must go to the trash, and writes down why the
//! rest stays. Removing files is an ordinary step, later.

use std::sync::Arc;
use std::time::Duration;

use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{CatalogError, Change, SnapshotRecord, VerdictNote};
use crate::lifecycle::{Archive, Deletion, Event, State};
use crate::model::{Name, Timestamp};
use crate::retention::{Circumstances, Policy, SnapshotFacts, Verdict, plan};

/// One export's retention: what a sweep needs to know.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub export: Name,
    /// Its policy.
    pub policy: Policy,
    /// Digest of the policy, for tombstones.
    pub policy_hash: String,
    /// The zone of the buckets.
    pub zone: jiff::tz::TimeZone,
}

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

/// Sweeps one export; the answer holds the archives that were moved to the trash.
pub(super) async fn run(
    shell: Arc<Shell>,
    retention: Retention,
) -> Result<Vec<Archive>, EngineError> {
    // Read before the clock: an event that is recorded meanwhile does not make the clock doubtful.
    let latest = shell.catalog.latest_event_time().await?;
    let now = shell.clock.now();
    let records = shell.catalog.snapshots_of(&retention.instance, &retention.export, now).await?;
    let exports = shell.catalog.exports().await?;
    let policy_changed_at = exports
        .iter()
        .find(|e| e.instance == retention.instance && e.name == retention.export)
        .and_then(|export| export.policy_changed_at);
    let circumstances = Circumstances {
        now,
        zone: retention.zone.clone(),
        clock_doubt: clock_doubt(&shell, latest, now),
        policy_changed_at,
    };
    let facts: Vec<SnapshotFacts> = records.iter().map(facts).collect();
    let verdicts = plan(&facts, &retention.policy, &circumstances);
    note_kept(&shell, &records, &verdicts, now).await?;
    let mut trashed = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| !verdict.keep) {
        trashed.extend(trash(&shell, &retention, verdict, now).await?);
    }
    Ok(trashed)
}

fn facts(record: &SnapshotRecord) -> SnapshotFacts {
    SnapshotFacts {
        id: record.id,
        taken_at: record.taken_at,
        state: record.state,
        raw_bytes: record.raw_bytes,
        stored_bytes: record.stored_bytes,
        pin: record.pin.clone(),
    }
}

/// A clock that went back, or that differs from ROMA's, must not decide what is old.
fn clock_doubt(shell: &Shell, latest: Option<Timestamp>, now: Timestamp) -> Option<String> {
    if let Some(latest) = latest.filter(|latest| *latest > now) {
        return Some(format!("it is behind the newest event ({latest})"));
    }
    shell.clock_doubt()
}

/// Only what changed is written: a sweep that decides nothing new costs no commit.
async fn note_kept(
    shell: &Shell,
    records: &[SnapshotRecord],
    verdicts: &[Verdict],
    now: Timestamp,
) -> Result<(), EngineError> {
    let known: std::collections::HashMap<_, _> =
        records.iter().map(|r| (r.id, r.kept_because.as_deref())).collect();
    let notes: Vec<VerdictNote> = verdicts
        .iter()
        .filter(|verdict| verdict.keep)
        .map(|verdict| (verdict.id, words(verdict)))
        .filter(|(id, words)| known.get(id).copied().flatten() != Some(words))
        .map(|(id, words)| VerdictNote { id, kept_because: Some(words), expected_delete_at: None })
        .collect();
    if !notes.is_empty() {
        shell.catalog.note_verdicts(notes, now).await?;
    }
    Ok(())
}

fn words(verdict: &Verdict) -> String {
    verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Moves all stored parts of a snapshot to the trash, or none.
async fn trash(
    shell: &Shell,
    retention: &Retention,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<Vec<Archive>, EngineError> {
    let purge_at = now.plus(retention.policy.trash);
    let deletion = Deletion { reason: words(verdict), policy: Some(retention.policy_hash.clone()) };
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
        Ok(archives) => {
            let note = VerdictNote {
                id: verdict.id,
                kept_because: None,
                expected_delete_at: Some(purge_at),
            };
            shell.catalog.note_verdicts(vec![note], now).await?;
            Ok(archives)
        }
        // Changed by a command meanwhile: the next sweep sees it as it is.
        Err(CatalogError::Stale(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
