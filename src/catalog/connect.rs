//! How a connection to the catalog is made, and how it is told from any other database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::Access;
use super::error::{CatalogError, sqlite_code};
use super::log::{Move, is_passing, move_into_database};

/// `application_id` of a catalog: "ROMA".
const APPLICATION_ID: i64 = 0x524F_4D41;
/// The oldest SQLite without the WAL-reset corruption.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

pub(super) fn options(path: &Path, access: Access) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(10))
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging();
    if access == Access::Reader {
        return options.read_only(true);
    }
    options
        .create_if_missing(access.may_migrate())
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that a power cut undoes would let a package be taken for one never asked for.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // The writer does it, and looks at what comes of it.
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", "67108864")
}

/// SQLite would make the file readable by everybody; its side files inherit this mode.
pub(super) fn create_private(path: &Path) -> Result<(), CatalogError> {
    use std::os::unix::fs::OpenOptionsExt;
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            Err(CatalogError::Open { path: path.to_owned(), source: sqlx::Error::Io(error) })
        }
    }
}

pub(super) async fn check_sqlite(db: &mut SqliteConnection) -> Result<(), CatalogError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST_SQLITE.as_slice() {
        return Err(CatalogError::SqliteTooOld(version));
    }
    Ok(())
}

/// `SQLITE_READONLY_ROLLBACK`: a transaction was cut short before the log of changes came into use,
/// and only a connection that may write can undo it.
const UNDO_FIRST: u32 = 776;

/// Makes sure that a file which holds something is a catalog, without changing it. One without a
/// table but that of the migrations is a catalog whose first start was cut short; its owner goes on
/// from there.
pub(super) async fn look_before_opening(path: &Path, access: Access) -> Result<(), CatalogError> {
    let open_error = |source| CatalogError::Open { path: path.to_owned(), source };
    let mut db = options(path, Access::Reader).connect().await.map_err(open_error)?;
    let mut tables = count_tables(&mut db).await;
    if access.may_migrate() && tables.as_ref().is_err_and(must_undo_first) {
        // Nothing of ours is written: SQLite puts back what the transaction had begun to change.
        db = SqliteConnectOptions::new().filename(path).connect().await.map_err(open_error)?;
        tables = count_tables(&mut db).await;
    }
    let identity = match tables.map_err(open_error)? {
        0 if access.may_migrate() => Ok(()),
        0 => Err(CatalogError::Missing { path: path.to_owned() }),
        _ => check_identity(&mut db, path).await,
    };
    db.close().await.map_err(open_error)?;
    identity
}

async fn count_tables(db: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let select = "SELECT count(*) FROM sqlite_schema WHERE tbl_name <> '_sqlx_migrations'";
    sqlx::query_scalar(select).fetch_one(db).await
}

fn must_undo_first(error: &sqlx::Error) -> bool {
    sqlite_code(error) == Some(UNDO_FIRST)
}

pub(super) async fn prepare(
    db: &mut SqliteConnection,
    path: &Path,
    access: Access,
) -> Result<(), CatalogError> {
    if access == Access::Command {
        return require_schema(db, path).await;
    }
    // Not `run`: its future cannot be moved between threads.
    MIGRATIONS
        .run_direct(None, db, false)
        .await
        .map_err(|source| CatalogError::Migrate { path: path.to_owned(), source })?;
    // If a sync of the process before failed, the kernel takes what it lost of the log for clean.
    // Moving it into the database writes all of it once more. Best effort: a reader may be in the
    // way, and a disk that is full has no room for it.
    match move_into_database(db, Move::All).await {
        Err(error) if !is_passing(&error) => Err(CatalogError::Write(Arc::new(error))),
        Err(error) => {
            tracing::debug!(error = %error, "the log of changes stays as it is");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

pub(super) async fn check_identity(
    db: &mut SqliteConnection,
    path: &Path,
) -> Result<(), CatalogError> {
    let found: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    if found == APPLICATION_ID {
        Ok(())
    } else {
        Err(CatalogError::Foreign { path: path.to_owned(), found })
    }
}

pub(super) async fn require_schema(
    db: &mut SqliteConnection,
    path: &Path,
) -> Result<(), CatalogError> {
    let applied: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(db)
        .await
        .map_err(CatalogError::Read)?;
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let path = || PathBuf::from(path);
    match applied.cmp(&newest) {
        std::cmp::Ordering::Less => Err(CatalogError::OlderSchema { path: path() }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(CatalogError::NewerSchema { path: path() }),
    }
}
