//! The catalog as others see it: the views are the contract, `docs/schema.md` describes exactly
//! them, and the internal tables refuse what does not add up.

mod page;
mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use roma_archived::catalog::{Access, Catalog, CatalogError, FILE_NAME};
use roma_archived::lifecycle::StateWord;
use roma_archived::model::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

/// The contract. A column may be added here; one that goes or changes raises
/// `schema_info.version`.
const CONTRACT: [(&str, &str); 6] = [
    (
        "archives",
        "id snapshot_id export instance part job_id package_id state scheduled_at ready_at \
         downloaded_at stored_at verified_at deleted_at raw_bytes raw_sha256 stored_bytes \
         stored_sha256 format method path attempts next_attempt_at last_error replaces same_as \
         acknowledged_at deleted_because",
    ),
    (
        "snapshots",
        "id export instance taken_at state parts parts_stored assets assets_missing raw_bytes \
         stored_bytes pinned \
         kept_because expected_delete_at",
    ),
    (
        "exports",
        "name instance schedule next_due_at last_complete_at last_failure_at last_error \
         rpo_seconds rpo_met",
    ),
    ("events", "seq at archive_id snapshot_id event from_state to_state detail"),
    ("pins", "snapshot_id name reason pinned_at until pinned_by"),
    ("schema_info", "version created_at app_version"),
];

fn options(state_dir: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(state_dir.join(FILE_NAME))
}

/// A reader like any other.
async fn reader(state_dir: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&options(state_dir).read_only(true)).await.unwrap()
}

async fn rows(db: &mut SqliteConnection, sql: &str) -> Vec<SqliteRow> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(db).await;
    rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
}

async fn texts(db: &mut SqliteConnection, sql: &str) -> Vec<String> {
    rows(db, sql).await.iter().map(|row| row.get(0)).collect()
}

async fn number(db: &mut SqliteConnection, sql: &str) -> i64 {
    rows(db, sql).await[0].get(0)
}

/// Names of the views and their columns, in order.
pub(crate) async fn views(db: &mut SqliteConnection) -> BTreeMap<String, Vec<String>> {
    let mut views = BTreeMap::new();
    for view in texts(db, "SELECT name FROM sqlite_schema WHERE type = 'view'").await {
        let columns = texts(db, &format!("SELECT name FROM pragma_table_info('{view}')")).await;
        views.insert(view, columns);
    }
    views
}

/// When everything in the sample happened.
pub(crate) fn sample_time() -> Timestamp {
    sample::at()
}

/// A new catalog of the sample, and a connection that may write to it behind the program's back.
pub(crate) async fn sample() -> (tempfile::TempDir, SqliteConnection) {
    let directory = tempfile::tempdir().unwrap();
    sample::catalog(directory.path()).await.close().await.unwrap();
    let mut db = SqliteConnection::connect_with(&options(directory.path())).await.unwrap();
    let pins = "INSERT INTO internal_pin VALUES (3, 'audit', 'why', 7, NULL, 'ops'), \
                (3, 'b', 'y', 7, 8, 'ops')";
    rows(&mut db, pins).await;
    (directory, db)
}

#[tokio::test]
async fn the_views_are_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    Catalog::open(directory.path(), Access::Owner).await.unwrap().close().await.unwrap();
    let contract: BTreeMap<String, Vec<String>> = CONTRACT
        .into_iter()
        .map(|(view, columns)| {
            (view.to_owned(), columns.split_whitespace().map(ToOwned::to_owned).collect())
        })
        .collect();
    let found = views(&mut reader(directory.path()).await).await;
    assert_eq!(found, contract);
    let described: BTreeMap<String, Vec<String>> = page::views()
        .into_iter()
        .map(|(view, columns)| (view, columns.into_iter().map(|column| column.name).collect()))
        .collect();
    assert_eq!(found, described, "docs/schema.md");
}

/// Whether a value is what its column is said to hold.
fn fits(unit: &str, value: &str) -> bool {
    match unit {
        "time" => value.parse::<Timestamp>().is_ok_and(|time| time.to_string() == value),
        "SHA-256" => value.len() == 64 && value.bytes().all(|b| b"0123456789abcdef".contains(&b)),
        "JSON" => serde_json::from_str::<serde_json::Map<_, _>>(value).is_ok(),
        "0 or 1" => matches!(value, "0" | "1"),
        "bytes" | "seconds" => value.parse::<u64>().is_ok(),
        "" => true,
        unit => panic!("the page speaks of a unit `{unit}`"),
    }
}

#[tokio::test]
async fn every_value_is_of_the_type_that_the_page_says() {
    let (_directory, mut db) = sample().await;
    for (view, columns) in page::views() {
        for page::Column { name, storage, unit, never_null } in columns {
            let sql = format!(
                "SELECT DISTINCT upper(typeof(\"{name}\")), CAST(\"{name}\" AS TEXT) FROM {view}"
            );
            let mut has_null = false;
            let mut has_value = false;
            for row in rows(&mut db, &sql).await {
                let (found, value): (String, Option<String>) = (row.get(0), row.get(1));
                let Some(value) = value else {
                    has_null = true;
                    continue;
                };
                has_value = true;
                assert_eq!(found, storage, "{view}.{name}");
                assert!(fits(&unit, &value), "{view}.{name} is no {unit}: {value}");
            }
            assert!(has_value, "{view}.{name}");
            // A catalog that a daemon has started on has both: the sample is one.
            if view != "schema_info" {
                assert_eq!(has_null, !never_null, "{view}.{name}");
            }
        }
    }
    let times = texts(&mut db, "SELECT DISTINCT at FROM events").await;
    assert_eq!(times, [sample::at().to_string()], "not a millisecond is lost");
}

/// The words that a CHECK of the internal table allows for its column `state`.
async fn allowed_states(db: &mut SqliteConnection, table: &str) -> BTreeSet<String> {
    let sql = format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'");
    let text = texts(db, &sql).await.remove(0);
    let (_, list) = text.split_once("(state IN (").unwrap();
    let (list, _) = list.split_once(')').unwrap();
    list.split(',').map(|word| word.trim().trim_matches('\'').to_owned()).collect()
}

#[tokio::test]
async fn the_page_explains_every_state_and_every_event() {
    let (_directory, mut db) = sample().await;
    let set = |words: Vec<String>| words.into_iter().collect::<BTreeSet<String>>();
    let described = set(page::words("archives", 3));
    assert_eq!(described, StateWord::ALL.map(|state| state.as_str().to_owned()).into());
    assert_eq!(described, allowed_states(&mut db, "internal_archive").await);
    assert_eq!(described, set(texts(&mut db, "SELECT DISTINCT state FROM archives").await));
    let described = set(page::words("snapshots", 2));
    assert_eq!(described, allowed_states(&mut db, "internal_snapshot").await);
    assert_eq!(described, set(texts(&mut db, "SELECT DISTINCT state FROM snapshots").await));

    let lifecycle = page::read("docs/lifecycle.md");
    let described = set(page::words("events", 2));
    for event in texts(&mut db, "SELECT DISTINCT event FROM events").await {
        let is_described =
            described.contains(&event) || lifecycle.contains(&format!("\n| `{event}` |"));
        assert!(is_described, "{event}");
    }
}

#[tokio::test]
async fn the_queries_of_the_documents_run() {
    let (directory, db) = sample().await;
    drop(db);
    let empty = tempfile::tempdir().unwrap();
    Catalog::open(empty.path(), Access::Owner).await.unwrap().close().await.unwrap();
    let queries = page::queries();
    let of = |page: &str| queries.iter().filter(|(name, _)| name == page).count();
    assert!(of("docs/schema.md") >= 8 && of("README.md") >= 1, "too few were found");
    let backups = directory.path().display().to_string();
    for (page, query) in &queries {
        let query = query.replace("/var/backups", &backups);
        for state_dir in [directory.path(), empty.path()] {
            let mut db = reader(state_dir).await;
            let result = sqlx::raw_sql(AssertSqlSafe(query.clone())).fetch_all(&mut db).await;
            let rows = result.unwrap_or_else(|error| panic!("{page}: {error}\n{query}"));
            // Each says something about the sample, but for those that name a number.
            let asks = !query.contains("= 34") && !query.contains("> 1000");
            let says = query.contains("VACUUM INTO") || !rows.is_empty();
            assert!(state_dir != directory.path() || !asks || says, "{page}: nothing\n{query}");
            if query.contains("VACUUM INTO") {
                let (_, copy) = query.split_once('\'').unwrap();
                let copy = copy.split('\'').next().unwrap();
                let options = SqliteConnectOptions::new().filename(copy).read_only(true);
                let mut copy_db = SqliteConnection::connect_with(&options).await.unwrap();
                let same = views(&mut copy_db).await == views(&mut db).await;
                assert!(same, "{page}: the copy is no catalog");
                std::fs::remove_file(copy).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_file_says_what_it_is_and_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(directory.path(), Access::Owner).await.unwrap();
    let mut db = reader(directory.path()).await;
    assert_eq!(number(&mut db, "PRAGMA application_id").await, 0x524F_4D41);
    assert_eq!(number(&mut db, "PRAGMA user_version").await, 1);
    assert_eq!(number(&mut db, "SELECT version FROM schema_info").await, 1);
    assert_eq!(texts(&mut db, "PRAGMA journal_mode").await, ["wal"]);
    let internal = "FROM pragma_table_list WHERE type = 'table' AND name LIKE 'internal\\_%' \
                    ESCAPE '\\'";
    let loose = texts(&mut db, &format!("SELECT name {internal} AND NOT strict")).await;
    assert_eq!(loose, [""; 0]);
    assert_eq!(number(&mut db, &format!("SELECT count(*) {internal}")).await, 7);
    let refused = sqlx::query("CREATE TABLE mine (id INTEGER)").execute(&mut db).await;
    assert!(refused.unwrap_err().to_string().contains("readonly"));
    db.close().await.unwrap();
    // As every start of the daemon does.
    catalog.last_seq().await.unwrap();
    catalog.close().await.unwrap();
    // Also afterwards, because a member of the group, who may not create them, needs all three.
    for suffix in ["", "-wal", "-shm"] {
        let path = directory.path().join(format!("{FILE_NAME}{suffix}"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640, "{}", path.display());
    }
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let (directory, mut db) = sample().await;
    let dump = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
    let events = "SELECT seq || at || event || detail FROM events ORDER BY seq";
    let migrations = "SELECT version || hex(checksum) || installed_on FROM _sqlx_migrations";
    let mut before = Vec::new();
    for sql in [dump, events, migrations] {
        before.push(texts(&mut db, sql).await);
    }
    for access in [Access::Owner, Access::Owner, Access::Command, Access::Reader] {
        Catalog::open(directory.path(), access).await.unwrap().close().await.unwrap();
    }
    for (sql, before) in [dump, events, migrations].into_iter().zip(before) {
        assert_eq!(texts(&mut db, sql).await, before, "{sql}");
    }
    assert_eq!(texts(&mut db, "PRAGMA integrity_check").await, ["ok"]);
    assert!(rows(&mut db, "PRAGMA foreign_key_check").await.is_empty());
}

#[tokio::test]
async fn rows_that_do_not_add_up_are_refused() {
    let (_directory, mut db) = sample().await;
    let check = "CHECK constraint failed";
    for (sql, why) in [
        ("UPDATE internal_archive SET job_id = NULL WHERE state = 'running'", check),
        ("UPDATE internal_archive SET package_id = NULL WHERE state = 'ready'", check),
        ("UPDATE internal_archive SET raw_sha256 = NULL WHERE state = 'downloaded'", check),
        ("UPDATE internal_archive SET raw_sha256 = x'00' WHERE state = 'downloaded'", check),
        ("UPDATE internal_archive SET raw_bytes = -1 WHERE state = 'downloaded'", check),
        ("UPDATE internal_archive SET path = NULL WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET stored_sha256 = NULL WHERE state = 'deleted'", check),
        ("UPDATE internal_archive SET method = 'zstd' WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET format = 'tar' WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET deletion_reason = NULL WHERE state = 'trashed'", check),
        ("UPDATE internal_archive SET deletion_reason = 'x' WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET cause = NULL WHERE state = 'lost'", check),
        ("UPDATE internal_archive SET cause = 'refused' WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET state = 'stored' WHERE state = 'scheduled'", check),
        ("UPDATE internal_archive SET state = 'gone' WHERE state = 'stored'", check),
        ("UPDATE internal_archive SET part = 0", check),
        ("UPDATE internal_archive SET at_rest = 2", check),
        ("UPDATE internal_snapshot SET state = 'stored'", check),
        ("UPDATE internal_snapshot SET parts = -1", check),
        ("UPDATE internal_snapshot SET origin = 'magic'", check),
        ("UPDATE internal_event SET detail = 'no JSON'", check),
        ("UPDATE internal_export SET configured = 2", check),
        ("UPDATE internal_archive SET raw_bytes = 'many' WHERE state = 'stored'", "cannot store"),
        ("UPDATE internal_archive SET job_id = 'same' WHERE job_id IS NOT NULL", "UNIQUE"),
        ("UPDATE internal_archive SET package_id = 'same' WHERE state <> 'failed'", "UNIQUE"),
        ("UPDATE internal_archive SET path = 'same'", "UNIQUE"),
        ("UPDATE internal_archive SET replaces = 1", "UNIQUE"),
        ("UPDATE internal_archive SET snapshot_id = 999", "FOREIGN KEY"),
        ("UPDATE internal_snapshot SET export = 'weekly'", "FOREIGN KEY"),
        ("DELETE FROM internal_snapshot WHERE state = 'complete'", "FOREIGN KEY"),
    ] {
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await;
        let error = result.expect_err(sql).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
}

/// The SQL texts that stand as constants in the source, by name.
pub(crate) fn constants() -> Vec<(String, String)> {
    let mut constants = Vec::new();
    let mut folders = vec![page::path("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for item in text.split("const ").skip(1) {
                let Some((name, rest)) = item.split_once(": &str =") else { continue };
                let Some(literal) = rest.trim_start().strip_prefix('"') else { continue };
                let literal = literal.split('"').next().unwrap();
                // A backslash at the end of a line swallows the blanks that begin the next one.
                let mut lines = literal.split("\\\n");
                let mut sql = lines.next().unwrap().to_owned();
                lines.for_each(|line| sql.push_str(line.trim_start()));
                let verb = sql.split_whitespace().next().unwrap_or_default();
                if ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].contains(&verb) {
                    constants.push((format!("{} {name}", path.display()), sql));
                }
            }
        }
    }
    constants
}

#[tokio::test]
async fn every_sql_text_of_the_program_prepares() {
    let directory = tempfile::tempdir().unwrap();
    Catalog::open(directory.path(), Access::Owner).await.unwrap().close().await.unwrap();
    let mut db = SqliteConnection::connect_with(&options(directory.path())).await.unwrap();
    let constants = constants();
    let in_catalog = constants.iter().filter(|(name, _)| name.contains("/catalog/sql.rs")).count();
    let declared = page::read("src/catalog/sql.rs").matches("const ").count();
    assert_eq!(in_catalog, declared, "a text was not recognized");
    assert!(constants.len() > declared, "commands have their own");
    for (name, sql) in &constants {
        for statement in sql.split(";\n") {
            let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
            let result = sqlx::raw_sql(explain).execute(&mut db).await;
            assert!(result.is_ok(), "{name}: {result:?}\n{statement}");
        }
    }
}

async fn refusal(state_dir: &Path, access: Access) -> (CatalogError, String) {
    let error = Catalog::open(state_dir, access).await.unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains(state_dir.join(FILE_NAME).to_str().unwrap()), "{text}");
    (error, text)
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path()).create_if_missing(true);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    rows(&mut db, "CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')").await;
    rows(&mut db, "PRAGMA application_id = 7").await;
    for access in [Access::Owner, Access::Command, Access::Reader] {
        let (error, text) = refusal(directory.path(), access).await;
        assert!(matches!(error, CatalogError::Foreign { found: 7, .. }), "{error:?}");
        assert!(text.contains("is not a catalog of roma-archived (application_id 0x7)"), "{text}");
    }
    assert_eq!(texts(&mut db, "SELECT name FROM sqlite_schema").await, ["recipes"]);
    assert_eq!(texts(&mut db, "SELECT name FROM recipes").await, ["soup"]);
    std::fs::write(directory.path().join(FILE_NAME), "x".repeat(4_096)).unwrap();
    for suffix in ["-wal", "-shm"] {
        drop(std::fs::remove_file(directory.path().join(format!("{FILE_NAME}{suffix}"))));
    }
    let (error, text) = refusal(directory.path(), Access::Owner).await;
    assert!(matches!(error, CatalogError::Open { .. }), "{error:?}");
    assert!(text.contains("file is not a database"), "{text}");
}

#[tokio::test]
async fn a_catalog_of_a_newer_or_an_altered_version_is_refused() {
    for (sql, why) in [
        (
            "INSERT INTO _sqlx_migrations VALUES (99, 'later', '2027-01-01', TRUE, x'00', 1)",
            "migration 99 was previously applied but is missing",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
            "migration 1 was previously applied but has been modified",
        ),
    ] {
        let (directory, mut db) = sample().await;
        rows(&mut db, sql).await;
        let (error, text) = refusal(directory.path(), Access::Owner).await;
        assert!(matches!(error, CatalogError::Migrate { .. }), "{error:?}");
        assert!(text.contains(why), "{text}");
    }
    let (directory, mut db) = sample().await;
    rows(&mut db, "DELETE FROM _sqlx_migrations WHERE version > 1").await;
    for access in [Access::Command, Access::Reader] {
        let (error, text) = refusal(directory.path(), access).await;
        assert!(matches!(error, CatalogError::OlderSchema { .. }), "{error:?}");
        assert!(text.contains("start the daemon of this version once"), "{text}");
    }
}

/// A creation that was cut short leaves an empty file; the next start makes a catalog of it.
#[tokio::test]
async fn an_empty_file_becomes_a_catalog() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE_NAME), "").unwrap();
    refusal(directory.path(), Access::Reader).await;
    Catalog::open(directory.path(), Access::Owner).await.unwrap().close().await.unwrap();
    assert_eq!(views(&mut reader(directory.path()).await).await.len(), CONTRACT.len());
}

fn command(state_dir: &Path, arguments: &[&str]) -> Output {
    let config = state_dir.with_extension("toml");
    let text = page::read("config/roma-archived.toml")
        .replace("/var/lib/roma-archived\"", &format!("{}\"", state_dir.display()));
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_roma-archived"));
    command.arg("--config").arg(config).args(arguments).output().unwrap()
}

#[tokio::test]
async fn commands_say_what_to_do_about_a_missing_catalog_and_nothing_about_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("state");
    let reading: [&[&str]; 4] = [&["status"], &["list"], &["show", "a1"], &["extract", "s1"]];
    for arguments in reading {
        let output = command(&state_dir, arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{arguments:?}: {text}");
        let path = state_dir.join(FILE_NAME);
        let expect = format!("error: there is no catalog at {}: start the daemon", path.display());
        assert!(text.starts_with(&expect), "{arguments:?}: {text}");
        assert!(!state_dir.exists(), "{arguments:?} made something");
    }
    std::fs::create_dir(&state_dir).unwrap();
    Catalog::open(&state_dir, Access::Owner).await.unwrap().close().await.unwrap();
    for (arguments, code, said) in [
        (reading[0], 0, "all is well"),
        (reading[1], 0, "no archives match"),
        (&["list", "--snapshots"], 0, "no snapshots match"),
        (reading[2], 65, "there is no a1 in the catalog"),
        (reading[3], 65, "there is no s1 in the catalog"),
    ] {
        let output = command(&state_dir, arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}
