//! Reads about files: which archives claim one, which files nobody claims, which were not read for
//! the longest time. None of them costs more the longer the history is, and none changes anything.

use sqlx::{Row, SqliteConnection};

use super::error::CatalogError;
use super::{row, sql};
use crate::lifecycle::Archive;
use crate::model::{ArchiveId, JobId, Name, Timestamp};

/// Numbers in one page of [`holding_page`].
const PAGE: i64 = 1_000;

pub(super) async fn holding_page(
    db: &mut SqliteConnection,
    after: ArchiveId,
) -> Result<(Vec<Archive>, Option<ArchiveId>), CatalogError> {
    let last: i64 = sqlx::query_scalar(sql::SELECT_LAST_ARCHIVE)
        .fetch_one(&mut *db)
        .await
        .map_err(CatalogError::Read)?;
    let rows = sqlx::query(sql::SELECT_HOLDING_PAGE)
        .bind(after.0)
        .bind(PAGE)
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    let archives = rows.iter().map(row::archive).collect::<Result<_, _>>()?;
    let next = after.0.saturating_add(PAGE);
    Ok((archives, (next < last).then_some(ArchiveId(next))))
}

pub(super) async fn packing(db: &mut SqliteConnection) -> Result<Vec<Archive>, CatalogError> {
    let rows = sqlx::query(sql::SELECT_PACKING).fetch_all(db).await.map_err(CatalogError::Read)?;
    rows.iter().map(row::archive).collect()
}

pub(super) async fn unclaimed(
    db: &mut SqliteConnection,
    paths: &[String],
) -> Result<Vec<String>, CatalogError> {
    let list = serde_json::to_string(paths).unwrap_or_default();
    let found = sqlx::query_scalar(sql::SELECT_UNCLAIMED).bind(list).fetch_all(db).await;
    found.map_err(CatalogError::Read)
}

pub(super) async fn to_verify(
    db: &mut SqliteConnection,
    (time, id): (Timestamp, ArchiveId),
    until: Timestamp,
) -> Result<Vec<Archive>, CatalogError> {
    let rows = sqlx::query(sql::SELECT_TO_VERIFY)
        .bind(time.as_millis())
        .bind(id.0)
        .bind(until.as_millis())
        .fetch_all(db)
        .await
        .map_err(CatalogError::Read)?;
    rows.iter().map(row::archive).collect()
}

pub(super) async fn last_verified(
    db: &mut SqliteConnection,
    since: Timestamp,
) -> Result<Option<(Timestamp, u64)>, CatalogError> {
    let row = sqlx::query(sql::SELECT_LAST_VERIFIED)
        .bind(since.as_millis())
        .fetch_optional(db)
        .await
        .map_err(CatalogError::Read)?;
    let Some(row) = row else { return Ok(None) };
    let at: i64 = row.try_get(0).map_err(CatalogError::Read)?;
    let bytes: i64 = row.try_get(1).map_err(CatalogError::Read)?;
    Ok(Some((Timestamp::from_millis(at), u64::try_from(bytes).unwrap_or(0))))
}

pub(super) async fn of_job(
    db: &mut SqliteConnection,
    instance: &Name,
    job: &JobId,
) -> Result<Option<Archive>, CatalogError> {
    let row = sqlx::query(sql::SELECT_BY_JOB)
        .bind(instance.as_str())
        .bind(job.as_str())
        .fetch_optional(db)
        .await
        .map_err(CatalogError::Read)?;
    row.as_ref().map(row::archive).transpose()
}

pub(super) async fn opened_at(
    db: &mut SqliteConnection,
    id: ArchiveId,
) -> Result<Option<Timestamp>, CatalogError> {
    let millis: Option<i64> = sqlx::query_scalar(sql::SELECT_OPENED_AT)
        .bind(id.0)
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    Ok(millis.map(Timestamp::from_millis))
}
