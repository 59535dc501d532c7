//! When an export is due: cron expressions in a time zone, proof against clock changes.
//!
//! Pure: the caller brings the moment of the last run and of now. A run that falls into the hour
//! that a clock change skips happens right after it; one that falls into the hour that is repeated
//! happens once, unless the expression asks for every hour.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// A cron expression of five fields, or one of `@hourly @daily @weekly @monthly @yearly`.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
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
        if !text.starts_with('@') && text.split_whitespace().count() != 5 {
            return Err(syntax("it has not five fields"));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| syntax(&error.to_string()))?;
        let schedule = Self { text: text.to_owned(), cron };
        let start = Timestamp::from_millis(0);
        match schedule.next_after(start, &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(InvalidSchedule::Never(text.to_owned())),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Schedule {
    /// The first occurrence strictly after `moment`; `None` beyond the end of the calendar.
    pub fn next_after(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = moment.to_jiff().to_zoned(zone.clone());
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        let next = Timestamp::from_jiff(next.timestamp());
        (next > moment).then_some(next)
    }

    /// The occurrence that is due at `now`, when the last one taken was `last`. Occurrences missed
    /// while the daemon was down collapse into the newest of them: one run catches up.
    pub fn due(&self, last: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let first = self.next_after(last, zone).filter(|first| *first <= now)?;
        let local = now.to_jiff().to_zoned(zone.clone());
        let newest = self
            .cron
            .find_previous_occurrence(&local, true)
            .map_or(first, |newest| Timestamp::from_jiff(newest.timestamp()));
        Some(newest.clamp(first, now))
    }
}

/// The last occurrence that was taken, as far as `now` lets it be believed: one that is more than
/// an hour ahead was taken by a clock that ran ahead, and must not keep the schedule waiting until
/// time has caught up.
pub fn credible_last(last: Timestamp, now: Timestamp) -> Timestamp {
    if last.since(now) > std::time::Duration::from_hours(1) { now } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    fn runs(text: &str, from: &str, to: &str, zone: &TimeZone) -> Vec<String> {
        let (schedule, end) = (schedule(text), at(to));
        let mut moments = Vec::new();
        let mut moment = at(from);
        while let Some(next) = schedule.next_after(moment, zone).filter(|next| *next < end) {
            moments.push(next.to_string());
            moment = next;
        }
        moments
    }

    #[test]
    fn a_nightly_run_happens_once_a_day_through_both_clock_changes() {
        // 02:30 does not exist on 29 March 2026 and exists twice on 25 October 2026.
        let spring = runs("30 2 * * *", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", &berlin());
        assert_eq!(
            spring,
            ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
        );
        let autumn = runs("30 2 * * *", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z", &berlin());
        assert_eq!(
            autumn,
            ["2026-10-24T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
        );
    }

    #[test]
    fn an_hourly_run_happens_every_real_hour() {
        let hours = runs("0 * * * *", "2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z", &berlin());
        assert_eq!(hours.len(), 23);
    }

    #[test]
    fn missed_runs_collapse_into_one() {
        let nightly = schedule("0 2 * * *");
        let last = at("2026-11-01T02:00:00Z");
        let now = at("2026-11-05T12:00:00Z");
        assert_eq!(nightly.due(last, now, &TimeZone::UTC), Some(at("2026-11-05T02:00:00Z")));
        assert_eq!(nightly.due(at("2026-11-05T02:00:00Z"), now, &TimeZone::UTC), None);
    }

    #[test]
    fn unusable_expressions_say_why() {
        for bad in ["", "* * * *", "0 0 2 * * *", "61 * * * *", "@often", "a b c d e"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad:?}");
        }
        let never = "0 0 30 2 *".parse::<Schedule>().unwrap_err();
        assert!(never.to_string().contains("never comes"), "{never}");
        assert_eq!(
            schedule("@daily").next_after(at("2026-01-01T12:00:00Z"), &TimeZone::UTC),
            Some(at("2026-01-02T00:00:00Z"))
        );
    }

    proptest! {
        #[test]
        fn what_is_due_is_never_in_the_future_and_never_taken_twice(
            last in 1_700_000_000_000_i64..1_800_000_000_000,
            gap in 0_i64..40 * 86_400_000,
            pick in 0_usize..5,
        ) {
            let texts = ["*/5 * * * *", "0 2 * * *", "30 2 * * 0", "0 0 1 * *", "15 1-3 * * *"];
            let schedule = schedule(texts[pick]);
            let (last, now) = (Timestamp::from_millis(last), Timestamp::from_millis(last + gap));
            if let Some(due) = schedule.due(last, now, &berlin()) {
                prop_assert!(last < due && due <= now);
                // Nothing that was due is left over.
                prop_assert_eq!(schedule.due(due, now, &berlin()), None);
            } else {
                let next = schedule.next_after(last, &berlin());
                prop_assert!(next.is_none_or(|next| next > now));
            }
        }
    }
}
