//! When an export is due: cron expressions in a time zone, proof against clock changes.
//!
//! Pure: the caller brings the moment of the last run and of now. Expressions name times of the
//! wall clock. One that a clock change skips comes right after it, one that is repeated comes the
//! first time only: no run is left out, none happens twice. Whatever asks for every hour, and so
//! means real hours, comes in each hour there is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use sha2::{Digest, Sha256};

use crate::model::Timestamp;

/// Occurrences in a row that a clock change may swallow: those of every minute of a day.
const MOST_SWALLOWED: usize = 1_500;
/// Missed occurrences are counted up to here; a daemon that was away for longer says "at least".
const MOST_MISSED: u32 = 1_000;

/// A cron expression of five fields, or one of `@hourly @daily @midnight @weekly @monthly @yearly`.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
    /// It means real hours, not times of day.
    is_hourly: bool,
    jitter: Duration,
    /// What tells this schedule from others with the same times.
    key: String,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The newest occurrence.
    pub at: Timestamp,
    /// How many before it were not taken: at least, if it is a thousand.
    pub missed: u32,
}

/// Text that is not a usable cron expression.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchedule {
    /// The text does not follow the grammar.
    #[error(
        "`{text}` is not a schedule ({reason}): write five cron fields such as \"0 2 * * *\", \
         or @daily"
    )]
    Syntax {
        /// What was written.
        text: String,
        /// What the parser objected to.
        reason: String,
    },
    /// The grammar is right, but the day does not exist.
    #[error("`{0}` never comes: no such date exists")]
    Never(String),
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let syntax = |reason: &str| InvalidSchedule::Syntax {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        if !text.starts_with('@') && fields.len() != 5 {
            return Err(syntax("it has not five fields"));
        }
        let is_hourly = text.eq_ignore_ascii_case("@hourly") || fields.get(1) == Some(&"*");
        // A name of the others that the parser does not know.
        let known = if text.eq_ignore_ascii_case("@midnight") { "@daily" } else { text };
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(known).map_err(|error| syntax(&error.to_string()))?;
        let (text, key) = (text.to_owned(), String::new());
        let schedule = Self { text, cron, is_hourly, jitter: Duration::ZERO, key };
        let start = Timestamp::from_millis(0);
        match schedule.next_after(start, &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(InvalidSchedule::Never(schedule.text)),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schedule {
    /// The same, but each run starts up to `jitter` after its time, never so late as the next one.
    /// How much is always the same for one `key` and one occurrence.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration, key: &str) -> Self {
        self.jitter = jitter;
        key.clone_into(&mut self.key);
        self
    }

    /// The first occurrence strictly after `moment`; `None` beyond the end of the calendar.
    pub fn next_after(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = moment.to_jiff();
        let wall = zone.to_datetime(now);
        let next = self.next_on(wall, false, moment, zone);
        // In an hour that will be repeated, what comes next may have a smaller time of day.
        let again = match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Fold { before, .. }
                if self.is_hourly && before == zone.to_offset(now) =>
            {
                let turn = zone.following(now).next()?.timestamp();
                self.next_on(zone.to_datetime(turn), true, moment, zone)
            }
            _ => None,
        };
        [next, again].into_iter().flatten().min()
    }

    /// The first occurrence after `moment` whose time of day comes after `wall`, or is it.
    fn next_on(
        &self,
        wall: DateTime,
        mut inclusive: bool,
        moment: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let mut wall = wall.to_zoned(TimeZone::UTC).ok()?;
        for _ in 0..MOST_SWALLOWED {
            wall = self.cron.find_next_occurrence(&wall, inclusive).ok()?;
            inclusive = false;
            let real = self.real(wall.datetime(), zone);
            if let Some(next) = real.into_iter().flatten().find(|next| *next > moment) {
                return Some(next);
            }
        }
        None
    }

    /// When a time of day comes, in order.
    fn real(&self, wall: DateTime, zone: &TimeZone) -> [Option<Timestamp>; 2] {
        let by = |offset: jiff::tz::Offset| offset.to_timestamp(wall).ok();
        let [first, second] = match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => [by(offset), None],
            AmbiguousOffset::Gap { .. } if self.is_hourly => [None, None],
            AmbiguousOffset::Gap { before, .. } => {
                // By the old offset it lies at the change or after it.
                let after = by(before).and_then(|t| t.checked_add(Duration::from_secs(1)).ok());
                [after.and_then(|t| Some(zone.preceding(t).next()?.timestamp())), None]
            }
            AmbiguousOffset::Fold { before, after } if self.is_hourly => [by(before), by(after)],
            AmbiguousOffset::Fold { before, .. } => [by(before), None],
        };
        [first.map(Timestamp::from_jiff), second.map(Timestamp::from_jiff)]
    }

    /// When the run of an occurrence starts.
    pub fn starts(&self, occurrence: Timestamp, zone: &TimeZone) -> Timestamp {
        if self.jitter.is_zero() {
            return occurrence;
        }
        let room = self.next_after(occurrence, zone).map(|next| next.since(occurrence));
        let most = room.map_or(self.jitter, |room| room.min(self.jitter));
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
        let digest = Sha256::new()
            .chain_update(occurrence.as_millis().to_be_bytes())
            .chain_update(&self.key)
            .finalize();
        let dice = digest.iter().take(8).fold(0, |dice, byte| dice << 8 | u64::from(*byte));
        occurrence.plus(Duration::from_millis(dice % most))
    }

    /// The run that is due at `now`, when the last occurrence taken was `last`. Occurrences missed
    /// while the daemon was down collapse into the newest of them: one run catches up.
    pub fn due(&self, last: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Due> {
        let has_started = |at: &Timestamp| self.starts(*at, zone) <= now;
        let first = self.next_after(last, zone).filter(has_started)?;
        // Most of those that were missed need not be looked at to find the newest.
        let mut span = Duration::from_hours(1);
        let mut at = loop {
            let from = now.minus(span);
            if from <= first {
                break first;
            }
            if let Some(at) = self.next_after(from, zone).filter(has_started) {
                break at;
            }
            span *= 2;
        };
        while let Some(next) = self.next_after(at, zone).filter(has_started) {
            at = next;
        }
        let (mut missed, mut before) = (0, first);
        while before < at && missed < MOST_MISSED {
            missed += 1;
            before = self.next_after(before, zone)?;
        }
        Some(Due { at, missed })
    }
}

/// The last occurrence that was taken, as far as `now` lets it be believed: one that is more than
/// an hour ahead was taken by a clock that ran ahead, and must not keep the schedule waiting until
/// time has caught up.
pub fn credible_last(last: Timestamp, now: Timestamp) -> Timestamp {
    if last.since(now) > Duration::from_hours(1) { now } else { last }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
