//! How much memory many large downloads at once take.

use roma_sim::ContentSpec;

use super::{Contender, take_turns};
use crate::Bench;
use crate::daemon::{DEFAULTS, Daemon, How};
use crate::report::{Bar, Outcome};
use crate::server::{Server, fast};

const AT_8: &str = "8 downloads";
const AT_32: &str = "32 downloads";

/// Half of them shrink, half of them do not.
fn packages(bench: &Bench, count: usize, bytes: u64) -> Server {
    let bytes = bench.bytes(bytes);
    Server::start(&bench.runtime, fast())
        .offering(count / 2, &ContentSpec::Random { bytes })
        .offering(count / 2, &ContentSpec::Json { bytes })
}

pub(super) fn memory(bench: &Bench) -> Outcome {
    const MANY: How<'_> = How { limits: "downloads = 32", ..DEFAULTS };
    let (eight, many) = (packages(bench, 16, 128 << 20), packages(bench, 64, 32 << 20));
    let store = |server: &Server, how| Daemon::store(bench, server, &server.packages, how);
    let mut outcome = take_turns(
        bench.rounds,
        &[
            Contender::new(AT_8, &eight.packages, || store(&eight, &DEFAULTS)),
            Contender::new(AT_32, &many.packages, || store(&many, &MANY)),
        ],
    );
    outcome.bars = vec![
        Bar::at_most(64.0, "MiB of peak RSS at 8", outcome.row(AT_8).peak_mebibytes()),
        Bar::at_most(128.0, "MiB of peak RSS at 32", outcome.row(AT_32).peak_mebibytes()),
    ];
    outcome
}
