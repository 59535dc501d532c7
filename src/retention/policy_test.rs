//! Tests of a policy that stand beside it: a history, a moment, and what is to be left then.
//!
//! They ask the same planner as the daemon, without the guards of the moment (a policy that changed
//! lately, a limit to a sweep). They must never look at anything real.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use super::plan::{Circumstances, SnapshotFacts, Verdict, plan};
use super::policy::Policy;
use crate::lifecycle::SnapshotState;
use crate::model::{SnapshotId, Timestamp};

/// More snapshots than this are no test but a mistake.
const MOST: usize = 200_000;

/// `[[retention.test]]`.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// The history.
    pub given: Given,
    /// Now.
    pub at: Moment,
    /// What is kept.
    pub expect: Vec<Moment>,
}

/// A history of snapshots.
#[derive(Clone, Debug)]
pub enum Given {
    /// `daily since 2026-01-01`: at the start of that day and again after every `step`, up to `at`.
    Since {
        /// Between two snapshots.
        step: Span,
        /// The first.
        first: Moment,
    },
    /// Exactly these.
    Times(Vec<Moment>),
}

/// A moment as it was written: an instant, or a day, whose start it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With date, time and offset.
    Instant(Timestamp),
    /// In the zone of the configuration.
    Day(Date),
}

/// What is not a moment or a history.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableTest {
    /// Neither a date nor a time.
    #[error("`{0}` is neither a date such as 2026-12-31 nor an RFC 3339 time")]
    Moment(String),
    /// No phrase that is understood.
    #[error(
        "`{0}` is no history: write `daily since 2026-01-01` (also hourly, weekly, monthly, \
         yearly, `every 6h`), or a list of times"
    )]
    Phrase(String),
}

impl std::str::FromStr for Moment {
    type Err = UnreadableTest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(instant) = text.parse() {
            return Ok(Self::Instant(instant));
        }
        let unreadable = |_| UnreadableTest::Moment(text.to_owned());
        // A date only: jiff would drop a time that follows it.
        if text.len() > "2026-12-31".len() {
            return Err(UnreadableTest::Moment(text.to_owned()));
        }
        text.parse().map(Self::Day).map_err(unreadable)
    }
}

impl Moment {
    /// The instant that is meant.
    pub fn instant(self, zone: &TimeZone) -> Timestamp {
        match self {
            Self::Instant(instant) => instant,
            Self::Day(day) => day
                .to_zoned(zone.clone())
                .map_or(Timestamp::EARLIEST, |start| Timestamp::from_jiff(start.timestamp())),
        }
    }

    /// Whether it is this snapshot, or its day.
    fn means(self, taken_at: Timestamp, zone: &TimeZone) -> bool {
        match self {
            Self::Instant(instant) => instant == taken_at,
            Self::Day(day) => day == day_of(taken_at, zone),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(instant) => instant.fmt(f),
            Self::Day(day) => day.fmt(f),
        }
    }
}

impl std::str::FromStr for Given {
    type Err = UnreadableTest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || UnreadableTest::Phrase(text.to_owned());
        let (how_often, first) = text.split_once(" since ").ok_or_else(unreadable)?;
        let step = match how_often.trim() {
            "hourly" => 1.hour(),
            "daily" => 1.day(),
            "weekly" => 1.week(),
            "monthly" => 1.month(),
            "yearly" => 1.year(),
            other => {
                let span = other.strip_prefix("every ").ok_or_else(unreadable)?;
                span.parse::<Span>().map_err(|_| unreadable())?
            }
        };
        if !step.is_positive() {
            return Err(unreadable());
        }
        Ok(Self::Since { step, first: first.trim().parse()? })
    }
}

impl Given {
    fn times(&self, until: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
        match self {
            Self::Times(times) => times.iter().map(|time| time.instant(zone)).collect(),
            Self::Since { step, first } => {
                let first = first.instant(zone).to_jiff().to_zoned(zone.clone());
                let nth = |n: i64| {
                    // From the first one each time: 31 January, 28 February, 31 March.
                    let moment = first.checked_add(step.checked_mul(n).ok()?).ok()?;
                    Some(Timestamp::from_jiff(moment.timestamp())).filter(|at| *at <= until)
                };
                (0..).map_while(nth).take(MOST).collect()
            }
        }
    }
}

/// A test whose expectation is not what the policy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFailure {
    /// Which, from 1.
    pub number: usize,
    /// Why it tests nothing at all.
    pub void: Option<&'static str>,
    /// Expected, and not kept; as they were written.
    pub missing: Vec<String>,
    /// Kept, and not expected, with the reasons.
    pub surplus: Vec<(String, String)>,
    /// Everything that is kept, the newest first, with the reasons.
    pub kept: Vec<(String, String)>,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test {} of the retention policy fails", self.number)?;
        if let Some(void) = self.void {
            write!(f, ": {void}")?;
        } else if let Some(first) = self.missing.first() {
            write!(f, ": {first} is not kept")?;
        } else if let Some((first, reasons)) = self.surplus.first() {
            write!(f, ": {first} is kept ({reasons})")?;
        }
        Ok(())
    }
}

/// The first test of the policy that fails.
pub fn failing_test(policy: &Policy, zone: &TimeZone) -> Option<TestFailure> {
    failing_tests(policy, zone).next()
}

/// All tests of the policy that fail.
pub fn failing_tests(policy: &Policy, zone: &TimeZone) -> impl Iterator<Item = TestFailure> {
    (1..).zip(&policy.tests).filter_map(|(number, test)| test.check(number, policy, zone))
}

impl PolicyTest {
    fn check(&self, number: usize, policy: &Policy, zone: &TimeZone) -> Option<TestFailure> {
        let now = self.at.instant(zone);
        let times = self.given.times(now, zone);
        // Nothing is left of nothing, whatever the policy says.
        let void = if times.is_empty() {
            Some("no snapshot is given by that time")
        } else if times.len() >= MOST {
            Some("its history is longer than any real one")
        } else {
            None
        };
        if void.is_some() {
            let (missing, surplus, kept) = (Vec::new(), Vec::new(), Vec::new());
            return Some(TestFailure { number, void, missing, surplus, kept });
        }
        let by_day = matches!(self.given, Given::Since { .. });
        let kept = kept(&times, policy, now, zone);
        let shown = |verdict: &Verdict| {
            let taken_at = times.get(usize::try_from(verdict.id.0).ok()?)?;
            let words = verdict.words();
            let day = || day_of(*taken_at, zone).to_string();
            Some((*taken_at, if by_day { day() } else { taken_at.to_string() }, words))
        };
        let kept: Vec<_> = kept.iter().filter_map(shown).collect();
        let is_kept = |moment: &&Moment| kept.iter().any(|(at, ..)| moment.means(*at, zone));
        let missing: Vec<String> =
            self.expect.iter().filter(|m| !is_kept(m)).map(ToString::to_string).collect();
        let expected = |at: Timestamp| self.expect.iter().any(|moment| moment.means(at, zone));
        let pair = |(_, shown, words): &(_, String, String)| (shown.clone(), words.clone());
        let surplus: Vec<_> = kept.iter().filter(|(at, ..)| !expected(*at)).map(pair).collect();
        if missing.is_empty() && surplus.is_empty() {
            return None;
        }
        let kept = kept.iter().map(pair).collect();
        Some(TestFailure { number, void: None, missing, surplus, kept })
    }
}

/// What is left once nothing more goes.
fn kept(times: &[Timestamp], policy: &Policy, now: Timestamp, zone: &TimeZone) -> Vec<Verdict> {
    let snapshots: Vec<SnapshotFacts> = (0..)
        .zip(times)
        .map(|(id, taken_at)| SnapshotFacts {
            id: SnapshotId(id),
            taken_at: *taken_at,
            state: SnapshotState::Complete,
            raw_bytes: 1,
            stored_bytes: 1,
            pin: None,
        })
        .collect();
    let policy = Policy {
        max_delete_per_sweep: u32::MAX,
        policy_grace: Duration::ZERO,
        tests: Vec::new(),
        ..policy.clone()
    };
    let at = Circumstances {
        now,
        zone: zone.clone(),
        clock_doubt: None,
        suspended: None,
        policy_changed_at: None,
    };
    plan(&snapshots, &policy, &at).into_iter().filter(|v| v.keep).collect()
}

fn day_of(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_jiff().to_zoned(zone.clone()).date()
}

#[cfg(test)]
#[path = "policy_test_tests.rs"]
mod tests;
