//! Many small packages: from a fast server, over a slow disk, and from a server far away.

use std::time::Duration;

use roma_sim::{ContentSpec, Knobs};

use super::{CURL, Contender, DAEMON, SCRIPT, SERVER, take_turns};
use crate::Bench;
use crate::daemon::{DEFAULTS, Daemon, How};
use crate::measure::Fsyncs;
use crate::report::{Bar, Outcome};
use crate::rivals::{Target, curl, curl_each, script};
use crate::server::{Server, fast};

const CURL_EACH: &str = "curl, a process each";
const ONE: &str = "roma-archived, downloads = 1";
const AT_32: &str = "roma-archived, downloads = 32";
const ONE_AT_A_TIME: How<'_> = How { limits: "downloads = 1", ..DEFAULTS };
const MANY_AT_A_TIME: How<'_> = How { limits: "downloads = 32", ..DEFAULTS };

pub(super) fn zips(bench: &Bench) -> Outcome {
    let content = ContentSpec::Zip { bytes: 100 << 10 };
    let server = Server::start(&bench.runtime, fast()).offering(bench.count(1_000), &content);
    let all = &server.packages;
    // A process a file costs the same whatever comes after it.
    let some = &all[..bench.count(200)];
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SERVER, all, || curl(bench, &server, Target::Null)),
            Contender::new(CURL, all, || curl(bench, &server, Target::Files)),
            Contender::new(CURL_EACH, some, || curl_each(bench, &server, some)),
            Contender::new(SCRIPT, some, || script(bench, &server, some, DEFAULTS.slow)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let against = |program| daemon.speed_against(outcome.row(program));
    let bars = vec![
        Bar::at_least(20.0, "of the script's speed", against(SCRIPT)),
        Bar::at_least(0.7, "of the speed of one curl", against(CURL)),
        Bar::at_most(64.0, "MiB of peak RSS at 8 downloads", daemon.peak_mebibytes()),
    ];
    let note = format!("{:.1} times as fast as a curl process each", against(CURL_EACH));
    outcome.bars = bars;
    outcome.notes = vec![note, fsyncs_by_kind(&outcome, DAEMON)];
    outcome
}

pub(super) fn small(bench: &Bench) -> Outcome {
    let server = small_packages(bench, fast(), 10_000);
    let all = &server.packages;
    let some = &all[..bench.count(500)];
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SERVER, all, || curl(bench, &server, Target::Null)),
            Contender::new(CURL, all, || curl(bench, &server, Target::Files)),
            Contender::new(CURL_EACH, some, || curl_each(bench, &server, some)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let against = |program| daemon.speed_against(outcome.row(program));
    let fsyncs = daemon.fsyncs_an_archive(Fsyncs::all);
    let bars = vec![
        Bar::at_least(0.6, "of the speed of one curl", against(CURL)),
        Bar::at_most(2.5, "fsyncs an archive at 8 downloads", fsyncs),
        Bar::at_most(64.0, "MiB of peak RSS at 8 downloads", daemon.peak_mebibytes()),
    ];
    let note = format!("{:.1} times as fast as a curl process each", against(CURL_EACH));
    let catalog = format!("{:.0} bytes of catalog an archive", daemon.catalog_bytes_an_archive());
    outcome.bars = bars;
    outcome.notes = vec![note, fsyncs_by_kind(&outcome, DAEMON), catalog];
    outcome
}

/// Fewer packages for those that are slow at it.
pub(super) fn slow_disk(bench: &Bench) -> Outcome {
    const SLOW: Duration = Duration::from_millis(5);
    let server = small_packages(bench, fast(), 10_000);
    let all = &server.packages;
    let (some, few) = (&all[..bench.count(1_000)], &all[..bench.count(200)]);
    let store = |packages, how: How<'_>| {
        Daemon::store(bench, &server, packages, &How { slow: SLOW, ..how })
    };
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SCRIPT, few, || script(bench, &server, few, SLOW)),
            Contender::new(ONE, some, || store(some, ONE_AT_A_TIME)),
            Contender::new(DAEMON, all, || store(all, DEFAULTS)),
            Contender::new(AT_32, all, || store(all, MANY_AT_A_TIME)),
        ],
    );
    let (daemon, many) = (outcome.row(DAEMON), outcome.row(AT_32));
    let bars = vec![
        Bar::at_least(10.0, "of the script's speed", daemon.speed_against(outcome.row(SCRIPT))),
        Bar::at_least(10.0, "of one download's speed at 32", many.speed_against(outcome.row(ONE))),
        Bar::at_most(128.0, "MiB of peak RSS at 32 downloads", many.peak_mebibytes()),
    ];
    outcome.bars = bars;
    outcome.notes = vec![fsyncs_by_kind(&outcome, DAEMON), fsyncs_by_kind(&outcome, AT_32)];
    outcome
}

pub(super) fn far(bench: &Bench) -> Outcome {
    let server = small_packages(bench, Knobs { latency_ms: 20, ..fast() }, 500);
    let all = &server.packages;
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(ONE, all, || Daemon::store(bench, &server, all, &ONE_AT_A_TIME)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
        ],
    );
    let speed = outcome.row(DAEMON).speed_against(outcome.row(ONE));
    outcome.bars = vec![Bar::at_least(6.0, "of one download's speed at 8", speed)];
    outcome
}

fn small_packages(bench: &Bench, knobs: Knobs, count: usize) -> Server {
    let content = ContentSpec::Random { bytes: 4 << 10 };
    Server::start(&bench.runtime, knobs).offering(bench.count(count), &content)
}

fn fsyncs_by_kind(outcome: &Outcome, program: &str) -> String {
    let row = outcome.row(program);
    let each = |kind: fn(Fsyncs) -> u64| row.fsyncs_an_archive(kind);
    format!(
        "{program}, fsyncs an archive: {:.3} commits, {:.3} checkpoints, {:.3} files, {:.3} \
         folders",
        each(|fsyncs| fsyncs.commits),
        each(|fsyncs| fsyncs.databases),
        each(|fsyncs| fsyncs.files),
        each(|fsyncs| fsyncs.folders),
    )
}
