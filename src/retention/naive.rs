//! Retention a second time, written to be obviously right instead of fast: the judge of the plan.
//!
//! It shares no code with the plan: buckets are sets of calendar texts, every count starts anew
//! for every snapshot, weeks and months are reckoned here, and reasons are words.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use jiff::{Span, Timestamp as Instant, ToSpan as _, Zoned};

use super::{Circumstances, Count, Period, Policy, SnapshotFacts};
use crate::lifecycle::SnapshotState;
use crate::model::Timestamp;

/// Of each snapshot's id: whether it stays, and why.
pub(super) type Opinion = BTreeMap<i64, (bool, Vec<String>)>;

/// What the specification says about each snapshot.
pub(super) fn naive_plan(all: &[SnapshotFacts], policy: &Policy, at: &Circumstances) -> Opinion {
    let mut rest: Vec<&SnapshotFacts> = all
        .iter()
        .filter(|s| s.state == SnapshotState::Complete || s.state == SnapshotState::Incomplete)
        .collect();
    rest.sort_by_key(|s| (s.taken_at, s.id));
    rest.reverse();
    let in_future = |s: &SnapshotFacts| s.taken_at.as_millis() > at.now.as_millis() + 300_000;
    let counted: Vec<&SnapshotFacts> = rest
        .iter()
        .copied()
        .filter(|s| s.state == SnapshotState::Complete && !in_future(s))
        .collect();
    let locals: Vec<Zoned> = counted.iter().map(|s| local(s.taken_at, at)).collect();

    let mut opinion = Opinion::new();
    for snapshot in &rest {
        let mut reasons = Vec::new();
        if in_future(snapshot) {
            reasons.push("dated in the future".to_owned());
        } else if let Some(index) = counted.iter().position(|s| s.id == snapshot.id) {
            reasons.extend(counting(policy, &locals, index));
            reasons.extend(within(policy, &locals, index));
        } else {
            reasons.push("incomplete".to_owned());
        }
        let mut keep = true;
        if reasons.is_empty() {
            keep = policy.counts.is_empty() && policy.within.is_empty();
            let index = counted.iter().position(|s| s.id == snapshot.id).unwrap();
            let words =
                if keep { "no keep rule".to_owned() } else { missed(policy, &locals, index) };
            reasons.push(words);
        }
        opinion.insert(snapshot.id.0, (keep, reasons));
    }
    too_old(&mut opinion, &rest, &counted, policy, at);
    too_many(&mut opinion, &counted, policy);
    guards(&mut opinion, &rest, &counted, policy, at);
    opinion
}

fn local(time: Timestamp, at: &Circumstances) -> Zoned {
    Instant::from_millisecond(time.as_millis()).unwrap().to_zoned(at.zone.clone())
}

/// The bucket as a person would write it.
fn bucket(period: Option<Period>, time: &Zoned, index: usize) -> String {
    match period {
        None => format!("snapshot {index}"),
        Some(Period::Hour) => time.strftime("%Y-%m-%d %H %z").to_string(),
        Some(Period::Day) => time.strftime("%Y-%m-%d").to_string(),
        Some(Period::Week) => iso_week(time.date()),
        Some(Period::Month) => time.strftime("%Y-%m").to_string(),
        Some(Period::Quarter) => {
            let quarter =
                ["I", "II", "III", "IV"][usize::try_from((time.month() - 1) / 3).unwrap()];
            format!("{} {quarter}", time.year())
        }
        Some(Period::Year) => time.strftime("%Y").to_string(),
    }
}

/// A week belongs to the year of its Thursday, and is numbered by that day.
fn iso_week(day: Date) -> String {
    let from_monday = i64::from(day.weekday().to_monday_zero_offset());
    let thursday = day.checked_add((3 - from_monday).days()).unwrap();
    format!("{}-W{}", thursday.year(), (thursday.day_of_year() - 1) / 7 + 1)
}

fn counting(policy: &Policy, times: &[Zoned], index: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    for rule in &policy.counts {
        let keys: Vec<String> =
            times.iter().enumerate().map(|(i, time)| bucket(rule.period, time, i)).collect();
        let newer: BTreeSet<&String> = keys[..index].iter().collect();
        let budget_left = match rule.count {
            Count::Limited(limit) => newer.len() < usize::try_from(limit).unwrap(),
            Count::Unlimited => true,
        };
        let is_first = !newer.contains(&keys[index]);
        let is_oldest = index + 1 == times.len();
        if budget_left && (is_first || is_oldest) {
            let oldest = if is_first { "" } else { "oldest " };
            let of = match rule.count {
                Count::Limited(limit) => format!(" {}/{limit}", newer.len() + 1),
                Count::Unlimited => String::new(),
            };
            reasons.push(format!("{oldest}{}{of}", name(rule.period)));
        }
    }
    reasons
}

/// The rule whose oldest snapshot lies nearest before this one, and what stood in the way.
fn missed(policy: &Policy, times: &[Zoned], index: usize) -> String {
    let mut nearest: Option<(Instant, String)> = None;
    let mut consider = |last: Instant, words: String| {
        if nearest.as_ref().is_none_or(|(other, _)| last < *other) {
            nearest = Some((last, words));
        }
    };
    for rule in &policy.counts {
        let Count::Limited(limit) = rule.count else {
            let key = bucket(rule.period, &times[index], index);
            let twin = (0..index).find(|i| bucket(rule.period, &times[*i], *i) == key);
            let kept = twin.map(|i| times[i].timestamp());
            // An unlimited rule misses only what has a newer one in its bucket.
            let period = noun(rule.period);
            consider(kept.unwrap(), format!("{}: newer that {period}", name(rule.period)));
            continue;
        };
        // The newest of each of the first buckets is what the rule keeps.
        let mut firsts: Vec<(String, Instant)> = Vec::new();
        for (i, time) in times[..index].iter().enumerate() {
            let key = bucket(rule.period, time, i);
            let taken = firsts.iter().any(|(known, _)| *known == key);
            if !taken && firsts.len() < usize::try_from(limit).unwrap() {
                firsts.push((key, time.timestamp()));
            }
        }
        let Some((last_key, last)) = firsts.last() else { continue };
        let words = if *last_key == bucket(rule.period, &times[index], index) {
            format!("{}: newer that {}", name(rule.period), noun(rule.period))
        } else {
            format!("{}: {limit} newer", name(rule.period))
        };
        consider(*last, words);
    }
    for rule in &policy.within {
        let start = back(&times[0], &rule.span);
        let inside: Vec<usize> = (0..index).filter(|i| times[*i].timestamp() > start).collect();
        let key = |i: usize| bucket(rule.period, &times[i], i);
        let mut firsts = inside.iter().filter(|i| (0..**i).all(|newer| key(newer) != key(**i)));
        let Some(last) = firsts.next_back() else { continue };
        let title =
            rule.period.map_or("within".to_owned(), |p| format!("within {}", name(Some(p))));
        let words = if key(*last) == key(index) {
            format!("{title}: newer that {}", noun(rule.period))
        } else {
            format!("{title}: too old")
        };
        consider(times[*last].timestamp(), words);
    }
    match nearest {
        Some((_, words)) => format!("no rule keeps it (nearest {words})"),
        None => "no rule keeps it".to_owned(),
    }
}

fn noun(period: Option<Period>) -> &'static str {
    match period {
        None => "snapshot",
        Some(Period::Hour) => "hour",
        Some(Period::Day) => "day",
        Some(Period::Week) => "week",
        Some(Period::Month) => "month",
        Some(Period::Quarter) => "quarter",
        Some(Period::Year) => "year",
    }
}

fn within(policy: &Policy, times: &[Zoned], index: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    for rule in &policy.within {
        if times[index].timestamp() <= back(&times[0], &rule.span) {
            continue;
        }
        let key = |i: usize| bucket(rule.period, &times[i], i);
        let is_first = (0..index).all(|i| key(i) != key(index));
        if is_first || index + 1 == times.len() {
            let oldest = if is_first { "" } else { "oldest " };
            let name = rule.period.map_or(String::new(), |_| format!(" {}", name(rule.period)));
            reasons.push(format!("{oldest}within{name}"));
        }
    }
    reasons
}

fn name(period: Option<Period>) -> &'static str {
    match period {
        None => "last",
        Some(Period::Hour) => "hourly",
        Some(Period::Day) => "daily",
        Some(Period::Week) => "weekly",
        Some(Period::Month) => "monthly",
        Some(Period::Quarter) => "quarterly",
        Some(Period::Year) => "yearly",
    }
}

/// `span` before `time`: years and months first, the day clamped to the month's last; then weeks
/// and days, at the same wall time; hours last, of 60 real minutes each.
fn back(time: &Zoned, span: &Span) -> Instant {
    let months = i32::from(span.get_years()) * 12 + span.get_months();
    let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let hours = i64::from(span.get_hours()).hours();
    if months == 0 && days == 0 {
        // The wall time is not touched, so an hour that comes twice stays the one it is.
        return time.timestamp().checked_sub(hours).unwrap();
    }
    let counted = i32::from(time.year()) * 12 + i32::from(time.month()) - 1 - months;
    let (year, month) = (counted.div_euclid(12), counted.rem_euclid(12) + 1);
    let first = date(i16::try_from(year).unwrap(), i8::try_from(month).unwrap(), 1);
    let day = time.day().min(first.last_of_month().day());
    let clamped = date(first.year(), first.month(), day);
    let day = clamped.checked_sub(days.days()).unwrap();
    let moment = day.to_datetime(time.time()).to_zoned(time.time_zone().clone()).unwrap();
    moment.timestamp().checked_sub(hours).unwrap()
}

fn too_old(
    opinion: &mut Opinion,
    rest: &[&SnapshotFacts],
    counted: &[&SnapshotFacts],
    policy: &Policy,
    at: &Circumstances,
) {
    let Some(age) = &policy.max_age else { return };
    let limit = back(&local(at.now, at), age);
    for (index, snapshot) in rest.iter().enumerate() {
        let is_counted = counted.iter().any(|s| s.id == snapshot.id);
        let superseded = rest[..index].iter().any(|s| counted.iter().any(|c| c.id == s.id));
        if snapshot.taken_at.as_millis() < limit.as_millisecond() && (is_counted || superseded) {
            let words =
                if is_counted { "older than max_age" } else { "incomplete and older than max_age" };
            opinion.insert(snapshot.id.0, (false, vec![words.to_owned()]));
        }
    }
}

fn too_many(opinion: &mut Opinion, counted: &[&SnapshotFacts], policy: &Policy) {
    let kept: Vec<&&SnapshotFacts> = counted.iter().filter(|s| opinion[&s.id.0].0).collect();
    for (index, snapshot) in kept.iter().enumerate() {
        let bytes: u128 = kept[..=index].iter().map(|s| u128::from(s.stored_bytes)).sum();
        let too_many = policy.max_count.filter(|max| index as u64 + 1 > *max);
        let too_large = policy.max_total_bytes.filter(|max| bytes > u128::from(*max));
        let words = match (too_many, too_large) {
            (Some(max), _) => format!("more than max_count {max}"),
            (None, Some(max)) => format!("more than max_total_size {max}"),
            (None, None) => continue,
        };
        opinion.insert(snapshot.id.0, (false, vec![words]));
    }
}

fn guards(
    opinion: &mut Opinion,
    rest: &[&SnapshotFacts],
    counted: &[&SnapshotFacts],
    policy: &Policy,
    at: &Circumstances,
) {
    let anomalous = match counted {
        [] => false,
        [only] => only.raw_bytes == 0,
        [newest, previous, ..] => {
            newest.raw_bytes == 0
                || u128::from(newest.raw_bytes) * 2 < u128::from(previous.raw_bytes)
        }
    };
    let grace = at.policy_changed_at.map(|changed| changed.plus(policy.policy_grace));
    let mut deleted = 0;
    for snapshot in rest.iter().rev() {
        let rank = counted.iter().position(|s| s.id == snapshot.id);
        let (keep, mut reasons) = opinion[&snapshot.id.0].clone();
        let pin = snapshot.pin.as_ref();
        let saved_by = if let Some(pin) = pin.filter(|pin| pin.until.is_none_or(|u| u > at.now)) {
            Some(format!("pinned: {}", pin.name))
        } else if keep {
            None
        } else if rank.is_some_and(|rank| rank < usize::try_from(policy.min_keep).unwrap()) {
            Some(format!("min_keep {}", policy.min_keep))
        } else if rank == Some(0) {
            Some("newest good snapshot".to_owned())
        } else if let Some(why) = &at.suspended {
            Some(format!("deletion is suspended: {why}"))
        } else if let Some(why) = &at.clock_doubt {
            Some(format!("clock not trustworthy: {why}"))
        } else if anomalous {
            Some("newest snapshot is empty or shrunk by half".to_owned())
        } else if let Some(ends) = grace.filter(|ends| at.now < *ends) {
            Some(format!("policy changed, only planned until {ends}"))
        } else if deleted == policy.max_delete_per_sweep {
            Some(format!("only {deleted} deletions a sweep"))
        } else {
            deleted += 1;
            None
        };
        if let Some(words) = saved_by {
            reasons.push(words);
            opinion.insert(snapshot.id.0, (true, reasons));
        }
    }
}
