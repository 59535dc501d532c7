//! What retention decides about an export, and when the rest will go: for the sweep that acts on
//! it, and for the commands that show it. It must never change anything.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, CatalogError, SnapshotRecord};
use crate::model::{Name, SnapshotId, Timestamp};
use crate::retention::{Circumstances, Pin, Policy, SnapshotFacts, Verdict, forecast, plan};
use crate::schedule::Schedule;

/// One export's retention: what a sweep needs to know.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The instance that is exported.
    pub instance: Name,
    /// The export, or `watched`.
    pub export: Name,
    /// Its policy.
    pub policy: Policy,
    /// Digest of the policy, for tombstones; empty for one that is only tried.
    pub policy_hash: String,
    /// The zone of the buckets.
    pub zone: jiff::tz::TimeZone,
    /// When further snapshots fall due, if anybody knows.
    pub schedule: Option<Schedule>,
    /// Why nothing is deleted although the policy says so.
    pub suspended: Option<String>,
}

/// The verdicts of a moment, and what will follow.
#[derive(Clone, Debug)]
pub struct Foresight {
    /// The snapshots that were decided about, as the catalog has them.
    pub records: Vec<SnapshotRecord>,
    /// One verdict each, the newest first.
    pub verdicts: Vec<Verdict>,
    /// When the files of each are expected to go, if that can be foreseen: the trash included.
    pub expected_delete_at: BTreeMap<SnapshotId, Timestamp>,
}

/// Asks the planner about `now` and the time to come.
pub async fn foresee(
    catalog: &Catalog,
    retention: &Retention,
    now: Timestamp,
    clock_doubt: Option<String>,
) -> Result<Foresight, CatalogError> {
    let Retention { instance, export, .. } = retention;
    let records = catalog.snapshots_of(instance, export, now).await?;
    let exports = catalog.exports().await?;
    let policy_changed_at = exports
        .iter()
        .find(|e| e.instance == *instance && e.name == *export)
        // One that is only tried has no time of its own.
        .filter(|_| !retention.policy_hash.is_empty())
        .and_then(|export| match &export.policy_hash {
            Some(known) if *known == retention.policy_hash => export.policy_changed_at,
            // The daemon has not taken it over yet: it changes when it does, at the earliest now.
            Some(_) => Some(now),
            None => None,
        });
    let circumstances = Circumstances {
        now,
        zone: retention.zone.clone(),
        clock_doubt,
        suspended: retention.suspended.clone(),
        policy_changed_at,
    };
    let facts: Vec<SnapshotFacts> = records.iter().map(facts).collect();
    let retention = retention.clone();
    // With many snapshots this takes its time.
    let (verdicts, expected_delete_at) =
        tokio::task::spawn_blocking(move || decide(&facts, &retention, &circumstances))
            .await
            .map_err(|_| CatalogError::WriterGone)?;
    Ok(Foresight { records, verdicts, expected_delete_at })
}

fn decide(
    facts: &[SnapshotFacts],
    retention: &Retention,
    circumstances: &Circumstances,
) -> (Vec<Verdict>, BTreeMap<SnapshotId, Timestamp>) {
    let Retention { policy, schedule, zone, .. } = retention;
    let coming = std::iter::successors(
        schedule.as_ref().and_then(|schedule| schedule.next_after(circumstances.now, zone)),
        |last| schedule.as_ref()?.next_after(*last, zone),
    );
    let expected = forecast(facts, policy, circumstances, coming);
    let files_go = expected.into_iter().map(|(id, at)| (id, at.plus(policy.trash)));
    (plan(facts, policy, circumstances), files_go.collect())
}

fn facts(record: &SnapshotRecord) -> SnapshotFacts {
    let pin = record.pin.clone();
    SnapshotFacts {
        id: record.id,
        taken_at: record.taken_at,
        state: record.state,
        raw_bytes: record.raw_bytes,
        stored_bytes: record.stored_bytes,
        pin: pin.map(|(name, until)| Pin { name, until }),
    }
}

/// Why a clock that the newest event is ahead of must not decide what is old.
pub fn behind(latest_event: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let latest = latest_event.filter(|latest| *latest > now)?;
    Some(format!("it is behind the newest event ({latest})"))
}
