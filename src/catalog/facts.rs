//! Reads for `health`: what is well, what happened since, and which objectives were last said to be
//! missed. Each costs as much as there are exports or new events, whatever the history.

use serde_json::Value;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Catalog;
use super::error::CatalogError;
use super::read::{self, ViewRows, get, name, time};
use super::sql;
use crate::health::{Concern, Count, ExportFacts, Facts, Occurrence};
use crate::model::{ArchiveId, Name, SnapshotId, Timestamp};

/// So many events are read at a time: others want the connection, too.
const PAGE: i64 = 500;

impl Catalog {
    /// Whether all is well, and how much there is of everything.
    pub async fn facts(&self) -> Result<Facts, CatalogError> {
        facts(&mut *self.reader.lock().await).await
    }

    /// Losses that are neither made good nor acknowledged, as rows of the view `archives`.
    pub async fn unsettled_losses(&self) -> Result<ViewRows, CatalogError> {
        unsettled_losses(&mut *self.reader.lock().await).await
    }

    /// Damaged files that nobody has acknowledged, as rows of the view `archives`.
    pub async fn unsettled_damage(&self) -> Result<ViewRows, CatalogError> {
        unsettled_damage(&mut *self.reader.lock().await).await
    }

    /// A page of the events after `seq`; an empty one: that was all.
    pub async fn events_after(&self, seq: i64) -> Result<Vec<Occurrence>, CatalogError> {
        page(&mut *self.reader.lock().await, sql::SELECT_EVENTS_AFTER, seq).await
    }

    /// A page of the events after `seq` that the webhook may have to be told of.
    pub async fn alarms_after(&self, seq: i64) -> Result<Vec<Occurrence>, CatalogError> {
        page(&mut *self.reader.lock().await, sql::SELECT_ALARMS_AFTER, seq).await
    }

    /// Instance and export of every objective whose last event says that it is missed.
    pub async fn missed_objectives(&self) -> Result<Vec<(Name, Name)>, CatalogError> {
        let rows = rows(&mut *self.reader.lock().await, sql::SELECT_MISSED_OBJECTIVES).await?;
        rows.iter().map(|row| Ok((name(row, "instance")?, name(row, "export")?))).collect()
    }

    /// One value about the catalog itself.
    pub async fn stamped(&self, key: &str) -> Result<Option<String>, CatalogError> {
        let query = sqlx::query_scalar(sql::SELECT_META).bind(key);
        let mut reader = self.reader.lock().await;
        query.fetch_optional(&mut *reader).await.map_err(CatalogError::Read)
    }
}

async fn unsettled_losses(db: &mut SqliteConnection) -> Result<ViewRows, CatalogError> {
    read::view(db, sql::SELECT_UNSETTLED_LOSSES, &[]).await
}

async fn unsettled_damage(db: &mut SqliteConnection) -> Result<ViewRows, CatalogError> {
    read::view(db, sql::SELECT_UNSETTLED_DAMAGE, &[]).await
}

async fn facts(db: &mut SqliteConnection) -> Result<Facts, CatalogError> {
    let rows = rows(db, sql::SELECT_EXPORT_FACTS).await?;
    let exports = rows.iter().map(export).collect::<Result<_, _>>()?;
    Ok(Facts {
        exports,
        archives: counts(db, "archive").await?,
        snapshots: counts(db, "snapshot").await?,
        losses: concerns(unsettled_losses(db).await?)?,
        damaged: concerns(unsettled_damage(db).await?)?,
    })
}

async fn rows(
    db: &mut SqliteConnection,
    select: &'static str,
) -> Result<Vec<SqliteRow>, CatalogError> {
    sqlx::query(select).fetch_all(db).await.map_err(CatalogError::Read)
}

fn export(row: &SqliteRow) -> Result<ExportFacts, CatalogError> {
    let rpo: Option<i64> = get(row, "rpo_ms")?;
    let rpo = rpo.and_then(|millis| u64::try_from(millis).ok());
    Ok(ExportFacts {
        instance: name(row, "instance")?,
        name: name(row, "name")?,
        rpo: rpo.map(std::time::Duration::from_millis),
        next_due: time(row, "next_due_at_ms")?,
        newest_complete: time(row, "taken_at_ms")?,
        last_success: time(row, "completed_at_ms")?,
        last_failure: time(row, "last_failure_at_ms")?,
        runs_waiting: number(row, "runs_waiting")?,
    })
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, CatalogError> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

async fn counts<S>(db: &mut SqliteConnection, kind: &str) -> Result<Vec<Count<S>>, CatalogError>
where
    S: std::str::FromStr<Err: std::fmt::Display>,
{
    let query = sqlx::query(sql::SELECT_TALLY).bind(kind);
    let rows = query.fetch_all(db).await.map_err(CatalogError::Read)?;
    let read = |row: &SqliteRow| {
        let state: String = get(row, "state")?;
        let unknown = |error: S::Err| CatalogError::BadRow {
            what: format!("state `{state}` of the tally"),
            why: error.to_string(),
        };
        Ok(Count {
            instance: name(row, "instance")?,
            export: name(row, "export")?,
            state: state.parse().map_err(unknown)?,
            count: number(row, "count")?,
            raw_bytes: number(row, "raw_bytes")?,
            stored_bytes: number(row, "stored_bytes")?,
        })
    };
    rows.iter().map(read).collect()
}

fn concerns(rows: ViewRows) -> Result<Vec<Concern>, CatalogError> {
    let read = |row: &Value| {
        let named = |key: &str| row.get(key)?.as_str()?.parse::<Name>().ok();
        Some(Concern {
            archive: ArchiveId(row.get("id")?.as_i64()?),
            instance: named("instance")?,
            export: named("export")?,
        })
    };
    let objects = rows.into_objects();
    let read = |row: &Value| {
        read(row).ok_or_else(|| CatalogError::BadRow {
            what: format!("archive {row}"),
            why: "it has no instance or export".to_owned(),
        })
    };
    objects.iter().map(read).collect()
}

async fn page(
    db: &mut SqliteConnection,
    select: &'static str,
    seq: i64,
) -> Result<Vec<Occurrence>, CatalogError> {
    let query = sqlx::query(select).bind(seq).bind(PAGE);
    let rows = query.fetch_all(db).await.map_err(CatalogError::Read)?;
    rows.iter().map(event).collect()
}

fn event(row: &SqliteRow) -> Result<Occurrence, CatalogError> {
    let detail: String = get(row, "detail")?;
    let instance: Option<String> = get(row, "instance")?;
    let of = if instance.is_some() {
        Some((name(row, "instance")?, name(row, "export")?))
    } else {
        None
    };
    Ok(Occurrence {
        seq: get(row, "seq")?,
        at: Timestamp::from_millis(get(row, "at_ms")?),
        archive: get::<Option<i64>>(row, "archive_id")?.map(ArchiveId),
        snapshot: get::<Option<i64>>(row, "snapshot_id")?.map(SnapshotId),
        of,
        event: get(row, "event")?,
        from_state: get(row, "from_state")?,
        to_state: get(row, "to_state")?,
        detail: serde_json::from_str(&detail).unwrap_or_default(),
    })
}
