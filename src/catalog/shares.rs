//! Files that several archives share: as whose each counts, and what else has the same content.
//!
//! A shared file counts as that of the archive that stored it or, once that one has it no longer,
//! of the first of the others that has it: so the view `archives` says in `same_as`, and nothing is
//! to be rewritten when an archive goes, however many share with it. What follows from such a
//! change, an event of the heir and the sizes of two snapshots, is written in the transaction that
//! makes it. Nothing here touches a file: each archive has its own name of it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::archives::{apply, read_archive};
use super::error::{CatalogError, failed};
use super::journal::Line;
use super::record::Change;
use super::{Catalog, row, sql};
use crate::lifecycle::{Archive, Event};
use crate::model::{ArchiveId, Name, Sha256Digest, SnapshotId, Timestamp};

impl Catalog {
    /// The newest stored archive of this part whose package contains the same.
    pub async fn alike(
        &self,
        part: (&Name, &Name, u32),
        content_sha256: Sha256Digest,
    ) -> Result<Option<Archive>, CatalogError> {
        let (instance, export, part) = part;
        let row = sqlx::query(sql::SELECT_ALIKE)
            .bind(content_sha256.0.to_vec())
            .bind(instance.as_str())
            .bind(export.as_str())
            .bind(i64::from(part))
            .fetch_optional(&mut *self.reader.lock().await)
            .await
            .map_err(CatalogError::Read)?;
        row.as_ref().map(row::archive).transpose()
    }

    /// The other archives, stored or in the trash, that have the file of this one.
    pub async fn sharing(&self, archive: &Archive) -> Result<Vec<Archive>, CatalogError> {
        let Some(original) = archive.original() else { return Ok(Vec::new()) };
        let rows = sqlx::query(sql::SELECT_SHARING)
            .bind(original.0)
            .fetch_all(&mut *self.reader.lock().await)
            .await
            .map_err(CatalogError::Read)?;
        let all = rows.iter().map(row::archive).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter(|other| other.id != archive.id).collect())
    }
}

/// As whose files count that several archives share, before some of these change.
pub(super) struct Shares {
    /// By the archive that stored the file.
    holders: BTreeMap<ArchiveId, Option<ArchiveId>>,
}

impl Shares {
    pub(super) async fn before(
        db: &mut SqliteConnection,
        changes: &[Change],
    ) -> Result<Self, CatalogError> {
        let mut holders = BTreeMap::new();
        for change in changes.iter().filter(|change| moves_file(change)) {
            if let Some(original) = change.archive.original() {
                holders.insert(original, holder(db, original).await?);
            }
        }
        Ok(Self { holders })
    }

    /// Records who has inherited a file; `archives` are those that have changed, and `snapshots`
    /// becomes all whose sizes may have.
    pub(super) async fn hand_on(
        self,
        db: &mut SqliteConnection,
        at: Timestamp,
        journal: &mut Vec<Line>,
        archives: &mut [Archive],
        snapshots: &mut BTreeSet<SnapshotId>,
    ) -> Result<(), CatalogError> {
        for (original, before) in self.holders {
            let (Some(from), Some(heir)) = (before, holder(db, original).await?) else { continue };
            if from == heir {
                continue;
            }
            snapshots.insert(read_archive(db, from).await?.snapshot);
            let seen = read_archive(db, heir).await?;
            let changed = apply(db, &seen, &Event::FileInherited { from }, at, journal).await?;
            snapshots.insert(changed.snapshot);
            if let Some(known) = archives.iter_mut().find(|archive| archive.id == heir) {
                *known = changed;
            }
        }
        Ok(())
    }
}

/// Whether an archive has its file afterwards and had it not before, or the other way round; but
/// for the first time, when it takes it from nobody.
fn moves_file(change: &Change) -> bool {
    let seen = &change.archive.state;
    match &change.event {
        Event::FileDamaged { .. } | Event::DeletionStarted => seen.word().has_file(),
        Event::FileVerified => !seen.word().has_file(),
        _ => false,
    }
}

async fn holder(
    db: &mut SqliteConnection,
    original: ArchiveId,
) -> Result<Option<ArchiveId>, CatalogError> {
    let id: Option<i64> = sqlx::query_scalar(sql::SELECT_HOLDER)
        .bind(original.0)
        .fetch_one(&mut *db)
        .await
        .map_err(failed)?;
    Ok(id.map(ArchiveId))
}
