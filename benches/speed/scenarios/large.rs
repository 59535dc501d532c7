//! One large package: how fast it comes to the disk, how small, and with how much memory.

use roma_sim::{ContentSpec, Knobs};

use super::{CURL, Contender, DAEMON, SCRIPT, SERVER, take_turns};
use crate::Bench;
use crate::daemon::{DEFAULTS, Daemon, How};
use crate::measure::float;
use crate::report::{Bar, Outcome};
use crate::rivals::{Target, curl, script};
use crate::server::{Server, fast};

const SYNCED: &str = "curl -o file; sync file";
const LEVEL_3: &str = "roma-archived, level = 3";

pub(super) fn big(bench: &Bench) -> Outcome {
    let content = ContentSpec::Random { bytes: bench.bytes(1 << 30) };
    let server = Server::start(&bench.runtime, fast()).offering(1, &content);
    let all = &server.packages;
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(SERVER, all, || curl(bench, &server, Target::Null)),
            Contender::new(SYNCED, all, || curl(bench, &server, Target::SyncedFiles)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
        ],
    );
    let daemon = outcome.row(DAEMON);
    let speed = daemon.speed_against(outcome.row(SYNCED));
    let of_raw = daemon.stored_bytes() / float(server.raw_bytes());
    outcome.bars = vec![
        Bar::at_least(0.75, "of the speed of curl -o file; sync file", speed),
        Bar::at_most(1.001, "of the package's bytes stored", of_raw),
        Bar::at_most(32.0, "MiB of peak RSS", daemon.peak_mebibytes()),
    ];
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
    let store = |server: &Server| Daemon::store(bench, server, &server.packages, &DEFAULTS);
    let mut outcome = take_turns(
        bench.rounds.min(2),
        &[
            Contender::new("1 GiB", &one.packages, || store(&one)),
            Contender::new("10 GiB", &ten.packages, || store(&ten)),
        ],
    );
    let (one, ten) = (outcome.row("1 GiB"), outcome.row("10 GiB"));
    let growth = ten.peak_mebibytes() / one.peak_mebibytes();
    outcome.bars = vec![Bar::at_most(1.3, "of the peak RSS for 1 GiB", growth)];
    outcome
}

pub(super) fn json(bench: &Bench) -> Outcome {
    const FASTER: How<'_> = How { more: "[pack]\nlevel = 3", ..DEFAULTS };
    let content = ContentSpec::Json { bytes: bench.bytes(512 << 20) };
    let server = Server::start(&bench.runtime, fast()).offering(1, &content);
    let all = &server.packages;
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(CURL, all, || curl(bench, &server, Target::Files)),
            Contender::new(SCRIPT, all, || script(bench, &server, all, DEFAULTS.slow)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
            Contender::new(LEVEL_3, all, || Daemon::store(bench, &server, all, &FASTER)),
        ],
    );
    let (script, daemon) = (outcome.row(SCRIPT), outcome.row(DAEMON));
    let level_3 = outcome.row(LEVEL_3);
    outcome.bars = vec![
        Bar::at_least(3.0, "of the script's speed at level 6", daemon.speed_against(script)),
        Bar::at_least(5.0, "of the script's speed at level 3", level_3.speed_against(script)),
        Bar::at_most(
            1.02,
            "of Info-ZIP's size at level 6",
            daemon.stored_bytes() / script.stored_bytes(),
        ),
    ];
    outcome
}

pub(super) fn link(bench: &Bench) -> Outcome {
    let content = ContentSpec::Json { bytes: bench.bytes(512 << 20) };
    let knobs = Knobs { bandwidth_bytes_per_s: Some(100 << 20), ..fast() };
    let server = Server::start(&bench.runtime, knobs).offering(1, &content);
    let all = &server.packages;
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(CURL, all, || curl(bench, &server, Target::Files)),
            Contender::new(DAEMON, all, || Daemon::store(bench, &server, all, &DEFAULTS)),
        ],
    );
    let longer = outcome.row(DAEMON).seconds() / outcome.row(CURL).seconds();
    outcome.bars = vec![Bar::at_most(1.1, "of the time of curl -o file", longer)];
    outcome
}
