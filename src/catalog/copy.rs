//! A copy of the catalog at one moment, as large as what it holds, made beside a running daemon.
//!
//! It must never write to the catalog, and never give out a copy that was not read through. Durable
//! is only what the caller makes so. Killed in the middle, half a copy is left under a name that
//! nobody takes for a backup.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::Catalog;
use super::connect::{check_identity, require_schema};
use super::error::CatalogError;
use super::sql;
use crate::model::Timestamp;

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows of the view `snapshots`.
    pub snapshots: u64,
    /// Rows of the view `archives`.
    pub archives: u64,
    /// The newest `events.seq`.
    pub last_seq: i64,
    /// When that happened; `None`: nothing has.
    pub last_event_at: Option<Timestamp>,
}

impl Catalog {
    /// Copies all of one moment into the empty file `target`. Writers go on meanwhile; only the log
    /// of changes cannot begin anew until it is done.
    pub async fn copy_into(&self, target: &Path) -> Result<(), CatalogError> {
        let failed = |source| CatalogError::Copy { path: target.to_owned(), source };
        let name = target.to_str().ok_or_else(|| {
            let message = "SQLite takes no name that is not UTF-8";
            failed(sqlx::Error::Io(std::io::Error::other(message)))
        })?;
        let query = sqlx::query("VACUUM INTO ?").bind(name.to_owned());
        query.execute(&mut *self.reader.lock().await).await.map(drop).map_err(failed)
    }
}

/// Reads a copy through: whether it is a catalog of this version, and everything in it adds up.
pub async fn check_copy(path: &Path) -> Result<Copied, CatalogError> {
    let failed = |source| CatalogError::Copy { path: path.to_owned(), source };
    // Nobody else knows it yet, and files beside it would be left over.
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
    let mut db = options.connect().await.map_err(failed)?;
    check_identity(&mut db, path).await?;
    require_schema(&mut db, path).await?;
    let problems = problems(&mut db).await.map_err(failed)?;
    if let Some(first) = problems.into_iter().next() {
        return Err(CatalogError::CopyBroken { path: path.to_owned(), problem: first });
    }
    let row = sqlx::query(sql::SELECT_COPIED).fetch_one(&mut db).await.map_err(failed)?;
    let count = |column: &str| -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    };
    let millis: Option<i64> = row.try_get("at_ms").map_err(failed)?;
    let copied = Copied {
        snapshots: count("snapshots").map_err(failed)?,
        archives: count("archives").map_err(failed)?,
        last_seq: row.try_get("seq").map_err(failed)?,
        last_event_at: millis.map(Timestamp::from_millis),
    };
    db.close().await.map_err(failed)?;
    Ok(copied)
}

/// What SQLite finds wrong: a page, an index, a promise of the schema, a row that refers to none.
async fn problems(db: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut problems: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *db).await?;
    problems.retain(|line| line != "ok");
    for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *db).await? {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        problems.push(format!("a row of {table} refers to one of {parent} that is not there"));
    }
    Ok(problems)
}
