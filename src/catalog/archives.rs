//! The two ways an archive comes about: [`open_archive`] makes one, [`apply`] changes its state.
//! There is no third. Both write their event, and both are followed by [`refresh_snapshot`].

use sqlx::{Row, SqliteConnection};

use super::error::{CatalogError, failed};
use super::exports::{note_verdict, record_failure};
use super::journal::Line;
use super::pins::{refuse_if_held, refuse_if_newest};
use super::record::{Change, Sequel, Uncovered, VerdictNote};
use super::row::{self, StateColumns};
use super::{runs, sql};
use crate::lifecycle::{
    Archive, Event, Part, SnapshotState, State, StateWord, replacement_pause, summarize,
};
use crate::model::{ArchiveId, Name, Scope, SnapshotId, Timestamp};

/// Applies a change and what follows from it for the archive's scope; the answer is where the
/// archive stands now. It becomes the first of `archives`.
pub(super) async fn apply_change(
    db: &mut SqliteConnection,
    change: Change,
    at: Timestamp,
    journal: &mut Vec<Line>,
    archives: &mut Vec<Archive>,
) -> Result<StateWord, CatalogError> {
    let changed = apply(db, &change.archive, &change.event, at, journal).await?;
    let (generation, scope) = match change.sequel {
        Sequel::None => (None, changed.scope.clone()),
        Sequel::Again(generation) => (Some(generation), changed.scope.clone()),
        Sequel::Instead(scope, message) => {
            let (apps, tasks) =
                changed.scope.as_ref().map(|s| s.without(&scope)).unwrap_or_default();
            let uncovered = Uncovered { apps, tasks, unseen: 0, message };
            runs::note_uncovered(db, changed.snapshot, &changed.export, uncovered, at, journal)
                .await?;
            (Some(changed.generation), Some(scope))
        }
        Sequel::Vanished(message) => {
            runs::do_without(db, &changed, message, at, journal).await?;
            (None, None)
        }
    };
    if let Some(generation) = generation {
        let replacement = NewArchive {
            id: None,
            snapshot: changed.snapshot,
            instance: &changed.instance,
            export: &changed.export,
            part: changed.part,
            generation,
            replaces: Some(changed.id),
            scope: scope.as_ref(),
            scheduled_at: changed.scheduled_at,
            not_before: at.plus(replacement_pause(generation)),
        };
        archives.push(open_archive(db, &replacement, at, journal).await?);
    }
    let word = changed.state.word();
    archives.insert(0, changed);
    Ok(word)
}

/// Changes an archive's state: the only place where that happens.
pub(super) async fn apply(
    db: &mut SqliteConnection,
    seen: &Archive,
    event: &Event,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Archive, CatalogError> {
    let id = seen.id;
    if matches!(event, Event::DeletionDecided { .. } | Event::DeletionStarted) {
        // Whoever decided may have read before the pin was there.
        refuse_if_held(db, seen.snapshot, at).await?;
        // Nor whether what is newer still is good.
        if by_policy(&seen.state, event) {
            refuse_if_newest(db, seen.snapshot, at).await?;
        }
    }
    let next = seen.apply(event, at).map_err(|source| CatalogError::Illegal { id, source })?;
    let line = Line::of_archive(&next, Some(seen.state.word()), event, at);
    let fails = line.is_failure();
    update_archive(db, seen.revision, &next, line, journal).await?;
    if fails {
        record_failure(db, &next.instance, &next.export, at, next.last_error.as_deref()).await?;
    }
    if let Event::DeletionDecided { purge_at, .. } = event {
        let (id, expected_delete_at) = (next.snapshot, Some(*purge_at));
        note_verdict(db, &VerdictNote { id, kept_because: None, expected_delete_at }).await?;
    }
    Ok(next)
}

/// Whether a policy decides, or has decided, that this file goes.
fn by_policy(state: &State, event: &Event) -> bool {
    match (event, state) {
        (Event::DeletionDecided { deletion, .. }, _)
        | (Event::DeletionStarted, State::Trashed(_, deletion)) => deletion.policy.is_some(),
        _ => false,
    }
}

/// Writes an archive as it is now, and the line that says why.
async fn update_archive(
    db: &mut SqliteConnection,
    seen_revision: i64,
    next: &Archive,
    line: Line,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    let columns = StateColumns::of(next);
    let milestones = next.milestones;
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let stored = columns.file.as_ref().map(|file| file.content);
    let (reason, policy) = columns.deletion.map_or((None, None), |d| (Some(d.reason), d.policy));
    let query = sqlx::query(sql::UPDATE_ARCHIVE)
        .bind(next.id.0)
        .bind(seen_revision)
        .bind(next.revision)
        .bind(i64::from(next.attempts))
        .bind(i64::from(next.downloads))
        .bind(columns.at_rest)
        .bind(next.not_before.as_millis())
        .bind(columns.state)
        .bind(columns.cause)
        .bind(columns.job_id)
        .bind(columns.package_id)
        .bind(columns.raw.map(|raw| bytes(raw.bytes)))
        .bind(columns.raw.map(|raw| raw.sha256.0.to_vec()))
        .bind(stored.map(|stored| bytes(stored.bytes)))
        .bind(stored.map(|stored| stored.sha256.0.to_vec()))
        .bind(columns.format)
        .bind(columns.file.as_ref().map(|file| file.method.word()))
        .bind(columns.file.as_ref().map(|file| file.path.clone()))
        .bind(reason)
        .bind(policy)
        .bind(millis(milestones.accepted_at))
        .bind(millis(milestones.ready_at))
        .bind(millis(milestones.downloaded_at))
        .bind(millis(milestones.stored_at))
        .bind(millis(milestones.verified_at))
        .bind(millis(milestones.deleted_at))
        .bind(next.last_error.clone())
        .bind(i64::from(next.unknown_polls))
        .bind(columns.file.as_ref().and_then(|file| file.inode).map(u64::cast_signed))
        .bind(millis(next.busy_since))
        .bind(columns.content_sha256.map(|digest| digest.0.to_vec()))
        .bind(columns.original.map(|id| id.0))
        .bind(millis(milestones.acknowledged_at));
    match with_line(query, &line).execute(&mut *db).await {
        // One row of the archive, one of the event.
        Ok(result) if result.rows_affected() == 2 => {
            journal.push(line);
            Ok(())
        }
        Ok(_) => Err(CatalogError::Stale(next.id)),
        Err(error) => Err(match failed(error) {
            CatalogError::Constraint(error) => refused(db, next, error).await?,
            error => error,
        }),
    }
}

/// Says of a change that the schema refuses what is wrong with it. Where a package is claimed by
/// another archive, that is the only thing that a well-behaved program can come to.
async fn refused(
    db: &mut SqliteConnection,
    next: &Archive,
    error: sqlx::Error,
) -> Result<CatalogError, CatalogError> {
    let State::Ready(offer) = &next.state else { return Ok(CatalogError::Constraint(error)) };
    let claimant: Option<i64> = sqlx::query_scalar(sql::SELECT_CLAIMANT)
        .bind(next.instance.as_str())
        .bind(offer.package.as_str())
        .bind(next.id.0)
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    Ok(claimant.map_or(CatalogError::Constraint(error), |by| CatalogError::PackageClaimed {
        by: ArchiveId(by),
    }))
}

/// A statement of a database, with what stands for its question marks.
type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds the columns of `internal_event`, in the order of [`sql::INSERT_EVENT`].
fn with_line<'q>(query: Statement<'q>, line: &Line) -> Statement<'q> {
    query
        .bind(line.at.as_millis())
        .bind(line.archive.map(|id| id.0))
        .bind(line.snapshot.map(|id| id.0))
        .bind(line.event.clone())
        .bind(line.from_state)
        .bind(line.to_state)
        .bind(line.detail.to_string())
}

pub(super) struct NewArchive<'a> {
    /// The next free number, unless it has one already.
    pub(super) id: Option<ArchiveId>,
    pub(super) snapshot: SnapshotId,
    pub(super) instance: &'a Name,
    pub(super) export: &'a Name,
    pub(super) part: u32,
    pub(super) generation: u32,
    pub(super) replaces: Option<ArchiveId>,
    pub(super) scope: Option<&'a Scope>,
    pub(super) scheduled_at: Timestamp,
    pub(super) not_before: Timestamp,
}

/// Makes an archive, scheduled: the only place where that happens.
pub(super) async fn open_archive(
    db: &mut SqliteConnection,
    new: &NewArchive<'_>,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Archive, CatalogError> {
    let scope = new.scope.and_then(|scope| serde_json::to_string(scope).ok());
    let id = sqlx::query(sql::INSERT_ARCHIVE)
        .bind(new.snapshot.0)
        .bind(new.instance.as_str())
        .bind(new.export.as_str())
        .bind(i64::from(new.part))
        .bind(i64::from(new.generation))
        .bind(new.replaces.map(|id| id.0))
        .bind(scope)
        .bind(new.scheduled_at.as_millis())
        .bind(new.not_before.as_millis())
        .bind(new.id.map(|id| id.0))
        .execute(&mut *db)
        .await
        .map_err(failed)?
        .last_insert_rowid();
    let archive = read_archive(db, ArchiveId(id)).await?;
    let detail = serde_json::json!({
        "part": new.part,
        "generation": new.generation,
        "replaces": new.replaces,
        "apps": new.scope.map(|scope| scope.apps.len()),
        "tasks": new.scope.map(|scope| scope.tasks.len()),
    });
    write_event(db, Line::opened(&archive, detail, at), journal).await?;
    Ok(archive)
}

pub(super) async fn read_archive(
    db: &mut SqliteConnection,
    id: ArchiveId,
) -> Result<Archive, CatalogError> {
    let row =
        sqlx::query(sql::SELECT_ARCHIVE).bind(id.0).fetch_one(&mut *db).await.map_err(failed)?;
    row::archive(&row)
}

/// Writes what follows from a snapshot's parts, when it changed.
pub(super) async fn refresh_snapshot(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    let row = sqlx::query(sql::SELECT_SNAPSHOT)
        .bind(snapshot.0)
        .fetch_one(&mut *db)
        .await
        .map_err(failed)?;
    let before: SnapshotState = parse(&row.try_get::<String, _>("state").map_err(failed)?)?;
    let parts: Option<i64> = row.try_get("parts").map_err(failed)?;
    let rows = sqlx::query(sql::SELECT_PARTS)
        .bind(snapshot.0)
        .fetch_all(&mut *db)
        .await
        .map_err(failed)?;
    let archives = rows.iter().map(part).collect::<Result<Vec<Part>, CatalogError>>()?;
    let parts = parts.map(|parts| u32::try_from(parts).unwrap_or(u32::MAX));
    let summary = summarize(parts, &archives);
    sqlx::query(sql::UPDATE_SNAPSHOT_SUMMARY)
        .bind(snapshot.0)
        .bind(summary.state.as_str())
        .bind(i64::from(summary.parts_stored))
        .bind(i64::try_from(summary.raw_bytes).unwrap_or(i64::MAX))
        .bind(i64::try_from(summary.stored_bytes).unwrap_or(i64::MAX))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    if summary.state != before {
        let export: String = row.try_get("export").map_err(failed)?;
        let line = Line::snapshot_changed(snapshot, &export, (before, summary.state), at);
        write_event(db, line, journal).await?;
    }
    Ok(())
}

fn parse<T>(word: &str) -> Result<T, CatalogError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    word.parse().map_err(|error| CatalogError::BadRow {
        what: format!("`{word}`"),
        why: format!("{error}"),
    })
}

fn part(row: &sqlx::sqlite::SqliteRow) -> Result<Part, CatalogError> {
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(failed);
    Ok(Part {
        part: u32::try_from(number("part")?).unwrap_or(u32::MAX),
        state: parse::<StateWord>(&row.try_get::<String, _>("state").map_err(failed)?)?,
        raw_bytes: u64::try_from(number("raw_bytes")?).unwrap_or(0),
        stored_bytes: u64::try_from(number("stored_bytes")?).unwrap_or(0),
    })
}

pub(super) async fn write_event(
    db: &mut SqliteConnection,
    line: Line,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    let query = with_line(sqlx::query(sql::INSERT_EVENT), &line);
    query.execute(&mut *db).await.map_err(failed)?;
    journal.push(line);
    Ok(())
}
