//! The one writer: takes all operations that wait into one transaction, so that concurrent
//! archives share one fsync, and tells each caller only after the commit.
//!
//! It must never be cancelled in the middle: a commit whose future is dropped may still happen
//! (measured: a third of them). Therefore it is a task of its own that nobody aborts, no commit
//! stands under `select!` or a timeout, and callers only wait for an answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::Access;
use super::connect::options;
use super::error::CatalogError;
use super::journal::Line;
use super::log::{Log, Move, is_passing};
use super::operation::{Operation, Outcome};
use super::strain::{Strain, Waiting, is_busy, is_full};
use super::write;
use crate::clock::pause;
use crate::model::Timestamp;

/// Operations in one transaction, at most.
const GROUP: usize = 256;
/// Times that others get the processor before a transaction begins.
const YIELDS: u32 = 3;
/// Tries without a rest, as long as each has found some room.
const AT_ONCE: u32 = 4;
/// Before another try, when there was no lock or no room.
const AGAIN: Duration = Duration::from_secs(1);

/// An operation on its way to the writer.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) at: Timestamp,
    pub(super) reply: oneshot::Sender<Result<Outcome, CatalogError>>,
}

/// The writing connection, and how to make another.
pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) path: PathBuf,
    pub(super) access: Access,
    pub(super) strain: Strain,
    pub(super) log: Log,
    /// A transaction that failed for good, perhaps because an fsync did: nothing is written after
    /// it, because what a later fsync promises could rest on what is not there.
    pub(super) broken: Option<Arc<sqlx::Error>>,
    /// How often the connection was replaced. Only one connection's data versions can be compared.
    generation: i64,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        path: PathBuf,
        access: Access,
        strain: Strain,
    ) -> Self {
        let log = Log::of(&path);
        Self { connection, path, access, strain, log, broken: None, generation: 0 }
    }

    /// A transaction that found no room leaves it open whether SQLite has rolled back already, and
    /// what the connection makes of that: a new one knows where it stands.
    async fn reconnect(&mut self) -> Result<(), sqlx::Error> {
        let fresh = options(&self.path, self.access).connect().await?;
        let old = std::mem::replace(&mut self.connection, fresh);
        self.generation += 1;
        if let Err(error) = old.close().await {
            tracing::debug!(error = %error, "a connection that found no room closed badly");
        }
        Ok(())
    }

    /// Whether there may be room now. The log of changes may be many times as large as what it
    /// changes: moving that into the database gives its room back, if it takes the reserve. An
    /// error is one that does not pass.
    async fn make_room(&mut self) -> Result<bool, sqlx::Error> {
        let before = self.log.bytes();
        let mut relieved = false;
        for _ in 0..2 {
            if self.reconnect().await.is_err() {
                return Ok(false);
            }
            match self.log.moved(&mut self.connection, Move::All).await {
                Ok(()) if self.log.bytes() < before => return Ok(true),
                Err(error) if !is_passing(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if relieved || !self.strain.relieve() {
                return Ok(relieved);
            }
            relieved = true;
        }
        Ok(relieved)
    }

    /// Moves the log into the database once it is long.
    async fn shorten_log(&mut self) {
        if !self.log.is_long() {
            return;
        }
        match self.log.moved(&mut self.connection, Move::WhatCanBe).await {
            Err(error) if !is_passing(&error) => {
                tracing::error!(error = %error, "the database cannot take its log of changes");
                self.broken = Some(Arc::new(error));
            }
            Err(error) => tracing::debug!(error = %error, "the log of changes stays as it is"),
            Ok(()) => {}
        }
    }

    /// Leaves little to read for the next start. The side files themselves stay, because the
    /// reading connection outlives this one: a reader without write access could not make them.
    async fn finish(mut self) -> Result<(), CatalogError> {
        // What is broken is not touched again.
        let mut result =
            self.broken.clone().map_or(Ok(()), |error| Err(CatalogError::Write(error)));
        if result.is_ok()
            && let Err(error) = self.log.moved(&mut self.connection, Move::All).await
        {
            tracing::warn!(error = %error, "the catalog's log of changes stays as it is");
            if !is_passing(&error) {
                result = Err(CatalogError::Write(Arc::new(error)));
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(error = %error, "the catalog did not close cleanly; it will recover");
        }
        result
    }
}

/// Serves requests until every sender is gone, then closes the database.
pub(super) async fn serve(
    mut writer: Writer,
    mut requests: mpsc::Receiver<Request>,
) -> Result<(), CatalogError> {
    while let Some(first) = requests.recv().await {
        let mut group = vec![first];
        gather(&mut requests, &mut group).await;
        // Only the daemon waits, and only as long as somebody waits with it.
        let is_daemon = writer.access == Access::Owner;
        let patient = || is_daemon && !requests.is_closed();
        commit_group(&mut writer, group, patient).await;
    }
    writer.finish().await
}

/// Takes what waits, and what those add who are about to: they get the processor first, as long as
/// something comes of it. Nobody waits for time to pass.
async fn gather(requests: &mut mpsc::Receiver<Request>, group: &mut Vec<Request>) {
    let mut vain = 0;
    while group.len() < GROUP && vain < YIELDS {
        if let Ok(next) = requests.try_recv() {
            group.push(next);
            vain = 0;
        } else {
            vain += 1;
            tokio::task::yield_now().await;
        }
    }
}

/// Runs a group in one transaction and answers every caller. An operation that is refused leaves no
/// trace and does not disturb the others; a transaction that fails fails for all of them.
async fn commit_group(writer: &mut Writer, group: Vec<Request>, patient: impl Fn() -> bool) {
    let (work, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|r| ((r.operation, r.at), r.reply)).unzip();
    let mut journal = Vec::new();
    // A caller that no longer waits has nothing to be told; the fact is recorded.
    match persevere(writer, &work, &mut journal, patient).await {
        Ok(outcomes) => {
            journal.iter().for_each(Line::log);
            writer.log.grew(outcomes.len() as u64);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                drop(reply.send(outcome));
            }
            writer.shorten_log().await;
        }
        Err(error) => {
            writer.broken = Some(Arc::clone(&error));
            for reply in replies {
                drop(reply.send(Err(CatalogError::Write(Arc::clone(&error)))));
            }
        }
    }
}

/// One outcome for each operation, once all of them are committed.
type Outcomes = Vec<Result<Outcome, CatalogError>>;

/// Tries a transaction until there is a lock and room for it. Each try begins anew, so nothing is
/// done twice; every other failure is final.
async fn persevere(
    writer: &mut Writer,
    work: &[(Operation, Timestamp)],
    journal: &mut Vec<Line>,
    patient: impl Fn() -> bool,
) -> Result<Outcomes, Arc<sqlx::Error>> {
    if let Some(error) = &writer.broken {
        return Err(Arc::clone(error));
    }
    let mut at_once = 0;
    loop {
        journal.clear();
        let error = match transact(&mut writer.connection, work, journal).await {
            Ok(mut outcomes) => {
                writer.strain.set(None);
                for outcome in outcomes.iter_mut().flatten() {
                    if let Outcome::DataVersion(version) = outcome {
                        *version += writer.generation << 32;
                    }
                }
                return Ok(outcomes);
            }
            Err(error) => error,
        };
        let waiting = if is_busy(&error) {
            Waiting::Lock
        } else if is_full(&error) {
            // Room that was made and is gone again is no reason to go round without a rest.
            at_once += 1;
            if writer.make_room().await? && at_once < AT_ONCE {
                continue;
            }
            Waiting::Room
        } else {
            return Err(error);
        };
        if !patient() {
            return Err(error);
        }
        writer.strain.set(Some(waiting));
        pause(AGAIN).await;
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    work: &[(Operation, Timestamp)],
    journal: &mut Vec<Line>,
) -> Result<Outcomes, Arc<sqlx::Error>> {
    if work.iter().all(|(operation, _)| matches!(operation, Operation::DataVersion)) {
        let mut outcomes = Vec::with_capacity(work.len());
        for _ in work {
            outcomes.push(write::data_version(connection).await.map(Outcome::DataVersion));
        }
        return Ok(outcomes);
    }
    if let Some(outcomes) = transact_trusting(connection, work, journal).await? {
        return Ok(outcomes);
    }
    journal.clear();
    transact_guarded(connection, work, journal).await
}

/// A group in which nothing is refused, as almost none is: without the two statements more that
/// could take back one operation alone. `None`: one was refused, and nothing of the group was done.
async fn transact_trusting(
    connection: &mut SqliteConnection,
    work: &[(Operation, Timestamp)],
    journal: &mut Vec<Line>,
) -> Result<Option<Outcomes>, Arc<sqlx::Error>> {
    let mut outcomes = Vec::with_capacity(work.len());
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (operation, at) in work {
        match write::perform(&mut transaction, operation.clone(), *at, journal).await {
            Err(CatalogError::Write(error)) => return Err(error),
            Err(_) => {
                transaction.rollback().await?;
                return Ok(None);
            }
            outcome => outcomes.push(outcome),
        }
    }
    transaction.commit().await?;
    Ok(Some(outcomes))
}

/// A group in which what is refused leaves no trace and disturbs nothing else.
async fn transact_guarded(
    connection: &mut SqliteConnection,
    work: &[(Operation, Timestamp)],
    journal: &mut Vec<Line>,
) -> Result<Outcomes, Arc<sqlx::Error>> {
    let mut outcomes = Vec::with_capacity(work.len());
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (operation, at) in work {
        let mark = journal.len();
        let mut savepoint = transaction.begin().await?;
        let outcome = write::perform(&mut savepoint, operation.clone(), *at, journal).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::connect::prepare;

    async fn writer(path: &std::path::Path) -> Writer {
        let mut connection = options(path, Access::Owner).connect().await.unwrap();
        prepare(&mut connection, path, Access::Owner).await.unwrap();
        Writer::new(connection, path.to_owned(), Access::Owner, Strain::default())
    }

    async fn version(writer: &mut Writer) -> i64 {
        let work = [(Operation::DataVersion, Timestamp::EARLIEST)];
        let outcomes = persevere(writer, &work, &mut Vec::new(), || false).await.unwrap();
        let [Ok(Outcome::DataVersion(version))] = outcomes.as_slice() else { panic!() };
        *version
    }

    /// A new connection counts anew, so what somebody else wrote meanwhile would not show.
    #[tokio::test]
    async fn a_new_connection_has_another_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.db");
        let mut writer = writer(&path).await;
        let first = version(&mut writer).await;
        assert_eq!(version(&mut writer).await, first);
        let mut other = options(&path, Access::Command).connect().await.unwrap();
        let write = "INSERT INTO internal_meta (key, value) VALUES ('foreign', '1')";
        sqlx::query(write).execute(&mut other).await.unwrap();
        writer.reconnect().await.unwrap();
        let second = version(&mut writer).await;
        assert!(second > first, "{second} {first}");
        sqlx::query("UPDATE internal_meta SET value = '2'").execute(&mut other).await.unwrap();
        assert!(version(&mut writer).await > second);
    }

    #[tokio::test]
    async fn whoever_closes_what_is_broken_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.db");
        assert!(writer(&path).await.finish().await.is_ok());
        let mut broken = writer(&path).await;
        broken.broken = Some(Arc::new(sqlx::Error::PoolClosed));
        assert!(matches!(broken.finish().await, Err(CatalogError::Write(_))));
    }

    /// What one long operation adds counts as well as many short ones.
    #[tokio::test]
    async fn the_log_is_moved_whatever_made_it_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.db");
        let mut writer = writer(&path).await;
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
            INSERT INTO internal_meta (key, value) SELECT i, printf('%01000d', i) FROM n";
        sqlx::query(fill).execute(&mut writer.connection).await.unwrap();
        writer.log.grew(1);
        let before = std::fs::metadata(&path).unwrap().len();
        writer.shorten_log().await;
        assert!(std::fs::metadata(&path).unwrap().len() > before + 4_000_000);
        assert!(!writer.log.is_long());
    }
}
