//! What it costs to wait: for jobs that run, and for nothing.

use std::thread::sleep;
use std::time::Duration;

use roma_sim::Knobs;

use super::history::fill;
use crate::daemon::{DEFAULTS, Daemon, How};
use crate::live::{Live, Pace};
use crate::measure::{float, median};
use crate::report::{Bar, Outcome, short};
use crate::server::{Server, fast};
use crate::{Bench, tell};

/// Every job is asked for so often.
const EVERY_5_S: How<'_> =
    How { limits: "poll_interval = \"5s\"\npoll_interval_max = \"5s\"", ..DEFAULTS };
/// One look after another.
const WINDOW: Duration = Duration::from_secs(10);
/// How finely the server's side is looked at.
const TENTH: Duration = Duration::from_millis(100);

/// The medians of all windows.
struct Waiting {
    cpu_ms: f64,
    wake_ups: f64,
    polls: f64,
    /// Polls in the busiest tenth of a second against those in the average one.
    peak: f64,
    most_rss_mebibytes: f64,
}

pub(super) fn polling(bench: &Bench) -> Outcome {
    let wait = |jobs, rows| {
        let few = |full| if full == 0 { 0 } else { bench.count(full) };
        wait(bench, few(jobs), few(rows))
    };
    let (idle, few, many) = (wait(0, 0), wait(100, 0), wait(1_000, 0));
    let old = wait(1_000, 100_000);
    let line = |what: &str, found: &Waiting| {
        format!(
            "{what}: {} ms of CPU, {} wake-ups and {} polls a second (busiest tenth {}x the \
             average), {} MiB",
            short(found.cpu_ms),
            short(found.wake_ups),
            short(found.polls),
            short(found.peak),
            short(found.most_rss_mebibytes),
        )
    };
    Outcome {
        bars: vec![
            Bar::at_most(10.0, "ms of CPU a second with 1,000 running jobs", many.cpu_ms),
            Bar::at_most(24.0, "MiB of RSS with 1,000 running jobs", many.most_rss_mebibytes),
            Bar::at_most(1.0, "wake-ups a second with nothing running", idle.wake_ups),
        ],
        notes: vec![
            line("nothing running", &idle),
            line("100 running jobs", &few),
            line("1,000 running jobs", &many),
            line("1,000 running jobs, 100,000 archives at rest", &old),
        ],
        ..Outcome::default()
    }
}

fn wait(bench: &Bench, jobs: usize, rows: usize) -> Waiting {
    let for_ever = Knobs { job_duration_ms: i64::from(i32::MAX), ..fast() };
    let server = Server::start(&bench.runtime, for_ever).running(jobs);
    let daemon = Daemon::new(bench, &server, &EVERY_5_S);
    daemon.create_catalog();
    if rows > 0 {
        fill(bench, &daemon, rows);
    }
    if !server.packages.is_empty() {
        daemon.adopt(&server.packages);
    }
    let live = Live::start(bench, &daemon);
    // What a start brings with it is over.
    sleep(WINDOW * if bench.quick { 0 } else { 2 });
    let (mut paces, mut polls, mut peaks, mut most_rss): (Vec<Pace>, Vec<f64>, Vec<f64>, u64) =
        Default::default();
    for _ in 0..bench.rounds {
        let begin = live.look();
        let tenths = polls_in_tenths(&server, if bench.quick { 10 } else { 100 });
        let end = live.look();
        let all = float(tenths.iter().sum());
        let busiest = float(tenths.iter().copied().max().unwrap_or(0));
        peaks.push(busiest / (all / float(u64::try_from(tenths.len()).unwrap_or(1))));
        let pace = begin.until(&end);
        polls.push(all / pace.seconds);
        paces.push(pace);
        most_rss = most_rss.max(begin.rss_bytes).max(end.rss_bytes);
    }
    let of = |figure: fn(&Pace) -> f64| median(paces.iter().map(figure).collect());
    tell(&format!("{jobs} jobs, {rows} rows: {} ms of CPU a second", short(of(|p| p.cpu_ms))));
    Waiting {
        cpu_ms: of(|pace| pace.cpu_ms),
        wake_ups: of(|pace| pace.wake_ups),
        polls: median(polls),
        peak: median(peaks),
        most_rss_mebibytes: float(most_rss) / float(1 << 20),
    }
}

/// How many polls the server answered in each tenth of a second.
fn polls_in_tenths(server: &Server, count: usize) -> Vec<u64> {
    let mut before = server.polls();
    let mut tenths = Vec::with_capacity(count);
    for _ in 0..count {
        sleep(TENTH);
        let now = server.polls();
        tenths.push(now - before);
        before = now;
    }
    tenths
}
