//! What every step works with, and the few things they all do: record an event, record a failure,
//! and run file work where it blocks nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::failure::EngineError;
use crate::catalog::{Catalog, CatalogError, Change};
use crate::clock::Clock;
use crate::lifecycle::{Archive, Event, Failure, after_failure, replacement_generation};
use crate::model::{Name, story};
use crate::roma::Roma;
use crate::settings::{Limits, Pack};
use crate::vault::Vault;

/// After the catalog refused a change, before its step is tried again.
const AFTER_REFUSAL: Duration = Duration::from_mins(1);

/// The adapters, shared by all steps.
#[derive(Debug)]
pub struct Shell {
    /// Where everything is recorded.
    pub catalog: Catalog,
    /// Where files lie.
    pub vault: Vault,
    /// ROMA Connect.
    pub roma: Roma,
    /// The time.
    pub clock: Clock,
    /// How much, how often, how long.
    pub limits: Limits,
    /// How packages are compressed.
    pub pack: Pack,
    /// Room on the disk that running downloads count on, in bytes.
    pub promised: AtomicU64,
    /// ROMA's identifier of each configured instance, for the manifests.
    pub instance_ids: HashMap<Name, String>,
}

/// The archives that a step has changed or opened, as they are now.
pub(super) type Changed = Result<Vec<Archive>, EngineError>;

impl Shell {
    /// Records that `event` happened. A loss opens its replacement in the same transaction.
    pub(super) async fn record(&self, archive: &Archive, event: Event) -> Changed {
        self.try_record(archive, event).await.map(|result| result.unwrap_or_else(|other| other))
    }

    /// Records an event after which the step goes on; the inner error means that somebody else
    /// changed the archive, and the step must stop.
    pub(super) async fn advance(
        &self,
        archive: &Archive,
        event: Event,
    ) -> Result<Result<Archive, Vec<Archive>>, EngineError> {
        Ok(match self.try_record(archive, event).await? {
            Ok(mut archives) if !archives.is_empty() => Ok(archives.swap_remove(0)),
            Ok(other) | Err(other) => Err(other),
        })
    }

    async fn try_record(
        &self,
        archive: &Archive,
        event: Event,
    ) -> Result<Result<Vec<Archive>, Vec<Archive>>, EngineError> {
        let now = self.clock.now();
        let mut change = Change::new(archive.clone(), event);
        if let Ok(next) = archive.apply(&change.event, now) {
            change.replacement = replacement_generation(&next, self.limits.reexports);
        }
        match self.catalog.commit_all(vec![change], now).await {
            Ok(archives) => Ok(Ok(archives)),
            Err(error) if error.is_fatal() => Err(error.into()),
            Err(error) => self.refused(archive, &error).await.map(Err),
        }
    }

    /// Records a failed attempt.
    pub(super) async fn fail(&self, archive: &Archive, failure: Failure) -> Changed {
        if let Some(event) = after_failure(archive, failure, self.clock.now()) {
            return self.record(archive, event).await;
        }
        tracing::error!(archive.id = %archive.id, "a step failed that cannot fail");
        Ok(vec![archive.clone()])
    }

    /// The catalog refused a change of one archive: go on from what it says.
    async fn refused(&self, archive: &Archive, error: &CatalogError) -> Changed {
        if matches!(error, CatalogError::Stale(_)) {
            tracing::info!(archive.id = %archive.id, "changed by a command meanwhile");
        } else {
            tracing::error!(archive.id = %archive.id, error = %story(error),
                "the catalog refused a change");
        }
        let mut found = self.catalog.archive(archive.id).await?;
        if !matches!(error, CatalogError::Stale(_))
            && let Some(found) = &mut found
        {
            // The same would be refused again: not at once.
            found.not_before = found.not_before.max(self.clock.now().plus(AFTER_REFUSAL));
        }
        Ok(found.into_iter().collect())
    }

    /// Runs file work on a blocking thread. A panic in it is the step's panic.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Vault) -> T + Send + 'static,
    ) -> T {
        let vault = self.vault.clone();
        joined(tokio::task::spawn_blocking(move || work(&vault))).await
    }
}

/// What a blocking task brings. A panic in it is the panic of whoever waits.
pub(super) async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being torn down cancels blocking work.
            Err(_) => std::future::pending().await,
        },
    }
}
