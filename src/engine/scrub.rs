//! Reads stored files again, those first that were not for the longest time, a little every minute.
//!
//! It must never get in the way of a download or of packing, never read more in a day than it may,
//! and never stay with a file that the disk does not let it read: that one comes again in the next
//! round. What was read stands in the catalog, so a restart goes on where it was.

use std::time::Duration;

use super::failure::EngineError;
use super::keeper::{Finding, Keeper};
use crate::lifecycle::Archive;
use crate::model::{ArchiveId, Timestamp};
use crate::settings::Verify;

const DAY: Duration = Duration::from_hours(24);
/// From one turn to the next at least: files that are small are read several at a time.
const SHORTEST_PAUSE: Duration = Duration::from_mins(1);
/// When nothing is due, and how long a turn may be put off because packages come in.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Before the first file.
const START: (Timestamp, ArchiveId) = (Timestamp::EARLIEST, ArchiveId(0));

/// Where the reading stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scrub {
    verify: Verify,
    /// The file that was read last, by when it had been read before.
    after: (Timestamp, ArchiveId),
    next: Timestamp,
    /// What a dead process has read today counts as well.
    is_first: bool,
}

/// What a turn brought.
#[derive(Debug, Default)]
pub(super) struct Turn {
    after: Option<(Timestamp, ArchiveId)>,
    bytes: u64,
    /// Not before this, whatever was read: a dead process has read today already.
    not_before: Option<Timestamp>,
}

impl Scrub {
    pub(super) const fn new(verify: Verify, now: Timestamp) -> Self {
        Self { verify, after: START, next: now, is_first: true }
    }

    /// Whether a turn is due; `busy`: packages come in, or are being packed.
    pub(super) fn is_due(&self, now: Timestamp, busy: bool) -> bool {
        let waited = now.since(self.next);
        self.verify.daily_bytes > 0 && self.next <= now && (!busy || waited >= LONGEST_WAIT)
    }

    /// When a turn falls due.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        // In the past: put off because packages come in.
        let next = if self.next > now { self.next } else { self.next.plus(LONGEST_WAIT) };
        (self.verify.daily_bytes > 0 && next > now).then_some(next)
    }

    /// A turn ended.
    pub(super) fn finished(&mut self, turn: &Turn, now: Timestamp) {
        let pause = pause(turn.bytes, self.verify.daily_bytes);
        // Without one, all that was due is read: what could not be read comes again.
        self.after = turn.after.unwrap_or(START);
        let next = now.plus(if turn.after.is_some() { pause } else { LONGEST_WAIT });
        self.next = turn.not_before.map_or(next, |at| at.max(next));
        self.is_first = false;
    }

    /// Moments once near seem far away.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        self.next = self.next.min(now.plus(LONGEST_WAIT));
    }

    /// Reads what is due and fits into one turn.
    pub(super) async fn turn(self, keeper: Keeper) -> Result<Turn, EngineError> {
        let now = keeper.clock.now();
        let daily = self.verify.daily_bytes;
        if self.is_first
            && let Some((at, bytes)) = keeper.catalog.last_verified(now.minus(DAY)).await?
            && at.plus(pause(bytes, daily)) > now
        {
            let not_before = Some(at.plus(pause(bytes, daily)));
            return Ok(Turn { not_before, ..Turn::default() });
        }
        let due = keeper.catalog.to_verify(self.after, now.minus(self.verify.every)).await?;
        let mut turn = Turn::default();
        for archive in portion(due, daily) {
            turn.after = archive.milestones.verified_at.map(|at| (at, archive.id));
            turn.bytes = turn.bytes.saturating_add(length(&archive));
            // The disk is not well: no further than this now.
            if let Finding::Unreadable { .. } = keeper.read(archive).await? {
                break;
            }
        }
        Ok(turn)
    }
}

/// Bytes of an archive's file.
fn length(archive: &Archive) -> u64 {
    archive.state.holding().map_or(0, |held| held.file.content.bytes)
}

/// The first of those that are due, as many as a minute's share of a day allows; one at least.
fn portion(mut due: Vec<Archive>, daily: u64) -> Vec<Archive> {
    let share = u128::from(daily) * SHORTEST_PAUSE.as_millis() / DAY.as_millis();
    let mut bytes = 0_u128;
    let mut count = 0;
    for archive in &due {
        bytes += u128::from(length(archive));
        if count > 0 && bytes > share {
            break;
        }
        count += 1;
    }
    due.truncate(count);
    due
}

/// How long reading so much is to last, pause included, so that a day has its share. A file that is
/// larger than that is paid off by a longer pause.
fn pause(bytes: u64, daily: u64) -> Duration {
    let millis = u128::from(bytes) * DAY.as_millis() / u128::from(daily.max(1));
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    Duration::from_millis(millis).max(SHORTEST_PAUSE)
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
