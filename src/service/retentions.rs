//! The retention of every export, as the configuration says it. It must never act on it.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, CatalogError};
use crate::engine::{Retention, foresee};
use crate::model::{Name, Sha256Digest, SnapshotId, Timestamp};
use crate::retention::{Policy, failing_test};
use crate::schedule::Schedule;
use crate::settings::Settings;

/// The retention of every configured export, and of the adopted jobs of every instance.
pub fn retentions(settings: &Settings) -> Vec<Retention> {
    let configured = settings.exports.iter().map(|export| {
        one(settings, &export.instance, &export.name, &export.policy, export.schedule.as_ref())
    });
    let watched = watched(settings).map(|(instance, name)| {
        // Nobody knows when the next job is adopted.
        one(settings, &instance, &name, &settings.retention, None)
    });
    configured.chain(watched).collect()
}

fn one(
    settings: &Settings,
    instance: &Name,
    export: &Name,
    policy: &Policy,
    schedule: Option<&Schedule>,
) -> Retention {
    Retention {
        instance: instance.clone(),
        export: export.clone(),
        policy: policy.clone(),
        policy_hash: policy_hash(policy, &settings.zone),
        zone: settings.zone.clone(),
        schedule: schedule.cloned(),
        suspended: failing_test(policy, &settings.zone).map(|failure| failure.to_string()),
    }
}

/// Adopted jobs belong to the reserved export of their instance.
pub(super) fn watched(settings: &Settings) -> impl Iterator<Item = (Name, Name)> {
    settings.instances.iter().map(|instance| (instance.name.clone(), Name::watched()))
}

/// What a policy that changed will do once its grace is over.
#[derive(Clone, Debug)]
pub struct Consequence {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub export: Name,
    /// What it would delete, the oldest first; each with when it was taken.
    pub doomed: Vec<(SnapshotId, Timestamp)>,
    /// Of how many.
    pub snapshots: usize,
    /// When it may begin.
    pub from: Timestamp,
}

impl std::fmt::Display for Consequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMED: usize = 5;
        let Self { instance, export, doomed, snapshots, from } = self;
        write!(f, "the retention of {export} of {instance} has changed: ")?;
        if doomed.is_empty() {
            return f.write_str("none of its snapshots goes for that");
        }
        let named = doomed.iter().take(NAMED).map(|(id, taken)| format!("{id} of {taken}"));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = if doomed.len() > NAMED { ", ..." } else { "" };
        write!(
            f,
            "{} of {snapshots} snapshots are to go, from {from} on: {named}{more}; \
             `roma-archived plan` shows why, and a pin keeps what it names",
            doomed.len()
        )
    }
}

/// What follows from policies that changed since the catalog last saw them, or lately.
pub async fn consequences(
    catalog: &Catalog,
    settings: &Settings,
    now: Timestamp,
) -> Result<Vec<Consequence>, CatalogError> {
    let known = catalog.exports().await?;
    let mut found = Vec::new();
    for retention in retentions(settings) {
        let Retention { instance, export, policy, policy_hash, .. } = &retention;
        let known = known.iter().find(|k| k.instance == *instance && k.name == *export);
        // What nobody has seen before has nothing to delete either.
        let Some(known) = known.filter(|known| known.policy_hash.is_some()) else { continue };
        let from = if known.policy_hash.as_ref() == Some(policy_hash) {
            match known.policy_changed_at.map(|changed| changed.plus(policy.policy_grace)) {
                Some(from) if from > now => from,
                _ => continue,
            }
        } else {
            now.plus(policy.policy_grace)
        };
        let tried = tried(&retention, Policy { max_delete_per_sweep: u32::MAX, ..policy.clone() });
        let foresight = foresee(catalog, &tried, now, None).await?;
        let taken_at: HashMap<SnapshotId, Timestamp> =
            foresight.records.iter().map(|record| (record.id, record.taken_at)).collect();
        let deleted = foresight.verdicts.iter().rev().filter(|verdict| !verdict.keep);
        found.push(Consequence {
            instance: instance.clone(),
            export: export.clone(),
            doomed: deleted.filter_map(|v| Some((v.id, *taken_at.get(&v.id)?))).collect(),
            snapshots: foresight.verdicts.len(),
            from,
        });
    }
    Ok(found)
}

/// Says what a changed policy will do, and which policies do nothing because their tests fail.
pub(super) async fn announce(
    catalog: &Catalog,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), CatalogError> {
    for retention in retentions(settings) {
        if let Some(why) = &retention.suspended {
            tracing::error!(instance = %retention.instance, export = %retention.export,
                "nothing is deleted: {why}; `roma-archived check-config` tells more");
        }
    }
    for consequence in consequences(catalog, settings, now).await? {
        if consequence.doomed.is_empty() {
            tracing::info!("{consequence}");
        } else {
            tracing::warn!("{consequence}");
        }
    }
    Ok(())
}

/// The same retention under a policy that is only tried: nothing of its past counts.
pub fn tried(retention: &Retention, policy: Policy) -> Retention {
    Retention { policy, policy_hash: String::new(), ..retention.clone() }
}

/// The zone belongs to it: other days and weeks make other buckets.
pub(super) fn policy_hash(policy: &Policy, zone: &jiff::tz::TimeZone) -> String {
    let text = format!("{policy} timezone={}", zone.iana_name().unwrap_or("unnamed"));
    let digest = Sha256Digest(Sha256::digest(text).into()).to_string();
    digest.chars().take(16).collect()
}
