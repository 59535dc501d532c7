//! The rules that keep: buckets of the calendar, counted from the newest snapshot backwards.

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::policy::{Count, CountRule, Period, Policy, WithinRule};
use super::reason::{Miss, Reason};
use crate::model::Timestamp;

/// The bucket a moment falls into. Two keys are equal exactly if the bucket is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BucketKey(i64, i64);

/// One rule on its way from the newest snapshot to the oldest.
struct Walk<'p> {
    period: Option<Period>,
    kind: Kind<'p>,
    previous: Option<BucketKey>,
    kept: u32,
    /// The oldest that it has kept so far.
    last: Option<Timestamp>,
}

enum Kind<'p> {
    Counting { rule: &'p CountRule, left: u32 },
    Within { start: Timestamp },
}

/// What the keep rules say about one snapshot.
#[derive(Debug)]
pub(super) enum Opinion {
    /// At least one reason.
    Kept(Vec<Reason>),
    /// The rule that came nearest.
    Missed(Option<Miss>),
}

/// What the keep rules of `policy` say about each of `times`, newest first.
///
/// `times` are those of the complete snapshots that are not in the future.
pub(super) fn keep_reasons(policy: &Policy, times: &[Timestamp], zone: &TimeZone) -> Vec<Opinion> {
    let Some(newest) = times.first() else { return Vec::new() };
    let newest = newest.to_jiff().to_zoned(zone.clone());
    let counting = policy.counts.iter().map(Walk::counting);
    let within = policy.within.iter().map(|rule| Walk::within(rule, &newest));
    let mut walks: Vec<Walk<'_>> = counting.chain(within).collect();
    times
        .iter()
        .enumerate()
        .map(|(position, time)| {
            let local = time.to_jiff().to_zoned(zone.clone());
            let oldest = position + 1 == times.len();
            let reasons: Vec<Reason> = walks
                .iter_mut()
                .filter_map(|walk| walk.visit(*time, &local, position, oldest))
                .collect();
            if reasons.is_empty() {
                Opinion::Missed(nearest_miss(&walks, &local, position))
            } else {
                Opinion::Kept(reasons)
            }
        })
        .collect()
}

/// The miss of the rule that reaches furthest back, which is where the snapshot is nearest to what
/// the rule keeps.
fn nearest_miss(walks: &[Walk<'_>], local: &Zoned, position: usize) -> Option<Miss> {
    let reach = |walk: &&Walk<'_>| walk.last;
    let walk = walks.iter().filter(|walk| walk.last.is_some()).min_by_key(reach)?;
    Some(walk.miss(local, position))
}

impl<'p> Walk<'p> {
    fn counting(rule: &'p CountRule) -> Self {
        let left = match rule.count {
            Count::Limited(count) => count,
            Count::Unlimited => u32::MAX,
        };
        Self::new(rule.period, Kind::Counting { rule, left })
    }

    fn within(rule: &WithinRule, newest: &Zoned) -> Self {
        // A window that reaches back beyond the calendar holds everything.
        let start = newest
            .checked_sub(rule.span)
            .map_or(Timestamp::EARLIEST, |start| Timestamp::from_jiff(start.timestamp()));
        Self::new(rule.period, Kind::Within { start })
    }

    fn new(period: Option<Period>, kind: Kind<'p>) -> Self {
        Self { period, kind, previous: None, kept: 0, last: None }
    }

    /// How it does not keep the snapshot that it has just been asked about.
    fn miss(&self, local: &Zoned, position: usize) -> Miss {
        let (within, period) = (matches!(self.kind, Kind::Within { .. }), self.period);
        let repeats = self.previous == Some(bucket(period, local, position));
        match (period, &self.kind) {
            (Some(period), _) if repeats => Miss::NewerInBucket { within, period },
            (_, Kind::Counting { .. }) => Miss::UsedUp { period, of: self.kept },
            (_, Kind::Within { .. }) => Miss::BeforeWindow { period },
        }
    }

    /// Whether this rule keeps the snapshot; counts it if so.
    fn visit(
        &mut self,
        time: Timestamp,
        local: &Zoned,
        position: usize,
        oldest: bool,
    ) -> Option<Reason> {
        match &self.kind {
            Kind::Counting { left: 0, .. } => return None,
            Kind::Within { start } if time <= *start => return None,
            Kind::Counting { .. } | Kind::Within { .. } => {}
        }
        let key = bucket(self.period, local, position);
        let repeats = self.previous == Some(key);
        if repeats && !oldest {
            return None;
        }
        self.previous = Some(key);
        self.kept += 1;
        self.last = Some(time);
        match &mut self.kind {
            Kind::Counting { rule, left } => {
                let of = match rule.count {
                    Count::Limited(count) => {
                        *left -= 1;
                        Some(count)
                    }
                    Count::Unlimited => None,
                };
                Some(Reason::Counted {
                    period: self.period,
                    number: self.kept,
                    of,
                    oldest: repeats,
                })
            }
            Kind::Within { .. } => Some(Reason::Within { period: self.period, oldest: repeats }),
        }
    }
}

/// Hours carry the UTC offset, so the hour that a clock change repeats makes two buckets; weeks are
/// ISO weeks of ISO years.
fn bucket(period: Option<Period>, local: &Zoned, position: usize) -> BucketKey {
    let date = local.date();
    let year = i64::from(date.year());
    match period {
        None => BucketKey(i64::try_from(position).unwrap_or(i64::MAX), 0),
        Some(Period::Hour) => {
            let day = year * 372 + i64::from(date.month()) * 31 + i64::from(date.day());
            BucketKey(day * 24 + i64::from(local.hour()), i64::from(local.offset().seconds()))
        }
        Some(Period::Day) => BucketKey(year, i64::from(date.month()) * 31 + i64::from(date.day())),
        Some(Period::Week) => {
            let week = date.iso_week_date();
            BucketKey(i64::from(week.year()), i64::from(week.week()))
        }
        Some(Period::Month) => BucketKey(year, i64::from(date.month())),
        Some(Period::Quarter) => BucketKey(year, (i64::from(date.month()) - 1) / 3),
        Some(Period::Year) => BucketKey(year, 0),
    }
}
