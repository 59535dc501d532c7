//! The package in staging becomes a file of the vault: one of its own, or that of an earlier
//! package of the same part that contains the same.
//!
//! It must never let the package go before a file that was read to its end is recorded as this
//! archive's. Killed anywhere: done again, to the same name; a file that was shared and not
//! recorded is shared again, or set aside by packing.

use std::sync::Arc;

use super::failure::{EngineError, of_vault};
use super::keeper::Keeper;
use super::shell::{Changed, Shell};
use crate::catalog::{CatalogError, Change};
use crate::lifecycle::{Archive, Effect, Event, Holding, Offer, State};
use crate::model::{Content, Format, Sha256Digest, Timestamp, story};
use crate::vault::{CheckError, Manifest, PackJob, Sealed, Shared, Vault, VaultError};

/// Files of earlier packages that are tried: the next one is there when the first turns out to be
/// damaged, or is on its way to the trash at this moment.
const CANDIDATES: u32 = 3;

/// Stores the package of a `downloaded` archive.
pub(super) async fn run(shell: &Arc<Shell>, archive: Archive) -> Changed {
    let parts = shell.catalog.parts_of(archive.snapshot).await?;
    let Some(job) = pack_job(shell, &archive, parts) else { return Ok(vec![archive]) };
    let (id, raw, format) = (job.id, job.raw, job.format);
    let limit = shell.limits.max_package_bytes;
    let look = move |vault: &Vault| vault.content_of_staged(id, raw, format, limit);
    let content_sha256 = match shell.blocking(look).await {
        Ok(digest) => digest,
        Err(error) => {
            let failure = of_vault(error, Effect::NotDone)?;
            return shell.fail(&archive, failure).await;
        }
    };
    let shared = match content_sha256 {
        Some(digest) => share(shell, &archive, &job.path, digest).await?,
        None => None,
    };
    let changed = match shared {
        Some(changed) => changed,
        None => match shell.blocking(move |vault| vault.pack(&job)).await {
            Ok(file) => shell.record(&archive, Event::FileStored { file, content_sha256 }).await?,
            Err(error) => {
                let failure = of_vault(error, Effect::NotDone)?;
                return shell.fail(&archive, failure).await;
            }
        },
    };
    let stored = changed.first().is_some_and(|a| matches!(a.state, State::Stored(_)));
    if stored && let Err(error) = shell.blocking(move |vault| vault.discard_staged(id)).await {
        // Recovery discards what is left; the stored file is what counts.
        of_vault(error, Effect::NotDone)?;
    }
    Ok(changed)
}

/// Stores a package that was sealed as it came, and records with it that it came: one commit. One
/// that contains what an earlier one contains, or that cannot be stored now, is stored by the step
/// that does so for the others.
///
/// Killed before the commit: the sealed package is adopted where it lies, in staging or in the
/// vault.
pub(super) async fn store_sealed(
    shell: &Arc<Shell>,
    archive: &Archive,
    finished: Event,
    sealed: Sealed,
) -> Changed {
    // The manifest says so, too.
    let now = sealed.downloaded_at;
    let Ok(downloaded) = archive.apply(&finished, now) else {
        return shell.record(archive, finished).await;
    };
    let content_sha256 = sealed.content_sha256;
    if let Some(digest) = content_sha256 {
        let part = (&archive.instance, &archive.export, archive.part);
        if shell.catalog.alike(part, digest).await?.is_some() {
            return shell.record(archive, finished).await;
        }
    }
    let (id, file) = (archive.id, sealed.file);
    match shell.blocking(move |vault| vault.store_sealed(id, &file)).await {
        Ok(file) => {
            let came = Change::new(archive.clone(), finished);
            let stored = Change::new(downloaded, Event::FileStored { file, content_sha256 });
            match shell.catalog.commit_all(vec![came, stored], now).await {
                // As it is after the first change it is nobody's business any more.
                Ok(mut archives) => {
                    archives.truncate(1);
                    Ok(archives)
                }
                Err(error) if error.is_fatal() => Err(error.into()),
                Err(error) => shell.refused(archive, &error).await,
            }
        }
        Err(error) => {
            // The next step tries it again, and says how that goes.
            of_vault(error, Effect::NotDone)?;
            shell.record(archive, finished).await
        }
    }
}

/// Shares the file of an earlier package of this part that contains the same. `None`: there is
/// none, or it cannot be shared, which is a reason to pack and none to fail.
async fn share(
    shell: &Arc<Shell>,
    archive: &Archive,
    path: &str,
    content_sha256: Sha256Digest,
) -> Result<Option<Vec<Archive>>, EngineError> {
    for _ in 0..CANDIDATES {
        let part = (&archive.instance, &archive.export, archive.part);
        let Some(earlier) = shell.catalog.alike(part, content_sha256).await? else {
            return Ok(None);
        };
        let State::Stored(Holding { file, raw, original, .. }) = earlier.state.clone() else {
            return Ok(None);
        };
        let path = path.to_owned();
        match shell.blocking(move |vault| vault.share(&file, raw, &path)).await {
            Ok(Shared::Yes(file)) => {
                let original = original.unwrap_or(earlier.id);
                let event = Event::FileShared { file, raw, content_sha256, original };
                if let Some(changed) = record(shell, archive, event, earlier).await? {
                    return Ok(Some(changed));
                }
            }
            Ok(Shared::No(error)) => {
                tracing::info!(archive.id = %archive.id, %error,
                    "it contains the same as {}, whose file it cannot share", earlier.id);
                return Ok(None);
            }
            // What the newest package of this part was good for, another one may be.
            Err(CheckError::Damaged(reason)) => {
                drop(Keeper::of(shell).damaged(earlier, reason, "").await?);
            }
            Err(CheckError::Failed(VaultError::BeingRemoved { .. })) => return Ok(None),
            Err(CheckError::Failed(error)) if error.is_fatal() => {
                return Err(EngineError::Disk(error));
            }
            Err(CheckError::Failed(error)) => {
                tracing::warn!(archive.id = %archive.id, error = %story(&error),
                    "it contains the same as {}, whose file it cannot share", earlier.id);
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// Records that a file is shared and, in the same transaction, that it was found whole: whoever
/// changed the earlier archive meanwhile is noticed. `None`: somebody did.
async fn record(
    shell: &Arc<Shell>,
    archive: &Archive,
    event: Event,
    earlier: Archive,
) -> Result<Option<Vec<Archive>>, EngineError> {
    let id = earlier.id;
    let verified = Change::new(earlier, Event::FileVerified);
    let shared = Change::new(archive.clone(), event);
    match shell.catalog.commit_all(vec![verified, shared], shell.clock.now()).await {
        // The last change's archive comes first, and the other is none of this step's.
        Ok(mut archives) => {
            archives.truncate(1);
            Ok(Some(archives))
        }
        Err(error) if error.is_fatal() => Err(error.into()),
        Err(CatalogError::Stale(stale)) if stale == id => Ok(None),
        Err(error) => shell.refused(archive, &error).await.map(Some),
    }
}

fn pack_job(shell: &Shell, archive: &Archive, parts: u32) -> Option<PackJob> {
    let State::Downloaded { offer, raw, format } = &archive.state else { return None };
    let downloaded_at = archive.milestones.downloaded_at.unwrap_or(archive.scheduled_at);
    Some(job(shell, archive, offer, parts, downloaded_at).of(*raw, *format))
}

/// How the package of an archive that is being downloaded will be packed; what it contains is
/// filled in once it has come.
pub(super) fn job_to_come(shell: &Shell, archive: &Archive, parts: u32) -> Option<PackJob> {
    let State::Downloading(offer) = &archive.state else { return None };
    Some(job(shell, archive, offer, parts, shell.clock.now()))
}

/// As much of it as can be known while a package of so many bytes is on its way, should it turn out
/// to be JSON.
pub(super) fn draft(shell: &Shell, archive: &Archive, parts: u32, bytes: u64) -> Option<PackJob> {
    let raw = Content { bytes, sha256: Sha256Digest([0; 32]) };
    Some(job_to_come(shell, archive, parts)?.of(raw, Format::Json))
}

fn job(
    shell: &Shell,
    archive: &Archive,
    offer: &Offer,
    parts: u32,
    downloaded_at: Timestamp,
) -> PackJob {
    let nothing = Content { bytes: 0, sha256: Sha256Digest([0; 32]) };
    let manifest = Manifest {
        schema_version: Manifest::SCHEMA_VERSION,
        app: Manifest::APP.to_owned(),
        archive_id: archive.id,
        snapshot_id: archive.snapshot,
        part: archive.part,
        parts,
        instance: archive.instance.clone(),
        export: archive.export.clone(),
        instance_id: shell.instance_ids.get(&archive.instance).cloned(),
        job_id: offer.job.clone(),
        package_id: offer.package.clone(),
        scheduled_at: archive.scheduled_at,
        ready_at: archive.milestones.ready_at,
        downloaded_at,
        raw_bytes: nothing.bytes,
        raw_sha256: nothing.sha256,
        format: Format::Other,
        entry: Format::Other.entry_name().to_owned(),
    };
    let path = manifest.place();
    let (id, options) = (archive.id, shell.pack);
    PackJob { id, raw: nothing, format: Format::Other, path, manifest, options }
}
