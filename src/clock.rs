//! Where time comes from. The only file that may ask the machine for it.
//!
//! Tests, and the demonstration, move a [`ManualClock`] as they need it. Tokio's own paused time is
//! no substitute: it fires SQLite's timeouts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::Timestamp;

/// A source of time; cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// Moves only when somebody moves it.
    Manual(ManualClock),
}

impl Clock {
    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => wall(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// Waits until `moment`. Dropping the future is harmless. A wall clock that is set forward
    /// while waiting is noticed within a minute.
    pub async fn sleep_until(&self, moment: Timestamp) {
        const LONGEST: Duration = Duration::from_mins(1);
        match self {
            Self::Manual(clock) => clock.sleep_until(moment).await,
            Self::System => loop {
                let left = moment.since(self.now());
                if left.is_zero() {
                    return;
                }
                pause(left.clamp(Duration::from_micros(500), LONGEST)).await;
            },
        }
    }
}

/// A clock that somebody moves.
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

/// Waits for a while of the machine's own time, whatever a test says the time is: before another
/// look at something that only this machine can give.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
