//! What is recorded of exports and of retention's verdicts.

use sqlx::SqliteConnection;

use super::error::{CatalogError, failed};
use super::record::{ExportRecord, VerdictNote};
use super::sql;
use crate::model::{Name, Timestamp};

pub(super) async fn configure_export(
    db: &mut SqliteConnection,
    export: &ExportRecord,
    at: Timestamp,
) -> Result<(), CatalogError> {
    let rpo = export.rpo.map(|rpo| i64::try_from(rpo.as_millis()).unwrap_or(i64::MAX));
    sqlx::query(sql::UPSERT_EXPORT)
        .bind(export.instance.as_str())
        .bind(export.name.as_str())
        .bind(export.schedule.clone())
        .bind(rpo)
        .bind(at.as_millis())
        .bind(export.next_due.map(Timestamp::as_millis))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    sqlx::query(sql::UPDATE_EXPORT_POLICY)
        .bind(export.instance.as_str())
        .bind(export.name.as_str())
        .bind(export.policy.0.clone())
        .bind(export.policy.1.clone())
        .bind(at.as_millis())
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn set_due(
    db: &mut SqliteConnection,
    instance: &Name,
    export: &Name,
    last_due: Timestamp,
    next_due: Option<Timestamp>,
) -> Result<(), CatalogError> {
    sqlx::query(sql::UPDATE_EXPORT_DUE)
        .bind(instance.as_str())
        .bind(export.as_str())
        .bind(last_due.as_millis())
        .bind(next_due.map(Timestamp::as_millis))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn record_failure(
    db: &mut SqliteConnection,
    instance: &Name,
    export: &Name,
    at: Timestamp,
    message: Option<&str>,
) -> Result<(), CatalogError> {
    sqlx::query(sql::UPDATE_EXPORT_FAILURE)
        .bind(instance.as_str())
        .bind(export.as_str())
        .bind(at.as_millis())
        .bind(message)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    Ok(())
}

pub(super) async fn note_verdict(
    db: &mut SqliteConnection,
    note: &VerdictNote,
) -> Result<(), CatalogError> {
    sqlx::query(sql::UPDATE_SNAPSHOT_VERDICT)
        .bind(note.id.0)
        .bind(note.kept_because.clone())
        .bind(note.expected_delete_at.map(Timestamp::as_millis))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    Ok(())
}
