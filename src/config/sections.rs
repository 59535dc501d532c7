//! The sections that stand alone: `[retention]`, `[limits]`, `[pack]`, `[tls]`, `[verify]`,
//! `[metrics]` and `[notify]`. Each begins with its defaults and replaces what was written.
//!
//! Never leaves a section half read: a wrong key is reported, and the next one is looked at.

use std::num::{NonZeroU32, NonZeroUsize};

use super::raw::{
    RawHistory, RawLimits, RawMetrics, RawNotify, RawPack, RawRetention, RawTest, RawTls, RawVerify,
};
use super::{Fault, Report, Spot, quoted, values};
use crate::lifecycle::Pace;
use crate::retention::{CountRule, Given, Moment, Period, Policy, PolicyTest, WithinRule};
use crate::settings::{Limits, Metrics, Notify, Pack, PackMethod, Tls, Verify};

/// More downloads at once than this help no server.
const MAX_DOWNLOADS: i64 = 256;

/// What `[retention]` or `[export.retention]` asks for; without rules, everything is kept.
pub(super) fn policy(raw: Option<&RawRetention>, at: &Spot, report: &mut Report) -> Policy {
    let mut policy = Policy::default();
    let Some(raw) = raw else { return policy };
    for (period, count) in raw.counts() {
        let at = at.key(&format!("keep_{}", period.map_or("last", Period::adverb)));
        let count = report.optional(&at, count.as_ref(), |count| values::count(*count));
        policy.counts.extend(count.map(|count| CountRule { period, count }));
    }
    for (period, span) in raw.within() {
        let suffix = period.map_or(String::new(), |period| format!("_{}", period.adverb()));
        let span = report.optional(&at.key(&format!("keep_within{suffix}")), span, values::span);
        policy.within.extend(span.map(|span| WithinRule { period, span }));
    }
    let any = || values::whole(1..=i64::MAX);
    let number = || values::whole(1..=i64::from(u32::MAX));
    policy.max_age = report.optional(&at.key("max_age"), raw.max_age.as_deref(), values::span);
    policy.max_count = report.optional(&at.key("max_count"), raw.max_count.as_ref(), any());
    let total = raw.max_total_size.as_deref();
    policy.max_total_bytes =
        report.optional(&at.key("max_total_size"), total, values::positive_size);
    let (trash, grace) = (raw.trash.as_deref(), raw.policy_grace.as_deref());
    report.replace(&mut policy.trash, &at.key("trash"), trash, values::long_duration);
    report.replace(&mut policy.policy_grace, &at.key("policy_grace"), grace, values::long_duration);
    report.replace(&mut policy.min_keep, &at.key("min_keep"), raw.min_keep.as_ref(), number());
    let most = raw.max_delete_per_sweep.as_ref();
    let key = at.key("max_delete_per_sweep");
    report.replace(&mut policy.max_delete_per_sweep, &key, most, number());
    policy.tests = tests(raw.test.as_deref().unwrap_or_default(), &at.key("test"), report);
    policy
}

/// `[[retention.test]]`: read here, and run by whoever wants to delete.
fn tests(raws: &[RawTest], list: &Spot, report: &mut Report) -> Vec<PolicyTest> {
    let read = raws.iter().enumerate().filter_map(|(index, raw)| {
        let at = list.item(index, None);
        let given = report.required(&at.key("given"), raw.given.as_ref(), history);
        let now = report.required(&at.key("at"), raw.at.as_deref(), moment);
        let expect = report.required(&at.key("expect"), raw.expect.as_ref(), moments);
        Some(PolicyTest { given: given?, at: now?, expect: expect? })
    });
    read.collect()
}

/// What a test of a policy is given.
fn history(raw: &RawHistory) -> Result<Given, Fault> {
    match raw {
        RawHistory::Phrase(phrase) => phrase.parse().map_err(|_| {
            let why = format!("is no history that is understood (got {})", quoted(phrase));
            Fault::new(why).remedy(
                "write \"daily since 2026-01-01\" (also hourly, weekly, monthly, yearly, \
                 \"every 6h since ...\"), or a list of times",
            )
        }),
        RawHistory::Times(_) => moments(raw).map(Given::Times),
    }
}

/// A list of times; one alone may do without the brackets.
fn moments(raw: &RawHistory) -> Result<Vec<Moment>, Fault> {
    match raw {
        RawHistory::Phrase(one) => moment(one).map(|moment| vec![moment]),
        RawHistory::Times(times) => times.iter().map(|time| moment(time)).collect(),
    }
}

/// A day, or an instant.
fn moment(text: &str) -> Result<Moment, Fault> {
    text.parse().map_err(|_| {
        Fault::new(format!("is neither a day nor a time (got {})", quoted(text)))
            .remedy("write \"2026-12-31\", or \"2026-12-31T02:00:00+01:00\"")
    })
}

/// How much, how often, how long.
pub(super) fn limits(raw: Option<&RawLimits>, at: &Spot, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(raw) = raw else { return limits };
    let downloads = values::whole::<i64>(1..=MAX_DOWNLOADS);
    let downloads = report.optional(&at.key("downloads"), raw.downloads.as_ref(), downloads);
    let downloads = downloads.and_then(|number| usize::try_from(number).ok());
    if let Some(downloads) = downloads.and_then(NonZeroUsize::new) {
        limits.downloads = downloads;
    }
    let Pace { poll_interval, poll_interval_max } = &mut limits.pace;
    let idle = &mut limits.download_idle_timeout;
    let durations = [
        ("poll_interval", &raw.poll_interval, poll_interval),
        ("poll_interval_max", &raw.poll_interval_max, poll_interval_max),
        ("request_timeout", &raw.request_timeout, &mut limits.request_timeout),
        ("download_idle_timeout", &raw.download_idle_timeout, idle),
        ("shutdown_grace", &raw.shutdown_grace, &mut limits.shutdown_grace),
    ];
    for (key, given, target) in durations {
        report.replace(target, &at.key(key), given.as_deref(), values::duration);
    }
    let Pace { poll_interval, poll_interval_max } = limits.pace;
    let settled = ["poll_interval", "poll_interval_max"].map(|key| report.is_settled(&at.key(key)));
    if poll_interval > poll_interval_max && settled == [false; 2] {
        let (key, other) = if raw.poll_interval.is_some() {
            ("poll_interval", "is longer than poll_interval_max")
        } else {
            ("poll_interval_max", "is shorter than poll_interval")
        };
        let why = format!("{other} (they are {poll_interval:?} and {poll_interval_max:?})");
        let remedy = "make poll_interval the smaller one";
        report.refuse(&at.key(key), Fault::new(why).remedy(remedy));
    }
    let (largest, free) = (raw.max_package_size.as_deref(), raw.min_free_space.as_deref());
    let key = at.key("max_package_size");
    report.replace(&mut limits.max_package_bytes, &key, largest, values::positive_size);
    report.replace(&mut limits.min_free_bytes, &at.key("min_free_space"), free, values::size);
    let reexports = values::whole(0..=i64::from(u32::MAX));
    report.replace(&mut limits.reexports, &at.key("reexports"), raw.reexports.as_ref(), reexports);
    limits
}

/// How packages are compressed.
pub(super) fn pack(raw: Option<&RawPack>, at: &Spot, report: &mut Report) -> Pack {
    const METHODS: [(&str, PackMethod); 3] = [
        ("auto", PackMethod::Auto),
        ("deflate", PackMethod::Deflate),
        ("store", PackMethod::Store),
    ];
    let mut pack = Pack::default();
    let Some(raw) = raw else { return pack };
    let method = |text: &str| values::choice(text, &METHODS);
    report.replace(&mut pack.method, &at.key("method"), raw.method.as_deref(), method);
    let level = values::whole::<u32>(1..=9);
    let level = report.optional(&at.key("level"), raw.level.as_ref(), level);
    if let Some(level) = level.and_then(NonZeroU32::new) {
        pack.level = level;
    }
    pack
}

/// How servers are reached and trusted.
pub(super) fn tls(raw: Option<&RawTls>, at: &Spot, report: &mut Report) -> Tls {
    let Some(raw) = raw else { return Tls::default() };
    let ca_file = raw.ca_file.as_deref();
    Tls {
        ca_file: report.optional(&at.key("ca_file"), ca_file, values::absolute_path),
        proxy: report.optional(&at.key("proxy"), raw.proxy.as_deref(), values::proxy),
    }
}

/// How often stored files are read again.
pub(super) fn verify(raw: Option<&RawVerify>, at: &Spot, report: &mut Report) -> Verify {
    let mut verify = Verify::default();
    let Some(raw) = raw else { return verify };
    let (every, budget) = (raw.every.as_deref(), raw.budget.as_deref());
    report.replace(&mut verify.every, &at.key("every"), every, values::long_duration);
    report.replace(&mut verify.daily_bytes, &at.key("budget"), budget, values::size);
    verify
}

/// Where monitoring looks.
pub(super) fn metrics(raw: Option<&RawMetrics>, at: &Spot, report: &mut Report) -> Metrics {
    let Some(raw) = raw else { return Metrics::default() };
    let at = at.key("textfile");
    Metrics { textfile: report.optional(&at, raw.textfile.as_deref(), values::textfile) }
}

/// Who is told.
pub(super) fn notify(raw: Option<&RawNotify>, at: &Spot, report: &mut Report) -> Notify {
    let Some(raw) = raw else { return Notify::default() };
    let (ping, webhook) = (raw.ping_url.as_ref(), raw.webhook_url.as_ref());
    Notify {
        ping: report.optional(&at.key("ping_url"), ping, values::hidden_url),
        webhook: report.optional(&at.key("webhook_url"), webhook, values::hidden_url),
    }
}
