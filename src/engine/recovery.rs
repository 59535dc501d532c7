//! What a start makes of what a dead process left behind. Recovery is the start path: there is no
//! other way to start, so it is exercised every time. A step that broke is settled as after a
//! restart.
//!
//! It must never let one file that the disk refuses hold up the other archives, never take such a
//! file for gone at the first refusal, and never go on after an fsync that failed. Killed at any
//! point, the next start does the same again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::failure::{EngineError, of_vault};
use super::keeper::Keeper;
use super::shell::Shell;
use super::task::Task;
use crate::lifecycle::{Archive, Effect, Evidence, State, on_restart};
use crate::model::{ArchiveId, Timestamp, story};
use crate::vault::{Staged, StagedEvidence, VaultError};

/// After a step broke, before its archive is touched again.
const AFTER_PANIC: Duration = Duration::from_mins(1);
/// Before another look at what is left of a download that the disk did not let be read.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// So many looks in vain, and ROMA is asked: what cannot be read for an hour is no copy.
const LOOKS: u32 = 6;

/// Archives whose download can be neither adopted nor given up yet, because the disk does not let
/// be read what is left of it. They stay as they are, in doubt, and are looked at again.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// How many looks were in vain, and when the next one is due.
    archives: BTreeMap<ArchiveId, (u32, Timestamp)>,
}

impl Unsettled {
    /// One more look in vain. `false`: it was the last one.
    fn put_off(&mut self, id: ArchiveId, now: Timestamp) -> bool {
        let (looks, next) = self.archives.entry(id).or_insert((0, now));
        *looks += 1;
        *next = now.plus(LOOK_AGAIN);
        *looks < LOOKS
    }

    /// A moment further away than was ever meant was written before the clock was set back.
    fn due(&self, now: Timestamp) -> Vec<ArchiveId> {
        let is_due = |next: Timestamp| next <= now || next > now.plus(LOOK_AGAIN);
        let due = self.archives.iter().filter(|(_, (_, next))| is_due(*next));
        due.map(|(id, _)| *id).collect()
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.archives.values().map(|(_, next)| *next).min()
    }
}

impl Engine {
    /// Looks again at what is in doubt, and settles what a broken step left: such a step concerns
    /// its archive only.
    pub(super) async fn settle_doubts(&mut self, now: Timestamp) -> Result<(), EngineError> {
        if !self.draining {
            for id in self.unsettled.due(now) {
                self.settle(id, Timestamp::EARLIEST).await?;
            }
        }
        for task in std::mem::take(&mut self.broken) {
            match task {
                Task::Step(_, id, _) => self.settle(id, now.plus(AFTER_PANIC)).await?,
                Task::Planning(..) => {
                    // Forces a fresh look at what is to be planned.
                    self.foreign.forget();
                    self.next_check = now.plus(AFTER_PANIC);
                }
                Task::Sweep(place) => self.sweeps.begin(place, now),
                Task::Reconcile | Task::Scrub => self.upkeep.broke(&task, now),
            }
        }
        Ok(())
    }

    async fn settle(&mut self, id: ArchiveId, earliest: Timestamp) -> Result<(), EngineError> {
        let Some(archive) = self.shell.catalog.archive(id).await? else { return Ok(()) };
        for settled in settle(&self.shell, archive, &mut self.unsettled).await? {
            self.agenda.put_not_before(settled, earliest);
        }
        Ok(())
    }
}

/// Settles every archive in doubt, tidies staging, and returns all archives that are not at rest.
pub(super) async fn run(
    shell: &Arc<Shell>,
    unsettled: &mut Unsettled,
) -> Result<Vec<Archive>, EngineError> {
    let mut active = Vec::new();
    for archive in shell.catalog.active().await? {
        active.extend(settle(shell, archive, unsettled).await?);
    }
    tidy_staging(shell, &active).await?;
    Ok(active)
}

/// Settles one archive; the answer holds it and its replacement, should it be lost.
async fn settle(
    shell: &Arc<Shell>,
    archive: Archive,
    unsettled: &mut Unsettled,
) -> Result<Vec<Archive>, EngineError> {
    if archive.state.word().is_unfinished()
        && let Some(stored) = Keeper::of(shell).take_back(&archive).await?
    {
        return Ok(vec![stored]);
    }
    let evidence = match &archive.state {
        State::Downloading(_) => match evidence(shell, archive.id).await {
            Ok(evidence) => evidence,
            Err(error) => return in_doubt(shell, archive, error, unsettled).await,
        },
        _ => Evidence::Nothing,
    };
    unsettled.archives.remove(&archive.id);
    match on_restart(&archive.state, evidence, shell.clock.now()) {
        Some(event) => shell.record(&archive, event).await,
        None => Ok(vec![archive]),
    }
}

async fn evidence(shell: &Arc<Shell>, id: ArchiveId) -> Result<Evidence, VaultError> {
    Ok(match shell.blocking(move |vault| vault.inspect_staged(id)).await? {
        StagedEvidence::Whole(Staged { content, format, flaw }) => {
            Evidence::Whole(content, format, flaw)
        }
        StagedEvidence::Partial { bytes } => {
            tracing::warn!(archive.id = %id, bytes, "a download was cut short");
            Evidence::Nothing
        }
        StagedEvidence::Nothing => Evidence::Nothing,
    })
}

/// Without a look at the disk nothing can be decided about this archive. After the last look ROMA
/// is asked about the job; what lies in staging stays there, and keeps another GET from beginning.
async fn in_doubt(
    shell: &Arc<Shell>,
    archive: Archive,
    error: VaultError,
    unsettled: &mut Unsettled,
) -> Result<Vec<Archive>, EngineError> {
    if error.is_fatal() {
        return Err(EngineError::Disk(error));
    }
    if unsettled.put_off(archive.id, shell.clock.now()) {
        tracing::warn!(archive.id = %archive.id, error = %story(&error),
            "what is left of a download cannot be read; it is tried again later");
        return Ok(vec![archive]);
    }
    unsettled.archives.remove(&archive.id);
    shell.fail(&archive, of_vault(error, Effect::Unknown)?).await
}

/// Removes what is certainly superfluous, and moves to quarantine what nobody knows. Nothing that
/// may be the only copy of a package is ever removed.
async fn tidy_staging(shell: &Arc<Shell>, active: &[Archive]) -> Result<(), EngineError> {
    let known: HashMap<ArchiveId, &Archive> = active.iter().map(|a| (a.id, a)).collect();
    let contents = match shell.blocking(crate::vault::Vault::list_staged).await {
        Ok(contents) => contents,
        Err(error) => return check(Err(error)),
    };
    for file in contents.ours {
        let archive = match known.get(&file.id) {
            Some(archive) => Some((*archive).clone()),
            None => shell.catalog.archive(file.id).await?,
        };
        match fate(archive.as_ref()) {
            Fate::Keep => {}
            Fate::Discard => {
                check(shell.blocking(move |vault| vault.discard_staged(file.id)).await)?;
            }
            Fate::Quarantine => {
                let path = shell.vault.staged_path(file.id, file.kind);
                let message = "it is no download of an archive on its way";
                quarantine(shell, path, "orphan", message).await?;
            }
        }
    }
    for path in contents.foreign {
        quarantine(shell, path, "foreign", "it is no file that this program writes").await?;
    }
    Ok(())
}

async fn quarantine(
    shell: &Arc<Shell>,
    path: std::path::PathBuf,
    why: &'static str,
    message: &str,
) -> Result<(), EngineError> {
    // What the disk refuses is no reason not to start; it says so itself.
    Keeper::of(shell).quarantine(path, why, message.to_owned()).await.map(drop)
}

/// Tidying that fails is no reason not to start, but for an fsync that failed.
fn check(result: Result<(), VaultError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.is_fatal() => Err(EngineError::Disk(error)),
        Err(error) => {
            tracing::warn!(error = %story(&error), "staging could not be tidied");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

enum Fate {
    Keep,
    Discard,
    Quarantine,
}

fn fate(archive: Option<&Archive>) -> Fate {
    match archive.map(|archive| &archive.state) {
        // Waiting to be packed: the staged file is the only copy. Before that, the next attempt
        // begins with a file of its own.
        Some(
            State::Downloaded { .. }
            | State::Running { .. }
            | State::Ready(_)
            | State::Downloading(_),
        ) => Fate::Keep,
        // Stored, read back and recorded: what is left in staging is a copy.
        Some(State::Stored(_) | State::Trashed(..) | State::Deleting(..) | State::Deleted(..)) => {
            Fate::Discard
        }
        // Nobody needs it, as far as the catalog knows; a person may.
        Some(
            State::Scheduled
            | State::Requesting
            | State::Damaged(_)
            | State::Failed { .. }
            | State::Lost { .. },
        )
        | None => Fate::Quarantine,
    }
}
