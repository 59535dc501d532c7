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

/// Runs a group in one transaction. An operation that is refused leaves no trace and does not
/// disturb the others; a transaction that fails fails for all of them.
async fn commit_group(connection: &mut SqliteConnection, group: Vec<Request>, access: Access) {
    let mut replies = Vec::with_capacity(group.len());
    let mut journal = Vec::new();
    let result = transact(connection, group, access, &mut replies, &mut journal).await;
    if result.is_ok() {
        journal.iter().for_each(Line::log);
    }
    for (reply, outcome) in replies {
        let answer = match &result {
            Ok(()) => outcome,
            Err(error) => Err(CatalogError::Write(Arc::clone(error))),
        };
        // A caller that no longer waits has nothing to be told; the fact is recorded.
        drop(reply.send(answer));
    }
}

type Reply = (oneshot::Sender<Result<Outcome, CatalogError>>, Result<Outcome, CatalogError>);

async fn transact(
    connection: &mut SqliteConnection,
    group: Vec<Request>,
    access: Access,
    replies: &mut Vec<Reply>,
    journal: &mut Vec<Line>,
) -> Result<(), Arc<sqlx::Error>> {
    let reads_only = group.iter().all(|r| matches!(r.operation, Operation::DataVersion));
    if reads_only {
        for request in group {
            let outcome = write::data_version(connection).await.map(Outcome::DataVersion);
            replies.push((request.reply, outcome));
        }
        return Ok(());
    }
    let mut group = group.into_iter();
    // Somebody else writes, perhaps a person in a shell. Nothing is done yet, so waiting is safe,
    // and ending the daemon for it would cut off every running download.
    let mut transaction = loop {
        match connection.begin_with("BEGIN IMMEDIATE").await {
            Ok(transaction) => break transaction,
            Err(error) if access == Access::Owner && is_busy(&error) => {
                tracing::warn!("another program keeps the catalog locked; waiting for it");
            }
            Err(error) => return Err(fail_rest(error, group, replies)),
        }
    };
    while let Some(request) = group.next() {
        let Request { operation, at, reply } = request;
        let mark = journal.len();
        let mut savepoint = match transaction.begin().await {
            Ok(savepoint) => savepoint,
            Err(error) => {
                replies.push((reply, Ok(Outcome::Done)));
                return Err(fail_rest(error, group, replies));
            }
        };
        let outcome = write::perform(&mut savepoint, operation, at, journal).await;
        let closed = if outcome.is_ok() {
            savepoint.commit().await
        } else {
            journal.truncate(mark);
            savepoint.rollback().await
        };
        let fatal = match &outcome {
            Err(CatalogError::Write(error)) => Some(Arc::clone(error)),
            _ => None,
        };
        replies.push((reply, outcome));
        if let Some(error) = fatal {
            fail_rest_with(&error, group, replies);
            return Err(error);
        }
        if let Err(error) = closed {
            return Err(fail_rest(error, group, replies));
        }
    }
    transaction.commit().await.map_err(Arc::new)
}

/// `SQLITE_BUSY` and its extended codes: the lock was not to be had within the busy timeout.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

fn fail_rest(
    error: sqlx::Error,
    rest: impl Iterator<Item = Request>,
    replies: &mut Vec<Reply>,
) -> Arc<sqlx::Error> {
    let error = Arc::new(error);
    fail_rest_with(&error, rest, replies);
    error
}

/// The answers of all are replaced by the error of the transaction in `commit_group`.
fn fail_rest_with(
    error: &Arc<sqlx::Error>,
    rest: impl Iterator<Item = Request>,
    replies: &mut Vec<Reply>,
) {
    replies.extend(rest.map(|r| (r.reply, Err(CatalogError::Write(Arc::clone(error))))));
}
