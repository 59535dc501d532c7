//! Notices that the clock was set, and says whether it may be believed. It must never decide by the
//! clock alone: what is old, and what must go, waits until ROMA's own clock has confirmed ours.

use std::time::Duration;

use crate::lifecycle::Notice;
use crate::model::Timestamp;

/// A clock that differs from ROMA's by no more than this is right.
pub(super) const TOLERANCE: Duration = Duration::from_mins(5);
/// Smaller steps backwards are how clocks are kept right.
const STEP_BACK: Duration = Duration::from_mins(1);
/// The loop never sleeps this much longer than it meant to, unless the machine did.
const OVERSLEPT: Duration = Duration::from_mins(15);
/// When ROMA does not answer for so long, the clock is believed: purges must not wait for ever for
/// an instance that is gone.
const PATIENCE: Duration = Duration::from_hours(1);

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
    doubted: bool,
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { last: now, wake: now, unconfirmed_since: now, doubted: false }
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
        }
        moved
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
    pub(super) fn notice(&mut self, offset_ms: Option<i64>) -> Option<Notice> {
        match (doubt(offset_ms), self.doubted) {
            (Some(message), false) => {
                self.doubted = true;
                Some(Notice::ClockDoubted { message })
            }
            (None, true) if offset_ms.is_some() => {
                self.doubted = false;
                Some(Notice::ClockTrusted)
            }
            _ => None,
        }
    }
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
    fn a_doubt_is_told_once_and_so_is_its_end() {
        let mut watch = ClockWatch::new(at(0));
        assert_eq!(watch.notice(None), None);
        assert!(matches!(watch.notice(Some(400_000)), Some(Notice::ClockDoubted { .. })));
        assert_eq!(watch.notice(Some(400_000)), None);
        assert_eq!(watch.notice(None), None, "silence ends no doubt");
        assert_eq!(watch.notice(Some(0)), Some(Notice::ClockTrusted));
        assert_eq!(watch.notice(Some(0)), None);
    }
}
