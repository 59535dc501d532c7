//! `export` and `watch`: leave work to the daemon by recording it in the catalog.

use std::io::BufRead;

use serde_json::json;

use super::args::{ExportArgs, WatchArgs};
use super::error::CliError;
use super::{open, output};
use crate::catalog::{Adopted, Adoption, CatalogError, NewSnapshot, Opened, Origin};
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::lifecycle::StateWord;
use crate::model::{JobId, Name};
use crate::settings::{Export, Settings};

/// `export NAME`.
pub(super) async fn export(loaded: &Loaded, args: &ExportArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let export = find_export(settings, &args.name, args.instance.as_deref())?;
    let catalog = open::writer(settings).await?;
    let now = Clock::System.now();
    let new = NewSnapshot {
        instance: export.instance.clone(),
        export: export.name.clone(),
        origin: Origin::Command,
        taken_at: now,
        next_due: None,
        missed: 0,
    };
    let run = catalog.open_snapshot(new, now).await;
    let closed = catalog.close().await;
    let Opened { id, behind, joined } =
        run.map_err(|error| daemon_knows_less(error, "export", &args.name))?;
    closed?;
    if args.json {
        output::json(json!({
            "snapshot_id": id, "export": export.name, "instance": export.instance,
            "waits_for": behind, "new": !joined,
        }))?;
    } else {
        let Export { name, instance, .. } = export;
        let when = match behind {
            Some(behind) if joined => format!("waits for {behind} already, and does for this one"),
            Some(behind) => format!("is asked for, and begins after {behind}"),
            None => "is asked for".to_owned(),
        };
        output::line(&format!(
            "{id}: export {name} of {instance} {when}; follow it with `roma-archived show {id}`"
        ))?;
    }
    open::mention_missing_daemon(settings);
    Ok(Exit::Ok)
}

fn find_export<'s>(
    settings: &'s Settings,
    name: &str,
    instance: Option<&str>,
) -> Result<&'s Export, CliError> {
    let fits = |export: &&Export| {
        export.name.as_str() == name && instance.is_none_or(|i| export.instance.as_str() == i)
    };
    let found: Vec<&Export> = settings.exports.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let known = settings.exports.iter().map(|e| e.name.as_str()).collect::<Vec<_>>();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(CliError::Usage(format!(
                "there is no export `{}`; configured: {known}",
                output::printable(name)
            )))
        }
        several => {
            let of = several.iter().map(|e| e.instance.as_str()).collect::<Vec<_>>().join(", ");
            Err(CliError::Usage(format!("`{name}` is an export of {of}: choose with --instance")))
        }
    }
}

/// The catalog knows what the daemon was started with; a configuration that is newer is not in it.
fn daemon_knows_less(error: CatalogError, kind: &str, name: &str) -> CliError {
    match error {
        CatalogError::Constraint(_) => CliError::Usage(format!(
            "the running daemon does not know {kind} `{name}` yet: restart it, it reads the \
             configuration at its start only"
        )),
        error => CliError::Catalog(error),
    }
}

/// `watch INSTANCE JOB_ID...`.
pub(super) async fn watch(loaded: &Loaded, args: &WatchArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let instance = find_instance(settings, &args.instance)?;
    let jobs = job_ids(&args.jobs)?;
    let catalog = open::writer(settings).await?;
    let now = Clock::System.now();
    // Asked for at once, so that they share commits; answered in order.
    let adoptions: Vec<_> = jobs
        .into_iter()
        .map(|job| {
            let catalog = catalog.clone();
            let (instance, again) = (instance.clone(), args.again);
            let adoption = Adoption { instance, job: job.clone(), again };
            (job, tokio::spawn(async move { catalog.adopt(adoption, now).await }))
        })
        .collect();
    let mut answers = Vec::new();
    for (job, task) in adoptions {
        let adopted = task.await.map_err(|error| CliError::Runtime(error.into()))?;
        let adopted =
            adopted.map_err(|error| daemon_knows_less(error, "instance", &args.instance))?;
        let (archive, is_new) = match adopted {
            Adopted::New(archive) => (archive, true),
            Adopted::Known(archive) => (archive, false),
        };
        let (id, state) = (archive.id, archive.state.word());
        if args.json {
            answers.push(json!({
                "job_id": job, "archive_id": id, "snapshot_id": archive.snapshot,
                "state": state, "new": is_new,
            }));
        } else if is_new {
            output::line(&format!("{id}: watching job {job}"))?;
        } else if state == StateWord::Lost {
            output::line(&format!(
                "{id}: job {job} is known already, {state}; --again asks ROMA once more"
            ))?;
        } else {
            output::line(&format!("{id}: job {job} is known already, {state}"))?;
        }
    }
    catalog.close().await?;
    if args.json {
        output::json(json!({ "jobs": answers }))?;
    }
    open::mention_missing_daemon(settings);
    Ok(Exit::Ok)
}

fn find_instance(settings: &Settings, name: &str) -> Result<Name, CliError> {
    settings
        .instances
        .iter()
        .map(|instance| &instance.name)
        .find(|known| known.as_str() == name)
        .cloned()
        .ok_or_else(|| {
            let known = settings.instances.iter().map(|i| i.name.as_str()).collect::<Vec<_>>();
            CliError::Usage(format!(
                "there is no instance `{}`; configured: {}",
                output::printable(name),
                known.join(", ")
            ))
        })
}

/// The ids as given, those of standard input in place of `-`; twice the same counts once.
fn job_ids(arguments: &[String]) -> Result<Vec<JobId>, CliError> {
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            for line in std::io::stdin().lock().lines() {
                texts.push(line.map_err(CliError::Input)?);
            }
        } else {
            texts.push(argument.clone());
        }
    }
    let mut jobs: Vec<JobId> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for text in texts {
        let text = text.trim();
        if text.chars().count() > 128 {
            let start: String = text.chars().take(40).collect();
            return Err(CliError::Usage(format!(
                "`{}…` is no job id: ROMA's have 128 characters at most",
                output::printable(&start)
            )));
        }
        jobs.extend(JobId::new(text).filter(|job| seen.insert(job.clone())));
    }
    if jobs.is_empty() {
        return Err(CliError::Usage("no job id was given".to_owned()));
    }
    Ok(jobs)
}
