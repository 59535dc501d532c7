//! `check-config`: what the configuration says, before the daemon acts on it.

use serde_json::json;

use super::error::CliError;
use super::output;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::model::{Timestamp, story};
use crate::roma::secret;
use crate::settings::{Auth, Export, Settings};

pub(super) fn run(loaded: &Loaded, as_json: bool) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let now = Clock::System.now();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(unreadable_secrets(settings));
    if as_json {
        let exports: Vec<_> = settings
            .exports
            .iter()
            .map(|export| {
                json!({
                    "name": export.name,
                    "instance": export.instance,
                    "schedule": export.schedule.as_ref().map(ToString::to_string),
                    "next_due_at": next_due(settings, export, now),
                    "retention": export.policy.to_string(),
                })
            })
            .collect();
        output::json(json!({
            "path": loaded.path,
            "state_dir": settings.state_dir,
            "accounts": settings.accounts.len(),
            "instances": settings.instances.len(),
            "exports": exports,
            "warnings": warnings,
        }))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!(
        "{} is valid: {}, {}, {}; state in {}",
        loaded.path.display(),
        count(settings.accounts.len(), "account"),
        count(settings.instances.len(), "instance"),
        count(settings.exports.len(), "export"),
        settings.state_dir.display()
    ))?;
    for export in &settings.exports {
        let when = match (&export.schedule, next_due(settings, export, now)) {
            (Some(schedule), Some(next)) => format!("`{schedule}`, next at {next}"),
            _ => "only by hand".to_owned(),
        };
        output::line(&format!("  {} of {}: {when}", export.name, export.instance))?;
        output::line(&format!("    retention: {}", export.policy))?;
    }
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(Exit::Ok)
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn next_due(settings: &Settings, export: &Export, now: Timestamp) -> Option<Timestamp> {
    export.schedule.as_ref()?.next_after(now, &settings.zone)
}

/// A credential of systemd is out of reach for a person's shell, so this only warns.
fn unreadable_secrets(settings: &Settings) -> Vec<String> {
    let places = settings.accounts.iter().map(|account| match &account.auth {
        Auth::Password { password, .. } => (&account.name, password),
        Auth::Token { token } => (&account.name, token),
    });
    places
        .filter_map(|(account, place)| {
            let error = secret::read(place).err()?;
            Some(format!("account `{account}`: {}", story(&error)))
        })
        .collect()
}
