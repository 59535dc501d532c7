//! `check-config`: what the configuration says, before the daemon acts on it.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::error::CliError;
use super::output;
use crate::catalog::{Access, Catalog, CatalogError};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::model::{Timestamp, story};
use crate::retention::{Policy, TestFailure, failing_tests};
use crate::roma::secret;
use crate::service::{Consequence, consequences};
use crate::settings::{Export, Settings};

pub(super) async fn run(loaded: &Loaded, as_json: bool) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let now = Clock::System.now();
    let mut warnings = loaded.warnings.clone();
    warnings.extend(unreadable_secrets(settings));
    let failures = failing_policies(settings);
    let consequences = foreseen(settings, now, &mut warnings).await;
    let exit = if failures.is_empty() { Exit::Ok } else { Exit::Config };
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
            "failing_policy_tests": failures.iter().map(described).collect::<Vec<_>>(),
            "changed_policies": consequences.iter().map(consequence).collect::<Vec<_>>(),
            "warnings": warnings,
        }))?;
        return Ok(exit);
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
    for consequence in consequences {
        output::line(&consequence.to_string())?;
    }
    for warning in warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    for (section, failure) in &failures {
        tell(section, failure)?;
    }
    if !failures.is_empty() {
        output::line("while a test of its policy fails, the daemon deletes nothing of an export")?;
    }
    Ok(exit)
}

/// A failing test, and the section that it stands in.
type Failing = (String, TestFailure);

/// Every failing test of every policy, once.
fn failing_policies(settings: &Settings) -> Vec<Failing> {
    let general = &settings.retention;
    let own = settings.exports.iter().filter(|export| {
        let tests = |policy: &Policy| format!("{:?}", policy.tests);
        export.policy.to_string() != general.to_string() || tests(&export.policy) != tests(general)
    });
    let own = own.map(|export| {
        (format!("the retention of {} of {}", export.name, export.instance), &export.policy)
    });
    std::iter::once(("[retention]".to_owned(), general))
        .chain(own)
        .flat_map(|(section, policy)| {
            let failing = failing_tests(policy, &settings.zone);
            failing.map(move |failure| (section.clone(), failure))
        })
        .collect()
}

/// What was kept, with reasons, against what was expected.
fn tell(section: &str, failure: &TestFailure) -> Result<(), CliError> {
    output::line(&format!("policy test {} of {section} fails:", failure.number))?;
    if let Some(void) = failure.void {
        output::line(&format!("  {void}"))?;
    }
    let surplus: HashSet<&String> = failure.surplus.iter().map(|(when, _)| when).collect();
    for (when, why) in &failure.kept {
        let word = if surplus.contains(when) { "kept, not expected" } else { "kept" };
        output::line(&format!("  {when}  {word}: {why}"))?;
    }
    for when in &failure.missing {
        output::line(&format!("  {when}  expected, not kept"))?;
    }
    Ok(())
}

fn described((section, failure): &Failing) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(when, why)| json!({ "taken_at": when, "reasons": why })).collect()
    };
    json!({
        "section": section,
        "number": failure.number,
        "void": failure.void,
        "missing": failure.missing,
        "surplus": pairs(&failure.surplus),
        "kept": pairs(&failure.kept),
    })
}

fn consequence(consequence: &Consequence) -> Value {
    let doomed = consequence.doomed.iter();
    json!({
        "instance": consequence.instance,
        "export": consequence.export,
        "snapshots": consequence.snapshots,
        "delete": doomed.map(|(id, _)| json!(id)).collect::<Vec<_>>(),
        "from": consequence.from,
    })
}

/// What a changed policy will do, if there is a catalog already that may be read.
async fn foreseen(
    settings: &Settings,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Vec<Consequence> {
    let found = async {
        let catalog = Catalog::open(&settings.state_dir, Access::Reader).await?;
        consequences(&catalog, settings, now).await
    };
    match found.await {
        Ok(found) => found,
        Err(CatalogError::Missing { .. }) => Vec::new(),
        Err(error) => {
            let why = story(&error);
            warnings.push(format!("what a changed retention would delete is not known: {why}"));
            Vec::new()
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn next_due(settings: &Settings, export: &Export, now: Timestamp) -> Option<Timestamp> {
    export.schedule.as_ref()?.next_after(now, &settings.zone)
}

/// A credential of systemd is out of reach for a person's shell, and the daemon may get its secret
/// later, so this only warns.
pub(super) fn unreadable_secrets(settings: &Settings) -> Vec<String> {
    let places = settings
        .accounts
        .iter()
        .flat_map(|account| account.auth.secrets().into_iter().map(|place| (&account.name, place)));
    places
        .filter_map(|(account, place)| {
            let error = secret::read(place).err()?;
            Some(format!("account `{account}`: {}", story(&error)))
        })
        .collect()
}
