//! Pins, and the way back from the trash.
//!
//! A pin that holds stands between a snapshot and its deletion: [`refuse_if_held`] is asked in the
//! transaction that would decide a deletion or begin it, so that no pin comes too late by a moment.
//! So is [`refuse_if_newest`]: what made a snapshot dispensable may be damaged since the policy
//! was asked. Nothing here touches a file.

use sqlx::{Row, SqliteConnection};

use super::Catalog;
use super::archives::{apply, refresh_snapshot, write_event};
use super::error::{CatalogError, failed};
use super::exports::note_verdict;
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::record::VerdictNote;
use super::refusal::Refusal;
use super::{read, sql};
use crate::lifecycle::{Archive, Deletion, Event, SnapshotEvent, SnapshotState, State};
use crate::model::{FUTURE_TOLERANCE, Name, SnapshotId, Timestamp};

/// A named hold on a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What it holds.
    pub snapshot: SnapshotId,
    /// Unique for the snapshot.
    pub name: Name,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// It holds until then; `None`: until it is taken away.
    pub until: Option<Timestamp>,
}

/// A pin to be taken away.
#[derive(Clone, Debug)]
pub struct Unpin {
    /// What it holds.
    pub snapshot: SnapshotId,
    /// Its name.
    pub name: Name,
    /// Who asks for it.
    pub by: String,
}

impl Catalog {
    /// Pins a snapshot. The answer is the pin of the same name that there was, and is no more.
    pub async fn pin(&self, pin: Pin, at: Timestamp) -> Result<Option<Pin>, CatalogError> {
        match self.write(Operation::Pin(pin), at).await? {
            Outcome::Pin(before) => Ok(before),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Takes a pin away; the answer is what it was.
    pub async fn unpin(&self, unpin: Unpin, at: Timestamp) -> Result<Pin, CatalogError> {
        match self.write(Operation::Unpin(unpin), at).await? {
            Outcome::Pin(Some(pin)) => Ok(pin),
            _ => Err(CatalogError::WriterGone),
        }
    }

    /// Records what was done with a snapshot, which stays as it is.
    pub async fn note_snapshot(
        &self,
        snapshot: SnapshotId,
        event: SnapshotEvent,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(Operation::NoteSnapshot(snapshot, Box::new(event)), at).await.map(drop)
    }

    /// Brings all of a snapshot back that lies in the trash, and pins it in the same moment, for
    /// retention would decide again as before. The answer holds what came back, and the pin that
    /// holds it now: an older one of this name that holds for longer stays.
    pub async fn undelete(
        &self,
        pin: Pin,
        at: Timestamp,
    ) -> Result<(Vec<Archive>, Pin), CatalogError> {
        match self.write(Operation::Undelete(pin), at).await? {
            Outcome::Undeleted(archives, pin) => Ok((archives, pin)),
            _ => Err(CatalogError::WriterGone),
        }
    }
}

/// Refuses a deletion, or its beginning, while a pin holds.
pub(super) async fn refuse_if_held(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    at: Timestamp,
) -> Result<(), CatalogError> {
    let row = sqlx::query(sql::SELECT_HOLD)
        .bind(snapshot.0)
        .bind(at.as_millis())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(()) };
    let name: String = row.try_get("name").map_err(failed)?;
    let name = name.parse().map_err(|error| CatalogError::BadRow {
        what: format!("a pin of {snapshot}"),
        why: format!("{error}"),
    })?;
    Err(Refusal::Held { pin: pin_of(&row, snapshot, name)? }.into())
}

/// Refuses a deletion, or its beginning, that would leave nothing good that is newer.
pub(super) async fn refuse_if_newest(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    at: Timestamp,
) -> Result<(), CatalogError> {
    let has_successor: Option<bool> = sqlx::query_scalar(sql::SELECT_HAS_SUCCESSOR)
        .bind(snapshot.0)
        .bind(at.plus(FUTURE_TOLERANCE).as_millis())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    if has_successor == Some(true) { Ok(()) } else { Err(Refusal::NewestGood(snapshot).into()) }
}

pub(super) async fn pin(
    db: &mut SqliteConnection,
    pin: &Pin,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Option<Pin>, CatalogError> {
    let subject = Subject::find(db, pin.snapshot).await?;
    if subject.trashed().next().is_some() {
        return Err(Refusal::InTrash(pin.snapshot).into());
    }
    if !subject.has_more_to_come() {
        subject.refuse_what_is_gone("pin")?;
    }
    let before = find(db, pin.snapshot, &pin.name).await?;
    write(db, pin, &subject, at, journal).await?;
    Ok(before)
}

pub(super) async fn unpin(
    db: &mut SqliteConnection,
    unpin: &Unpin,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<Pin, CatalogError> {
    let Unpin { snapshot, name, by } = unpin;
    let subject = Subject::find(db, *snapshot).await?;
    let Some(pin) = find(db, *snapshot, name).await? else {
        let known = sqlx::query_scalar(sql::SELECT_PIN_NAMES)
            .bind(snapshot.0)
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        return Err(Refusal::NotPinned { snapshot: *snapshot, name: name.clone(), known }.into());
    };
    sqlx::query(sql::DELETE_PIN)
        .bind(snapshot.0)
        .bind(name.as_str())
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let event = SnapshotEvent::Unpinned {
        name: name.to_string(),
        reason: pin.reason.clone(),
        by: by.clone(),
        until: pin.until,
    };
    subject.record(db, &event, at, journal).await?;
    Ok(pin)
}

/// Writes down what was done with a snapshot, which stays as it is.
pub(super) async fn note(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    event: &SnapshotEvent,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    Subject::find(db, snapshot).await?.record(db, event, at, journal).await
}

pub(super) async fn undelete(
    db: &mut SqliteConnection,
    pin: Pin,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(Vec<Archive>, Pin), CatalogError> {
    let id = pin.snapshot;
    let subject = Subject::find(db, id).await?;
    let event = Event::DeletionRevoked { by: pin.by.clone() };
    let mut archives = Vec::new();
    for archive in subject.trashed() {
        archives.push(apply(db, archive, &event, at, journal).await?);
    }
    if archives.is_empty() {
        subject.refuse_what_is_gone("bring back")?;
        return Err(Refusal::NotTrashed { snapshot: id, state: subject.state }.into());
    }
    let before = find(db, id, &pin.name).await?;
    let holds_longer = |before: &Pin| {
        before.until.is_none_or(|until| pin.until.is_some_and(|wanted| until > wanted))
    };
    let pin = if let Some(longer) = before.filter(holds_longer) {
        longer
    } else {
        write(db, &pin, &subject, at, journal).await?;
        pin
    };
    refresh_snapshot(db, id, at, journal).await?;
    let kept_because = Some("undeleted".to_owned());
    note_verdict(db, &VerdictNote { id, kept_because, expected_delete_at: None }).await?;
    Ok((archives, pin))
}

async fn find(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
    name: &Name,
) -> Result<Option<Pin>, CatalogError> {
    let row = sqlx::query(sql::SELECT_PIN)
        .bind(snapshot.0)
        .bind(name.as_str())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    row.map(|row| pin_of(&row, snapshot, name.clone())).transpose()
}

fn pin_of(
    row: &sqlx::sqlite::SqliteRow,
    snapshot: SnapshotId,
    name: Name,
) -> Result<Pin, CatalogError> {
    let until: Option<i64> = row.try_get("until_ms").map_err(failed)?;
    Ok(Pin {
        snapshot,
        name,
        reason: row.try_get("reason").map_err(failed)?,
        by: row.try_get("pinned_by").map_err(failed)?,
        until: until.map(Timestamp::from_millis),
    })
}

async fn write(
    db: &mut SqliteConnection,
    pin: &Pin,
    subject: &Subject,
    at: Timestamp,
    journal: &mut Vec<Line>,
) -> Result<(), CatalogError> {
    sqlx::query(sql::UPSERT_PIN)
        .bind(pin.snapshot.0)
        .bind(pin.name.as_str())
        .bind(pin.reason.clone())
        .bind(at.as_millis())
        .bind(pin.until.map(Timestamp::as_millis))
        .bind(pin.by.clone())
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let event = SnapshotEvent::Pinned {
        name: pin.name.to_string(),
        reason: pin.reason.clone(),
        by: pin.by.clone(),
        until: pin.until,
    };
    subject.record(db, &event, at, journal).await
}

/// A snapshot as it is within the transaction.
struct Subject {
    id: SnapshotId,
    export: String,
    state: SnapshotState,
    archives: Vec<Archive>,
}

impl Subject {
    async fn find(db: &mut SqliteConnection, id: SnapshotId) -> Result<Self, CatalogError> {
        let row = sqlx::query(sql::SELECT_SNAPSHOT)
            .bind(id.0)
            .fetch_optional(&mut *db)
            .await
            .map_err(failed)?;
        let row = row.ok_or(Refusal::Unknown(id))?;
        let state: String = row.try_get("state").map_err(failed)?;
        let state = state.parse().map_err(|error| CatalogError::BadRow {
            what: id.to_string(),
            why: format!("{error}"),
        })?;
        let export = row.try_get("export").map_err(failed)?;
        Ok(Self { id, export, state, archives: read::archives_of(db, id).await? })
    }

    fn trashed(&self) -> impl Iterator<Item = &Archive> {
        self.archives.iter().filter(|archive| matches!(archive.state, State::Trashed(..)))
    }

    /// Whether it has something that a pin can hold, or may have.
    fn has_more_to_come(&self) -> bool {
        self.archives.iter().any(|archive| {
            archive.state.word().is_unfinished()
                || matches!(archive.state, State::Stored(_) | State::Damaged(_))
        })
    }

    /// Refuses what comes too late, and says when and why the files went.
    fn refuse_what_is_gone(&self, wanted: &'static str) -> Result<(), Refusal> {
        let snapshot = self.id;
        let reason = |deletion: &Deletion| deletion.reason.clone();
        if let Some(reason) = self.archives.iter().find_map(|archive| match &archive.state {
            State::Deleting(_, deletion) => Some(reason(deletion)),
            _ => None,
        }) {
            return Err(Refusal::BeingDeleted { snapshot, reason, wanted });
        }
        let gone = self.archives.iter().filter_map(|archive| match &archive.state {
            State::Deleted(_, deletion) => Some((archive.milestones.deleted_at, reason(deletion))),
            _ => None,
        });
        match gone.max_by_key(|(at, _)| *at) {
            Some((at, reason)) => Err(Refusal::Deleted { snapshot, at, reason, wanted }),
            None => Ok(()),
        }
    }

    async fn record(
        &self,
        db: &mut SqliteConnection,
        event: &SnapshotEvent,
        at: Timestamp,
        journal: &mut Vec<Line>,
    ) -> Result<(), CatalogError> {
        let states = (Some(self.state), None);
        write_event(db, Line::of_snapshot(self.id, &self.export, event, states, at), journal).await
    }
}
