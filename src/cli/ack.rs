//! `ack`: somebody has seen that a package is lost or a file damaged. It stays so, and comes back
//! as ever if it is found; only `status` speaks of it no longer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::args::AckArgs;
use super::error::CliError;
use super::{open, output, pins, who};
use crate::catalog::{Catalog, CatalogError, Change};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::{Archive, Event, StateWord};
use crate::model::{ArchiveId, Reference};

/// Looks at the archives, should somebody else change one of them each time.
const LOOKS: u32 = 3;

pub(super) async fn run(loaded: &Loaded, args: &AckArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let reason = args.reason.as_deref().map(pins::reason).transpose()?;
    let by = who::name();
    // Looked at before anything is made: there may be nothing to acknowledge at all.
    let mut losses = Losses::find(&open::reader(&settings.state_dir).await?, args.id).await?;
    if !losses.open.is_empty() {
        let catalog = open::writer(settings).await?;
        let event = Event::LossAcknowledged { by: by.clone(), reason: reason.clone() };
        let done = acknowledge(&catalog, args.id, &event).await;
        let closed = catalog.close().await;
        losses = done?;
        closed?;
    }
    if args.json {
        output::json(json!({
            "acknowledged": losses.open.iter().map(described).collect::<Vec<_>>(),
            "settled_before": losses.settled.iter().map(|a| a.id).collect::<Vec<_>>(),
            "acknowledged_by": by,
            "reason": reason,
        }))?;
        return Ok(Exit::Ok);
    }
    for archive in &losses.open {
        let (id, state) = (archive.id, archive.state.word());
        let why = archive.last_error.as_deref().unwrap_or("nobody knows why");
        say(&format!("{id} is acknowledged: {state}, {why}"))?;
    }
    for archive in &losses.settled {
        let (id, state) = (archive.id, archive.state.word());
        say(&match archive.milestones.acknowledged_at {
            Some(at) => format!("{id} was acknowledged before, at {at}"),
            None => format!("{id} is {state} and settled: what it stands for is stored, or seen"),
        })?;
    }
    Ok(Exit::Ok)
}

/// All of them in one commit, as they are at that moment.
async fn acknowledge(catalog: &Catalog, id: Reference, event: &Event) -> Result<Losses, CliError> {
    let mut looks = 1;
    loop {
        let mut losses = Losses::find(catalog, id).await?;
        let changes = losses.open.iter().map(|a| Change::new(a.clone(), event.clone())).collect();
        match catalog.commit_all(changes, Clock::System.now()).await {
            Ok(mut archives) => {
                archives.sort_by_key(|archive| archive.id);
                losses.open = archives;
                return Ok(losses);
            }
            // The daemon has just found one of them whole, for instance.
            Err(CatalogError::Stale(_)) if looks < LOOKS => looks += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is lost or damaged of what was named.
struct Losses {
    /// Nobody has seen it, and nothing stands in for it.
    open: Vec<Archive>,
    settled: Vec<Archive>,
}

impl Losses {
    async fn find(catalog: &Catalog, id: Reference) -> Result<Self, CliError> {
        let (name, all): (_, Vec<Archive>) = match id {
            Reference::Archive(id) => {
                (id.to_string(), catalog.archive(id).await?.into_iter().collect())
            }
            Reference::Snapshot(id) => (id.to_string(), catalog.archives_of(id).await?),
        };
        let none = |why: String| Err(CliError::NotFound(why));
        let Some(first) = all.first() else {
            return none(format!(
                "there is no {name} in the catalog, or it has no parts yet: \
                 `roma-archived status` shows what is lost or damaged"
            ));
        };
        let stands = match id {
            Reference::Archive(_) => format!("{name} is {}", first.state.word()),
            Reference::Snapshot(_) => format!("no part of {name} is lost or damaged"),
        };
        let unsettled = unsettled(catalog).await?;
        let (open, settled): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|a| matches!(a.state.word(), StateWord::Lost | StateWord::Damaged))
            .partition(|archive| unsettled.contains(&archive.id));
        if open.is_empty() && settled.is_empty() {
            return none(format!(
                "{stands}: there is no loss to acknowledge; `roma-archived status` shows what is \
                 lost or damaged"
            ));
        }
        Ok(Self { open, settled })
    }
}

/// What makes `status` discontent.
async fn unsettled(catalog: &Catalog) -> Result<BTreeSet<ArchiveId>, CliError> {
    let (losses, damaged) = (catalog.unsettled_losses().await?, catalog.unsettled_damage().await?);
    let rows = losses.rows.into_iter().chain(damaged.rows);
    Ok(rows.filter_map(|row| row.first()?.as_i64().map(ArchiveId)).collect())
}

fn described(archive: &Archive) -> Value {
    json!({
        "archive_id": archive.id,
        "state": archive.state.word(),
        "acknowledged_at": archive.milestones.acknowledged_at,
    })
}

/// What ROMA or somebody said once must not steer the terminal.
fn say(text: &str) -> Result<(), CliError> {
    output::line(&output::printable(text))
}
