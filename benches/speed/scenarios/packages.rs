//! Packages of one kind from a server without any bottleneck, to the disk.

use std::time::Duration;

use roma_sim::{ContentSpec, Knobs};

use super::{Contender, take_turns};
use crate::Bench;
use crate::daemon::Daemon;
use crate::measure::{Fsyncs, float};
use crate::report::{Bar, Outcome};
use crate::rivals::{Target, curl, curl_each, script};
use crate::server::{Server, fast};

const AT_ONCE: Duration = Duration::ZERO;
const DAEMON: &str = "roma-archived";
const SERVER: &str = "curl -o /dev/null (the server)";
const CURL: &str = "curl, one process";
const CURL_EACH: &str = "curl, a process each";
const SYNCED: &str = "curl -o file; sync file";
const SCRIPT: &str = "serial.sh";

/// Nothing but the defaults.
const DEFAULTS: (&str, &str) = ("", "");

pub(super) fn big(bench: &Bench) -> Outcome {
    let content = ContentSpec::Random { bytes: bench.bytes(1 << 30) };
    let server = Server::start(&bench.runtime, fast()).offering(1, &content);
    let all = &server.packages;
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SERVER, all, || curl(bench, &server, Target::Null)),
            Contender::new(SYNCED, all, || curl(bench, &server, Target::SyncedFiles)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, DEFAULTS, AT_ONCE)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let of_raw = daemon.stored_bytes() / float(server.raw_bytes());
    let bars = vec![
        Bar::at_least(0.75, "of the speed of curl -o file; sync file", {
            daemon.speed_against(outcome.row(SYNCED))
        }),
        Bar::at_most(1.001, "of the package's bytes stored", of_raw),
        Bar::at_most(32.0, "MiB of peak RSS", daemon.peak_mebibytes()),
    ];
    outcome.bars = bars;
    outcome
}

/// Only memory is looked at. The server makes the bytes as they go: it has no room for them.
pub(super) fn huge(bench: &Bench) -> Outcome {
    let knobs = Knobs { prepare_in_memory: false, ..fast() };
    let server = |bytes| {
        let content = ContentSpec::Random { bytes: bench.bytes(bytes) };
        Server::start(&bench.runtime, knobs.clone()).offering(1, &content)
    };
    let (one, ten) = (server(1 << 30), server(10 << 30));
    let mut outcome = take_turns(
        1,
        &[
            Contender::new("1 GiB", &one.packages, || {
                Daemon::store(bench, &one, DEFAULTS, AT_ONCE)
            }),
            Contender::new("10 GiB", &ten.packages, || {
                Daemon::store(bench, &ten, DEFAULTS, AT_ONCE)
            }),
        ],
    );
    let (one, ten) = (outcome.row("1 GiB"), outcome.row("10 GiB"));
    let growth = ten.peak_mebibytes() / one.peak_mebibytes();
    outcome.bars = vec![Bar::at_most(1.3, "of the peak RSS for 1 GiB", growth)];
    outcome
}

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
            Contender::new(SCRIPT, some, || script(bench, &server, some, AT_ONCE)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, DEFAULTS, AT_ONCE)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let against = |program| daemon.speed_against(outcome.row(program));
    let bars = vec![
        Bar::at_least(20.0, "of the script's speed", against(SCRIPT)),
        Bar::at_least(0.7, "of the speed of one curl", against(CURL)),
    ];
    let note = format!("{:.1} times as fast as a curl process each", against(CURL_EACH));
    outcome.bars = bars;
    outcome.notes.push(note);
    outcome
}

pub(super) fn small(bench: &Bench) -> Outcome {
    let content = ContentSpec::Random { bytes: 4 << 10 };
    let server = Server::start(&bench.runtime, fast()).offering(bench.count(10_000), &content);
    let all = &server.packages;
    let some = &all[..bench.count(500)];
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SERVER, all, || curl(bench, &server, Target::Null)),
            Contender::new(CURL, all, || curl(bench, &server, Target::Files)),
            Contender::new(CURL_EACH, some, || curl_each(bench, &server, some)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, DEFAULTS, AT_ONCE)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let against = |program| daemon.speed_against(outcome.row(program));
    let each = |kind: fn(Fsyncs) -> u64| daemon.fsyncs_an_archive(kind);
    let bars = vec![
        Bar::at_least(0.6, "of the speed of one curl", against(CURL)),
        Bar::at_most(2.5, "fsyncs an archive at 8 downloads", each(Fsyncs::all)),
    ];
    let notes = vec![
        format!("{:.1} times as fast as a curl process each", against(CURL_EACH)),
        format!(
            "fsyncs an archive: {:.3} commits, {:.3} checkpoints, {:.3} files, {:.3} folders",
            each(|fsyncs| fsyncs.commits),
            each(|fsyncs| fsyncs.databases),
            each(|fsyncs| fsyncs.files),
            each(|fsyncs| fsyncs.folders),
        ),
    ];
    outcome.bars = bars;
    outcome.notes = notes;
    outcome
}
