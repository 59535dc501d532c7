//! The dead-man's switch: an address is asked regularly as long as every objective is met, and
//! somebody else raises the alarm when that stops. The address is a secret and shows nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::{Deliveries, FAREWELL, Rhythm};
use crate::clock::pause;
use crate::model::Timestamp;
use crate::settings::HiddenUrl;

/// The switch.
#[derive(Debug)]
pub(super) struct Pinger {
    client: reqwest::Client,
    url: HiddenUrl,
    rhythm: Rhythm,
    deliveries: Arc<Deliveries>,
    last: Option<Timestamp>,
    /// The last one failed, and somebody was told.
    is_failing: Arc<AtomicBool>,
    flight: JoinSet<()>,
}

impl Pinger {
    pub(super) fn new(
        client: reqwest::Client,
        url: HiddenUrl,
        rhythm: Rhythm,
        deliveries: Arc<Deliveries>,
    ) -> Self {
        Self {
            client,
            url,
            rhythm,
            deliveries,
            last: None,
            is_failing: Arc::default(),
            flight: JoinSet::new(),
        }
    }

    /// Whether one is to be sent, if all is well.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        while self.flight.try_join_next().is_some() {}
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let pause = if is_failing { self.rhythm.ping_again } else { self.rhythm.ping };
        let is_time = self.last.is_none_or(|last| now < last || now.since(last) >= pause);
        self.flight.is_empty() && is_time
    }

    /// Sends one, without waiting for what comes of it.
    pub(super) fn send(&mut self, now: Timestamp) {
        self.last = Some(now);
        let request = self.client.get(self.url.reveal().clone());
        let (deliveries, is_failing) = (self.deliveries.clone(), self.is_failing.clone());
        self.flight.spawn(async move {
            let result = super::webhook::outcome(request).await;
            Deliveries::count(&deliveries.pings, result.is_ok());
            let was_failing = is_failing.swap(result.is_err(), Ordering::Relaxed);
            match result {
                Ok(()) if was_failing => tracing::info!("notify.ping_url answers again"),
                Err(why) if !was_failing => {
                    tracing::warn!("notify.ping_url cannot be asked: {why}; it is tried again");
                }
                Ok(()) | Err(_) => {}
            }
        });
    }

    /// Waits a moment for the one under way.
    pub(super) async fn finish(&mut self) {
        tokio::select! {
            _ = self.flight.join_next() => {}
            () = pause(FAREWELL) => {}
        }
    }
}
