//! What every step works with, and the few things they all do: record an event, record a failure,
//! and run file work where it blocks nobody.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::accounts::Accounts;
use super::breaker::Breakers;
use super::clockwatch;
use super::failure::EngineError;
use super::recent::Recent;
use crate::catalog::{Catalog, CatalogError, Change, Sequel};
use crate::clock::Clock;
use crate::lifecycle::{
    Archive, Event, Failure, FailureClass, Present, State, after_failure, replacement_generation,
};
use crate::model::{Name, story};
use crate::roma::{Call, Roma, RomaError};
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
    /// How long a download under way waits for room when somebody else has filled the disk.
    pub room_patience: Duration,
    /// Which instances are better left alone for a while.
    pub health: Health,
}

/// What calls tell about their instances and accounts.
#[derive(Debug, Default)]
pub struct Health {
    breakers: Mutex<Breakers>,
    accounts: Mutex<Accounts>,
    recent: Mutex<Recent>,
}

/// The archives that a step has changed or opened, as they are now.
pub(super) type Changed = Result<Vec<Archive>, EngineError>;

impl Shell {
    /// Never held across an await.
    pub(super) fn breakers(&self) -> MutexGuard<'_, Breakers> {
        // Counters are right wherever a thread died.
        self.health.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await.
    pub(super) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.health.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await.
    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.health.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the result of a call says about its instance and its account.
    pub(super) fn heard<T>(
        &self,
        instance: &Name,
        result: Result<T, RomaError>,
    ) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                self.breakers().answered(instance);
                if let Some(account) = self.roma.account_of(instance) {
                    self.accounts().answered(account, self.clock.now());
                }
                Ok(value)
            }
            Err(error) => Err(self.blame(instance, error)),
        }
    }

    /// Takes note of a call that failed.
    pub(super) fn blame(&self, instance: &Name, error: RomaError) -> Failure {
        let now = self.clock.now();
        let (rejected_until, call) = (error.account_paused_until, error.call);
        let failure = error.into_failure();
        self.breakers().failed(instance, &failure, now);
        if let Some(account) = self.roma.account_of(instance) {
            let mut accounts = self.accounts();
            // Of IAM's answers only a refusal says something: the others come before the call.
            let is_answer = !matches!(call, Call::Token | Call::Metadata);
            match (rejected_until, failure.class) {
                (Some(until), _) => accounts.rejected(account, until, &failure.message),
                (None, FailureClass::Throttled) => accounts.throttled(account, &failure, now),
                (None, FailureClass::Busy | FailureClass::Gone) if is_answer => {
                    accounts.answered(account, now);
                }
                (None, _) => {}
            }
        }
        failure
    }

    /// Makes sure that the credential will not run out during what follows. That it is there says
    /// nothing yet about the instance.
    pub(super) async fn credential(&self, instance: &Name) -> Result<(), Failure> {
        match self.roma.ready_credential(instance, self.clock.now()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.blame(instance, error)),
        }
    }

    /// Why our clock must not decide what is old, as far as ROMA has said.
    pub(super) fn clock_doubt(&self) -> Option<String> {
        clockwatch::doubt(self.clock_offset_ms())
    }

    /// How far ROMA's clock is ahead of ours, if it has said so.
    pub(super) fn clock_offset_ms(&self) -> Option<i64> {
        clockwatch::best(&self.roma.clock_offsets())
    }

    /// Records that `event` happened. A loss opens its replacement in the same transaction.
    pub(super) async fn record(&self, archive: &Archive, event: Event) -> Changed {
        let recorded = self.try_record(archive, event, None).await;
        recorded.map(|result| result.unwrap_or_else(|other| other))
    }

    /// Records that `event` happened, and what comes of the archive's scope.
    pub(super) async fn record_with(
        &self,
        archive: &Archive,
        event: Event,
        sequel: Sequel,
    ) -> Changed {
        let recorded = self.try_record(archive, event, Some(sequel)).await;
        recorded.map(|result| result.unwrap_or_else(|other| other))
    }

    /// Records an event after which the step goes on; the inner error means that somebody else
    /// changed the archive, and the step must stop.
    pub(super) async fn advance(
        &self,
        archive: &Archive,
        event: Event,
    ) -> Result<Result<Archive, Vec<Archive>>, EngineError> {
        Ok(match self.try_record(archive, event, None).await? {
            Ok(mut archives) if !archives.is_empty() => Ok(archives.swap_remove(0)),
            Ok(other) | Err(other) => Err(other),
        })
    }

    async fn try_record(
        &self,
        archive: &Archive,
        event: Event,
        sequel: Option<Sequel>,
    ) -> Result<Result<Vec<Archive>, Vec<Archive>>, EngineError> {
        let now = self.clock.now();
        let mut change = Change::new(archive.clone(), event);
        if let Some(sequel) = sequel {
            change.sequel = sequel;
        } else if let Ok(next) = archive.apply(&change.event, now) {
            let again = replacement_generation(&next, self.limits.reexports);
            change.sequel = again.map_or(Sequel::None, Sequel::Again);
        }
        match self.catalog.commit_all(vec![change], now).await {
            Ok(archives) => {
                self.set_leftovers_aside(archives.first()).await?;
                Ok(Ok(archives))
            }
            Err(error) if error.is_fatal() => Err(error.into()),
            Err(error) => self.refused(archive, &error).await.map(Err),
        }
    }

    /// What staging holds of an archive that is given up serves no attempt any more, though it may
    /// serve a person. Killed before this: the next start does it.
    async fn set_leftovers_aside(&self, changed: Option<&Archive>) -> Result<(), EngineError> {
        let given_up =
            |archive: &&Archive| matches!(archive.state, State::Lost { .. } | State::Failed { .. });
        let Some(Archive { id, .. }) = changed.filter(given_up) else { return Ok(()) };
        let id = *id;
        match self.blocking(move |vault| vault.quarantine_staged(id, "lost")).await {
            Err(error) if error.is_fatal() => Err(EngineError::Disk(error)),
            Err(error) => {
                tracing::warn!(archive.id = %id, error = %story(&error),
                    "what is left of a download stays in staging until the next start");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Records a failed attempt.
    pub(super) async fn fail(&self, archive: &Archive, failure: Failure) -> Changed {
        let is_doubtful = self.clock_doubt().is_some();
        let present = Present { now: self.clock.now(), is_doubtful };
        if let Some(event) = after_failure(archive, failure, present) {
            return self.record(archive, event).await;
        }
        tracing::error!(archive.id = %archive.id, "a step failed that cannot fail");
        Ok(vec![archive.clone()])
    }

    /// The catalog refused a change of one archive: go on from what it says.
    pub(super) async fn refused(&self, archive: &Archive, error: &CatalogError) -> Changed {
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
        &self,
        work: impl FnOnce(&Vault) -> T + Send + 'static,
    ) -> T {
        on_vault(&self.vault, work).await
    }
}

/// Runs file work on a blocking thread. A panic in it is the panic of whoever waits.
pub(super) async fn on_vault<T: Send + 'static>(
    vault: &Vault,
    work: impl FnOnce(&Vault) -> T + Send + 'static,
) -> T {
    let vault = vault.clone();
    joined(tokio::task::spawn_blocking(move || work(&vault))).await
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
