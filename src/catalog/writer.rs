//! The one writer: takes all operations that wait into one transaction, so that concurrent
//! archives share one fsync, and tells each caller only after the commit.
//!
//! It must never be cancelled in the middle: a commit whose future is dropped may still happen
//! (measured: a third of them). Therefore it is a task of its own that nobody aborts, no commit
//! stands under `select!` or a timeout, and callers only wait for an answer.

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::Access;
use super::error::CatalogError;
use super::journal::Line;
use super::operation::{Operation, Outcome};
use super::write;
use crate::model::Timestamp;

/// Operations in one transaction, at most.
const GROUP: usize = 256;

/// An operation on its way to the writer.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) at: Timestamp,
    pub(super) reply: oneshot::Sender<Result<Outcome, CatalogError>>,
}

/// Serves requests until every sender is gone, then closes the database.
pub(super) async fn serve(
    mut connection: SqliteConnection,
    mut requests: mpsc::Receiver<Request>,
    access: Access,
) {
    while let Some(first) = requests.recv().await {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        commit_group(&mut connection, group, access).await;
    }
    // Leaves little to read for the next start. The side files themselves stay, because the reading
    // connection outlives this one: a reader without write access could not make them.
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
    if let Err(error) = checkpoint {
        tracing::debug!(error = %error, "the log of changes stays as it is");
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(error = %error, "the catalog did not close cleanly; it recovers by itself");
    }
}

/// Runs a group in one transaction and answers every caller. An operation that is refused leaves no
/// trace and does not disturb the others; a transaction that fails fails for all of them.
async fn commit_group(connection: &mut SqliteConnection, group: Vec<Request>, access: Access) {
    let (work, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|r| ((r.operation, r.at), r.reply)).unzip();
    let mut journal = Vec::new();
    // A caller that no longer waits has nothing to be told; the fact is recorded.
    match transact(connection, work, access, &mut journal).await {
        Ok(outcomes) => {
            journal.iter().for_each(Line::log);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                drop(reply.send(outcome));
            }
        }
        Err(error) => {
            for reply in replies {
                drop(reply.send(Err(CatalogError::Write(Arc::clone(&error)))));
            }
        }
    }
}

/// One outcome for each operation, once all of them are committed.
async fn transact(
    connection: &mut SqliteConnection,
    work: Vec<(Operation, Timestamp)>,
    access: Access,
    journal: &mut Vec<Line>,
) -> Result<Vec<Result<Outcome, CatalogError>>, Arc<sqlx::Error>> {
    let mut outcomes = Vec::with_capacity(work.len());
    if work.iter().all(|(operation, _)| matches!(operation, Operation::DataVersion)) {
        for _ in work {
            outcomes.push(write::data_version(connection).await.map(Outcome::DataVersion));
        }
        return Ok(outcomes);
    }
    // Somebody else writes, perhaps a person in a shell. Nothing is done yet, so waiting is safe,
    // and ending the daemon for it would cut off every running download.
    let mut transaction = loop {
        match connection.begin_with("BEGIN IMMEDIATE").await {
            Ok(transaction) => break transaction,
            Err(error) if access == Access::Owner && is_busy(&error) => {
                tracing::warn!("another program keeps the catalog locked; waiting for it");
            }
            Err(error) => return Err(Arc::new(error)),
        }
    };
    for (operation, at) in work {
        let mark = journal.len();
        let mut savepoint = transaction.begin().await?;
        let outcome = write::perform(&mut savepoint, operation, at, journal).await;
        let closed = if outcome.is_ok() {
            savepoint.commit().await
        } else {
            journal.truncate(mark);
            savepoint.rollback().await
        };
        if let Err(CatalogError::Write(error)) = outcome {
            return Err(error);
        }
        closed?;
        outcomes.push(outcome);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

/// `SQLITE_BUSY` and its extended codes: the lock was not to be had within the busy timeout.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}
