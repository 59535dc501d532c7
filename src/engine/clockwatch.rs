//! Notices that the clock was set, and says whether it may be believed. It must never decide by the
//! clock alone: what is old, and what must go, waits until ROMA's own clock has confirmed ours.

use std::time::Duration;

use crate::lifecycle::Notice;
use crate::model::Timestamp;
use crate::roma::ClockOffset;

/// A clock that differs from ROMA's by no more than this is right.
pub(super) const TOLERANCE: Duration = Duration::from_mins(5);
/// Smaller steps backwards are how clocks are kept right.
const STEP_BACK: Duration = Duration::from_mins(1);
/// The loop never sleeps this much longer than it meant to, unless the machine did.
const OVERSLEPT: Duration = Duration::from_mins(15);
/// When ROMA does not answer for so long, the clock is believed: purges must not wait for ever for
/// an instance that is gone.
const PATIENCE: Duration = Duration::from_hours(1);
/// What an instance said so long before the last answer of any still counts beside that: one whose
/// own clock is wrong must not speak for all as soon as the others are silent for a while.
const RECENT: Duration = Duration::from_hours(24);
/// A change of mind is told so long after the last one.
const TOLD_APART: Duration = Duration::from_mins(5);

/// How the clock moved since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// As it should.
    Ordinary,
    /// It stands earlier than before.
    Back,
    /// Much more time has passed than the loop meant to sleep: it was set, or the machine slept.
    Ahead,
}

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct ClockWatch {
    last: Timestamp,
    /// When the loop meant to look again.
    wake: Timestamp,
    /// Since when nothing confirms it.
    unconfirmed_since: Timestamp,
    /// It was set, and nothing has confirmed it since.
    was_set: bool,
    doubted: bool,
    /// When a doubt, or its end, was told last.
    told_at: Option<Timestamp>,
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last: now,
            wake: now,
            unconfirmed_since: now,
            was_set: false,
            doubted: false,
            told_at: None,
        }
    }

    /// Looks at the clock. After any move but an ordinary one, what ROMA said of it before is void.
    pub(super) fn look(&mut self, now: Timestamp) -> Move {
        let expected = self.last.max(self.wake);
        let moved = if self.last.since(now) > STEP_BACK {
            Move::Back
        } else if now.since(expected) > OVERSLEPT {
            Move::Ahead
        } else {
            Move::Ordinary
        };
        self.last = now;
        self.wake = now;
        if moved != Move::Ordinary {
            self.unconfirmed_since = now;
            self.was_set = true;
            self.told_at = None;
        }
        moved
    }

    /// Why it must not decide what is old, although ROMA does not contradict it: it was set, and
    /// ROMA has not been heard since.
    pub(super) fn unconfirmed(&mut self, offset_ms: Option<i64>, now: Timestamp) -> Option<String> {
        self.was_set &= !self.is_trusted(offset_ms, now);
        self.was_set.then(|| "it was set, and ROMA has not confirmed it yet".to_owned())
    }

    /// The loop sleeps until then.
    pub(super) const fn sleeps_until(&mut self, wake: Timestamp) {
        self.wake = wake;
    }

    /// Whether what is due by the clock alone may be done. `offset_ms`: how far ROMA's clock is
    /// ahead of ours, as it said since the last move.
    pub(super) fn is_trusted(&self, offset_ms: Option<i64>, now: Timestamp) -> bool {
        match offset_ms {
            Some(_) => doubt(offset_ms).is_none(),
            None => now.since(self.unconfirmed_since) >= PATIENCE,
        }
    }

    /// What is to be recorded: that a doubt has come up, or is over.
    pub(super) fn notice(&mut self, offset_ms: Option<i64>, now: Timestamp) -> Option<Notice> {
        let notice = match (doubt(offset_ms), self.doubted) {
            (Some(message), false) => Notice::ClockDoubted { message },
            (None, true) if offset_ms.is_some() => Notice::ClockTrusted,
            _ => return None,
        };
        if self.told_at.is_some_and(|told| now.since(told) < TOLD_APART) {
            return None;
        }
        self.told_at = Some(now);
        self.doubted = !self.doubted;
        Some(notice)
    }
}

/// How far ROMA's clock is ahead of ours: as the instance says that agrees best with ours. Several
/// clocks do not agree by chance, so one that does is enough.
pub(super) fn best(offsets: &[ClockOffset]) -> Option<i64> {
    let last = offsets.iter().map(|offset| offset.noted_at).max()?;
    let recent = offsets.iter().filter(|offset| last.since(offset.noted_at) <= RECENT);
    recent.map(|offset| offset.millis).min_by_key(|millis| millis.unsigned_abs())
}

/// Why a clock that differs from ROMA's so much must not decide what is old.
pub(super) fn doubt(offset_ms: Option<i64>) -> Option<String> {
    let offset = offset_ms?;
    (Duration::from_millis(offset.unsigned_abs()) > TOLERANCE)
        .then(|| format!("it differs from ROMA's by {} s", offset / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000)
    }

    #[test]
    fn long_sleeps_that_were_meant_are_no_move() {
        let mut watch = ClockWatch::new(at(0));
        watch.sleeps_until(at(600));
        assert_eq!(watch.look(at(600)), Move::Ordinary);
        assert_eq!(watch.look(at(614)), Move::Ordinary);
        assert_eq!(watch.look(at(630)), Move::Ahead);
        assert_eq!(watch.look(at(629)), Move::Ordinary);
        assert_eq!(watch.look(at(600)), Move::Back);
    }

    #[test]
    fn a_clock_is_trusted_once_roma_agrees_or_has_been_silent_for_an_hour() {
        let mut watch = ClockWatch::new(at(0));
        assert!(!watch.is_trusted(None, at(59)));
        assert!(watch.is_trusted(None, at(60)));
        assert!(watch.is_trusted(Some(-200_000), at(1)));
        assert!(!watch.is_trusted(Some(400_000), at(100)));
        watch.look(at(2_000));
        assert!(!watch.is_trusted(None, at(2_001)));
    }

    #[test]
    fn a_clock_that_was_set_decides_nothing_until_it_is_confirmed() {
        let mut watch = ClockWatch::new(at(0));
        assert_eq!(watch.unconfirmed(None, at(0)), None, "it was not set");
        assert_eq!(watch.look(at(90_000)), Move::Ahead);
        assert!(watch.unconfirmed(None, at(90_000)).is_some());
        assert!(watch.unconfirmed(Some(-5_400_000_000), at(90_000)).is_some());
        assert_eq!(watch.look(at(1)), Move::Back);
        assert_eq!(watch.unconfirmed(Some(0), at(1)), None);
        assert_eq!(watch.unconfirmed(None, at(2)), None, "confirmed once is enough");
    }

    #[test]
    fn a_doubt_is_told_once_and_so_is_its_end() {
        let mut watch = ClockWatch::new(at(0));
        assert_eq!(watch.notice(None, at(0)), None);
        assert!(matches!(watch.notice(Some(400_000), at(0)), Some(Notice::ClockDoubted { .. })));
        assert_eq!(watch.notice(Some(400_000), at(9)), None);
        assert_eq!(watch.notice(None, at(9)), None, "silence ends no doubt");
        assert_eq!(watch.notice(Some(0), at(9)), Some(Notice::ClockTrusted));
        assert_eq!(watch.notice(Some(0), at(9)), None);
    }

    #[test]
    fn a_clock_that_comes_and_goes_floods_nothing() {
        let mut watch = ClockWatch::new(at(0));
        let passes = (0..60).map(|minute| (minute, Some(minute % 2 * 400_000)));
        let told = passes.filter_map(|(minute, offset)| watch.notice(offset, at(minute))).count();
        assert!((2..=12).contains(&told), "{told}");
        // After the clock was set, all begins anew.
        let before = watch.doubted;
        watch.look(at(-100));
        let other = if before { 0 } else { 400_000 };
        assert!(watch.notice(Some(other), at(-100)).is_some());
    }

    #[test]
    fn one_instance_that_agrees_is_enough_and_a_sick_one_speaks_for_no_other() {
        let offset = |millis, minute| ClockOffset { millis, noted_at: at(minute) };
        assert_eq!(best(&[]), None);
        assert!(doubt(best(&[offset(-400_000, 0)])).is_some());
        // Whoever answered last.
        for (sick, well) in [(0, 10), (10, 0), (1_000, 0)] {
            let offsets = [offset(400_000, sick), offset(-2_000, well)];
            assert_eq!(best(&offsets), Some(-2_000));
        }
        assert!(doubt(best(&[offset(400_000, 0), offset(-500_000, 1)])).is_some());
        // What was right long ago confirms nothing against an answer of today.
        assert!(doubt(best(&[offset(0, 0), offset(400_000, 3_000)])).is_some());
        // But an old answer alone is not forgotten.
        assert_eq!(best(&[offset(1, 0)]), Some(1));
        assert!(doubt(best(&[offset(i64::MIN, 0)])).is_some());
    }
}
