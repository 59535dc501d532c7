//! Runs: how one is opened, and what becomes of the reading of its scope. A run that is opened has
//! no parts yet; they come all at once, with their archives, or never.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Catalog;
use super::archives::{NewArchive, open_archive, refresh_snapshot, write_event};
use super::error::{CatalogError, failed};
use super::exports::{record_failure, set_due};
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::read::{get, name};
use super::record::{NewSnapshot, Origin, Planning, UnplannedSnapshot};
use super::sql;
use crate::lifecycle::{Archive, SnapshotEvent, SnapshotState};
use crate::model::{Name, Scope, SnapshotId, Timestamp};

impl Catalog {
    /// Opens a run, whose scope is yet to be read.
    pub async fn open_snapshot(
        &self,
        new: NewSnapshot,
        at: Timestamp,
    ) -> Result<SnapshotId, CatalogError> {
        match self.write(Operation::OpenSnapshot(new), at).await? {
            Outcome::Snapshot(id) => Ok(id),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Records what became of a snapshot's planning; the answer holds the archives it opened.
    pub async fn plan(
        &self,
        snapshot: SnapshotId,
        planning: Planning,
        at: Timestamp,
    ) -> Result<Vec<Archive>, CatalogError> {
        match self.write(Operation::Plan(snapshot, planning), at).await? {
            Outcome::Archives(archives) => Ok(archives),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Snapshots whose scope is yet to be read.
    pub async fn to_plan(&self) -> Result<Vec<UnplannedSnapshot>, CatalogError> {
        to_plan(&mut *self.reader.lock().await).await
    }

    /// The parts of the export's newest run that was divided into jobs, in their order.
    pub async fn last_parts(
        &self,
        instance: &Name,
        export: &Name,
    ) -> Result<Vec<Scope>, CatalogError> {
        last_parts(&mut *self.reader.lock().await, instance, export).await
    }
}

pub(super) async fn open(
    db: &mut SqliteConnection,
    new: &NewSnapshot,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<SnapshotId, CatalogError> {
    let id = sqlx::query(sql::INSERT_SNAPSHOT)
        .bind(new.instance.as_str())
        .bind(new.export.as_str())
        .bind(new.origin.word())
        .bind(new.taken_at.as_millis())
        .bind(at.as_millis())
        .execute(&mut *db)
        .await
        .map_err(failed)?
        .last_insert_rowid();
    let id = SnapshotId(id);
    if new.origin == Origin::Schedule {
        set_due(db, &new.instance, &new.export, new.taken_at, new.next_due).await?;
    }
    let event = SnapshotEvent::SnapshotOpened { origin: new.origin.word().to_owned() };
    let state = Some(SnapshotState::Open);
    write_event(db, Line::of_snapshot(id, &new.export, &event, (None, state), at), journal).await?;
    Ok(id)
}

pub(super) async fn plan(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    planning: Planning,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Vec<Archive>, CatalogError> {
    let row = sqlx::query(sql::SELECT_SNAPSHOT)
        .bind(snapshot.0)
        .fetch_one(&mut *db)
        .await
        .map_err(failed)?;
    let found = unplanned(&row)?;
    let query = match &planning {
        Planning::Parts(scopes) => sqlx::query(sql::UPDATE_SNAPSHOT_PARTS)
            .bind(snapshot.0)
            .bind(i64::try_from(scopes.len()).unwrap_or(i64::MAX)),
        Planning::Postponed(failure, not_before) => sqlx::query(sql::UPDATE_SNAPSHOT_POSTPONED)
            .bind(snapshot.0)
            .bind(not_before.as_millis())
            .bind(failure.message.clone()),
        Planning::Failed(message) => {
            sqlx::query(sql::UPDATE_SNAPSHOT_UNPLANNABLE).bind(snapshot.0).bind(message.clone())
        }
    };
    if query.execute(&mut *db).await.map_err(failed)?.rows_affected() != 1 {
        return Err(CatalogError::AlreadyPlanned(snapshot));
    }
    let mut archives = Vec::new();
    let event = match planning {
        Planning::Parts(scopes) => {
            for (part, scope) in (1..).zip(&scopes) {
                let new = NewArchive {
                    snapshot,
                    instance: &found.instance,
                    export: &found.export,
                    part,
                    generation: 0,
                    replaces: None,
                    scope: Some(scope),
                    scheduled_at: found.taken_at,
                    not_before: at,
                };
                archives.push(open_archive(db, &new, at, journal).await?);
            }
            SnapshotEvent::PartsPlanned {
                parts: u32::try_from(scopes.len()).unwrap_or(u32::MAX),
                apps: scopes.iter().map(|scope| scope.apps.len()).sum(),
                tasks: scopes.iter().map(|scope| scope.tasks.len()).sum(),
            }
        }
        Planning::Postponed(failure, not_before) => {
            let message = Some(failure.message.as_str());
            record_failure(db, &found.instance, &found.export, at, message).await?;
            SnapshotEvent::PlanningPostponed { failure, not_before }
        }
        Planning::Failed(message) => {
            record_failure(db, &found.instance, &found.export, at, Some(&message)).await?;
            SnapshotEvent::PlanningFailed { message }
        }
    };
    let states = (Some(SnapshotState::Open), None);
    write_event(db, Line::of_snapshot(snapshot, &found.export, &event, states, at), journal)
        .await?;
    refresh_snapshot(db, snapshot, at, journal).await?;
    Ok(archives)
}

fn unplanned(row: &SqliteRow) -> Result<UnplannedSnapshot, CatalogError> {
    Ok(UnplannedSnapshot {
        id: SnapshotId(get(row, "id")?),
        instance: name(row, "instance")?,
        export: name(row, "export")?,
        taken_at: Timestamp::from_millis(get(row, "taken_at_ms")?),
        attempts: u32::try_from(get::<i64>(row, "attempts")?).unwrap_or(u32::MAX),
        not_before: Timestamp::from_millis(get(row, "not_before_ms")?),
    })
}

async fn to_plan(db: &mut SqliteConnection) -> Result<Vec<UnplannedSnapshot>, CatalogError> {
    let rows =
        sqlx::query(sql::SELECT_UNPLANNED).fetch_all(db).await.map_err(CatalogError::Read)?;
    rows.iter().map(unplanned).collect()
}

/// The parts of the export's newest run that has any.
async fn last_parts(
    db: &mut SqliteConnection,
    instance: &Name,
    export: &Name,
) -> Result<Vec<Scope>, CatalogError> {
    let query = sqlx::query(sql::SELECT_LAST_PARTS).bind(instance.as_str()).bind(export.as_str());
    let rows = query.fetch_all(db).await.map_err(CatalogError::Read)?;
    rows.iter()
        .map(|row| {
            let text: String = get(row, "scope")?;
            serde_json::from_str(&text).map_err(|error| CatalogError::BadRow {
                what: format!("scope of {export}"),
                why: error.to_string(),
            })
        })
        .collect()
}
