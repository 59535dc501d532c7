//! Looks after what is stored: reads files again, compares catalog and vault, and records what it
//! finds. The daemon does it by itself (`upkeep`), the command `verify` when it is asked to, also
//! beside a running daemon: whoever comes second finds its archive changed and leaves it alone.
//!
//! It must never take a disk that cannot be read for a file that is gone, never take the word of a
//! file that was not read to its end, and never remove anything. Killed at any point, the next look
//! finds the same again.

use super::failure::EngineError;
use super::shell::{Shell, on_vault};
use crate::catalog::{Catalog, CatalogError, Change};
use crate::clock::Clock;
use crate::lifecycle::{Archive, Event, State};
use crate::model::{ArchiveId, story};
use crate::vault::{CheckError, DamageReason, Lease, Vault, VaultError};

/// Looks at one file, should somebody else change its archive each time.
const LOOKS: u32 = 3;

/// Finds out whether stored files are what they were.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub(super) catalog: Catalog,
    pub(super) vault: Vault,
    pub(super) clock: Clock,
}

/// What was found, for whoever wants to tell.
#[derive(Debug)]
pub enum Finding {
    /// A file was read to its end and is what it was. The archive as it is now.
    Sound(Archive),
    /// A damaged archive has its file again.
    Restored(Archive),
    /// A file is missing or not what it was; recorded.
    Damaged {
        /// Whose file it is, as it is now.
        archive: Archive,
        /// What is wrong with it.
        reason: DamageReason,
    },
    /// The disk did not let it be read, which says nothing about the file. Nothing is recorded, and
    /// it is looked at again another time.
    Unreadable {
        /// Whose file it is; `None`: a file or folder that no archive claims.
        archive: Option<ArchiveId>,
        /// What was tried on what, and what the operating system answered.
        error: String,
    },
    /// A file that the catalog did not know belongs to this archive, which is stored now.
    Found(Archive),
    /// A file that belongs to no archive was moved to quarantine.
    Quarantined {
        /// Where it lay, relative to the state directory.
        path: String,
        /// Where it lies, relative to the state directory.
        kept_as: String,
        /// Why.
        message: String,
    },
    /// Deleted or changed by somebody else during the look.
    Changed(ArchiveId),
}

impl Keeper {
    /// A keeper of the files that `catalog` tells of and `vault` holds.
    pub const fn new(catalog: Catalog, vault: Vault, clock: Clock) -> Self {
        Self { catalog, vault, clock }
    }

    pub(super) fn of(shell: &Shell) -> Self {
        Self::new(shell.catalog.clone(), shell.vault.clone(), shell.clock.clone())
    }

    /// Keeps the file of an archive from being deleted until the lease is dropped.
    pub fn lease(&self, archive: &Archive) -> Option<Lease> {
        self.vault.lease(&archive.state.holding()?.file).ok()
    }

    /// Reads the file of a stored, trashed or damaged archive to its end, compares it and records
    /// the result. Once more, should somebody else change the archive during the look.
    pub async fn read(&self, archive: Archive) -> Result<Finding, EngineError> {
        let mut archive = archive;
        for _ in 1..LOOKS {
            let finding = self.read_once(archive).await?;
            let Finding::Changed(id) = finding else { return Ok(finding) };
            match self.catalog.archive(id).await? {
                Some(now) => archive = now,
                None => return Ok(finding),
            }
        }
        self.read_once(archive).await
    }

    async fn read_once(&self, archive: Archive) -> Result<Finding, EngineError> {
        let (State::Stored(held) | State::Trashed(held, _) | State::Damaged(held)) = &archive.state
        else {
            return Ok(Finding::Changed(archive.id));
        };
        let (file, raw) = (held.file.clone(), held.raw);
        match self.blocking(move |vault| vault.check(&file, raw)).await {
            Ok(()) => self.sound(archive).await,
            Err(CheckError::Damaged(reason)) => self.damaged(archive, reason, "").await,
            // By the deleter, whose business it is.
            Err(CheckError::Failed(VaultError::BeingRemoved { .. })) => {
                Ok(Finding::Changed(archive.id))
            }
            Err(CheckError::Failed(error)) => unreadable(Some(archive.id), error),
        }
    }

    async fn sound(&self, archive: Archive) -> Result<Finding, EngineError> {
        let was_damaged = matches!(archive.state, State::Damaged(_));
        Ok(match self.record(&archive, Event::FileVerified).await? {
            Some(archive) if was_damaged => Finding::Restored(archive),
            Some(archive) => Finding::Sound(archive),
            None => match self.catalog.archive(archive.id).await? {
                // Somebody else has read it as well, and found the same.
                Some(now) if !was_damaged && was_verified(&archive, &now) => Finding::Sound(now),
                _ => Finding::Changed(archive.id),
            },
        })
    }

    /// Records damage, unless the archive was changed meanwhile: its file may have been deleted.
    pub(super) async fn damaged(
        &self,
        archive: Archive,
        reason: DamageReason,
        hint: &str,
    ) -> Result<Finding, EngineError> {
        if is_told(&archive, &reason) {
            let now = self.catalog.archive(archive.id).await?;
            let same = now.is_some_and(|now| now.revision == archive.revision);
            return Ok(if same {
                Finding::Damaged { archive, reason }
            } else {
                Finding::Changed(archive.id)
            });
        }
        // Those that share the file are told with it, or one of them would pass for a good copy.
        for _ in 0..LOOKS {
            let mut changes = Vec::new();
            for other in self.sharing(&archive, &reason).await? {
                let event = damage(other.id, &reason, hint);
                changes.push(Change::new(other, event));
            }
            let event = damage(archive.id, &reason, hint);
            changes.push(Change::new(archive.clone(), event));
            match self.catalog.commit_all(changes, self.clock.now()).await {
                Ok(mut archives) if !archives.is_empty() => {
                    // The last change's archive comes first.
                    return Ok(Finding::Damaged { archive: archives.swap_remove(0), reason });
                }
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(CatalogError::Stale(id)) if id != archive.id => {}
                Err(CatalogError::Stale(_)) | Ok(_) => break,
                Err(error) => {
                    refused(archive.id, &error);
                    break;
                }
            }
        }
        Ok(Finding::Changed(archive.id))
    }

    /// The other archives whose name is one of this very file, if what is wrong is wrong with the
    /// file and not with its name.
    pub(super) async fn sharing(
        &self,
        archive: &Archive,
        reason: &DamageReason,
    ) -> Result<Vec<Archive>, EngineError> {
        let (true, Some(held)) = (reason.is_of_content(), archive.state.holding()) else {
            return Ok(Vec::new());
        };
        let others = self.catalog.sharing(archive).await?;
        if others.is_empty() {
            return Ok(others);
        }
        let file = held.file.clone();
        let is_same = move |vault: &Vault, other: &Archive| {
            other.state.holding().is_some_and(|held| vault.is_shared(&file, &held.file))
        };
        let keep = move |vault: &Vault| {
            others.into_iter().filter(|other| is_same(vault, other)).collect::<Vec<_>>()
        };
        Ok(self.blocking(keep).await)
    }

    /// `None`: somebody else changed the archive meanwhile, or the catalog refuses the change.
    pub(super) async fn record(
        &self,
        archive: &Archive,
        event: Event,
    ) -> Result<Option<Archive>, EngineError> {
        let change = Change::new(archive.clone(), event);
        match self.catalog.commit(change, self.clock.now()).await {
            Ok(archive) => Ok(Some(archive)),
            Err(error) if error.is_fatal() => Err(error.into()),
            Err(CatalogError::Stale(_)) => Ok(None),
            Err(error) => {
                refused(archive.id, &error);
                Ok(None)
            }
        }
    }

    /// Runs file work on a blocking thread.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> T + Send + 'static,
    ) -> T {
        on_vault(&self.vault, work).await
    }
}

fn refused(id: ArchiveId, error: &CatalogError) {
    tracing::warn!(archive.id = %id, error = %story(error),
        "the catalog refuses what was found about a file");
}

/// Whether the file of an archive was read and found whole since, and nothing else happened.
fn was_verified(before: &Archive, now: &Archive) -> bool {
    before.state == now.state && before.milestones.verified_at < now.milestones.verified_at
}

/// Whether the catalog says so already. Damage of another kind than somebody has acknowledged is
/// told anew.
pub(super) fn is_told(archive: &Archive, reason: &DamageReason) -> bool {
    let told = |error: &String| error.starts_with(&reason.to_string());
    let is_seen = archive.milestones.acknowledged_at.is_some();
    matches!(archive.state, State::Damaged(_))
        && (!is_seen || archive.last_error.as_ref().is_some_and(told))
}

/// Damage as it is recorded: what is wrong, and what helps.
pub(super) fn damage(id: ArchiveId, reason: &DamageReason, hint: &str) -> Event {
    let message = format!(
        "{reason}{hint}: put it back in its place, from a backup or from quarantine/, then \
         `roma-archived verify {id}`"
    );
    Event::FileDamaged { message }
}

/// The disk's refusal, unless it ends the process.
pub(super) fn unreadable(
    archive: Option<ArchiveId>,
    error: VaultError,
) -> Result<Finding, EngineError> {
    if error.is_fatal() {
        return Err(EngineError::Disk(error));
    }
    let error = story(&error);
    let id = archive.map(|id| id.to_string());
    tracing::warn!(archive.id = id, %error, "cannot be examined; it is tried again later");
    Ok(Finding::Unreadable { archive, error })
}
