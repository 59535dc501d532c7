//! Runs: how one is opened, and what becomes of the reading of its scope. A run that is opened has
//! no parts yet; they come all at once, with their archives, or never.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Catalog;
use super::archives::{NewArchive, open_archive, refresh_snapshot, write_event};
use super::error::{CatalogError, failed};
use super::exports::{record_failure, set_due};
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::read::{get, name};
use super::record::{NewSnapshot, Opened, Origin, Planning, Uncovered, UnplannedSnapshot};
use super::sql;
use crate::lifecycle::{Archive, FailureClass, SnapshotEvent, SnapshotState};
use crate::model::{Name, Scope, SnapshotId, Timestamp};

impl Catalog {
    /// Opens a run, whose scope is yet to be read. Runs of one export come one after the other: it
    /// waits for one that is under way, and if another waits already, that one does for both.
    pub async fn open_snapshot(
        &self,
        new: NewSnapshot,
        at: Timestamp,
    ) -> Result<Opened, CatalogError> {
        match self.write(Operation::OpenSnapshot(new), at).await? {
            Outcome::Opened(opened) => Ok(opened),
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

/// The newest run of an export that is under way, and one that waits for it.
async fn open_runs(
    db: &mut SqliteConnection,
    instance: &Name,
    export: &Name,
) -> Result<(Option<SnapshotId>, Option<SnapshotId>), CatalogError> {
    let rows = sqlx::query(sql::SELECT_OPEN_RUNS)
        .bind(instance.as_str())
        .bind(export.as_str())
        .fetch_all(&mut *db)
        .await
        .map_err(failed)?;
    let (mut under_way, mut waiting) = (None, None);
    for row in &rows {
        let id = SnapshotId(row.try_get("id").map_err(failed)?);
        let is_planned: bool = row.try_get("is_planned").map_err(failed)?;
        if under_way.is_none() || is_planned {
            under_way = Some(id);
        } else {
            waiting = Some(id);
        }
    }
    Ok((under_way, waiting))
}

pub(super) async fn open(
    db: &mut SqliteConnection,
    new: &NewSnapshot,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Opened, CatalogError> {
    let NewSnapshot { instance, export, origin, taken_at, .. } = new;
    let (behind, waiting) = match origin {
        Origin::Watch | Origin::Rebuild => (None, None),
        Origin::Schedule | Origin::Command => open_runs(db, instance, export).await?,
    };
    if *origin == Origin::Schedule {
        set_due(db, instance, export, *taken_at, new.next_due).await?;
    }
    let tell = |id, event: &SnapshotEvent, from| {
        Line::of_snapshot(id, export, event, (from, Some(SnapshotState::Open)), at)
    };
    let collapsed = |runs| SnapshotEvent::RunCollapsed {
        runs,
        origin: origin.word().to_owned(),
        newest: *taken_at,
    };
    let open = Some(SnapshotState::Open);
    if let Some(id) = waiting {
        write_event(db, tell(id, &collapsed(new.missed + 1), open), journal).await?;
        return Ok(Opened { id, behind, joined: true });
    }
    let id = sqlx::query(sql::INSERT_SNAPSHOT)
        .bind(instance.as_str())
        .bind(export.as_str())
        .bind(origin.word())
        .bind(taken_at.as_millis())
        .bind(at.as_millis())
        .execute(&mut *db)
        .await
        .map_err(failed)?
        .last_insert_rowid();
    let id = SnapshotId(id);
    let opened = SnapshotEvent::SnapshotOpened { origin: origin.word().to_owned() };
    write_event(db, tell(id, &opened, None), journal).await?;
    if new.missed > 0 {
        write_event(db, tell(id, &collapsed(new.missed), open), journal).await?;
    }
    if let Some(behind) = behind {
        let event = SnapshotEvent::RunQueued { behind };
        write_event(db, tell(id, &event, open), journal).await?;
    }
    Ok(Opened { id, behind, joined: false })
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
        Planning::Parts(scopes, _) => sqlx::query(sql::UPDATE_SNAPSHOT_PARTS)
            .bind(snapshot.0)
            .bind(i64::try_from(scopes.len()).unwrap_or(i64::MAX))
            .bind(number(scopes.iter().map(Scope::len).sum::<usize>() as u64)),
        Planning::Postponed(failure, not_before) => sqlx::query(sql::UPDATE_SNAPSHOT_POSTPONED)
            .bind(snapshot.0)
            .bind(not_before.as_millis())
            .bind(failure.message.clone())
            .bind(i64::from(failure.class != FailureClass::Paused)),
        Planning::Failed(message) => {
            sqlx::query(sql::UPDATE_SNAPSHOT_UNPLANNABLE).bind(snapshot.0).bind(message.clone())
        }
    };
    if query.execute(&mut *db).await.map_err(failed)?.rows_affected() != 1 {
        return Err(CatalogError::AlreadyPlanned(snapshot));
    }
    let (mut archives, mut uncovered) = (Vec::new(), None);
    let event = match planning {
        Planning::Parts(scopes, missing) => {
            uncovered = missing;
            archives = open_parts(db, &found, &scopes, at, journal).await?;
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
    if let Some(uncovered) = uncovered {
        // What is asked for is more than what is there.
        sqlx::query(sql::ADD_TO_SNAPSHOT_ASSETS)
            .bind(snapshot.0)
            .bind(number(uncovered.count()))
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        note_uncovered(db, snapshot, &found.export, uncovered, at, journal).await?;
    }
    refresh_snapshot(db, snapshot, at, journal).await?;
    Ok(archives)
}

/// Makes an archive of each part.
async fn open_parts(
    db: &mut SqliteConnection,
    run: &UnplannedSnapshot,
    scopes: &[Scope],
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Vec<Archive>, CatalogError> {
    let mut archives = Vec::with_capacity(scopes.len());
    for (part, scope) in (1..).zip(scopes) {
        let new = NewArchive {
            id: None,
            snapshot: run.id,
            instance: &run.instance,
            export: &run.export,
            part,
            generation: 0,
            replaces: None,
            scope: Some(scope),
            scheduled_at: run.taken_at,
            not_before: at,
        };
        archives.push(open_archive(db, &new, at, journal).await?);
    }
    Ok(archives)
}

/// Writes down what of a snapshot's scope is not there, if anything is.
pub(super) async fn note_uncovered(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    export: &Name,
    uncovered: Uncovered,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    if uncovered.count() == 0 {
        return Ok(());
    }
    sqlx::query(sql::ADD_TO_SNAPSHOT_MISSING)
        .bind(snapshot.0)
        .bind(number(uncovered.count()))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let Uncovered { apps, tasks, unseen, message } = uncovered;
    let event = SnapshotEvent::CoverageReduced { apps, tasks, unseen, message };
    let states = (Some(SnapshotState::Open), None);
    write_event(db, Line::of_snapshot(snapshot, export, &event, states, at), journal).await
}

/// A part of which nothing is there any more is no part of its snapshot.
pub(super) async fn do_without(
    db: &mut SqliteConnection,
    archive: &Archive,
    message: String,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    let Archive { snapshot, export, .. } = archive;
    let (apps, tasks) = archive.scope.clone().map(|s| (s.apps, s.tasks)).unwrap_or_default();
    let uncovered = Uncovered { apps, tasks, unseen: 0, message: message.clone() };
    note_uncovered(db, *snapshot, export, uncovered, at, journal).await?;
    sqlx::query(sql::TAKE_FROM_SNAPSHOT_PARTS)
        .bind(snapshot.0)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let event = SnapshotEvent::ScopeVanished { part: archive.part, message };
    let states = (Some(SnapshotState::Open), None);
    write_event(db, Line::of_snapshot(*snapshot, export, &event, states, at), journal).await
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
