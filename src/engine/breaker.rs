//! Keeps one sick instance from being hammered and from holding up the others: after several calls
//! in a row that failed, nothing is sent to it for a while, and then one call tries.
//!
//! What was put off so counts as no attempt of its archive, and stays due. Pure bookkeeping in
//! memory: it must never ask the time, and never decide about a single archive. After a restart
//! every instance counts as well until it shows otherwise.

use std::collections::HashMap;
use std::time::Duration;

use crate::lifecycle::{Failure, FailureClass, Notice};
use crate::model::{Name, Timestamp};

/// Calls in a row that must fail before an instance is paused. One archive's own backoff has
/// reached half a minute by then.
const FAILURES: u32 = 5;
/// The first pause; each call that fails after a pause doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// No pause is longer, whatever the server wishes: a schedule must not be missed for it.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The breakers of all instances.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    instances: HashMap<Name, Breaker>,
    /// What is yet to be recorded.
    notices: Vec<Notice>,
}

#[derive(Debug, Default)]
struct Breaker {
    /// Failed calls in a row.
    failures: u32,
    /// Pauses in a row.
    pauses: u32,
    paused_until: Option<Timestamp>,
    /// The one call that tries after a pause, until it is over.
    probe: bool,
}

impl Breakers {
    /// Whether a call may go to the instance at this moment.
    pub(super) fn allows(&self, instance: &Name, now: Timestamp) -> bool {
        let Some(breaker) = self.instances.get(instance) else { return true };
        match breaker.paused_until {
            Some(until) => until <= now && !breaker.probe,
            None => true,
        }
    }

    /// A call to the instance, or what makes one, begins.
    pub(super) fn begin(&mut self, instance: &Name) {
        if let Some(breaker) = self.instances.get_mut(instance)
            && breaker.paused_until.is_some()
        {
            breaker.probe = true;
        }
    }

    /// What began is over, however it ended: if it told nothing about the instance, the next one
    /// tries.
    pub(super) fn end(&mut self, instance: &Name) {
        if let Some(breaker) = self.instances.get_mut(instance) {
            breaker.probe = false;
        }
    }

    /// The instance answered, be it with a refusal of this one call.
    pub(super) fn answered(&mut self, instance: &Name) {
        if let Some(breaker) = self.instances.remove(instance)
            && breaker.paused_until.is_some()
        {
            self.notices.push(Notice::InstanceResumed { instance: instance.clone() });
        }
    }

    /// A call to the instance failed. Only what says something about all of the instance counts.
    pub(super) fn failed(&mut self, instance: &Name, failure: &Failure, now: Timestamp) {
        match failure.class {
            FailureClass::Transient | FailureClass::Throttled => {}
            FailureClass::Busy | FailureClass::Permanent | FailureClass::Gone => {
                return self.answered(instance);
            }
            // Of this machine, or of the account's credential, which pauses by itself.
            FailureClass::Local | FailureClass::Unauthorized | FailureClass::Paused => return,
        }
        let breaker = self.instances.entry(instance.clone()).or_default();
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.paused_until.is_some_and(|until| until > now) {
            // Began before the pause.
            return;
        }
        if breaker.failures < FAILURES {
            return;
        }
        let own = FIRST_PAUSE.saturating_mul(1 << breaker.pauses.min(8));
        let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
        let until = now.plus(own.max(wished).min(LONGEST_PAUSE));
        breaker.pauses = breaker.pauses.saturating_add(1);
        breaker.paused_until = Some(until);
        let failures = breaker.failures;
        let (instance, message) = (instance.clone(), failure.message.clone());
        self.notices.push(Notice::InstancePaused { instance, failures, until, message });
    }

    /// When the next pause ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.instances.values().filter_map(|breaker| breaker.paused_until);
        ends.filter(|until| *until > now).min()
    }

    /// The clock was set back: no pause may last longer than it was meant to.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        let latest = now.plus(LONGEST_PAUSE);
        for until in self.instances.values_mut().filter_map(|b| b.paused_until.as_mut()) {
            *until = latest.min(*until);
        }
    }

    /// Instances that are paused, for people.
    pub(super) fn paused(&self, now: Timestamp) -> Vec<&Name> {
        let mut names: Vec<&Name> = self
            .instances
            .iter()
            .filter(|(_, breaker)| breaker.paused_until.is_some_and(|until| until > now))
            .map(|(name, _)| name)
            .collect();
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
    use crate::lifecycle::Effect;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn failure(class: FailureClass) -> Failure {
        Failure::new(class, Effect::Unknown, "no answer in time")
    }

    fn fail(breakers: &mut Breakers, times: u32, now: Timestamp) {
        for _ in 0..times {
            breakers.failed(&sick(), &failure(FailureClass::Transient), now);
        }
    }

    fn sick() -> Name {
        "sick".parse().unwrap()
    }

    #[test]
    fn five_failures_in_a_row_pause_one_instance_and_no_other() {
        let mut breakers = Breakers::default();
        fail(&mut breakers, 4, at(0));
        assert!(breakers.allows(&sick(), at(0)));
        fail(&mut breakers, 1, at(0));
        assert!(!breakers.allows(&sick(), at(29)));
        assert!(breakers.allows(&"well".parse().unwrap(), at(0)));
        assert_eq!(breakers.next_end(at(0)), Some(at(30)));
        let notices = breakers.take_notices();
        assert!(
            matches!(&notices[..], [Notice::InstancePaused { failures: 5, until, .. }]
                if *until == at(30)),
            "{notices:?}"
        );
    }

    #[test]
    fn after_a_pause_one_call_tries_and_the_next_pause_is_longer() {
        let mut breakers = Breakers::default();
        fail(&mut breakers, 5, at(0));
        // What was under way already prolongs nothing.
        fail(&mut breakers, 7, at(1));
        assert!(breakers.allows(&sick(), at(30)));
        breakers.begin(&sick());
        assert!(!breakers.allows(&sick(), at(30)), "one at a time");
        fail(&mut breakers, 1, at(31));
        breakers.end(&sick());
        assert!(!breakers.allows(&sick(), at(90)));
        assert!(breakers.allows(&sick(), at(91)));
        breakers.begin(&sick());
        breakers.end(&sick());
        assert!(breakers.allows(&sick(), at(91)), "a try that told nothing is followed by another");
        breakers.answered(&sick());
        assert!(breakers.allows(&sick(), at(91)));
        assert_eq!(breakers.take_notices().len(), 3);
        fail(&mut breakers, 4, at(91));
        assert!(breakers.allows(&sick(), at(91)), "the count begins anew");
    }

    #[test]
    fn refusals_of_one_call_are_answers_and_local_trouble_says_nothing() {
        let mut breakers = Breakers::default();
        fail(&mut breakers, 4, at(0));
        breakers.failed(&sick(), &failure(FailureClass::Gone), at(0));
        fail(&mut breakers, 4, at(0));
        breakers.failed(&sick(), &failure(FailureClass::Local), at(0));
        assert!(breakers.allows(&sick(), at(0)));
        fail(&mut breakers, 1, at(0));
        assert!(!breakers.allows(&sick(), at(0)));
    }

    #[test]
    fn no_wish_and_no_clock_makes_a_pause_longer_than_five_minutes() {
        let mut breakers = Breakers::default();
        fail(&mut breakers, 4, at(0));
        let wish = Failure { retry_after_ms: Some(u64::MAX), ..failure(FailureClass::Throttled) };
        breakers.failed(&sick(), &wish, at(0));
        assert_eq!(breakers.next_end(at(0)), Some(at(300)));
        breakers.clock_went_back(at(-10_000));
        assert_eq!(breakers.next_end(at(-10_000)), Some(at(-9_700)));
    }
}
