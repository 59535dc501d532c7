//! The host: takes the lock, opens what the engine needs, runs its loop, and stops in order.
//!
//! Nothing is decided here about archives. The first SIGTERM or SIGINT drains: nothing new starts,
//! running steps may finish within `limits.shutdown_grace`. A second one ends the process at once.
//! It may, because the next start recovers as after a crash.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

mod error;
mod monitor;
mod rebuild;
mod retentions;
mod signals;
mod systemd;
mod watchers;

pub use error::ServiceError;
pub use monitor::Rhythm;
pub use signals::on_signals;

use crate::catalog::{Access, Catalog, ExportRecord, FILE_NAME};
use crate::clock::{Clock, pause};
use crate::engine::{Assignment, Engine, EngineError, Health, Shell};
use crate::model::{Name, Timestamp, story};
use crate::roma::Roma;
use crate::schedule::credible_last;
use crate::settings::Settings;
use crate::vault::{Disk, OsDisk, StateLock, Vault};
use monitor::Monitor;
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use retentions::{Consequence, consequences, retentions, tried};
use retentions::{announce, policy_hash, watched};
use watchers::Watchers;

/// How long a download waits for room on a disk that somebody else has filled: as long as anybody
/// may need to mend that, for what is lost otherwise is lost for good.
const ROOM_PATIENCE: Duration = Duration::from_mins(30);
/// How often a loop that stands still is looked after.
const ATTENTION: Duration = Duration::from_secs(1);

/// How the daemon is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// End when every archive is at rest.
    pub once: bool,
    /// How often to look for changes by commands.
    pub check_interval: Duration,
    /// The time.
    pub clock: Clock,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// How often the outside hears of it.
    pub rhythm: Rhythm,
}

/// Runs the daemon until `shutdown`, or with `once` until every archive is at rest.
pub async fn run(
    settings: Settings,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), ServiceError> {
    let mut watchers = Watchers::new();
    create_state_dir(&settings.state_dir)?;
    let lock = StateLock::acquire(&settings.state_dir)?;
    refuse_to_forget(&settings.state_dir)?;
    let grace = settings.limits.shutdown_grace;
    // Before anything else there: a database of something else means that it is not ours.
    let catalog = Catalog::open(&settings.state_dir, Access::Owner).await?;
    let assembled = Box::pin(assemble(settings, &catalog, &options));
    let result = match attend(assembled, &catalog, &mut watchers, &shutdown).await {
        Some(Ok((mut engine, monitor))) => {
            watchers.join(monitor);
            let served = serve(&mut engine, &catalog, &options, &mut watchers, &shutdown, grace);
            let served = Box::pin(served).await;
            Box::pin(watchers.leave(&engine, &catalog)).await;
            served.map_err(ServiceError::from)
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    // The engine held the catalog, and is gone: now the database is closed.
    let closed = catalog.close().await;
    drop(lock);
    result.and(closed.map_err(ServiceError::from))
}

async fn serve(
    engine: &mut Engine,
    catalog: &Catalog,
    options: &Options,
    watchers: &mut Watchers,
    shutdown: &CancellationToken,
    grace: Duration,
) -> Result<(), EngineError> {
    match attend(engine.recover(), catalog, watchers, shutdown).await {
        Some(recovered) => recovered?,
        None => return Ok(()),
    }
    watchers.systemd.ready(&engine.summary());
    tracing::info!(status = engine.summary(), "ready");
    let worked = work(engine, catalog, options, watchers, shutdown).await;
    if let Err(error) = &worked {
        tracing::error!(error = %story(error), "stopping because of this");
    }
    let drained = drain(engine, catalog, watchers, grace).await;
    worked.and(drained)
}

/// Works until the shutdown, or with `once` until every archive is at rest.
async fn work(
    engine: &mut Engine,
    catalog: &Catalog,
    options: &Options,
    watchers: &mut Watchers,
    shutdown: &CancellationToken,
) -> Result<(), EngineError> {
    while !shutdown.is_cancelled() {
        let Some(passed) = attend(engine.pass(), catalog, watchers, shutdown).await else {
            return Ok(());
        };
        let wake = passed?;
        watchers.alive(engine);
        if options.once && engine.is_at_rest() {
            return Ok(());
        }
        let latest = options.clock.now().plus(watchers.longest_sleep());
        // Only waiting stands in here; dropping any of these futures loses nothing.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = options.clock.sleep_until(wake.min(latest)) => {}
            result = engine.step_finished() => result?,
        }
    }
    Ok(())
}

/// Waits for the engine. While the catalog knowingly waits for room or for its lock, the loop is
/// well although it stands still: systemd is told what it waits for, and a shutdown is heard.
/// `None`: it was heard. What the engine has handed to the catalog is recorded or not, as in any
/// shutdown.
async fn attend<T>(
    work: impl Future<Output = T>,
    catalog: &Catalog,
    watchers: &mut Watchers,
    shutdown: &CancellationToken,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return Some(result),
            () = pause(ATTENTION) => {
                if let Some(waiting) = catalog.waiting() {
                    watchers.waiting(format!("waiting: {waiting}"));
                    if shutdown.is_cancelled() {
                        return None;
                    }
                }
            }
        }
    }
}

/// Lets running steps finish, as long as the grace lasts. Also when one of them, or the catalog,
/// has failed: a download that is cut off may be a package lost, and one that is whole in staging
/// is adopted by the next start, recorded or not.
async fn drain(
    engine: &mut Engine,
    catalog: &Catalog,
    watchers: &mut Watchers,
    grace: Duration,
) -> Result<(), EngineError> {
    engine.stop_starting();
    let status = format!("stopping: {}", engine.summary());
    tracing::info!(status, grace_seconds = grace.as_secs(), "stopping");
    watchers.systemd.stopping(&status, grace);
    // Shutdown is about real time, whatever the clock of the archives says.
    let mut result = Ok(());
    let finished = tokio::time::timeout(grace, async {
        while engine.is_busy() {
            tokio::select! {
                step = engine.step_finished() => {
                    result = std::mem::replace(&mut result, Ok(())).and(step);
                }
                () = pause(ATTENTION) => {
                    // What cannot be recorded now is settled by the next start.
                    if catalog.waiting().is_some() && !engine.is_downloading() {
                        break;
                    }
                }
            }
        }
    });
    match finished.await {
        Ok(()) if !engine.is_busy() => {}
        Ok(()) => tracing::warn!("the catalog cannot be written; the next start settles the rest"),
        Err(_) => tracing::warn!("the grace is over; the next start settles what is left"),
    }
    result
}

async fn assemble(
    settings: Settings,
    catalog: &Catalog,
    options: &Options,
) -> Result<(Engine, Monitor), ServiceError> {
    let roma = Roma::new(&settings.accounts, &settings.instances, &settings.limits, &settings.tls)?;
    let vault = Vault::open(&settings.state_dir, options.disk.clone())?;
    let room = vault.clone();
    catalog.relieve_with(Box::new(move || give_up_reserve(&room)));
    let now = options.clock.now();
    record_configuration(catalog, &settings, now).await?;
    announce(catalog, &settings, now).await?;
    // Before recovery, whose losses must be told of, too.
    let monitor = Monitor::start(&settings, catalog, options).await?;
    let assignment = Assignment {
        retentions: retentions(&settings),
        accounts: settings
            .instances
            .iter()
            .map(|instance| (instance.name.clone(), instance.account.clone()))
            .collect(),
        zone: settings.zone.clone(),
        check_interval: options.check_interval,
        verify: settings.verify,
        at_once: usize::MAX,
        exports: settings.exports,
    };
    let instance_ids: HashMap<Name, String> = settings
        .instances
        .iter()
        .map(|instance| (instance.name.clone(), instance.instance_id.clone()))
        .collect();
    let shell = Shell {
        catalog: catalog.clone(),
        vault,
        roma,
        clock: options.clock.clone(),
        limits: settings.limits,
        pack: settings.pack,
        promised: AtomicU64::new(0),
        instance_ids,
        room_patience: ROOM_PATIENCE,
        health: Health::default(),
    };
    Ok((Engine::new(shell, assignment), monitor))
}

/// The catalog found no room.
fn give_up_reserve(vault: &Vault) -> bool {
    match vault.release_reserve() {
        Ok(given) => {
            if given {
                tracing::error!("the disk is full: the reserve of room is given up to the catalog");
            }
            given
        }
        Err(error) => {
            tracing::error!(%error, "the reserve of room cannot be given up");
            false
        }
    }
}

/// Opens the catalog for a command that leaves work to the daemon. While no daemon runs, the
/// catalog is created or migrated and the configuration recorded, as at the daemon's start; the
/// lock is held no longer than that.
pub async fn open_catalog(settings: &Settings, clock: &Clock) -> Result<Catalog, ServiceError> {
    create_state_dir(&settings.state_dir)?;
    let Some(moment) = StateLock::keep_daemons_out(&settings.state_dir)? else {
        return Ok(Catalog::open(&settings.state_dir, Access::Command).await?);
    };
    refuse_to_forget(&settings.state_dir)?;
    let catalog = Catalog::open(&settings.state_dir, Access::Deputy).await?;
    record_configuration(&catalog, settings, clock.now()).await?;
    drop(moment);
    Ok(catalog)
}

/// No new catalog is begun beside files that only a lost one knew.
fn refuse_to_forget(state_dir: &std::path::Path) -> Result<(), ServiceError> {
    let path = state_dir.join(FILE_NAME);
    let begins_anew = path.metadata().map_or(true, |found| found.len() == 0);
    let vault = Vault::at(state_dir, Arc::new(OsDisk));
    if begins_anew && !vault.is_bare() {
        return Err(ServiceError::CatalogGone { path });
    }
    Ok(())
}

/// Writes into the catalog what is configured, so that the view `exports` shows it.
async fn record_configuration(
    catalog: &Catalog,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), ServiceError> {
    catalog.stamp_once("created_at", now.to_string(), now).await?;
    catalog.stamp("app_version", env!("CARGO_PKG_VERSION").to_owned(), now).await?;
    let known = catalog.exports().await?;
    let mut records = Vec::new();
    for export in &settings.exports {
        let last_due = known
            .iter()
            .find(|k| k.instance == export.instance && k.name == export.name)
            .map_or(now, |known| known.last_due);
        let schedule = export.schedule.as_ref();
        records.push(ExportRecord {
            instance: export.instance.clone(),
            name: export.name.clone(),
            schedule: schedule.map(ToString::to_string),
            rpo: export.rpo,
            next_due: schedule.and_then(|s| {
                let next = s.next_after(credible_last(last_due, now), &settings.zone)?;
                Some(s.starts(next, &settings.zone))
            }),
            policy: (export.policy.to_string(), policy_hash(&export.policy, &settings.zone)),
        });
    }
    for (instance, name) in watched(settings) {
        records.push(ExportRecord {
            instance,
            name,
            schedule: None,
            rpo: None,
            next_due: None,
            policy: (
                settings.retention.to_string(),
                policy_hash(&settings.retention, &settings.zone),
            ),
        });
    }
    catalog.configure_exports(records, now).await?;
    Ok(())
}

/// Makes sure that the state directory is there and ours: a root that creates files in the
/// service's directory would lock the service out.
fn create_state_dir(path: &std::path::Path) -> Result<(), ServiceError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let failed = |source| ServiceError::StateDir { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(failed)?;
    let owner = path.metadata().map_err(failed)?.uid();
    let we = rustix::process::geteuid().as_raw();
    if owner == we {
        Ok(())
    } else {
        Err(ServiceError::WrongUser { path: path.to_owned(), owner, we })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever embeds the daemon may run it on any thread; this only has to compile.
    #[test]
    fn the_daemon_may_move_between_threads() {
        fn movable<T: Send>(_: impl FnOnce(Settings, Options, CancellationToken) -> T) {}
        movable(run);
    }
}
