//! What a retention policy can say.

use std::fmt;
use std::time::Duration;

use super::policy_test::PolicyTest;

/// How many buckets of one kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The newest of this many buckets; never zero, which would read like "keep none".
    Limited(u32),
    /// `-1` in the configuration: never runs out.
    Unlimited,
}

/// The calendar periods that make buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the words speak for themselves")]
pub enum Period {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Period {
    /// All periods, shortest first.
    pub const ALL: [Self; 6] =
        [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// `daily`, as in `keep_daily` and in the reasons.
    pub const fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Quarter => "quarterly",
            Self::Year => "yearly",
        }
    }

    /// `day`, as in "a newer one of its day".
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// `keep_last` (`period` is `None`) or `keep_daily` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRule {
    /// One snapshot per period; `None`: every snapshot is a bucket of its own.
    pub period: Option<Period>,
    /// How many buckets.
    pub count: Count,
}

/// `keep_within` (`period` is `None`) or `keep_within_daily` and its kin.
#[derive(Clone, Debug)]
pub struct WithinRule {
    /// One snapshot per period; `None`: every snapshot.
    pub period: Option<Period>,
    /// How far back from the newest snapshot; years, months, weeks, days and hours.
    pub span: jiff::Span,
}

/// One export's retention policy. Without any rule it keeps everything.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The newest of each bucket, up to a number of buckets; each rule keeps on its own account.
    pub counts: Vec<CountRule>,
    /// Everything, or the newest of each bucket, inside a window; each on its own account too.
    pub within: Vec<WithinRule>,
    /// Snapshots older than this go, whatever a rule says; measured by the wall clock.
    pub max_age: Option<jiff::Span>,
    /// No more snapshots than this; oldest go first.
    pub max_count: Option<u64>,
    /// No more stored bytes than this; oldest go first.
    pub max_total_bytes: Option<u64>,
    /// How long a deleted snapshot lies in the trash before its files are removed.
    pub trash: Duration,
    /// Never fewer complete snapshots than this.
    pub min_keep: u32,
    /// For this long a changed policy only plans.
    pub policy_grace: Duration,
    /// At most this many snapshots are deleted in one sweep.
    pub max_delete_per_sweep: u32,
    /// What it is known to do; a policy that does something else deletes nothing.
    pub tests: Vec<PolicyTest>,
}

impl Default for Policy {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            counts: Vec::new(),
            within: Vec::new(),
            max_age: None,
            max_count: None,
            max_total_bytes: None,
            trash: 7 * DAY,
            min_keep: 1,
            policy_grace: DAY,
            max_delete_per_sweep: 50,
            tests: Vec::new(),
        }
    }
}

impl Policy {
    /// Whether any rule decides; without one everything is kept for ever.
    pub fn keeps_everything(&self) -> bool {
        self.counts.is_empty()
            && self.within.is_empty()
            && self.max_age.is_none()
            && self.max_count.is_none()
            && self.max_total_bytes.is_none()
    }

    /// Whether a keep rule is there. Without one (only ceilings) nothing is deleted by keep rules.
    pub fn has_keep_rules(&self) -> bool {
        !self.counts.is_empty() || !self.within.is_empty()
    }
}

impl fmt::Display for Policy {
    /// One canonical line: what is hashed to notice a changed policy, and shown to people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for rule in &self.counts {
            let name = rule.period.map_or("last", Period::adverb);
            words.push(match rule.count {
                Count::Limited(count) => format!("keep_{name}={count}"),
                Count::Unlimited => format!("keep_{name}=-1"),
            });
        }
        for rule in &self.within {
            let name = rule.period.map_or(String::new(), |period| format!("_{}", period.adverb()));
            words.push(format!("keep_within{name}={:#}", rule.span));
        }
        words.extend(self.max_age.map(|age| format!("max_age={age:#}")));
        words.extend(self.max_count.map(|count| format!("max_count={count}")));
        words.extend(self.max_total_bytes.map(|bytes| format!("max_total_size={bytes}")));
        if words.is_empty() {
            words.push("keep everything".to_owned());
        }
        words.push(format!("min_keep={}", self.min_keep));
        words.push(format!("policy_grace={}s", self.policy_grace.as_secs()));
        words.push(format!("max_delete_per_sweep={}", self.max_delete_per_sweep));
        words.push(format!("trash={}s", self.trash.as_secs()));
        words.sort_unstable();
        f.write_str(&words.join(" "))
    }
}
