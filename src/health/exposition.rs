//! The metrics as text, in the format that the textfile collector of `node_exporter` reads.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType};
use prometheus::{TextEncoder, proto};

use super::counters::OfExport;
use super::metrics::{self as m, Kind, Metric};
use super::{Concern, Count, Counters, ExportFacts, Facts, Signs};
use crate::lifecycle::{FailureClass, SnapshotState, StateWord};
use crate::model::{Name, Timestamp};

/// Everything that is known at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'p> {
    /// The moment.
    pub now: Timestamp,
    /// What the catalog says.
    pub facts: &'p Facts,
    /// What the engine knows.
    pub signs: &'p Signs,
    /// What has happened.
    pub counters: &'p Counters,
    /// What this machine and process know.
    pub local: &'p Local,
}

/// What this machine and process know.
#[derive(Clone, Debug)]
pub struct Local {
    /// The version of the program.
    pub version: &'static str,
    /// When the process started.
    pub started_at: Timestamp,
    /// Size of `catalog.db`.
    pub catalog_bytes: u64,
    /// Size of `catalog.db-wal`.
    pub log_bytes: u64,
    /// The catalog cannot be written until it finds room or its lock.
    pub waits_for_catalog: bool,
    /// What lies in `quarantine/`, if it could be looked at.
    pub quarantined: Option<u64>,
    /// Attempts to notify: channel, result, how many.
    pub notified: Vec<(&'static str, &'static str, u64)>,
    /// Events that the webhook has not been told of yet.
    pub pending: u64,
}

/// The whole file.
pub fn exposition(picture: &Picture<'_>) -> String {
    let mut page = Page(Vec::new());
    let Picture { now, facts, signs, counters, local } = *picture;
    page.one(&m::STARTED, seconds(local.started_at));
    page.one(&m::WRITTEN, seconds(now));
    page.one(&m::WELL, flag(facts.judge(now).is_well()));
    page.put(&m::BUILD, [(vec![local.version.to_owned()], 1.0)]);
    exports(&mut page, facts, now);
    holdings(&mut page, facts);
    happened(&mut page, facts, counters);
    surroundings(&mut page, signs);
    page.one(&m::CATALOG_WAITS, flag(local.waits_for_catalog));
    page.one(&m::CATALOG, number(local.catalog_bytes));
    page.one(&m::LOG, number(local.log_bytes));
    page.some(&m::QUARANTINE, local.quarantined.map(number));
    let notified = local.notified.iter().map(|(channel, result, count)| {
        (vec![(*channel).to_owned(), (*result).to_owned()], number(*count))
    });
    page.put(&m::NOTIFIED, notified);
    page.one(&m::PENDING, number(local.pending));
    page.text()
}

fn exports(page: &mut Page, facts: &Facts, now: Timestamp) {
    let each = |value: &dyn Fn(&ExportFacts) -> Option<f64>| {
        let values = facts
            .exports
            .iter()
            .filter_map(|export| Some((labels(&export.instance, &export.name), value(export)?)));
        values.collect::<Vec<_>>()
    };
    page.put(&m::OBJECTIVE, each(&|export| export.rpo.map(|rpo| rpo.as_secs_f64())));
    page.put(&m::MET, each(&|export| export.is_met(now).map(flag)));
    page.put(&m::NEWEST, each(&|export| export.newest_complete.map(seconds)));
    page.put(&m::SUCCESS, each(&|export| export.last_success.map(seconds)));
    page.put(&m::FAILURE, each(&|export| export.last_failure.map(seconds)));
    page.put(&m::DUE, each(&|export| export.next_due.map(seconds)));
    page.put(&m::RUNS, each(&|export| Some(number(export.runs_waiting))));
    page.put(&m::UNSETTLED, concerns(facts, &facts.losses));
    page.put(&m::DAMAGED, concerns(facts, &facts.damaged));
}

/// Also those of exports that are no longer configured: `status` counts them.
fn concerns(facts: &Facts, list: &[Concern]) -> BTreeMap<Labels, f64> {
    let configured = facts.exports.iter().map(|export| labels(&export.instance, &export.name));
    let mut values: BTreeMap<Labels, f64> = configured.map(|labels| (labels, 0.0)).collect();
    for concern in list {
        *values.entry(labels(&concern.instance, &concern.export)).or_default() += 1.0;
    }
    values
}

fn holdings(page: &mut Page, facts: &Facts) {
    page.put(&m::ARCHIVES, by_state(&facts.archives, facts, &StateWord::ALL));
    page.put(&m::SNAPSHOTS, by_state(&facts.snapshots, facts, &SnapshotState::ALL));
    let mut kept: BTreeMap<Labels, f64> = everyone(facts).map(|labels| (labels, 0.0)).collect();
    let mut trashed = kept.clone();
    for count in &facts.snapshots {
        let is_trashed = count.state == SnapshotState::Trashed;
        let sums = if is_trashed { &mut trashed } else { &mut kept };
        let sum = sums.entry(labels(&count.instance, &count.export)).or_default();
        *sum += number(count.stored_bytes);
    }
    page.put(&m::STORED_BYTES, kept);
    page.put(&m::TRASH_BYTES, trashed);
}

/// Every export that is configured or has ever had a snapshot.
fn everyone(facts: &Facts) -> impl Iterator<Item = Labels> {
    let configured = facts.exports.iter().map(|export| labels(&export.instance, &export.name));
    let recorded = facts.snapshots.iter().map(|count| labels(&count.instance, &count.export));
    configured.chain(recorded)
}

/// A state in which there is nothing counts 0, so that a query finds it.
fn by_state<S: ToString>(
    counts: &[Count<S>],
    facts: &Facts,
    states: &[S],
) -> BTreeMap<Labels, f64> {
    let place = |own: &[String], state: &S| [own, &[state.to_string()]].concat();
    let mut values = BTreeMap::new();
    for own in everyone(facts) {
        values.extend(states.iter().map(|state| (place(&own, state), 0.0)));
    }
    for count in counts {
        let own = labels(&count.instance, &count.export);
        values.insert(place(&own, &count.state), number(count.count));
    }
    values
}

fn happened(page: &mut Page, facts: &Facts, counters: &Counters) {
    let mut all = counters.exports.clone();
    for export in &facts.exports {
        all.entry((export.instance.clone(), export.name.clone())).or_default();
    }
    let columns: [Column; 10] = [
        (&m::MISSED_RUNS, |own| own.runs_missed),
        (&m::REQUESTS, |own| own.requests),
        (&m::TRANSFERS, |own| own.transfers),
        (&m::DOWNLOADS, |own| own.downloads),
        (&m::DOWNLOADED, |own| own.downloaded_bytes),
        (&m::STORED, |own| own.stored),
        (&m::LOSSES, |own| own.losses),
        (&m::DAMAGES, |own| own.damaged),
        (&m::FAILURES, |own| own.failures),
        (&m::DELETED, |own| own.deleted),
    ];
    for (metric, count) in columns {
        let values = all
            .iter()
            .map(|((instance, export), own)| (labels(instance, export), number(count(own))));
        page.put(metric, values);
    }
    let mut failed = counters.failed_attempts.clone();
    for export in &facts.exports {
        for class in FailureClass::ALL {
            failed.entry((export.instance.clone(), class.as_str().to_owned())).or_default();
        }
    }
    let values = failed.into_iter();
    page.put(
        &m::FAILED,
        values.map(|((instance, class), count)| (vec![instance.to_string(), class], number(count))),
    );
}

fn surroundings(page: &mut Page, signs: &Signs) {
    let instances = || signs.instances.iter();
    let accounts = || signs.accounts.iter();
    let named = |name: &Name| vec![name.to_string()];
    page.put(&m::INSTANCE_PAUSED, instances().map(|i| (named(&i.name), flag(i.is_paused))));
    page.put(&m::ACCOUNT_PAUSED, accounts().map(|a| (named(&a.name), flag(a.is_paused))));
    let ends = |a: &super::AccountSigns| Some((named(&a.name), seconds(a.credential_ends?)));
    page.put(&m::CREDENTIAL, accounts().filter_map(ends));
    let offset = |i: &super::InstanceSigns| Some((named(&i.name), thousandth(i.clock_offset_ms?)));
    page.put(&m::OFFSET, instances().filter_map(offset));
    page.some(&m::FREE, signs.free_bytes.map(number));
    page.one(&m::WANTED, number(signs.wanted_bytes));
}

/// A counter, and where its value is.
type Column = (&'static Metric, fn(&OfExport) -> u64);
/// Values of the labels, in the order of their names.
type Labels = Vec<String>;
/// The labels and the value.
type Sample = (Labels, f64);

/// The families so far.
struct Page(Vec<MetricFamily>);

impl Page {
    fn one(&mut self, metric: &Metric, value: f64) {
        self.put(metric, [(Vec::new(), value)]);
    }

    fn some(&mut self, metric: &Metric, value: Option<f64>) {
        self.put(metric, value.map(|value| (Vec::new(), value)));
    }

    fn put(&mut self, metric: &Metric, samples: impl IntoIterator<Item = Sample>) {
        let samples: Vec<proto::Metric> =
            samples.into_iter().map(|(values, value)| sample(metric, values, value)).collect();
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(match metric.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        family.set_metric(samples);
        self.0.push(family);
    }

    /// In the order in which the metrics are listed.
    fn text(mut self) -> String {
        let place = |family: &MetricFamily| {
            m::METRICS.iter().position(|metric| metric.name == family.name())
        };
        self.0.sort_by_key(place);
        // It fails for a family without a name or a sample only, which there is none of.
        TextEncoder::new().encode_to_string(&self.0).unwrap_or_default()
    }
}

fn sample(metric: &Metric, values: Vec<String>, value: f64) -> proto::Metric {
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut sample = proto::Metric::default();
    sample.set_label(pairs.collect());
    match metric.kind {
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
    }
    sample
}

fn labels(instance: &Name, export: &Name) -> Labels {
    vec![instance.to_string(), export.to_string()]
}

const fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn seconds(at: Timestamp) -> f64 {
    thousandth(at.as_millis())
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53: 285,000 years of milliseconds")]
fn thousandth(value: i64) -> f64 {
    value as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53: 8 PiB, and a metric is no proof")]
fn number(value: u64) -> f64 {
    value as f64
}
