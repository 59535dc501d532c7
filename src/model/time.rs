//! The one kind of time in the program: milliseconds of UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in UTC with millisecond precision, between the years 0000 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// How far something may be ahead of the clock before it counts as dated in the future.
pub const FUTURE_TOLERANCE: Duration = Duration::from_mins(5);

/// Text that is not an RFC 3339 time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a time: write RFC 3339 such as 2026-11-24T05:22:00Z")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the first moment that four digits of a year can write.
    const MIN_MILLIS: i64 = -62_167_219_200_000;
    /// 9999-12-30T22:00:00Z, the last moment the calendar library takes in every time zone.
    const MAX_MILLIS: i64 = 253_402_207_200_000;

    /// The earliest moment there is.
    pub const EARLIEST: Self = Self(Self::MIN_MILLIS);

    /// Milliseconds since 1970-01-01T00:00:00Z; times outside the years 0000 to 9999 are clamped.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(Self::MIN_MILLIS, Self::MAX_MILLIS))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis_of(span)))
    }

    /// The moment `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(millis_of(span)))
    }

    /// How long it is from `earlier` to this moment; zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same moment for calendar arithmetic.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// From calendar arithmetic; anything below a millisecond is cut.
    pub fn from_jiff(time: jiff::Timestamp) -> Self {
        Self::from_millis(time.as_millisecond())
    }

    /// `20261124T052200Z`, as used in the names of stored files.
    pub fn compact(self) -> String {
        self.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

fn millis_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// Fixed width, so that text sorts as time: `2026-11-24T05:22:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff().strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::from_jiff).map_err(|_| InvalidTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_has_a_fixed_width() {
        let time: Timestamp = "2026-11-24T05:22:00Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-24T05:22:00.000Z");
        assert_eq!(time.compact(), "20261124T052200Z");
        assert_eq!("2026-11-24T06:22:00+01:00".parse(), Ok(time));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_clock_that_went_backwards_counts_as_no_time() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(5_000));
        assert_eq!(late.since(early), Duration::from_secs(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn text_and_number_agree_and_sort_alike(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
            prop_assert_eq!(a.to_string().len(), 24);
            prop_assert_eq!(a.to_string().parse::<Timestamp>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
