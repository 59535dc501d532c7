//! What a failed attempt means, and when the next one may begin.
//!
//! Every failure answers two questions: *may it be retried?* ([`FailureClass`]) and *could it have
//! happened?* ([`Effect`]). Adapters hold no retry loops; the answer becomes a stored event with
//! the moment of the next attempt, so a retry survives a restart.

use std::time::Duration;

use super::archive::Archive;
use super::event::Event;
use super::failure::{Effect, Failure, FailureClass};
use super::state::{FailureCause, LossCause, State};
use crate::model::{ArchiveId, SnapshotId, Timestamp};

/// How patient the daemon is with ROMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at a young job (`limits.poll_interval`).
    pub poll_interval: Duration,
    /// Between two looks at an old job (`limits.poll_interval_max`).
    pub poll_interval_max: Duration,
}

/// Attempts to start a job before the run is given up; the next scheduled run starts afresh.
const REQUEST_ATTEMPTS: u32 = 20;
/// Times in a row that ROMA must not know a job before it counts as lost: one 404 may be a hiccup,
/// and asking again puts nothing at risk (contract U13).
const VANISHED_ATTEMPTS: u32 = 3;
/// Between two of these: a server that fails over needs more than a moment to know its jobs again.
const VANISHED_PAUSE: Duration = Duration::from_mins(2);
/// How long ROMA may refuse to show a job, or a package be larger than is allowed, before it counts
/// as lost. Until then a person may mend what is wrong, and the package is still there.
const UNREADABLE_DEADLINE: Duration = Duration::from_hours(7 * 24);
/// GETs of one package that broke off half-way before it counts as lost. Each of them was begun
/// only because ROMA still offered the package, so giving up loses what is still there: with the
/// pauses between them they outlast six hours of a gateway or a network that is out of order.
const DOWNLOAD_ATTEMPTS: u32 = 32;
/// From this one on, GETs that broke off are repeated rarely: each may move a large package.
const RARE_DOWNLOADS: u32 = 8;

const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_mins(5);
/// A pause long enough for the gateway's lock of five minutes to run out (contract 6.2).
const UNAUTHORIZED_PAUSE: Duration = Duration::from_secs(330);
/// What a person has to mend is tried again rarely.
const PERMANENT_PAUSE: Duration = Duration::from_mins(15);
/// From this attempt on, what this machine is not ready for is tried rarely.
const LOCAL_ATTEMPTS: u32 = 8;
/// Before ROMA is asked again whether the account is free: a tenth of the time that it was not, as
/// far as that is between these two. Refused calls may count against the gateway's limit as well.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));
/// Another asset job of the account may keep this one waiting for so long: as long as a job may run
/// (contract U10, U13).
const BUSY_CEILING: Duration = Duration::from_hours(24);
/// The server may not put us off for longer than this, whatever it says.
const RETRY_AFTER_CAP: Duration = Duration::from_hours(1);

/// The moment at which something is judged.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// By our clock.
    pub now: Timestamp,
    /// The clock may be wrong: nothing is given up because it took too long.
    pub is_doubtful: bool,
}

impl Present {
    fn has_passed(self, deadline: Duration, since: Timestamp) -> bool {
        !self.is_doubtful && self.now.since(since) >= deadline
    }
}

impl From<Timestamp> for Present {
    /// By a clock that is right.
    fn from(now: Timestamp) -> Self {
        Self { now, is_doubtful: false }
    }
}

/// The event that a failed attempt of the present step is. Only archives in a state with a step
/// can fail; for any other the answer is `None`, which is a bug of the caller.
pub fn after_failure(
    archive: &Archive,
    failure: Failure,
    present: impl Into<Present>,
) -> Option<Event> {
    let present = present.into();
    let now = present.now;
    let not_before = now.plus(delay(seed(archive.id), archive.attempts, &failure));
    let busy_since = archive.busy_since.unwrap_or(now);
    let exhausted = |limit: u32| archive.attempts + 1 >= limit;
    let event = match &archive.state {
        State::Scheduled | State::Requesting => match (failure.effect, failure.class) {
            // While it is scheduled nothing was sent, so nothing can have happened.
            (Effect::Unknown, _) if archive.state == State::Requesting => {
                Event::RequestUnanswered { failure }
            }
            (_, FailureClass::Permanent | FailureClass::Gone) => {
                Event::RequestRefused { cause: FailureCause::Refused, failure }
            }
            (_, FailureClass::Busy) if present.has_passed(BUSY_CEILING, busy_since) => {
                Event::RequestRefused { cause: FailureCause::AccountBusy, failure }
            }
            (_, FailureClass::Busy) => {
                let not_before = not_before.max(now.plus(busy_pause(now.since(busy_since))));
                Event::RequestPostponed { failure, not_before, busy_since: Some(busy_since) }
            }
            (_, FailureClass::Paused) => {
                Event::RequestPostponed { failure, not_before, busy_since: None }
            }
            _ if exhausted(REQUEST_ATTEMPTS) => {
                Event::RequestRefused { cause: FailureCause::AttemptsExhausted, failure }
            }
            _ => Event::RequestPostponed { failure, not_before, busy_since: None },
        },
        State::Running { .. } => match failure.class {
            FailureClass::Gone if archive.unknown_polls + 1 >= VANISHED_ATTEMPTS => {
                Event::PackageLost { cause: LossCause::JobVanished, message: failure.message }
            }
            FailureClass::Permanent if present.has_passed(UNREADABLE_DEADLINE, archive.began()) => {
                Event::PackageLost { cause: LossCause::JobUnreadable, message: failure.message }
            }
            _ => Event::PollPostponed { failure, not_before },
        },
        State::Ready(_) => Event::DownloadPostponed { failure, not_before },
        State::Downloading(_) => match (failure.effect, failure.class) {
            (_, FailureClass::Gone) => {
                Event::PackageLost { cause: LossCause::PackageGone, message: failure.message }
            }
            (Effect::NotDone, _) => Event::DownloadPostponed { failure, not_before },
            (Effect::Unknown, _) if is_given_up(archive, &failure, present) => Event::PackageLost {
                cause: LossCause::DownloadsExhausted,
                message: failure.message,
            },
            (Effect::Unknown, _) => {
                let not_before = now.plus(download_delay(archive, &failure));
                Event::DownloadInterrupted { failure, not_before }
            }
        },
        State::Downloaded { .. } => match failure.class {
            FailureClass::Gone => {
                Event::PackageLost { cause: LossCause::StagedFileLost, message: failure.message }
            }
            _ => Event::PackPostponed { failure, not_before },
        },
        State::Deleting(..) => match failure.class {
            // What lies there is not what was recorded: it stays, and a person has to look.
            FailureClass::Permanent => Event::FileDamaged { message: failure.message },
            _ => Event::DeletionPostponed { failure, not_before },
        },
        State::Stored(_)
        | State::Trashed(..)
        | State::Deleted(..)
        | State::Damaged(_)
        | State::Failed { .. }
        | State::Lost { .. } => return None,
    };
    Some(event)
}

/// Whether a package that ROMA may still offer is given up. One that only a person can let in waits
/// for that person, however often it was tried.
fn is_given_up(archive: &Archive, failure: &Failure, present: Present) -> bool {
    match failure.class {
        FailureClass::Permanent => present.has_passed(UNREADABLE_DEADLINE, archive.began()),
        _ => archive.downloads >= DOWNLOAD_ATTEMPTS,
    }
}

/// How long to wait before ROMA is asked about the job after a GET broke off. The answer counts as
/// a success and begins the count of attempts anew, so this grows with the GETs themselves. What a
/// person has to mend waits for as long as anything does: each GET may move as much as is allowed.
fn download_delay(archive: &Archive, failure: &Failure) -> Duration {
    let own = delay(seed(archive.id), archive.downloads.saturating_sub(1), failure);
    let least = match failure.class {
        FailureClass::Permanent => RETRY_AFTER_CAP,
        _ if archive.downloads >= RARE_DOWNLOADS => PERMANENT_PAUSE,
        _ => Duration::ZERO,
    };
    own.max(least)
}

/// When the scope of a run is read again after an attempt that failed, with `attempts` before it;
/// `None`: the run comes to nothing.
pub fn planning_retry(
    run: SnapshotId,
    attempts: u32,
    failure: &Failure,
    now: Timestamp,
) -> Option<Timestamp> {
    let again = attempts + 1 < REQUEST_ATTEMPTS || failure.class == FailureClass::Paused;
    // Numbers of runs and of archives are small alike: they must not move in step.
    let seed = mix(mix(run.0.unsigned_abs()));
    again.then(|| now.plus(delay(seed, attempts, failure)))
}

fn busy_pause(so_far: Duration) -> Duration {
    (so_far / 10).clamp(BUSY_PAUSES.0, BUSY_PAUSES.1)
}

/// How long to wait before the next attempt.
fn delay(seed: u64, attempts: u32, failure: &Failure) -> Duration {
    let own = match failure.class {
        FailureClass::Busy => BUSY_PAUSES.0,
        // The pause says itself when it ends.
        FailureClass::Paused => BACKOFF_BASE,
        // The first refusal may be an expired token: the next attempt brings a new one.
        FailureClass::Unauthorized if attempts == 0 => Duration::ZERO,
        FailureClass::Unauthorized => UNAUTHORIZED_PAUSE,
        FailureClass::Permanent => PERMANENT_PAUSE,
        FailureClass::Gone => VANISHED_PAUSE,
        // Each attempt is recorded, on a disk that may have no room left. Once it has, the engine
        // waits no longer.
        FailureClass::Local if attempts >= LOCAL_ATTEMPTS => PERMANENT_PAUSE,
        FailureClass::Transient | FailureClass::Throttled | FailureClass::Local => {
            backoff(seed, attempts)
        }
    };
    let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
    own.max(wished.min(RETRY_AFTER_CAP))
}

/// When the next step of an archive is due, as far as `now` lets it be believed. The moment was
/// written when the clock may have run ahead, and no retry waits longer than an hour; a job that
/// nothing was tried with yet waits for nothing at all. Only what lies in the trash has a day of
/// its own.
pub fn credible_due(archive: &Archive, due: Timestamp, now: Timestamp) -> Timestamp {
    match archive.state {
        State::Trashed(..) => due,
        State::Running { .. } if archive.attempts == 0 && archive.downloads == 0 => due.min(now),
        _ => due.min(now.plus(RETRY_AFTER_CAP)),
    }
}

/// Exponential backoff with full jitter: anything between a tenth of a second and the ceiling for
/// this attempt. The same seed and attempt give the same delay, so a run can be replayed.
pub fn backoff(seed: u64, attempts: u32) -> Duration {
    let ceiling = BACKOFF_BASE.saturating_mul(1 << attempts.min(16)).min(BACKOFF_CAP);
    let ceiling = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    let jitter = mix(seed ^ (u64::from(attempts) << 48)) % ceiling;
    Duration::from_millis(jitter.max(100))
}

/// How long to wait before looking at a running job again: growing by half each time, from the
/// shortest to the longest interval, spread by up to a tenth so that jobs do not move in step.
/// After the first look, which all may have had at one moment, they are spread over all of it.
pub fn poll_delay(id: ArchiveId, polls: u32, pace: Pace) -> Duration {
    let grown = (0..polls.min(32)).fold(pace.poll_interval, |interval, _| {
        (interval + interval / 2).min(pace.poll_interval_max)
    });
    let grown = grown.min(pace.poll_interval_max);
    let tenth = u64::try_from(grown.as_millis() / 10).unwrap_or(u64::MAX).max(1);
    let spread = if polls == 0 { tenth.saturating_mul(9) } else { tenth };
    grown.saturating_sub(Duration::from_millis(mix(seed(id) ^ u64::from(polls)) % spread))
}

/// The generation of the archive that replaces `lost`, when there may be one: at most `reexports`
/// times, and never for a job that was started elsewhere, whose scope we do not know.
pub fn replacement_generation(lost: &Archive, reexports: u32) -> Option<u32> {
    let is_loss = matches!(lost.state, State::Lost { .. });
    let again = lost.generation + 1;
    (is_loss && lost.scope.is_some() && again <= reexports).then_some(again)
}

/// How long the export of a replacement waits: the first begins at once, the others leave what lost
/// the one before, a gateway out of order for instance, some time to pass.
pub fn replacement_pause(generation: u32) -> Duration {
    match generation {
        0 | 1 => Duration::ZERO,
        later => Duration::from_mins(2)
            .saturating_mul(later.saturating_pow(2))
            .min(Duration::from_hours(1)),
    }
}

fn seed(id: ArchiveId) -> u64 {
    mix(id.0.unsigned_abs())
}

/// `SplitMix64`: a small, well-spread hash.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
