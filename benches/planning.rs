//! What a plan costs, against a plain `SELECT` that steps the same rows: `cargo bench --bench
//! planning`. Rounds of both alternate in one run; medians and their ratio are printed. Nothing is
//! asserted: the bar stands in the documents, and the machine decides.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on may panic")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::path::Path;
use std::time::{Duration, Instant};

use roma_archived::catalog::{Access, Catalog};
use roma_archived::engine::{Retention, foresee};
use roma_archived::model::{Name, Timestamp};
use roma_archived::retention::{
    Circumstances, Count, CountRule, Period, Pin, Policy, SnapshotFacts, plan,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};

const ROUNDS: usize = 7;
/// The columns that a plan needs.
const SELECT: &str = "SELECT id, taken_at_ms, state, raw_bytes, stored_bytes \
                      FROM internal_snapshot WHERE instance = 'prod' AND export = 'nightly'";

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

async fn fill(directory: &Path, snapshots: u64) -> SqliteConnection {
    Catalog::open(directory, Access::Owner).await.unwrap().close().await.unwrap();
    let options = SqliteConnectOptions::new().filename(directory.join("catalog.db"));
    let mut db = options.connect().await.unwrap();
    let rows = format!(
        "INSERT INTO internal_export (instance, name, configured, first_seen_at_ms, last_due_at_ms)
         VALUES ('prod', 'nightly', 1, 0, 0);
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {snapshots})
         INSERT INTO internal_snapshot (instance, export, origin, taken_at_ms, state, parts,
             parts_stored, raw_bytes, stored_bytes, not_before_ms)
         SELECT 'prod', 'nightly', 'schedule', {now} - i * 600000, 'complete', 1, 1, 40000, 20000, 0
         FROM n;",
        now = now().as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&mut db).await.unwrap();
    db
}

async fn step_rows(db: &mut SqliteConnection) -> u64 {
    let rows = sqlx::query(SELECT).fetch_all(db).await.unwrap();
    rows.iter().map(|row| row.get::<i64, _>("stored_bytes").unsigned_abs()).sum()
}

async fn plan_all(catalog: &Catalog, policy: &Policy, at: &Circumstances) -> usize {
    let (instance, export): (Name, Name) = ("prod".parse().unwrap(), "nightly".parse().unwrap());
    let records = catalog.snapshots_of(&instance, &export, at.now).await.unwrap();
    let facts: Vec<SnapshotFacts> = records
        .into_iter()
        .map(|record| SnapshotFacts {
            id: record.id,
            taken_at: record.taken_at,
            state: record.state,
            raw_bytes: record.raw_bytes,
            stored_bytes: record.stored_bytes,
            pin: record.pin.map(|(name, until)| Pin { name, until }),
        })
        .collect();
    plan(&facts, policy, at).len()
}

/// What a sweep asks: the plan, and when everything that is kept will go.
async fn foresee_all(catalog: &Catalog, policy: &Policy, at: &Circumstances) -> usize {
    let retention = Retention {
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        policy: policy.clone(),
        policy_hash: String::new(),
        zone: at.zone.clone(),
        schedule: Some("*/10 * * * *".parse().unwrap()),
        suspended: None,
    };
    foresee(catalog, &retention, at.now, None).await.unwrap().verdicts.len()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let counted = |period, count| CountRule { period, count: Count::Limited(count) };
    let policy = Policy {
        counts: vec![
            counted(None, 7),
            counted(Some(Period::Day), 30),
            counted(Some(Period::Week), 52),
            counted(Some(Period::Month), 60),
        ],
        ..Policy::default()
    };
    let at = Circumstances {
        now: now(),
        zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        clock_doubt: None,
        suspended: None,
        policy_changed_at: None,
    };
    println!("snapshots  SELECT ms  plan ms  ratio  with forecast ms  ratio");
    for snapshots in [10_000, 100_000, 1_000_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut db = fill(directory.path(), snapshots).await;
        let catalog = Catalog::open(directory.path(), Access::Reader).await.unwrap();
        let (mut selects, mut plans, mut forecasts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            assert!(step_rows(&mut db).await > 0);
            selects.push(start.elapsed());
            let start = Instant::now();
            assert!(plan_all(&catalog, &policy, &at).await > 0);
            plans.push(start.elapsed());
            let start = Instant::now();
            assert!(foresee_all(&catalog, &policy, &at).await > 0);
            forecasts.push(start.elapsed());
        }
        let [select, plan, forecast] =
            [selects, plans, forecasts].map(|times| median(times).as_secs_f64());
        println!(
            "{snapshots:>9}  {:>9.1}  {:>7.1}  {:>5.2}  {:>16.1}  {:>5.2}",
            select * 1e3,
            plan * 1e3,
            plan / select,
            forecast * 1e3,
            forecast / select
        );
    }
}
