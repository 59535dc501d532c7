//! `plan`: which snapshots stay, which go, when and why. It asks what the daemon asks, and changes
//! nothing.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::args::PlanArgs;
use super::error::CliError;
use super::{open, output};
use crate::catalog::{Catalog, SnapshotRecord};
use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::engine::{Foresight, Retention, behind, foresee};
use crate::exit::Exit;
use crate::model::{SnapshotId, Timestamp};
use crate::retention::{Verdict, failing_test};
use crate::service::{retentions, tried};

/// What the daemon has last said about its clock.
const CLOCK: &str = "SELECT event, detail FROM events \
                     WHERE event IN ('clock_doubted', 'clock_trusted') ORDER BY seq DESC LIMIT 1";
/// What is in the trash already.
const TRASHED: &str = "SELECT id, taken_at, expected_delete_at FROM snapshots \
                       WHERE state = 'trashed' AND instance = ? AND export = ? ORDER BY id DESC";

pub(super) async fn run(loaded: &Loaded, args: &PlanArgs) -> Result<Exit, CliError> {
    let settings = &loaded.settings;
    let wanted = choose(retentions(settings), args)?;
    let policy = args.policy.as_deref().map(config::policy).transpose()?;
    let catalog = open::reader(&settings.state_dir).await?;
    let now = Clock::System.now();
    let at = args.at.map_or(now, |moment| moment.instant(&settings.zone));
    // A moment that is only supposed is not doubted.
    let doubt = if args.at.is_none() { clock_doubt(&catalog, now).await? } else { None };
    let mut answers = Vec::new();
    for configured in wanted {
        let retention = match &policy {
            Some(policy) => Retention {
                suspended: failing_test(policy, &settings.zone).map(|f| f.to_string()),
                ..tried(&configured, policy.clone())
            },
            None => configured,
        };
        let foresight = foresee(&catalog, &retention, at, doubt.clone()).await?;
        let names = [retention.instance.to_string(), retention.export.to_string()];
        let trash = catalog.view(TRASHED, &names).await?.rows;
        if args.json {
            answers.push(answer(&retention, &foresight, &trash, at));
        } else {
            print(&retention, &foresight, &trash, at, args)?;
        }
    }
    if args.json {
        output::json(json!({ "at": at, "exports": answers }))?;
    }
    Ok(Exit::Ok)
}

fn choose(all: Vec<Retention>, args: &PlanArgs) -> Result<Vec<Retention>, CliError> {
    let known: Vec<String> =
        all.iter().map(|r| format!("{} of {}", r.export, r.instance)).collect();
    let fits = |given: &Option<String>, name: &str| given.as_ref().is_none_or(|g| g == name);
    let chosen: Vec<Retention> = all
        .into_iter()
        .filter(|r| fits(&args.export, r.export.as_str()))
        .filter(|r| fits(&args.instance, r.instance.as_str()))
        .collect();
    if chosen.is_empty() {
        let known = known.join(", ");
        return Err(CliError::Usage(format!("no such export is configured; there is: {known}")));
    }
    Ok(chosen)
}

/// Why the daemon would not trust the clock, as far as it can be known without it.
async fn clock_doubt(catalog: &Catalog, now: Timestamp) -> Result<Option<String>, CliError> {
    if let Some(why) = behind(catalog.latest_event_time().await?, now) {
        return Ok(Some(why));
    }
    let last = catalog.view(CLOCK, &[]).await?.into_objects();
    let Some(last) = last.first().filter(|last| last["event"] == "clock_doubted") else {
        return Ok(None);
    };
    let detail = last["detail"].as_str().unwrap_or_default();
    let message = serde_json::from_str::<Value>(detail).ok();
    let message = message.as_ref().and_then(|detail| detail["message"].as_str());
    Ok(Some(message.unwrap_or("the daemon has said so").to_owned()))
}

/// When the files of a snapshot go, as far as anybody can know.
fn goes_at(
    verdict: &Verdict,
    retention: &Retention,
    foresight: &Foresight,
    at: Timestamp,
) -> Option<Timestamp> {
    if verdict.keep {
        foresight.expected_delete_at.get(&verdict.id).copied()
    } else {
        Some(at.plus(retention.policy.trash))
    }
}

/// There may be a million of them.
fn by_id(foresight: &Foresight) -> HashMap<SnapshotId, &SnapshotRecord> {
    foresight.records.iter().map(|record| (record.id, record)).collect()
}

fn answer(
    retention: &Retention,
    foresight: &Foresight,
    trash: &[Vec<Value>],
    at: Timestamp,
) -> Value {
    let records = by_id(foresight);
    let verdicts = foresight.verdicts.iter().map(|verdict| {
        let record = records.get(&verdict.id);
        json!({
            "snapshot_id": verdict.id,
            "taken_at": record.map(|record| record.taken_at),
            "state": record.map(|record| record.state.to_string()),
            "stored_bytes": record.map(|record| record.stored_bytes),
            "verdict": if verdict.keep { "keep" } else { "delete" },
            "reasons": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "expected_delete_at": goes_at(verdict, retention, foresight, at),
        })
    });
    let trashed = trash.iter().map(
        |row| json!({ "snapshot_id": row[0], "taken_at": row[1], "expected_delete_at": row[2] }),
    );
    json!({
        "instance": retention.instance,
        "export": retention.export,
        "retention": retention.policy.to_string(),
        "suspended": retention.suspended,
        "verdicts": verdicts.collect::<Vec<_>>(),
        "trashed": trashed.collect::<Vec<_>>(),
    })
}

fn print(
    retention: &Retention,
    foresight: &Foresight,
    trash: &[Vec<Value>],
    at: Timestamp,
    args: &PlanArgs,
) -> Result<(), CliError> {
    let Retention { instance, export, policy, .. } = retention;
    let going = foresight.verdicts.iter().filter(|verdict| !verdict.keep).count();
    let of = foresight.verdicts.len();
    output::line(&format!("{export} of {instance}: {policy}"))?;
    if let Some(why) = &retention.suspended {
        output::line(&format!("  nothing is deleted: {why}"))?;
    }
    let keeps = if policy.keeps_everything() { ", for there is no rule" } else { "" };
    output::line(&match (of, going) {
        (0, _) => "  no snapshots yet".to_owned(),
        (_, 0) => format!("  at {at}: all {of} snapshots stay{keeps}"),
        _ => format!("  at {at}: {going} of {of} snapshots go to the trash"),
    })?;
    if args.policy.is_some() && going > 0 && !policy.policy_grace.is_zero() {
        let hours = policy.policy_grace.as_secs() / 3_600;
        output::line(&format!(
            "  once it is configured, nothing goes for {hours} h (policy_grace)"
        ))?;
    }
    if of + trash.len() == 0 {
        return Ok(());
    }
    let mut table = output::table(&["verdict", "id", "taken_at", "goes_at", "why"]);
    let records = by_id(foresight);
    for verdict in &foresight.verdicts {
        let taken = records.get(&verdict.id);
        let taken = taken.map(|record| record.taken_at.to_string()).unwrap_or_default();
        let goes = goes_at(verdict, retention, foresight, at).map(|goes| goes.to_string());
        table.add_row([
            if verdict.keep { "keep" } else { "delete" }.to_owned(),
            verdict.id.to_string(),
            output::cell("taken_at", &json!(taken)),
            output::cell("goes_at", &json!(goes)),
            verdict.words(),
        ]);
    }
    for row in trash {
        let [id, taken, goes] = row.as_slice() else { continue };
        table.add_row([
            "trashed".to_owned(),
            format!("s{id}"),
            output::cell("taken_at", taken),
            output::cell("goes_at", goes),
            "in the trash; `undelete` brings it back".to_owned(),
        ]);
    }
    output::print(&table)
}
