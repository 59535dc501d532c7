//! `undelete`: brings a snapshot back from the trash, as long as the removal of its files has not
//! begun. Retention would decide again as it did, so what comes back is pinned for a while.

use std::time::Duration;

use serde_json::json;

use super::args::UndeleteArgs;
use super::error::CliError;
use super::{open, output, pins, who};
use crate::catalog::{Catalog, Pin};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::{Archive, State};
use crate::model::{ArchiveId, Name, SnapshotId};
use crate::settings::Settings;

/// The pin that an `undelete` sets.
const PIN: &str = "undelete";
/// How long it holds when the trash itself keeps nothing.
const WITHOUT_TRASH: Duration = Duration::from_hours(7 * 24);

pub(super) async fn run(loaded: &Loaded, args: &UndeleteArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let snapshot = pins::snapshot(loaded, args.id).await?;
    let catalog = open::writer(settings).await?;
    let done = undelete(&catalog, settings, snapshot).await;
    let closed = catalog.close().await;
    let Undeleted { back, gone, pin } = done?;
    closed?;
    let ids =
        |ids: &[ArchiveId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if args.json {
        output::json(json!({
            "snapshot_id": snapshot, "archives": back, "gone": gone,
            "kept_until": pin.until, "pin": pin.name, "pinned_by": pin.by,
        }))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("{snapshot} is back from the trash: {}", ids(&back)))?;
    if !gone.is_empty() {
        output::line(&format!("deleted before, and gone: {}", ids(&gone)))?;
    }
    output::line(&match pin.until {
        Some(until) => format!(
            "kept until {until}; pin it to keep it longer: \
             roma-archived pin {snapshot} --reason ..."
        ),
        None => format!("the pin {} keeps it", pin.name),
    })?;
    Ok(Exit::Ok)
}

struct Undeleted {
    back: Vec<ArchiveId>,
    gone: Vec<ArchiveId>,
    pin: Pin,
}

async fn undelete(
    catalog: &Catalog,
    settings: &Settings,
    snapshot: SnapshotId,
) -> Result<Undeleted, CliError> {
    let now = Clock::System.now();
    let parts = catalog.archives_of(snapshot).await?;
    let pin = Pin {
        snapshot,
        name: PIN.parse::<Name>().map_err(|error| CliError::Usage(error.to_string()))?,
        reason: "brought back from the trash".to_owned(),
        by: who::name(),
        until: Some(now.plus(term(settings, &parts))),
    };
    let (archives, pin) = catalog.undelete(pin, now).await?;
    let back = archives.iter().map(|archive| archive.id).collect();
    let is_gone = |a: &&Archive| matches!(a.state, State::Deleting(..) | State::Deleted(..));
    let parts = catalog.archives_of(snapshot).await?;
    let gone = parts.iter().filter(is_gone).map(|archive| archive.id).collect();
    Ok(Undeleted { back, gone, pin })
}

/// As long as it would have lain in the trash anew.
fn term(settings: &Settings, parts: &[Archive]) -> Duration {
    let of = |part: &Archive| {
        let fits =
            |e: &&crate::settings::Export| e.instance == part.instance && e.name == part.export;
        settings.exports.iter().find(fits).map(|export| export.policy.trash)
    };
    let trash = parts.first().and_then(of).unwrap_or(settings.retention.trash);
    if trash.is_zero() { WITHOUT_TRASH } else { trash }
}
