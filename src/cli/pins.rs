//! `pin` and `unpin`: hold a snapshot, and let it go again.

use serde_json::{Value, json};

use super::args::{PinArgs, UnpinArgs};
use super::error::CliError;
use super::{open, output, who};
use crate::catalog::{Catalog, Pin, Unpin};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::model::{Reference, SnapshotId, Timestamp};

/// Whoever has more to say writes it down elsewhere.
const LONGEST_REASON: usize = 500;

/// `pin ID --reason R`.
pub(super) async fn pin(loaded: &Loaded, args: &PinArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let now = Clock::System.now();
    let until = args.until.map(|moment| moment.instant(&settings.zone));
    if let Some(until) = until.filter(|until| *until <= now) {
        return Err(CliError::Usage(format!(
            "--until {until} is in the past: such a pin would hold nothing"
        )));
    }
    let reason = reason(&args.reason)?;
    let snapshot = snapshot(loaded, args.id).await?;
    let name = args.name.clone();
    let pin = Pin { snapshot, name, reason, by: who::name(), until };
    let catalog = open::writer(settings).await?;
    let before = catalog.pin(pin.clone(), now).await;
    let closed = catalog.close().await;
    let before = before?;
    closed?;
    if args.json {
        let mut answer = described(&pin);
        answer["pinned_at"] = json!(now);
        answer["replaced"] = before.as_ref().map_or(Value::Null, described);
        output::json(answer)?;
    } else {
        say(&format!("{snapshot} is pinned, {}: {} ({})", term(until), pin.name, pin.reason))?;
        if let Some(before) = before {
            let (term, Pin { name, reason, by, .. }) = (term(before.until), before);
            say(&format!("the pin {name} that was there is replaced: {reason}, {term}, by {by}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// `unpin ID`.
pub(super) async fn unpin(loaded: &Loaded, args: &UnpinArgs) -> Result<Exit, CliError> {
    let snapshot = snapshot(loaded, args.id).await?;
    let catalog = open::writer(&loaded.settings).await?;
    let unpin = Unpin { snapshot, name: args.name.clone(), by: who::name() };
    let pin = catalog.unpin(unpin, Clock::System.now()).await;
    let closed = catalog.close().await;
    let pin = pin?;
    closed?;
    if args.json {
        output::json(described(&pin))?;
    } else {
        let Pin { name, reason, .. } = pin;
        say(&format!(
            "{snapshot} is no longer pinned by {name} ({reason}); retention decides within the hour"
        ))?;
    }
    Ok(Exit::Ok)
}

/// What somebody gives as a reason.
pub(super) fn reason(text: &str) -> Result<String, CliError> {
    let reason = text.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return Err(CliError::Usage(format!(
            "--reason says why, in 1 to {LONGEST_REASON} characters"
        )));
    }
    Ok(reason.to_owned())
}

/// The snapshot that is meant. Before anything is made: there may be no catalog at all.
pub(super) async fn snapshot(loaded: &Loaded, id: Reference) -> Result<SnapshotId, CliError> {
    let catalog: Catalog = open::reader(&loaded.settings.state_dir).await?;
    match id {
        Reference::Snapshot(id) => Ok(id),
        Reference::Archive(id) => match catalog.archive(id).await? {
            Some(archive) => Ok(archive.snapshot),
            None => Err(CliError::NotFound(format!(
                "there is no {id} in the catalog: `roma-archived list` shows all"
            ))),
        },
    }
}

fn described(pin: &Pin) -> Value {
    let Pin { snapshot, name, reason, by, until } = pin;
    json!({
        "snapshot_id": snapshot, "name": name, "reason": reason, "pinned_by": by, "until": until,
    })
}

fn term(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "without an end".to_owned(), |until| format!("until {until}"))
}

/// What somebody typed once must not steer the terminal.
fn say(text: &str) -> Result<(), CliError> {
    output::line(&output::printable(text))
}
