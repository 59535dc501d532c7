//! Reads. None of them changes anything, and none of them waits for the writer.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column, Row, SqliteConnection, TypeInfo, ValueRef};

use super::error::CatalogError;
use super::record::{ExportState, SnapshotRecord};
use super::{row, sql};
use crate::lifecycle::Archive;
use crate::model::{ArchiveId, Name, PackageId, SnapshotId, Timestamp};

/// So many packages of an instance count as its last ones.
pub const RECENT: u32 = 100;

pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, CatalogError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(CatalogError::Read)
}

pub(super) fn name(row: &SqliteRow, column: &str) -> Result<Name, CatalogError> {
    let text: String = get(row, column)?;
    text.parse().map_err(|error| CatalogError::BadRow {
        what: format!("{column} `{text}`"),
        why: format!("{error}"),
    })
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, CatalogError> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

fn bytes(row: &SqliteRow, column: &str) -> Result<u64, CatalogError> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

pub(super) async fn paused_accounts(
    db: &mut SqliteConnection,
) -> Result<Vec<(Name, Timestamp)>, CatalogError> {
    let query = sqlx::query(sql::SELECT_PAUSED_ACCOUNTS);
    let rows = query.fetch_all(db).await.map_err(CatalogError::Read)?;
    let mut paused = Vec::new();
    for row in &rows {
        let detail: String = get(row, "detail")?;
        let fields: Option<Value> = serde_json::from_str(&detail).ok();
        let read = |key: &str| Some(fields.as_ref()?.get(key)?.as_str()?.to_owned());
        let account = read("account").and_then(|text| text.parse().ok());
        let until = read("until").and_then(|text| text.parse().ok());
        let pause = account.zip(until).ok_or_else(|| CatalogError::BadRow {
            what: format!("account_paused {detail}"),
            why: "it names no account, or no end".to_owned(),
        })?;
        paused.push(pause);
    }
    Ok(paused)
}

pub(super) async fn active(db: &mut SqliteConnection) -> Result<Vec<Archive>, CatalogError> {
    let mut archives: Vec<Archive> = Vec::new();
    loop {
        let last = archives.last().map(|archive| (archive.not_before.as_millis(), archive.id.0));
        let (due, id) = last.unwrap_or((i64::MIN, i64::MIN));
        let query = sqlx::query(sql::SELECT_ACTIVE).bind(due).bind(id);
        let rows = query.fetch_all(&mut *db).await.map_err(CatalogError::Read)?;
        if rows.is_empty() {
            return Ok(archives);
        }
        for row in &rows {
            archives.push(row::archive(row)?);
        }
    }
}

pub(super) async fn archive(
    db: &mut SqliteConnection,
    id: ArchiveId,
) -> Result<Option<Archive>, CatalogError> {
    let row = sqlx::query(sql::SELECT_ARCHIVE)
        .bind(id.0)
        .fetch_optional(db)
        .await
        .map_err(CatalogError::Read)?;
    row.as_ref().map(row::archive).transpose()
}

pub(super) async fn archives_of(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
) -> Result<Vec<Archive>, CatalogError> {
    let rows = sqlx::query(sql::SELECT_ARCHIVES_OF_SNAPSHOT)
        .bind(snapshot.0)
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    rows.iter().map(row::archive).collect()
}

/// Archives that events after `seq` concern, and the newest `seq`.
pub(super) async fn changed_since(
    db: &mut SqliteConnection,
    seq: i64,
) -> Result<(i64, Vec<Archive>), CatalogError> {
    let newest = last_seq(db).await?;
    let rows = sqlx::query(sql::SELECT_CHANGED_ARCHIVES)
        .bind(seq)
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    let archives = rows.iter().map(row::archive).collect::<Result<_, _>>()?;
    Ok((newest, archives))
}

pub(super) async fn last_seq(db: &mut SqliteConnection) -> Result<i64, CatalogError> {
    sqlx::query_scalar(sql::SELECT_LAST_SEQ).fetch_one(db).await.map_err(CatalogError::Read)
}

pub(super) async fn latest_event_time(
    db: &mut SqliteConnection,
) -> Result<Option<Timestamp>, CatalogError> {
    let millis: Option<i64> = sqlx::query_scalar(sql::SELECT_LATEST_EVENT_TIME)
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    Ok(millis.map(Timestamp::from_millis))
}

pub(super) async fn exports(db: &mut SqliteConnection) -> Result<Vec<ExportState>, CatalogError> {
    let rows = sqlx::query(sql::SELECT_EXPORTS).fetch_all(db).await.map_err(CatalogError::Read)?;
    rows.iter()
        .map(|row| {
            Ok(ExportState {
                instance: name(row, "instance")?,
                name: name(row, "name")?,
                last_due: Timestamp::from_millis(get(row, "last_due_at_ms")?),
                policy_changed_at: time(row, "policy_changed_at_ms")?,
                policy_hash: get(row, "policy_hash")?,
            })
        })
        .collect()
}

/// The pin that holds longest of each snapshot that has one.
async fn pins(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<HashMap<SnapshotId, (String, Option<Timestamp>)>, CatalogError> {
    let query = sqlx::query(sql::SELECT_PINS).bind(now.as_millis());
    let rows = query.fetch_all(db).await.map_err(CatalogError::Read)?;
    let mut pins = HashMap::new();
    for row in &rows {
        let pin = (get(row, "name")?, time(row, "until_ms")?);
        pins.entry(SnapshotId(get(row, "snapshot_id")?)).or_insert(pin);
    }
    Ok(pins)
}

pub(super) async fn snapshots_of(
    db: &mut SqliteConnection,
    instance: &Name,
    export: &Name,
    now: Timestamp,
) -> Result<Vec<SnapshotRecord>, CatalogError> {
    let mut pins = pins(db, now).await?;
    let rows = sqlx::query(sql::SELECT_SNAPSHOT_FACTS)
        .bind(instance.as_str())
        .bind(export.as_str())
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    rows.iter()
        .map(|row| {
            let state: String = get(row, "state")?;
            let id = SnapshotId(get(row, "id")?);
            Ok(SnapshotRecord {
                id,
                taken_at: Timestamp::from_millis(get(row, "taken_at_ms")?),
                state: state.parse().map_err(|error| CatalogError::BadRow {
                    what: format!("snapshot state `{state}`"),
                    why: format!("{error}"),
                })?,
                raw_bytes: bytes(row, "raw_bytes")?,
                stored_bytes: bytes(row, "stored_bytes")?,
                pin: pins.remove(&id),
                kept_because: get(row, "kept_because")?,
                expected_delete_at: time(row, "expected_delete_at_ms")?,
            })
        })
        .collect()
}

pub(super) async fn recent_sizes(
    db: &mut SqliteConnection,
    instance: &Name,
) -> Result<Vec<u64>, CatalogError> {
    let sizes: Vec<i64> = sqlx::query_scalar(sql::SELECT_RECENT_SIZES)
        .bind(instance.as_str())
        .bind(i64::from(RECENT))
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    Ok(sizes.into_iter().rev().map(|bytes| u64::try_from(bytes).unwrap_or(0)).collect())
}

/// Another archive that has, or had, this package.
pub(super) async fn claimant(
    db: &mut SqliteConnection,
    instance: &Name,
    package: &PackageId,
    besides: ArchiveId,
) -> Result<Option<ArchiveId>, CatalogError> {
    let id: Option<i64> = sqlx::query_scalar(sql::SELECT_CLAIMANT)
        .bind(instance.as_str())
        .bind(package.as_str())
        .bind(besides.0)
        .fetch_optional(db)
        .await
        .map_err(CatalogError::Read)?;
    Ok(id.map(ArchiveId))
}

/// How many parts a snapshot has; 0 while nobody knows.
pub(super) async fn parts_of(
    db: &mut SqliteConnection,
    snapshot: SnapshotId,
) -> Result<u32, CatalogError> {
    let parts: Option<i64> = sqlx::query_scalar(sql::SELECT_SNAPSHOT_PARTS)
        .bind(snapshot.0)
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    Ok(parts.and_then(|parts| u32::try_from(parts).ok()).unwrap_or(0))
}

/// Rows of a public view as JSON objects, columns in the view's order.
#[derive(Debug, Clone, Default)]
pub struct ViewRows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// One value a column.
    pub rows: Vec<Vec<serde_json::Value>>,
}

impl ViewRows {
    /// Each row as an object, for `--json`.
    pub fn into_objects(self) -> Vec<serde_json::Value> {
        let columns = self.columns;
        self.rows
            .into_iter()
            .map(|row| serde_json::Value::Object(columns.iter().cloned().zip(row).collect()))
            .collect()
    }
}

/// Reads a public view: `select` is one of our own texts, `binds` what a person typed.
pub(super) async fn view(
    db: &mut SqliteConnection,
    select: &str,
    binds: &[String],
) -> Result<ViewRows, CatalogError> {
    let mut query = sqlx::query(AssertSqlSafe(select.to_owned()));
    for bind in binds {
        query = query.bind(bind.clone());
    }
    let rows = query.fetch_all(&mut *db).await.map_err(CatalogError::Read)?;
    let columns = match rows.first() {
        Some(row) => row.columns().iter().map(|column| column.name().to_owned()).collect(),
        None => Vec::new(),
    };
    let rows = rows.iter().map(json_row).collect::<Result<_, _>>()?;
    Ok(ViewRows { columns, rows })
}

fn json_row(row: &SqliteRow) -> Result<Vec<serde_json::Value>, CatalogError> {
    (0..row.columns().len())
        .map(|index| {
            let raw = row.try_get_raw(index).map_err(CatalogError::Read)?;
            if raw.is_null() {
                return Ok(serde_json::Value::Null);
            }
            let kind = raw.type_info().name().to_owned();
            match kind.as_str() {
                "INTEGER" | "BOOLEAN" => row.try_get::<i64, _>(index).map(Into::into),
                "REAL" => row.try_get::<f64, _>(index).map(Into::into),
                _ => row.try_get::<String, _>(index).map(Into::into),
            }
            .map_err(CatalogError::Read)
        })
        .collect()
}
