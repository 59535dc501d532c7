//! Compares catalog and vault, in pages and batches, so that memory does not grow with history.
//!
//! From the catalog to the vault: whoever claims a file must have one of the recorded length; what
//! is missing becomes `damaged`, and what was damaged and is whole again comes back. From the vault
//! to the catalog: a file that nobody claims goes to the archive that its manifest names, if that
//! one lost it or has yet to fetch it; every other one is moved to quarantine.
//!
//! It must never delete, never follow a link, and never move a file that a running step has just
//! put there: whether somebody claims it is asked after it was seen, and once more before it is
//! moved. Folders stay where they are.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use tokio::sync::mpsc;

use super::failure::EngineError;
use super::keeper::{Finding, Keeper, damage, is_told, unreadable};
use super::owner::Owner;
use super::shell::joined;
use crate::catalog::Change;
use crate::lifecycle::{Archive, Event, Found, Notice, State};
use crate::model::{ArchiveId, StoredFile, story};
use crate::vault::{self, CheckError, DamageReason, Manifest, Vault, VaultError};

/// Files that are asked about at once.
const BATCH: usize = 512;
/// Folders that cannot be read, of which each is told.
const TROUBLES: usize = 100;
/// What a message says when not one file is left.
const BARE: &str = ", and vault/ holds no file at all (is its disk mounted?)";

/// Takes in one finding after the other.
pub type Tell<'t> = &'t mut (dyn FnMut(Finding) + Send);

/// What a file of the vault says of itself.
pub(super) fn found(manifest: &Manifest, file: StoredFile) -> Found {
    Found {
        job: manifest.job_id.clone(),
        package: manifest.package_id.clone(),
        ready_at: manifest.ready_at,
        downloaded_at: Some(manifest.downloaded_at),
        raw: manifest.raw(),
        file,
        original: None,
    }
}

impl Keeper {
    /// Compares without reading what is as long as it was.
    pub async fn reconcile(&self, tell: Tell<'_>) -> Result<(), EngineError> {
        let mut bare = None;
        let mut after = Some(ArchiveId(0));
        while let Some(start) = after {
            let (page, next) = self.catalog.holding_page(start).await?;
            self.look_at(page, &mut bare, tell).await?;
            after = next;
        }
        self.survey(tell).await
    }

    /// Reads every file to its end, and looks for those that nobody claims.
    pub async fn verify_all(&self, tell: Tell<'_>) -> Result<(), EngineError> {
        let mut after = Some(ArchiveId(0));
        while let Some(start) = after {
            let (page, next) = self.catalog.holding_page(start).await?;
            for archive in page {
                tell(self.read(archive).await?);
            }
            after = next;
        }
        self.survey(tell).await
    }

    async fn look_at(
        &self,
        page: Vec<Archive>,
        bare: &mut Option<bool>,
        tell: Tell<'_>,
    ) -> Result<(), EngineError> {
        let looks = self
            .blocking(move |vault| {
                let look = |archive: Archive| {
                    let held = archive.state.holding()?;
                    let look = vault.look(&held.file);
                    Some((archive, look))
                };
                page.into_iter().filter_map(look).collect::<Vec<_>>()
            })
            .await;
        let mut gone = Vec::new();
        for (archive, look) in looks {
            match look {
                Ok(()) if matches!(archive.state, State::Damaged(_)) => {
                    tell(self.read(archive).await?);
                }
                Ok(()) => {}
                Err(CheckError::Damaged(reason)) => gone.push((archive, reason)),
                Err(CheckError::Failed(error)) => tell(unreadable(Some(archive.id), error)?),
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.add_sharing(&mut gone).await?;
        let bare = match *bare {
            Some(bare) => bare,
            None => *bare.insert(self.blocking(Vault::is_bare).await),
        };
        self.all_damaged(gone, if bare { BARE } else { "" }, tell).await
    }

    /// Adds those of other pages that share a file with one of these.
    async fn add_sharing(
        &self,
        gone: &mut Vec<(Archive, DamageReason)>,
    ) -> Result<(), EngineError> {
        let mut known: HashSet<ArchiveId> = gone.iter().map(|(archive, _)| archive.id).collect();
        let mut asked = HashSet::new();
        for place in 0..gone.len() {
            let (archive, reason) = &gone[place];
            if !asked.insert(archive.original()) {
                continue;
            }
            let reason = reason.clone();
            let others = self.sharing(archive, &reason).await?;
            let new = others.into_iter().filter(|other| known.insert(other.id));
            gone.extend(new.map(|other| (other, reason.clone())));
        }
        Ok(())
    }

    /// Records a page of damage in one commit, or one by one when somebody changed one of them.
    async fn all_damaged(
        &self,
        gone: Vec<(Archive, DamageReason)>,
        hint: &str,
        tell: Tell<'_>,
    ) -> Result<(), EngineError> {
        let is_known = |(archive, reason): &(Archive, DamageReason)| is_told(archive, reason);
        let (known, mut gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_known);
        let change = |(archive, reason): &(Archive, DamageReason)| {
            Change::new(archive.clone(), damage(archive.id, reason, hint))
        };
        let changes: Vec<Change> = gone.iter().map(change).collect();
        match self.catalog.commit_all(changes, self.clock.now()).await {
            Ok(archives) => {
                // The last change's archive comes first.
                for ((_, reason), archive) in gone.drain(..).zip(archives.into_iter().rev()) {
                    tell(Finding::Damaged { archive, reason });
                }
            }
            Err(error) if error.is_fatal() => return Err(error.into()),
            // One of them was changed by somebody else: one by one, then.
            Err(_) => {}
        }
        gone.extend(known);
        for (archive, reason) in gone {
            tell(self.damaged(archive, reason, hint).await?);
        }
        Ok(())
    }

    /// Walks through the vault beside this task, and deals with what nobody claims.
    async fn survey(&self, tell: Tell<'_>) -> Result<(), EngineError> {
        let (sender, mut batches) = mpsc::channel::<Vec<vault::Found>>(1);
        let vault = self.vault.clone();
        let walk = tokio::task::spawn_blocking(move || {
            let (mut batch, mut troubles) = (Vec::new(), Vec::new());
            let mut visit = |found| {
                batch.push(found);
                let full = batch.len() >= BATCH;
                if full && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            vault.survey(&mut visit, &mut |error| {
                if troubles.len() < TROUBLES {
                    troubles.push(error);
                }
            });
            // Nobody waits for it any more: then it is not needed either.
            drop(sender.blocking_send(batch));
            troubles
        });
        while let Some(batch) = batches.recv().await {
            self.sort(batch, tell).await?;
        }
        for error in joined(walk).await {
            tell(unreadable(None, error)?);
        }
        Ok(())
    }

    async fn sort(&self, batch: Vec<vault::Found>, tell: Tell<'_>) -> Result<(), EngineError> {
        let paths = batch.iter().filter_map(|f| f.path.to_str()).map(ToOwned::to_owned).collect();
        let unclaimed: HashSet<String> = self.unclaimed(paths).await?.into_iter().collect();
        for found in batch {
            // What has a name that is no text is none of ours.
            if found.path.to_str().is_none_or(|path| unclaimed.contains(path))
                && let Some(finding) = self.settle(&found).await?
            {
                tell(finding);
            }
        }
        Ok(())
    }

    /// Those of these paths that no archive claims, and that no step is just packing to.
    pub(super) async fn unclaimed(&self, paths: Vec<String>) -> Result<Vec<String>, EngineError> {
        // In this order: what is recorded in between is seen by the second question.
        let packing: HashSet<String> =
            self.catalog.packing().await?.iter().map(target_of).collect();
        let open: Vec<String> = paths.into_iter().filter(|p| !packing.contains(p)).collect();
        if open.is_empty() { Ok(open) } else { Ok(self.catalog.unclaimed(&open).await?) }
    }

    /// Deals with one file that nobody seems to claim.
    async fn settle(&self, found: &vault::Found) -> Result<Option<Finding>, EngineError> {
        let text = found.path.to_str().filter(|_| found.bytes.is_some());
        let (why, message) = match text {
            None => ("foreign", "it is no file that this program writes".to_owned()),
            Some(text) => match self.identify(text, false).await? {
                Identity::Of(archive, found) => {
                    let (from, place) = (text.to_owned(), found.file.path.clone());
                    let put = move |vault: &Vault| {
                        vault.make_durable(&from)?;
                        if from == place { Ok(()) } else { vault.put_in_place(&from, &place) }
                    };
                    if let Err(error) = self.blocking(put).await {
                        return unreadable(Some(archive.id), error).map(Some);
                    }
                    let taken = self.record(&archive, Event::FileFound(found)).await?;
                    return Ok(taken.map(Finding::Found));
                }
                Identity::Unsettled => return Ok(None),
                Identity::Unreadable(error) => return unreadable(None, error).map(Some),
                Identity::Nobodys => {
                    ("unknown", "it is a package that no archive of this catalog lacks".to_owned())
                }
                Identity::Foreign(reason) => ("foreign", format!("it is none of ours: {reason}")),
            },
        };
        self.set_aside(&found.path, why, message).await
    }

    /// Reads a file to its end and asks whose it is. An owner's file is described as it lies where
    /// it was stored: it may lie where another archive shared it, whose own file comes there.
    pub(super) async fn identify(
        &self,
        relative: &str,
        at_start: bool,
    ) -> Result<Identity, EngineError> {
        let path = relative.to_owned();
        match self.blocking(move |vault| vault.describe(&path)).await {
            Ok((manifest, file)) => {
                let mut found = found(&manifest, file);
                Ok(match self.owner(&found, &manifest, at_start).await? {
                    Owner::Archive(archive) => {
                        let place = manifest.place();
                        let there = Path::new(&place).to_owned();
                        let taken = self.blocking(move |vault| vault.is_there(&there)).await;
                        match taken {
                            Ok(true) if place != relative => Identity::Nobodys,
                            Ok(_) => {
                                found.file.path = place;
                                Identity::Of(archive, Box::new(found))
                            }
                            Err(error) => Identity::Unreadable(error),
                        }
                    }
                    Owner::Busy => Identity::Unsettled,
                    Owner::Nobody => Identity::Nobodys,
                })
            }
            Err(CheckError::Damaged(DamageReason::Missing)) => Ok(Identity::Unsettled),
            Err(CheckError::Damaged(reason)) => Ok(Identity::Foreign(reason)),
            // A name with a backslash or a line break in it may be odd, but is none of ours.
            Err(CheckError::Failed(VaultError::UnsafePath { .. })) => {
                Ok(Identity::Foreign(DamageReason::NotAFile))
            }
            Err(CheckError::Failed(error)) => Ok(Identity::Unreadable(error)),
        }
    }

    pub(super) async fn durable(&self, relative: &str) -> Result<(), VaultError> {
        let path = relative.to_owned();
        self.blocking(move |vault| vault.make_durable(&path)).await
    }

    /// Moves a file that belongs to nobody out of the way, unless that has changed meanwhile.
    async fn set_aside(
        &self,
        path: &Path,
        why: &'static str,
        message: String,
    ) -> Result<Option<Finding>, EngineError> {
        if let Some(text) = path.to_str()
            && self.unclaimed(vec![text.to_owned()]).await?.is_empty()
        {
            return Ok(None);
        }
        self.quarantine(self.vault.path_of(path), why, message).await
    }

    /// Moves a file below `vault/` or `staging/` to quarantine and records it; `None`: it is gone.
    pub(super) async fn quarantine(
        &self,
        path: std::path::PathBuf,
        why: &'static str,
        message: String,
    ) -> Result<Option<Finding>, EngineError> {
        let from = path.clone();
        let kept_as = match self.blocking(move |vault| vault.quarantine(&from, why)).await {
            Ok(kept_as) => kept_as,
            Err(VaultError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return unreadable(None, error).map(Some),
        };
        let path = self.vault.shown(&path);
        let kept_as = self.vault.shown(&kept_as);
        let notice = Notice::FileQuarantined {
            path: path.clone(),
            kept_as: kept_as.clone(),
            message: message.clone(),
        };
        self.catalog.notify(vec![notice], self.clock.now()).await?;
        Ok(Some(Finding::Quarantined { path, kept_as, message }))
    }

    /// Before anything is started: an archive on its way whose file lies in the vault already, for
    /// the catalog was restored from a backup, has it; no second GET is sent. The answer is the
    /// archive as it is then.
    pub(super) async fn take_back(
        &self,
        archive: &Archive,
    ) -> Result<Option<Archive>, EngineError> {
        let (path, id) = (target_of(archive), archive.id);
        let candidate = path.clone();
        let packs = matches!(archive.state, State::Downloaded { .. });
        let looked: Result<bool, VaultError> = self
            .blocking(move |vault| {
                // With the package still in staging, packing it again is the ordinary way.
                Ok(vault.is_there(Path::new(&candidate))? && !(packs && vault.is_staged(id)?))
            })
            .await;
        match looked {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                let error = story(&error);
                tracing::warn!(archive.id = %id, %error, "cannot look for its file");
                return Ok(None);
            }
        }
        if self.catalog.unclaimed(std::slice::from_ref(&path)).await?.is_empty() {
            return Ok(None);
        }
        match self.identify(&path, true).await? {
            Identity::Of(owner, found) if owner.id == id && found.file.path == path => {
                if let Err(error) = self.durable(&path).await {
                    return unreadable(Some(id), error).map(|_| None);
                }
                self.record(&owner, Event::FileFound(found)).await
            }
            _ => Ok(None),
        }
    }
}

/// What a file turned out to be.
pub(super) enum Identity {
    /// The package of this archive.
    Of(Box<Archive>, Box<Found>),
    /// Gone, or it cannot be told yet: another time.
    Unsettled,
    /// A package of ours that no archive lacks.
    Nobodys,
    /// No package of ours.
    Foreign(DamageReason),
    /// The disk does not let it be read.
    Unreadable(VaultError),
}

/// Where an archive's file lies, or will lie, relative to `vault/`.
fn target_of(archive: &Archive) -> String {
    Vault::relative_path(
        &archive.instance,
        &archive.export,
        archive.scheduled_at,
        archive.snapshot,
        archive.part,
    )
}
