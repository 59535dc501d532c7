//! The words of a verdict.

use std::fmt;

use super::policy::Period;
use crate::model::Timestamp;

/// How a snapshot is not kept by the keep rule that came nearest to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The rule keeps a newer snapshot of the same hour, day or other period.
    NewerInBucket {
        /// A rule with windows, `keep_within_daily` and the like.
        within: bool,
        /// Which period.
        period: Period,
    },
    /// The rule's budget is used up by newer ones.
    UsedUp {
        /// `None` for `keep_last`.
        period: Option<Period>,
        /// The budget.
        of: u32,
    },
    /// It is older than the window.
    BeforeWindow {
        /// `None` for `keep_within`.
        period: Option<Period>,
    },
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewerInBucket { within, period } => {
                let rule = if *within { "within " } else { "" };
                write!(f, "{rule}{}: newer that {}", period.adverb(), period.noun())
            }
            Self::UsedUp { period, of } => {
                let name = period.map_or("last", Period::adverb);
                write!(f, "{name}: {of} newer")
            }
            Self::BeforeWindow { period } => {
                let name = period.map_or(String::new(), |p| format!(" {}", p.adverb()));
                write!(f, "within{name}: too old")
            }
        }
    }
}

/// Why a snapshot stays or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A counting rule: the `number`-th of its buckets, `of` all it has (`None`: unlimited).
    Counted {
        /// `None` for `keep_last`.
        period: Option<Period>,
        /// 1 for the newest.
        number: u32,
        /// The rule's budget.
        of: Option<u32>,
        /// Kept because the rule has budget left and nothing older exists.
        oldest: bool,
    },
    /// A window before the newest snapshot.
    Within {
        /// `None` for `keep_within`.
        period: Option<Period>,
        /// Kept because nothing older exists.
        oldest: bool,
    },
    /// The policy has no keep rule.
    NoRule,
    /// Dated later than the clock.
    Future,
    /// A part is missing; it neither counts nor is removed by counting rules.
    Incomplete,
    /// A person holds it.
    Pinned(String),
    /// One of the newest `min_keep`.
    MinKeep(u32),
    /// The newest complete snapshot of an export is never deleted.
    NewestGood,
    /// The clock cannot be trusted.
    ClockDoubt(String),
    /// A test of the policy fails, so nothing goes until somebody looks at it.
    Suspended(String),
    /// The newest snapshot is empty or shrunk by more than half: nothing goes until somebody knows
    /// why.
    NewestAnomalous,
    /// The policy changed a short while ago and only plans until then.
    PolicyGrace(Timestamp),
    /// This sweep has deleted enough.
    SweepFull(u32),
    /// No keep rule holds it any more; the one that came nearest to it, if any keeps anything.
    NotKept(Option<Miss>),
    /// Older than `max_age`.
    MaxAge,
    /// More than `max_count`.
    MaxCount(u64),
    /// More than `max_total_size`.
    MaxTotalSize(u64),
    /// Incomplete, a complete successor exists, and it is older than `max_age`.
    IncompleteExpired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted { period, number, of, oldest } => {
                let name = period.map_or("last", Period::adverb);
                let prefix = if *oldest { "oldest " } else { "" };
                match of {
                    Some(of) => write!(f, "{prefix}{name} {number}/{of}"),
                    // A number that changes with every snapshot would tell nothing.
                    None => write!(f, "{prefix}{name}"),
                }
            }
            Self::Within { period, oldest } => {
                let prefix = if *oldest { "oldest " } else { "" };
                let name = period.map_or(String::new(), |p| format!(" {}", p.adverb()));
                write!(f, "{prefix}within{name}")
            }
            Self::NoRule => f.write_str("no keep rule"),
            Self::Future => f.write_str("dated in the future"),
            Self::Incomplete => f.write_str("incomplete"),
            Self::Pinned(name) => write!(f, "pinned: {name}"),
            Self::MinKeep(count) => write!(f, "min_keep {count}"),
            Self::NewestGood => f.write_str("newest good snapshot"),
            Self::ClockDoubt(why) => write!(f, "clock not trustworthy: {why}"),
            Self::Suspended(why) => write!(f, "deletion is suspended: {why}"),
            Self::NewestAnomalous => f.write_str("newest snapshot is empty or shrunk by half"),
            Self::PolicyGrace(until) => write!(f, "policy changed, only planned until {until}"),
            Self::SweepFull(count) => write!(f, "only {count} deletions a sweep"),
            Self::NotKept(None) => f.write_str("no rule keeps it"),
            Self::NotKept(Some(miss)) => write!(f, "no rule keeps it (nearest {miss})"),
            Self::MaxAge => f.write_str("older than max_age"),
            Self::MaxCount(count) => write!(f, "more than max_count {count}"),
            Self::MaxTotalSize(bytes) => write!(f, "more than max_total_size {bytes}"),
            Self::IncompleteExpired => f.write_str("incomplete and older than max_age"),
        }
    }
}
