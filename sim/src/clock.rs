//! The simulator's time, and the only place that asks the operating system for it. World
//! durations (a job, a token, a validity period) are measured by [`SimClock`]; only what happens
//! on a socket (a stall, a trickle) takes real time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// Tells the simulator the time, in milliseconds since the epoch.
#[derive(Clone)]
pub struct SimClock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Given(Arc<dyn Fn() -> i64 + Send + Sync>),
}

impl SimClock {
    /// The computer's own time.
    pub fn system() -> SimClock {
        SimClock { source: Source::System }
    }

    /// Any other source of milliseconds since the epoch, such as a test's manual clock.
    pub fn from_fn(source: Arc<dyn Fn() -> i64 + Send + Sync>) -> SimClock {
        SimClock { source: Source::Given(source) }
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.source {
            Source::System => system_ms(),
            Source::Given(source) => source(),
        }
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::system()
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::System => "SimClock(system)",
            Source::Given(_) => "SimClock(given)",
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one clock place of the simulator")]
fn system_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// Waits in real time: for what a socket does, never for what the world does.
#[expect(clippy::disallowed_methods, reason = "stalls and trickles of a socket are in real time")]
pub(crate) async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Beats at a fixed rate in real time. A beat that comes late by little is made up for, as a link
/// is as fast as it is however often it is looked at; a reader that rested gets nothing for that.
#[derive(Debug)]
pub(crate) struct Beat {
    every: Duration,
    last: Instant,
}

impl Beat {
    const LATE: Duration = Duration::from_millis(20);
    /// For ever.
    const LONGEST: Duration = Duration::from_hours(24);

    pub(crate) fn new(every: Duration) -> Beat {
        Beat { every: every.min(Self::LONGEST), last: Instant::now() }
    }

    /// Until the next beat.
    pub(crate) async fn wait(&mut self) {
        let now = Instant::now();
        let earliest = now.checked_sub(Self::LATE).unwrap_or(now);
        self.last = (self.last + self.every).max(earliest);
        sleep_until(self.last).await;
    }
}
