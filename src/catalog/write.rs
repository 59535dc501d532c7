//! What each operation of the writer does inside its transaction.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::archives::{
    NewArchive, apply, apply_change, open_archive, refresh_snapshot, write_event,
};
use super::error::{CatalogError, failed};
use super::exports::{configure_export, note_verdict};
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::pins;
use super::rebuild;
use super::record::{Adopted, Adoption, Change, NewSnapshot, Origin};
use super::row;
use super::runs;
use super::shares::Shares;
use super::sql;
use crate::lifecycle::{Archive, Event, StateWord, may_change_summary};
use crate::model::{Name, Timestamp};

pub(super) async fn perform(
    db: &mut SqliteConnection,
    operation: Operation,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Outcome, CatalogError> {
    match operation {
        Operation::Commit(changes) => commit(db, changes, at, journal).await.map(Outcome::Archives),
        Operation::OpenSnapshot(new) => {
            runs::open(db, &new, at, journal).await.map(Outcome::Opened)
        }
        Operation::Plan(snapshot, planning) => {
            runs::plan(db, snapshot, planning, at, journal).await.map(Outcome::Archives)
        }
        Operation::Adopt(adoption) => {
            let adopted = adopt(db, adoption, at, journal).await?;
            Ok(Outcome::Adopted(Box::new(adopted)))
        }
        Operation::ConfigureExports(exports) => {
            sqlx::query(sql::UNCONFIGURE_EXPORTS).execute(&mut *db).await.map_err(failed)?;
            for export in exports {
                configure_export(db, &export, at).await?;
            }
            Ok(Outcome::Done)
        }
        Operation::NoteVerdicts(notes) => {
            for note in notes {
                note_verdict(db, &note).await?;
            }
            Ok(Outcome::Done)
        }
        Operation::Notify(notices) => {
            for notice in notices {
                write_event(db, Line::of_daemon(&notice, at), journal).await?;
            }
            Ok(Outcome::Done)
        }
        Operation::NoteSnapshot(snapshot, event) => {
            pins::note(db, snapshot, &event, at, journal).await?;
            Ok(Outcome::Done)
        }
        Operation::Pin(pin) => pins::pin(db, &pin, at, journal).await.map(Outcome::Pin),
        Operation::Unpin(unpin) => {
            pins::unpin(db, &unpin, at, journal).await.map(|pin| Outcome::Pin(Some(pin)))
        }
        Operation::Undelete(pin) => {
            let (archives, pin) = pins::undelete(db, pin, at, journal).await?;
            Ok(Outcome::Undeleted(archives, pin))
        }
        Operation::Stamp { key, value, replace } => {
            let statement = if replace { sql::UPSERT_META } else { sql::INSERT_META };
            let query = sqlx::query(statement).bind(key).bind(value);
            query.execute(&mut *db).await.map_err(failed).map(|_| Outcome::Done)
        }
        Operation::EnterRebuilt(snapshots) => rebuild::enter(db, snapshots, at, journal).await,
        Operation::NumberAbove(archive, snapshot) => {
            rebuild::number_above(db, archive, snapshot).await
        }
        Operation::DataVersion => data_version(db).await.map(Outcome::DataVersion),
    }
}

async fn commit(
    db: &mut SqliteConnection,
    changes: Vec<Change>,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Vec<Archive>, CatalogError> {
    let mut archives = Vec::with_capacity(changes.len());
    let mut snapshots = BTreeSet::new();
    let shares = Shares::before(db, &changes).await?;
    for change in changes {
        let (from, snapshot) = (change.archive.state.word(), change.archive.snapshot);
        let to = apply_change(db, change, at, journal, &mut archives).await?;
        if may_change_summary(from, to) {
            snapshots.insert(snapshot);
        }
    }
    shares.hand_on(db, at, journal, &mut archives, &mut snapshots).await?;
    // Only once all is done: what a snapshot is in between happened to nobody.
    for snapshot in snapshots {
        refresh_snapshot(db, snapshot, at, journal).await?;
    }
    Ok(archives)
}

pub(super) async fn data_version(db: &mut SqliteConnection) -> Result<i64, CatalogError> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(db).await.map_err(CatalogError::Read)
}

async fn adopt(
    db: &mut SqliteConnection,
    adoption: Adoption,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Adopted, CatalogError> {
    let known = sqlx::query(sql::SELECT_BY_JOB)
        .bind(adoption.instance.as_str())
        .bind(adoption.job.as_str())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    let known = known.as_ref().map(row::archive).transpose()?;
    let lost = match known {
        Some(archive) if adoption.again && archive.state.word() == StateWord::Lost => {
            // Its scope may have been exported again already: then it has an heir.
            let replaced: bool = sqlx::query_scalar(sql::SELECT_IS_REPLACED)
                .bind(archive.id.0)
                .fetch_one(&mut *db)
                .await
                .map_err(failed)?;
            (!replaced).then_some(archive.id)
        }
        Some(archive) => return Ok(Adopted::Known(archive)),
        None => None,
    };
    let new = NewSnapshot {
        instance: adoption.instance,
        export: Name::watched(),
        origin: Origin::Watch,
        taken_at: at,
        next_due: None,
        missed: 0,
    };
    let snapshot = runs::open(db, &new, at, journal).await?.id;
    sqlx::query(sql::UPDATE_SNAPSHOT_PARTS)
        .bind(snapshot.0)
        .bind(1_i64)
        .bind(None::<i64>)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let new = NewArchive {
        id: None,
        snapshot,
        instance: &new.instance,
        export: &new.export,
        part: 1,
        generation: 0,
        replaces: lost,
        scope: None,
        scheduled_at: at,
        not_before: at,
    };
    let archive = open_archive(db, &new, at, journal).await?;
    let event = Event::JobAdopted { job: adoption.job };
    apply(db, &archive, &event, at, journal).await.map(Adopted::New)
}
