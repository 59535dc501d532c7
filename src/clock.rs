//! Where time comes from. The only file that may ask the machine for it.
//!
//! Tests move a [`ManualClock`] by hand; the demonstration runs time faster than it is. Tokio's
//! own paused time is no substitute: it fires SQLite's timeouts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::Timestamp;

/// A source of time; cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// Moves only when a test moves it.
    Manual(ManualClock),
    /// Runs faster than the machine's clock.
    Lapse(Lapse),
}

impl Clock {
    /// A clock that begins at `start` and runs `factor` times as fast as the machine's.
    pub fn lapse(start: Timestamp, factor: u32) -> Self {
        Self::Lapse(Lapse { start, began: monotonic(), factor: factor.max(1) })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => wall(),
            Self::Manual(clock) => clock.now(),
            Self::Lapse(lapse) => {
                lapse.start.plus(monotonic().saturating_duration_since(lapse.began) * lapse.factor)
            }
        }
    }

    /// Waits until `moment`. Dropping the future is harmless. A wall clock that is set forward
    /// while waiting is noticed within a minute.
    pub async fn sleep_until(&self, moment: Timestamp) {
        const LONGEST: Duration = Duration::from_mins(1);
        match self {
            Self::Manual(clock) => clock.sleep_until(moment).await,
            Self::System | Self::Lapse(_) => loop {
                let left = moment.since(self.now());
                if left.is_zero() {
                    return;
                }
                let left = match self {
                    Self::Lapse(lapse) => left / lapse.factor,
                    _ => left,
                };
                pause(left.clamp(Duration::from_micros(500), LONGEST)).await;
            },
        }
    }
}

/// Time at `factor` times its speed.
#[derive(Clone, Debug)]
pub struct Lapse {
    start: Timestamp,
    began: std::time::Instant,
    factor: u32,
}

/// A clock that a test moves.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
    moved: watch::Sender<()>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(start)), moved: watch::Sender::new(()) }
    }

    /// Where it stands.
    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it to `moment`, forwards or backwards.
    pub fn set(&self, moment: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = moment;
        self.moved.send_replace(());
    }

    /// Moves it forwards.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().plus(span));
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut moved = self.moved.subscribe();
        while self.now() < moment {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
fn wall() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(0).plus(since_epoch.unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Waits for a while of the machine's own time, whatever a test says the time is: before another
/// look at something that only this machine can give.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
