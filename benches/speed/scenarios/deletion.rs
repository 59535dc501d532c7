//! Half of all archives go at once, against `find -delete` of copies of the same files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use roma_sim::{ContentSpec, Knobs};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{Contender, DAEMON, take_turns};
use crate::daemon::{DEFAULTS, Daemon, How, files_below};
use crate::live::Live;
use crate::measure::Run;
use crate::report::{Bar, Outcome, short};
use crate::server::{Package, Server, fast};
use crate::{Bench, tell};

const FIND: &str = "find -delete";
const NOTHING: &str = "roma-archived, nothing to delete";
/// As short as it may be.
const TRASH: &str = "1s";
const WAIT: Duration = Duration::from_secs(2);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// No daemon takes as long as this.
const PATIENCE: Duration = Duration::from_mins(30);

pub(super) fn deletion(bench: &Bench) -> Outcome {
    let count = bench.count(100_000);
    let content = ContentSpec::Random { bytes: 4 << 10 };
    let for_ever = Knobs { job_duration_ms: i64::from(i32::MAX), ..fast() };
    let server = Server::start(&bench.runtime, for_ever).offering(count, &content).running(1);
    let (all, running) = server.packages.split_at(count);
    let full = Daemon::new(bench, &server, &DEFAULTS);
    full.adopt(all);
    let stored = full.run_once(bench, DEFAULTS.slow);
    full.check(bench, all);
    tell(&format!("{count} archives stored in {:.0} s", stored.seconds));
    // The oldest go first, and ids are given in that order.
    let select = "SELECT path FROM archives ORDER BY id LIMIT ?1";
    let half = count / 2;
    let victims = paths(bench, &full, select, half);
    let some = &all[..half];
    let mut outcome = take_turns(
        bench.rounds.min(3),
        &[
            Contender::new(FIND, some, || find(bench, &full, &victims)),
            Contender::new(DAEMON, some, || retention(bench, &full, some, running)),
            Contender::new(NOTHING, some, || nothing(bench, &full)),
        ],
    );
    let seconds = |program| outcome.row(program).seconds();
    let all = seconds(DAEMON) / seconds(FIND);
    let alone = (seconds(DAEMON) - seconds(NOTHING)) / seconds(FIND);
    outcome.notes = vec![format!(
        "with a first start that compares catalog and vault: {} of the time of {FIND}",
        short(all)
    )];
    outcome.bars = vec![Bar::at_most(1.4, "of the time of find -delete", alone)];
    outcome
}

fn paths(bench: &Bench, daemon: &Daemon, select: &'static str, limit: usize) -> Vec<PathBuf> {
    let mut catalog = daemon.catalog(bench);
    let query = sqlx::query_scalar::<_, String>(select).bind(i64::try_from(limit).unwrap());
    let paths = bench.runtime.block_on(query.fetch_all(&mut catalog)).unwrap();
    paths.into_iter().map(PathBuf::from).collect()
}

fn find(bench: &Bench, full: &Daemon, victims: &[PathBuf]) -> Run {
    let copies = bench.folder("copies");
    for path in victims {
        let copy = copies.path().join(path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(full.state().join("vault").join(path), &copy).unwrap();
    }
    let mut command = bench.meter.command("find");
    command.arg(copies.path()).args(["-type", "f", "-delete"]);
    bench.meter.run(command, DEFAULTS.slow)
}

/// A policy that keeps half of them, applied to a copy of all: one run moves the rest to the trash,
/// and a daemon deletes them when their time there is over.
fn retention(bench: &Bench, full: &Daemon, victims: &[Package], running: &[Package]) -> Run {
    let daemon = full.copy(bench);
    let policy = format!(
        "[retention]\nmax_count = {count}\ntrash = \"{TRASH}\"\npolicy_grace = \"{TRASH}\"\n\
         max_delete_per_sweep = {count}\n",
        count = victims.len(),
    );
    daemon.configure(&How { more: &policy, ..DEFAULTS });
    own_inodes(bench, &daemon);
    // Learns of the policy, which only plans at first.
    daemon.create_catalog();
    std::thread::sleep(WAIT);
    let trashed = daemon.run_once(bench, DEFAULTS.slow);
    std::thread::sleep(WAIT);
    // The trash is emptied once ROMA has confirmed the time: there is a job to ask it about.
    daemon.adopt(running);
    let deleted = purge(bench, &daemon, victims.len());
    daemon.check_deleted(bench, victims);
    trashed.and(&deleted)
}

/// From the start of the daemon until so many archives are deleted.
fn purge(bench: &Bench, daemon: &Daemon, count: usize) -> Run {
    const DELETED: &str = "SELECT coalesce(sum(count), 0) FROM internal_tally \
                           WHERE kind = 'archive' AND state = 'deleted'";
    let mut catalog = daemon.catalog(bench);
    rustix::fs::sync();
    let begin = Instant::now();
    let live = Live::start(bench, daemon);
    loop {
        let query = sqlx::query_scalar::<_, i64>(DELETED);
        let deleted = bench.runtime.block_on(query.fetch_one(&mut catalog)).unwrap();
        if usize::try_from(deleted).is_ok_and(|deleted| deleted >= count) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{deleted} of {count} archives were deleted");
        std::thread::sleep(LOOK);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let look = live.look();
    Run {
        cpu_seconds: look.cpu_seconds,
        peak_rss_bytes: look.rss_bytes,
        fsyncs: bench.meter.counted(),
        ..Run::of_seconds(seconds)
    }
}

/// What the first of the two runs costs when there is nothing to delete.
fn nothing(bench: &Bench, full: &Daemon) -> Run {
    let daemon = full.copy(bench);
    own_inodes(bench, &daemon);
    daemon.run_once(bench, DEFAULTS.slow)
}

/// The daemon knows its files by their inodes, which a copy does not have.
fn own_inodes(bench: &Bench, daemon: &Daemon) {
    let files = files_below(&daemon.state().join("vault"));
    let options = SqliteConnectOptions::new()
        .filename(daemon.state().join("catalog.db"))
        .pragma("synchronous", "OFF");
    bench.runtime.block_on(async {
        let mut db = options.connect().await.unwrap();
        let mut all = db.begin().await.unwrap();
        for (path, inode) in files {
            let update = "UPDATE internal_archive SET inode = ?1 WHERE path = ?2";
            let update = sqlx::query(update).bind(inode.cast_signed()).bind(path.to_str());
            update.execute(&mut *all).await.unwrap();
        }
        all.commit().await.unwrap();
        db.close().await.unwrap();
    });
}
