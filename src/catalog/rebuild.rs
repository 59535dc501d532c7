//! Fills a new catalog with what the files of the vault say of themselves.
//!
//! Archives come about here as everywhere, by [`open_archive`] and [`apply`]: what was found is an
//! event, and whatever nobody can know any more stays empty. The numbers are the caller's. Nothing
//! here touches a file.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::Catalog;
use super::archives::{NewArchive, apply, open_archive, refresh_snapshot, write_event};
use super::error::{CatalogError, failed};
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::record::Origin;
use super::sql;
use crate::lifecycle::{Event, Found, SnapshotEvent, SnapshotState};
use crate::model::{ArchiveId, Name, SnapshotId, Timestamp};

/// A run, as far as its files tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltSnapshot {
    /// Its number.
    pub id: SnapshotId,
    /// The instance that was exported.
    pub instance: Name,
    /// The export.
    pub export: Name,
    /// When it fell due.
    pub taken_at: Timestamp,
    /// How many parts it had.
    pub parts: u32,
    /// Those that are there, in order.
    pub archives: Vec<RebuiltArchive>,
}

/// A stored package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltArchive {
    /// Its number.
    pub id: ArchiveId,
    /// Which part of its run it is.
    pub part: u32,
    /// What its file says, read to its end.
    pub found: Found,
}

impl Catalog {
    /// Records snapshots that are not in it yet, with their archives as stored, all or none.
    pub async fn enter_rebuilt(
        &self,
        snapshots: Vec<RebuiltSnapshot>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::EnterRebuilt(snapshots), at).await.map(drop)
    }

    /// From now on larger numbers than these are given.
    pub async fn number_above(
        &self,
        archive: ArchiveId,
        snapshot: SnapshotId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::NumberAbove(archive, snapshot), at).await.map(drop)
    }
}

pub(super) async fn enter(
    db: &mut SqliteConnection,
    snapshots: Vec<RebuiltSnapshot>,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Outcome, CatalogError> {
    let mut newest: BTreeMap<(&Name, &Name), Timestamp> = BTreeMap::new();
    for RebuiltSnapshot { instance, export, taken_at, .. } in &snapshots {
        let last = newest.entry((instance, export)).or_insert(*taken_at);
        *last = (*taken_at).max(*last);
    }
    for ((instance, export), last) in newest {
        sqlx::query(sql::UPSERT_REBUILT_EXPORT)
            .bind(instance.as_str())
            .bind(export.as_str())
            .bind(at.as_millis())
            // A run that is dated in the future must not keep others from coming due.
            .bind(last.min(at).as_millis())
            .execute(&mut *db)
            .await
            .map_err(failed)?;
    }
    for snapshot in snapshots {
        enter_one(db, snapshot, at, journal).await?;
    }
    Ok(Outcome::Done)
}

async fn enter_one(
    db: &mut SqliteConnection,
    snapshot: RebuiltSnapshot,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    let RebuiltSnapshot { id, instance, export, taken_at, parts, archives } = snapshot;
    let origin = Origin::Rebuild.word();
    sqlx::query(sql::INSERT_REBUILT_SNAPSHOT)
        .bind(id.0)
        .bind(instance.as_str())
        .bind(export.as_str())
        .bind(origin)
        .bind(taken_at.as_millis())
        .bind(at.as_millis())
        .bind(i64::from(parts))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let opened = SnapshotEvent::SnapshotOpened { origin: origin.to_owned() };
    let states = (None, Some(SnapshotState::Open));
    write_event(db, Line::of_snapshot(id, &export, &opened, states, at), journal).await?;
    for RebuiltArchive { id: archive, part, found } in archives {
        let new = NewArchive {
            id: Some(archive),
            snapshot: id,
            instance: &instance,
            export: &export,
            part,
            generation: 0,
            replaces: None,
            scope: None,
            scheduled_at: taken_at,
            not_before: at,
        };
        let opened = open_archive(db, &new, at, journal).await?;
        apply(db, &opened, &Event::FileFound(Box::new(found)), at, journal).await?;
    }
    refresh_snapshot(db, id, at, journal).await
}

pub(super) async fn number_above(
    db: &mut SqliteConnection,
    archive: ArchiveId,
    snapshot: SnapshotId,
) -> Result<Outcome, CatalogError> {
    for (table, number) in [("internal_archive", archive.0), ("internal_snapshot", snapshot.0)] {
        for statement in [sql::RAISE_SEQUENCE, sql::BEGIN_SEQUENCE] {
            let query = sqlx::query(statement).bind(table).bind(number);
            query.execute(&mut *db).await.map_err(failed)?;
        }
    }
    Ok(Outcome::Done)
}
