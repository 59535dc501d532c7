//! Tells the webhook what went wrong, from the events of the catalog: in their order, again and
//! again until it is taken, also over restarts. A message may come twice, and is never left out.
//!
//! The address is a secret and shows nowhere; nor does what its server answers but the status.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Deliveries, FAREWELL, Rhythm};
use crate::catalog::{Catalog, CatalogError};
use crate::clock::{Clock, pause};
use crate::health::{Message, messages};
use crate::model::{Timestamp, story};
use crate::settings::HiddenUrl;

/// Up to which event the webhook has been told.
const MARK: &str = "notified_seq";
/// Between two attempts, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// So many events that nobody is told of are passed over before that is recorded: the next start
/// reads them again.
const UNMARKED: i64 = 10_000;

/// The webhook and what it has been told.
#[derive(Debug)]
pub(super) struct Webhook {
    catalog: Catalog,
    clock: Clock,
    client: Client,
    url: HiddenUrl,
    rhythm: Rhythm,
    deliveries: Arc<Deliveries>,
    /// Told up to here.
    seq: i64,
    /// Recorded up to here.
    marked: i64,
    /// Attempts in a row that failed.
    failures: u32,
}

/// How a round of deliveries ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    AllTold,
    NotTaken,
}

impl Webhook {
    /// Goes on where the last process stopped. A catalog that never had a webhook begins here.
    pub(super) async fn new(
        catalog: &Catalog,
        clock: &Clock,
        (client, url, rhythm, deliveries): (Client, HiddenUrl, Rhythm, Arc<Deliveries>),
    ) -> Result<Self, CatalogError> {
        let newest = catalog.last_seq().await?;
        catalog.stamp_once(MARK, newest.to_string(), clock.now()).await?;
        let mark = catalog.stamped(MARK).await?.and_then(|text| text.parse().ok());
        // After a catalog came back from a backup it may be ahead.
        let seq = mark.unwrap_or(newest).min(newest);
        Ok(Self {
            catalog: catalog.clone(),
            clock: clock.clone(),
            client,
            url,
            rhythm,
            deliveries,
            seq,
            marked: seq,
            failures: 0,
        })
    }

    /// Tells what there is to tell whenever the alarm is raised.
    pub(super) async fn run(mut self, alarm: Arc<Notify>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.failures {
                0 => None,
                failures => Some(self.pause_after(failures)),
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = alarm.notified(), if wait.is_none() => {}
                () = pause(wait.unwrap_or_default()), if wait.is_some() => {}
            }
            self.round(&stop, None).await;
        }
        if self.failures == 0 {
            // The token is cancelled: only the deadline counts now.
            let deadline = self.clock.now().plus(FAREWELL);
            self.round(&CancellationToken::new(), Some(deadline)).await;
        }
    }

    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.rhythm.tell_again.saturating_mul(1 << (failures - 1).min(16));
        doubled.min(LONGEST_PAUSE)
    }

    async fn round(&mut self, stop: &CancellationToken, deadline: Option<Timestamp>) {
        if let Err(error) = self.try_round(stop, deadline).await {
            self.failures = self.failures.saturating_add(1);
            tracing::warn!(error = %story(&error), "what the webhook is to be told is not known");
        }
    }

    async fn try_round(
        &mut self,
        stop: &CancellationToken,
        deadline: Option<Timestamp>,
    ) -> Result<Round, CatalogError> {
        loop {
            // Before the alarms, so that none is passed over that is recorded meanwhile.
            let newest = self.catalog.last_seq().await?;
            let events = self.catalog.alarms_after(self.seq).await?;
            let messages = messages(&events, self.clock.now());
            self.deliveries.pending.store(events.len() as u64, Ordering::Relaxed);
            if messages.is_empty() {
                self.seq = self.seq.max(newest);
                if self.seq - self.marked >= UNMARKED {
                    self.mark().await?;
                }
                self.failures = 0;
                return Ok(Round::AllTold);
            }
            for message in &messages {
                let is_late = deadline.is_some_and(|deadline| self.clock.now() > deadline);
                if is_late || !self.tell(message, stop, deadline.is_some()).await {
                    return Ok(Round::NotTaken);
                }
                self.seq = message.seq();
                self.mark().await?;
            }
        }
    }

    /// Sends one message; whether it was taken.
    async fn tell(&mut self, message: &Message, stop: &CancellationToken, is_last: bool) -> bool {
        let request = self.client.post(self.url.reveal().clone()).json(message);
        let request = if is_last { request.timeout(FAREWELL / 2) } else { request };
        let result = tokio::select! {
            () = stop.cancelled() => return false,
            result = outcome(request) => result,
        };
        Deliveries::count(&self.deliveries.messages, result.is_ok());
        match result {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("notify.webhook_url takes messages again");
                }
                self.failures = 0;
                true
            }
            Err(why) => {
                if self.failures == 0 {
                    tracing::warn!(
                        "notify.webhook_url did not take a message: {why}; it is sent again"
                    );
                }
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }

    async fn mark(&mut self) -> Result<(), CatalogError> {
        self.catalog.stamp(MARK, self.seq.to_string(), self.clock.now()).await?;
        self.marked = self.seq;
        Ok(())
    }
}

/// Sends a request; the error says why it failed, without the address.
pub(super) async fn outcome(request: RequestBuilder) -> Result<(), String> {
    let response = request.send().await.map_err(|error| story(&error.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let hint = if status.is_redirection() {
        ", and redirects are not followed: write the address it leads to"
    } else {
        ""
    };
    Err(format!("the server answered {status}{hint}"))
}
