//! Keeps an account whose credential was rejected, or which asks too often, from making it worse:
//! nothing is sent for any of its instances for a while, then one call tries, and after each that
//! is accepted twice as many may run at a time, until nobody counts them any more.
//!
//! What waits so counts as no attempt of its archive, and stays due. Pure bookkeeping in memory: it
//! must never ask the time, and never decide about a single archive. The pauses are events, from
//! which a restart takes them over.

use std::collections::HashMap;
use std::time::Duration;

use crate::lifecycle::{Failure, Notice};
use crate::model::{Name, Timestamp};

/// After the first call that the gateway found to be one too many; each further one doubles it.
const FIRST_THROTTLE: Duration = Duration::from_secs(1);
/// As long as it may become by itself.
const LONGEST_THROTTLE: Duration = Duration::from_mins(5);
/// No pause is longer, whatever a server wishes or a clock says.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// From so many calls at a time on, they are not counted any more.
const FREE: usize = 64;

/// The accounts that are held back; all others are as they should be.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    held: HashMap<Name, Account>,
    /// What is yet to be recorded.
    notices: Vec<Notice>,
}

#[derive(Debug)]
struct Account {
    paused_until: Timestamp,
    /// Calls at a time, once the pause is over.
    window: usize,
    /// Calls in a row that came too often.
    throttles: u32,
    /// A call was accepted since.
    resumed: bool,
}

impl Accounts {
    /// Whether one more call may be made for the account, of which `running` are under way.
    pub(super) fn allows(
        &self,
        account: &Name,
        running: impl FnOnce() -> usize,
        now: Timestamp,
    ) -> bool {
        let Some(held) = self.held.get(account) else { return true };
        held.paused_until <= now && running() < held.window
    }

    /// Whether nobody has accepted anything since the pause.
    pub(super) fn is_on_trial(&self, account: &Name) -> bool {
        self.held.get(account).is_some_and(|held| !held.resumed)
    }

    /// Its credential was rejected: it pauses until then.
    pub(super) fn rejected(&mut self, account: &Name, until: Timestamp, reason: &str) {
        if self.held.get(account).is_some_and(|held| held.paused_until >= until) {
            // A call that began before tells the same.
            return;
        }
        self.pause(account, until, 0, reason.to_owned());
    }

    /// It asked too often (contract 7, 429).
    pub(super) fn throttled(&mut self, account: &Name, failure: &Failure, now: Timestamp) {
        let held = self.held.get(account);
        if held.is_some_and(|held| held.paused_until > now) {
            // Began before the pause.
            return;
        }
        let throttles = held.map_or(0, |held| held.throttles);
        let own = FIRST_THROTTLE.saturating_mul(1 << throttles.min(9)).min(LONGEST_THROTTLE);
        let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
        let until = now.plus(own.max(wished).min(LONGEST_PAUSE));
        self.pause(account, until, throttles.saturating_add(1), failure.message.clone());
    }

    fn pause(&mut self, account: &Name, until: Timestamp, throttles: u32, reason: String) {
        let held = Account { paused_until: until, window: 1, throttles, resumed: false };
        self.held.insert(account.clone(), held);
        self.notices.push(Notice::AccountPaused { account: account.clone(), until, reason });
    }

    /// A call was answered in a way that shows that the credential is a good one.
    pub(super) fn answered(&mut self, account: &Name, now: Timestamp) {
        let Some(held) = self.held.get_mut(account) else { return };
        if held.paused_until > now {
            // Began before the pause.
            return;
        }
        if !held.resumed {
            held.resumed = true;
            self.notices.push(Notice::AccountResumed { account: account.clone() });
        }
        held.window = held.window.saturating_mul(2);
        if held.window >= FREE {
            self.held.remove(account);
        }
    }

    /// A pause that was begun before the restart: it goes on, and one call tries after it.
    pub(super) fn restore(&mut self, account: Name, until: Timestamp, now: Timestamp) {
        let paused_until = until.min(now.plus(LONGEST_PAUSE));
        let held = Account { paused_until, window: 1, throttles: 0, resumed: false };
        self.held.insert(account, held);
    }

    /// When the next pause ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.held.values().map(|held| held.paused_until).filter(|until| *until > now).min()
    }

    /// The clock was set back: no pause may last longer than it was meant to.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        let latest = now.plus(LONGEST_PAUSE);
        for held in self.held.values_mut() {
            held.paused_until = held.paused_until.min(latest);
        }
    }

    /// Accounts that are paused, for people.
    pub(super) fn paused(&self, now: Timestamp) -> Vec<&Name> {
        let paused = self.held.iter().filter(|(_, held)| held.paused_until > now);
        let mut names: Vec<&Name> = paused.map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// What happened since the last time, to be recorded.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Effect, FailureClass};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn ops() -> Name {
        "ops".parse().unwrap()
    }

    fn too_often(retry_after_ms: Option<u64>) -> Failure {
        let failure = Failure::new(FailureClass::Throttled, Effect::NotDone, "too often");
        Failure { retry_after_ms, ..failure }
    }

    /// So many calls may be under way at the same time.
    fn room(accounts: &Accounts, now: Timestamp) -> usize {
        (0..1_000).take_while(|running| accounts.allows(&ops(), || *running, now)).count()
    }

    #[test]
    fn a_rejected_credential_pauses_one_account_and_then_one_call_tries() {
        let mut accounts = Accounts::default();
        accounts.rejected(&ops(), at(330), "refused");
        accounts.rejected(&ops(), at(330), "refused");
        assert_eq!((room(&accounts, at(329)), room(&accounts, at(330))), (0, 1));
        assert!(accounts.allows(&"other".parse().unwrap(), || 500, at(0)));
        assert_eq!(accounts.next_end(at(0)), Some(at(330)));
        assert_eq!(accounts.take_notices().len(), 1, "told once");
        // What began before the pause proves nothing.
        accounts.answered(&ops(), at(10));
        assert_eq!(room(&accounts, at(329)), 0);
        assert!(accounts.is_on_trial(&ops()));
        accounts.rejected(&ops(), at(700), "refused again");
        assert_eq!((room(&accounts, at(699)), room(&accounts, at(700))), (0, 1));
        accounts.take_notices();
        for expected in [2, 4, 8, 16, 32, 1_000] {
            accounts.answered(&ops(), at(701));
            assert_eq!(room(&accounts, at(701)), expected);
            assert!(!accounts.is_on_trial(&ops()));
        }
        let notices = accounts.take_notices();
        assert!(matches!(&notices[..], [Notice::AccountResumed { .. }]), "{notices:?}");
    }

    #[test]
    fn who_asks_too_often_waits_longer_each_time_and_as_long_as_is_wished() {
        let mut accounts = Accounts::default();
        let mut now = at(0);
        for seconds in [1, 2, 4, 8] {
            accounts.throttled(&ops(), &too_often(None), now);
            // Others that were under way.
            accounts.throttled(&ops(), &too_often(None), now);
            let end = now.plus(Duration::from_secs(seconds));
            assert_eq!(accounts.next_end(now), Some(end));
            now = end;
        }
        // It is accepted, and too often again before it is free.
        accounts.answered(&ops(), now);
        accounts.throttled(&ops(), &too_often(None), now);
        assert_eq!(accounts.next_end(now), Some(now.plus(Duration::from_secs(16))));
        let mut accounts = Accounts::default();
        accounts.throttled(&ops(), &too_often(Some(90_000)), at(0));
        assert_eq!(accounts.next_end(at(0)), Some(at(90)));
        let mut accounts = Accounts::default();
        accounts.throttled(&ops(), &too_often(Some(u64::MAX)), at(0));
        assert_eq!(accounts.next_end(at(0)), Some(at(3_600)));
        accounts.clock_went_back(at(-100_000));
        assert_eq!(accounts.next_end(at(-100_000)), Some(at(-96_400)));
    }

    #[test]
    fn a_pause_goes_on_after_a_restart() {
        let mut accounts = Accounts::default();
        accounts.restore(ops(), at(300), at(100));
        assert_eq!((room(&accounts, at(299)), room(&accounts, at(300))), (0, 1));
        assert!(accounts.take_notices().is_empty(), "it is recorded already");
        accounts.restore(ops(), at(1_000_000), at(0));
        assert_eq!(room(&accounts, at(3_600)), 1, "a clock that ran ahead is not waited for");
    }
}
