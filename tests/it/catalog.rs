//! The catalog by itself: one writer, group commit, refusals that leave no trace.

use roma_archived::catalog::{
    Access, Adopted, Adoption, Catalog, CatalogError, Change, ExportRecord, NewSnapshot, Origin,
    Planning,
};
use roma_archived::lifecycle::{Archive, Event};
use roma_archived::model::{Name, PackageId, Scope, Timestamp};

use crate::support::world::{adoption, name};

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

async fn catalog(directory: &tempfile::TempDir) -> Catalog {
    let catalog = Catalog::open(directory.path(), Access::Owner).await.unwrap();
    let record = |export: &str| ExportRecord {
        instance: name("prod"),
        name: name(export),
        schedule: None,
        rpo: None,
        next_due: None,
        policy: ("keep everything".to_owned(), "hash".to_owned()),
    };
    catalog.configure_exports(vec![record("nightly"), record("watched")], now()).await.unwrap();
    catalog
}

async fn adopt(catalog: &Catalog, job: &str) -> Archive {
    match catalog.adopt(adoption(job), now()).await.unwrap() {
        Adopted::New(archive) | Adopted::Known(archive) => archive,
    }
}

fn succeeded(package: &str) -> Event {
    Event::JobSucceeded { package: PackageId::new(package).unwrap() }
}

#[tokio::test]
async fn what_is_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let archive = adopt(&catalog, "job").await;
    let change = Change::new(archive.clone(), succeeded("package"));
    let ready = catalog.commit(change, now()).await.unwrap();
    catalog.close().await.unwrap();
    let catalog = Catalog::open(directory.path(), Access::Owner).await.unwrap();
    assert_eq!(catalog.archive(archive.id).await.unwrap(), Some(ready.clone()));
    assert_eq!(catalog.active().await.unwrap(), [ready]);
}

#[tokio::test]
async fn the_side_files_stay_for_those_who_only_read() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    adopt(&catalog, "job").await;
    catalog.close().await.unwrap();
    let length = |name: &str| directory.path().join(name).metadata().map(|m| m.len()).ok();
    assert_eq!(length("catalog.db-wal"), Some(0), "all is in the database itself");
    assert!(length("catalog.db-shm").is_some());
    let reader = Catalog::open(directory.path(), Access::Reader).await.unwrap();
    let rows = reader.view("SELECT count(*) FROM archives", &[]).await.unwrap().rows;
    assert_eq!(rows, [[serde_json::json!(1)]]);
}

#[tokio::test]
async fn an_old_view_of_an_archive_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let archive = adopt(&catalog, "job").await;
    let change = || Change::new(archive.clone(), succeeded("package"));
    catalog.commit(change(), now()).await.unwrap();
    let seq = catalog.last_seq().await.unwrap();
    assert!(matches!(catalog.commit(change(), now()).await, Err(CatalogError::Stale(_))));
    assert_eq!(catalog.last_seq().await.unwrap(), seq, "a refused change leaves no event");
}

#[tokio::test]
async fn an_illegal_event_is_refused_and_spares_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let archives = [adopt(&catalog, "a").await, adopt(&catalog, "b").await];
    let illegal = Change::new(archives[0].clone(), Event::FileDeleted);
    let legal = Change::new(archives[1].clone(), succeeded("package"));
    // Both at once, so that they fall into one transaction.
    let (first, second) =
        tokio::join!(catalog.commit(illegal, now()), catalog.commit(legal, now()));
    let error = first.unwrap_err();
    assert!(matches!(error, CatalogError::Illegal { .. }) && !error.is_fatal(), "{error}");
    assert_eq!(second.unwrap().state.word().as_str(), "ready");
}

#[tokio::test]
async fn several_changes_are_all_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let archives = [adopt(&catalog, "a").await, adopt(&catalog, "b").await];
    let seq = catalog.last_seq().await.unwrap();
    let changes = vec![
        Change::new(archives[0].clone(), succeeded("package")),
        Change::new(archives[1].clone(), Event::FileDeleted),
    ];
    catalog.commit_all(changes, now()).await.unwrap_err();
    assert_eq!(catalog.archive(archives[0].id).await.unwrap().unwrap(), archives[0]);
    assert_eq!(catalog.last_seq().await.unwrap(), seq);
}

#[tokio::test]
async fn a_package_belongs_to_one_archive_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let (first, second) = (adopt(&catalog, "a").await, adopt(&catalog, "b").await);
    catalog.commit(Change::new(first.clone(), succeeded("same")), now()).await.unwrap();
    let answer = catalog.commit(Change::new(second, succeeded("same")), now()).await;
    assert!(matches!(answer, Err(CatalogError::PackageClaimed { by }) if by == first.id));
}

#[tokio::test]
async fn adopting_a_job_twice_is_one_archive() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let jobs: Vec<_> = (0..20)
        .map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move { adopt(&catalog, "job").await.id })
        })
        .collect();
    let mut ids = Vec::new();
    for job in jobs {
        ids.push(job.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_snapshot_is_planned_once() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let new = NewSnapshot {
        instance: name("prod"),
        export: name("nightly"),
        origin: Origin::Command,
        taken_at: now(),
        next_due: None,
        missed: 0,
    };
    let snapshot = catalog.open_snapshot(new, now()).await.unwrap().id;
    let scope = Scope { apps: vec!["app".to_owned()], tasks: Vec::new(), omit_empty: false };
    let planning = || Planning::Parts(vec![scope.clone()], None);
    assert_eq!(catalog.plan(snapshot, planning(), now()).await.unwrap().len(), 1);
    let again = catalog.plan(snapshot, planning(), now()).await;
    assert!(matches!(again, Err(CatalogError::AlreadyPlanned(_))));
    assert_eq!(catalog.archives_of(snapshot).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_instance_that_is_not_recorded_is_refused_without_harm() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog(&directory).await;
    let stranger: Name = name("stage");
    let answer = catalog.adopt(Adoption { instance: stranger, ..adoption("job") }, now()).await;
    assert!(matches!(answer, Err(CatalogError::Constraint(_))));
    // The writer lives on.
    adopt(&catalog, "job").await;
}

#[tokio::test]
async fn a_command_sees_the_daemons_writes_and_the_daemon_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = catalog(&directory).await;
    let before = daemon.foreign_version(now()).await.unwrap();
    adopt(&daemon, "own").await;
    let own = daemon.foreign_version(now()).await.unwrap();
    assert_eq!(before, own, "own writes are no foreign change");
    let command = Catalog::open(directory.path(), Access::Command).await.unwrap();
    let seq = daemon.last_seq().await.unwrap();
    let adopted = adopt(&command, "foreign").await;
    command.close().await.unwrap();
    assert_ne!(daemon.foreign_version(now()).await.unwrap(), own);
    let (_, changed) = daemon.changed_since(seq).await.unwrap();
    assert_eq!(changed, [adopted]);
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_as_it_was() {
    use sqlx::ConnectOptions;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut other = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE notes (text)").execute(&mut other).await.unwrap();
    sqlx::Connection::close(other).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    for access in [Access::Owner, Access::Command, Access::Reader] {
        let error = Catalog::open(directory.path(), access).await.unwrap_err();
        assert!(matches!(error, CatalogError::Foreign { .. }), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::write(&path, b"not a database at all, but long enough to look like one").unwrap();
    let error = Catalog::open(directory.path(), Access::Owner).await.unwrap_err();
    assert!(error.is_no_database(), "{error:?}");
}

/// The table of the migrations is there before the first of them.
#[tokio::test]
async fn a_first_start_cut_short_between_its_steps_is_finished_by_the_next() {
    use sqlx::ConnectOptions;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut first = options.connect().await.unwrap();
    let table = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT \
                 NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN \
                 NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    sqlx::query(table).execute(&mut first).await.unwrap();
    sqlx::Connection::close(first).await.unwrap();
    for access in [Access::Command, Access::Reader] {
        let error = Catalog::open(directory.path(), access).await.unwrap_err();
        assert!(matches!(error, CatalogError::Missing { .. }), "{error:?}");
    }
    Catalog::open(directory.path(), Access::Owner).await.unwrap().close().await.unwrap();
    Catalog::open(directory.path(), Access::Reader).await.unwrap().close().await.unwrap();
}

/// Until the log of changes is in use, SQLite keeps what it may have to undo in a journal, and a
/// connection that only reads cannot undo it.
#[tokio::test]
async fn a_first_start_cut_short_within_a_transaction_is_undone_by_the_next() {
    use sqlx::{ConnectOptions, Executor};
    let (there, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = there.path().join("catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut first = options.pragma("cache_size", "2").connect().await.unwrap();
    let work = "BEGIN; CREATE TABLE t (x); WITH RECURSIVE n (x) AS (VALUES (1) UNION ALL SELECT \
                x + 1 FROM n WHERE x < 500) INSERT INTO t SELECT randomblob(900) FROM n";
    first.execute(work).await.unwrap();
    // As a dead process leaves it: half of the transaction, and how to undo it.
    for name in ["catalog.db", "catalog.db-journal"] {
        let copied = std::fs::copy(there.path().join(name), directory.path().join(name)).unwrap();
        assert!(copied > 0, "{name}");
    }
    Catalog::open(directory.path(), Access::Owner).await.unwrap().close().await.unwrap();
    Catalog::open(directory.path(), Access::Reader).await.unwrap().close().await.unwrap();
}

/// A catalog with so many archives, of which every third one has a file and the rest is history.
async fn long_history(directory: &tempfile::TempDir, count: i64) -> Catalog {
    use sqlx::{AssertSqlSafe, ConnectOptions};
    let catalog = catalog(directory).await;
    adopt(&catalog, "first").await;
    let path = directory.path().join("catalog.db");
    let mut db = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO internal_archive (
             id, snapshot_id, instance, export, part, revision, attempts, downloads, at_rest,
             scheduled_at_ms, not_before_ms, state, job_id, package_id, raw_bytes, raw_sha256,
             stored_bytes, stored_sha256, format, method, path, deletion_reason, verified_at_ms)
         SELECT i, 1, 'prod', 'watched', 1, 0, 0, 1, 1, 0, 0,
             CASE WHEN i % 3 = 0 THEN 'stored' ELSE 'deleted' END, 'j' || i, 'p' || i, 1,
             zeroblob(32), 1, zeroblob(32), 'zip', 'store', i || '.zip',
             CASE WHEN i % 3 = 0 THEN NULL ELSE 'old' END, i / 10 FROM n"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    sqlx::Connection::close(db).await.unwrap();
    catalog
}

#[tokio::test]
async fn files_are_asked_for_in_pages_whatever_the_history() {
    use roma_archived::model::ArchiveId;
    let directory = tempfile::tempdir().unwrap();
    let catalog = long_history(&directory, 3_500).await;
    let (mut after, mut seen, mut pages) = (Some(ArchiveId(0)), Vec::new(), 0);
    while let Some(start) = after {
        let (page, next) = catalog.holding_page(start).await.unwrap();
        assert!(page.len() <= 1_000);
        seen.extend(page.into_iter().map(|archive| archive.id.0));
        (after, pages) = (next, pages + 1);
    }
    assert_eq!((pages, seen), (4, (1..=3_500).filter(|id| id % 3 == 0).collect()));
    // Those read longest ago first, and none twice although many were read at the same moment.
    let until = Timestamp::from_millis(1_000_000);
    let mut after = (Timestamp::EARLIEST, ArchiveId(0));
    let mut read = Vec::new();
    loop {
        let page = catalog.to_verify(after, until).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.milestones.verified_at.unwrap(), last.id);
        read.extend(page.iter().map(|archive| archive.id.0));
    }
    assert_eq!(read, (1..=3_500).filter(|id| id % 3 == 0).collect::<Vec<_>>());
    let paths: Vec<String> =
        ["3.zip", "4.zip", "odd '\"\\ name", "6.zip"].map(str::to_owned).into();
    // A deleted archive claims nothing.
    assert_eq!(catalog.unclaimed(&paths).await.unwrap(), ["4.zip", "odd '\"\\ name"]);
}
