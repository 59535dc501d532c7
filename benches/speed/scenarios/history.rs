//! A catalog with a long history: what it costs to start with it, and to add to it.
//!
//! The history is made of archives that were deleted, whose rows stay for ever: only these can be
//! had without their files.

use roma_sim::ContentSpec;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{Contender, take_turns};
use crate::daemon::{DEFAULTS, Daemon};
use crate::live::Live;
use crate::measure::Run;
use crate::report::{Bar, Outcome};
use crate::server::{Server, fast};
use crate::{Bench, tell};

/// What the daemon writes of an archive in the course of its life: a run, a row, ten events.
const ROWS: &str = "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS)
    INSERT INTO internal_snapshot (instance, export, origin, taken_at_ms, state, parts,
        parts_stored, raw_bytes, stored_bytes, not_before_ms)
    SELECT 'prod', 'watched', 'watch', NOW - 60000 * i, 'deleted', 1, 0, 4096, 4800, 0 FROM n;
    INSERT INTO internal_archive (snapshot_id, instance, export, part, revision, attempts,
        downloads, at_rest, scheduled_at_ms, not_before_ms, state, job_id, package_id, raw_bytes,
        raw_sha256, stored_bytes, stored_sha256, format, method, path, inode, deletion_reason,
        accepted_at_ms, ready_at_ms, downloaded_at_ms, stored_at_ms, verified_at_ms, deleted_at_ms)
    SELECT id, 'prod', 'watched', 1, 10, 0, 1, 1, taken_at_ms, 0, 'deleted',
        lower(hex(randomblob(16))), lower(hex(randomblob(16))), 4096, randomblob(32), 4800,
        randomblob(32), 'other', 'store',
        'prod/watched/2026/01/20260101T000000Z-s' || id || '-1.zip', id, 'no rule keeps it',
        taken_at_ms, taken_at_ms, taken_at_ms, taken_at_ms, taken_at_ms, taken_at_ms
    FROM internal_snapshot WHERE state = 'deleted';
    WITH RECURSIVE e (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM e WHERE i < 10)
    INSERT INTO internal_event (at_ms, archive_id, snapshot_id, event, from_state, to_state, detail)
    SELECT scheduled_at_ms, id, snapshot_id, 'file_stored', 'downloaded', 'stored',
        json_object('bytes', 4096, 'sha256', lower(hex(raw_sha256)), 'path', path)
    FROM internal_archive CROSS JOIN e;";

/// Puts so many archives into a catalog that holds nothing yet.
pub(super) fn fill(bench: &Bench, daemon: &Daemon, rows: usize) {
    let options = SqliteConnectOptions::new().filename(daemon.state().join("catalog.db"));
    let now = jiff::Timestamp::now().as_millisecond();
    let text = ROWS.replace("ROWS", &rows.to_string()).replace("NOW", &now.to_string());
    bench.runtime.block_on(async {
        let mut db = options.pragma("synchronous", "OFF").connect().await.unwrap();
        let whole = format!("BEGIN; {text} COMMIT;");
        sqlx::raw_sql(sqlx::AssertSqlSafe(whole)).execute(&mut db).await.unwrap();
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    });
    tell(&format!("{rows} archives entered"));
}

fn with_history(bench: &Bench, server: &Server, rows: usize) -> Daemon {
    let daemon = Daemon::new(bench, server, &DEFAULTS);
    daemon.create_catalog();
    fill(bench, &daemon, rows);
    daemon
}

pub(super) fn start(bench: &Bench) -> Outcome {
    const FEW: &str = "100,000 archives, to READY";
    const MANY: &str = "1,000,000 archives, to READY";
    let server = Server::start(&bench.runtime, fast());
    let counts = [100_000, 1_000_000].map(|rows| bench.count(rows));
    let [few, many] = counts.map(|rows| with_history(bench, &server, rows));
    let start = |daemon: &Daemon| Run::of_seconds(Live::start(bench, daemon).seconds_to_ready);
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::of_rows(FEW, counts[0], || start(&few)),
            Contender::of_rows(MANY, counts[1], || start(&many)),
        ],
    );
    let longer = outcome.row(MANY).seconds() / outcome.row(FEW).seconds();
    outcome.bars = vec![Bar::at_most(2.0, "of the time to start with 100,000", longer)];
    outcome
}

pub(super) fn growth(bench: &Bench) -> Outcome {
    const PROGRAMS: [&str; 4] = ["after 1,000", "after 10,000", "after 100,000", "after 1,000,000"];
    let content = ContentSpec::Random { bytes: 4 << 10 };
    let server = Server::start(&bench.runtime, fast()).offering(bench.count(1_000), &content);
    let all = &server.packages;
    let counts = [1_000, 10_000, 100_000, 1_000_000];
    let histories = counts.map(|rows| with_history(bench, &server, bench.count(rows)));
    let store = |history: &Daemon| {
        let daemon = history.copy(bench);
        daemon.adopt(all);
        let mut run = daemon.run_once(bench, DEFAULTS.slow);
        run.stored_bytes = Some(daemon.check(bench, all));
        run
    };
    let contenders: Vec<Contender<'_>> = PROGRAMS
        .into_iter()
        .zip(&histories)
        .map(|(program, history)| Contender::new(program, all, move || store(history)))
        .collect();
    let mut outcome = take_turns(bench.rounds, &contenders);
    let [first, .., last] = PROGRAMS.map(|program| outcome.row(program).seconds_an_archive());
    outcome.bars = vec![Bar::at_most(
        1.25,
        "of the time for an archive after 1,000, after 1,000,000",
        last / first,
    )];
    outcome
}
