//! What servers have said of an account's credential, and what follows from it: one renewal, then a
//! pause. Pure bookkeeping in memory: it must never wait, never ask the time, and never hold a
//! credential back that nobody refused.
//!
//! A refused sign-in, and a credential that is refused although it was renewed, pause the whole
//! account, because repeated refusals lock the user or the key (contract 6.1, 6.2). An instance
//! that refuses what another one accepts pauses alone. Nothing lasts longer because the clock was
//! set back.

use std::collections::HashMap;
use std::time::Duration;

use super::credential::Credential;
use super::error::{Call, RomaError};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::{Name, Timestamp};

/// After a refusal, longer than the locks of IAM and the gateway (contract 6.2).
const PAUSE: Duration = Duration::from_secs(330);
/// The instance whose refusal paused the account waits for so much longer: should the others accept
/// the credential, then it is the only one that does not.
const OTHERS_FIRST: Duration = Duration::from_mins(1);
/// The longest pause that IAM may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Steps that wait for one another bring times that are this much behind, at most; a time that is
/// further behind means that the clock was set back.
const WAITING: Duration = Duration::from_mins(5);
/// So many refusals without an acceptance pause the account, whoever accepted the credential once:
/// one more than this locks a key (contract 6.2).
const MANY: u32 = 4;

/// A span of time that ends by itself, whichever way the clock is set.
#[derive(Clone, Copy)]
pub(super) struct Term {
    pub(super) from: Timestamp,
    pub(super) span: Duration,
}

impl Term {
    pub(super) fn holds(self, now: Timestamp) -> bool {
        now.plus(WAITING.min(self.span / 2)) >= self.from && now < self.until()
    }

    fn until(self) -> Timestamp {
        self.from.plus(self.span)
    }
}

/// Until it is over nothing is asked.
#[derive(Clone)]
struct Pause {
    term: Term,
    message: String,
}

impl Pause {
    fn as_error(&self, now: Timestamp) -> RomaError {
        let until = self.term.until();
        let message = format!("{}; nothing is asked until {until}", self.message);
        let left = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
        RomaError {
            retry_after_ms: Some(left),
            ..RomaError::new(Call::Token, FailureClass::Paused, Effect::NotDone, message)
        }
    }
}

/// What an instance refused, and in which words.
struct Refusal {
    credential: Credential,
    message: String,
}

/// What follows from it.
enum Doubt {
    /// It shall see another credential than this one, once.
    Renewed(Refusal),
    /// It refused that one too, or there is no other.
    Paused(Refusal, Pause),
}

/// What a refusal means for what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It must not be used any more, and another one is to be tried.
    Renew,
    /// It must not be used any more, and nothing is tried until then.
    AccountPaused(Timestamp),
    /// Other instances go on with it.
    Elsewhere,
}

/// How an account stands with IAM and with its instances.
#[derive(Default)]
pub(super) struct Standing {
    /// How many instances it has.
    instances: usize,
    /// Of the whole account.
    pause: Option<Pause>,
    /// Instances that refused the last credential they saw.
    doubts: HashMap<Name, Doubt>,
    /// What each instance accepted the last time.
    accepted: HashMap<Name, Credential>,
    /// Refusals since somebody accepted anything.
    refusals: u32,
    /// The account was paused, and nobody has accepted anything since.
    on_trial: bool,
}

impl Standing {
    pub(super) fn new(instances: usize) -> Self {
        Self { instances, ..Self::default() }
    }

    /// An error while a pause lasts. After that of an instance the answer is what it refused: it
    /// shall see something else, if there is anything else (`renewable`).
    pub(super) fn check(
        &mut self,
        instance: &Name,
        renewable: bool,
        now: Timestamp,
    ) -> Result<Option<Credential>, RomaError> {
        if let Some(pause) = &self.pause {
            if pause.term.holds(now) {
                let until = Some(pause.term.until());
                return Err(RomaError { account_paused_until: until, ..pause.as_error(now) });
            }
            self.pause = None;
        }
        let Some(Doubt::Paused(_, pause)) = self.doubts.get(instance) else { return Ok(None) };
        if pause.term.holds(now) {
            return Err(pause.as_error(now));
        }
        let Some(Doubt::Paused(refusal, _)) = self.doubts.remove(instance) else { return Ok(None) };
        let refused = refusal.credential.clone();
        if renewable {
            self.doubts.insert(instance.clone(), Doubt::Renewed(refusal));
        }
        Ok(Some(refused))
    }

    /// Whether one call is to find out first whether the credential is any good, because a hundred
    /// at once would lock a key that is not.
    pub(super) fn needs_trial(&self, credential: &Credential) -> bool {
        let proven = || self.accepted.values().any(|accepted| accepted.is_same(credential));
        self.on_trial || (matches!(credential, Credential::Keys(_)) && !proven())
    }

    /// `instance` accepted a credential.
    pub(super) fn accepted(&mut self, instance: &Name, credential: &Credential) {
        self.doubts.remove(instance);
        self.refusals = 0;
        self.on_trial = false;
        if self.accepted.get(instance).is_none_or(|accepted| !accepted.is_same(credential)) {
            self.accepted.insert(instance.clone(), credential.clone());
        }
    }

    /// `instance` refused a credential. The answer is whether it must not be used any more, by
    /// nobody: it is renewed, or the account pauses until then.
    pub(super) fn refused(
        &mut self,
        instance: &Name,
        credential: &Credential,
        message: &str,
        now: Timestamp,
    ) -> Refused {
        self.accepted.remove(instance);
        self.refusals = self.refusals.saturating_add(1);
        let refusal = Refusal { credential: credential.clone(), message: message.to_owned() };
        match self.doubts.get(instance) {
            // The refusal that comes first is the one that counts.
            Some(Doubt::Paused(..)) => Refused::Elsewhere,
            None if !self.on_trial => {
                self.doubts.insert(instance.clone(), Doubt::Renewed(refusal));
                Refused::Renew
            }
            None | Some(Doubt::Renewed(_)) => {
                let message = format!("ROMA refuses a credential just renewed: {message}");
                let error = self.begin_pause(instance, refusal, &message, now);
                error.account_paused_until.map_or(Refused::Elsewhere, Refused::AccountPaused)
            }
        }
    }

    /// A pause, should `instance` have refused this very credential, which is all there is. `what`
    /// names it for people, and says what helps.
    pub(super) fn unchanged(
        &mut self,
        instance: &Name,
        credential: &Credential,
        what: &str,
        now: Timestamp,
    ) -> Result<(), RomaError> {
        match self.doubts.remove(instance) {
            Some(Doubt::Renewed(refusal)) if refusal.credential.is_same(credential) => {
                let message = format!("ROMA refused {what} ({})", refusal.message);
                Err(self.begin_pause(instance, refusal, &message, now))
            }
            Some(doubt) => {
                self.doubts.insert(instance.clone(), doubt);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// IAM gave a credential.
    pub(super) fn signed_in(&mut self) {
        self.pause = None;
    }

    /// It gave none; until when the account pauses for that, if it does.
    pub(super) fn sign_in_failed(
        &mut self,
        error: &RomaError,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let wished = error.retry_after_ms.map(Duration::from_millis);
        let span = match error.class {
            FailureClass::Unauthorized | FailureClass::Permanent => Some(PAUSE),
            FailureClass::Throttled => wished.map(|wished| wished.min(LONGEST_PAUSE)),
            _ => None,
        };
        self.pause = span
            .map(|span| Pause { term: Term { from: now, span }, message: error.message.clone() });
        self.pause.as_ref().map(|pause| pause.term.until())
    }

    /// Pauses the instance, and with it the account unless others accept what it refused.
    fn begin_pause(
        &mut self,
        instance: &Name,
        refusal: Refusal,
        message: &str,
        now: Timestamp,
    ) -> RomaError {
        let accepted = self.accepted.values().any(|other| other.is_same(&refusal.credential));
        let is_whole = !accepted || self.refusals >= MANY;
        let pause = |span| Pause { term: Term { from: now, span }, message: message.to_owned() };
        if is_whole {
            self.pause = Some(pause(PAUSE));
            self.on_trial = true;
        }
        let alone = !is_whole || self.instances <= 1;
        let own = pause(if alone { PAUSE } else { PAUSE + OTHERS_FIRST });
        let account_paused_until = is_whole.then(|| now.plus(PAUSE));
        let error = RomaError { account_paused_until, ..own.as_error(now) };
        self.doubts.insert(instance.clone(), Doubt::Paused(refusal, own));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roma::signing::Keys;
    use secrecy::SecretString;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn keys(secret: &str) -> Credential {
        Credential::Keys(Keys {
            access: "AK".to_owned(),
            secret: SecretString::from(secret),
            security_token: None,
        })
    }

    fn is_paused(standing: &mut Standing, instance: &str, now: Timestamp) -> bool {
        standing.check(&name(instance), true, now).is_err()
    }

    #[test]
    fn a_credential_that_nobody_accepts_pauses_the_account() {
        let mut standing = Standing::new(2);
        let refused = standing.refused(&name("a"), &keys("1"), "no", at(0));
        assert_eq!(refused, Refused::Renew);
        assert!(!is_paused(&mut standing, "a", at(0)));
        let refused = standing.refused(&name("a"), &keys("2"), "no", at(1));
        assert_eq!(refused, Refused::AccountPaused(at(331)));
        for instance in ["a", "b"] {
            assert!(is_paused(&mut standing, instance, at(330)), "{instance}");
        }
        // The other one is asked first, and one refusal is enough now.
        assert!(is_paused(&mut standing, "a", at(331)));
        assert!(!is_paused(&mut standing, "b", at(331)));
        assert!(standing.needs_trial(&keys("3")));
        let refused = standing.refused(&name("b"), &keys("3"), "no", at(332));
        assert_eq!(refused, Refused::AccountPaused(at(662)));
        assert!(is_paused(&mut standing, "b", at(600)));
    }

    #[test]
    fn an_instance_that_refuses_what_another_accepts_pauses_alone() {
        let mut standing = Standing::new(2);
        standing.accepted(&name("well"), &keys("1"));
        assert_eq!(standing.refused(&name("sick"), &keys("1"), "no", at(0)), Refused::Renew);
        standing.accepted(&name("well"), &keys("2"));
        let refused = standing.refused(&name("sick"), &keys("2"), "no", at(1));
        assert_eq!(refused, Refused::Elsewhere);
        assert!(is_paused(&mut standing, "sick", at(330)));
        assert!(!is_paused(&mut standing, "well", at(2)));
        let refused = standing.check(&name("sick"), true, at(331)).unwrap().unwrap();
        assert!(refused.is_same(&keys("2")));
    }

    /// What was accepted once is no excuse for ever: a sixth failure would lock the key.
    #[test]
    fn a_key_that_is_refused_everywhere_pauses_before_it_is_locked() {
        let mut standing = Standing::new(10);
        let instances: Vec<Name> = (0..10).map(|number| name(&format!("i{number}"))).collect();
        for instance in &instances {
            standing.accepted(instance, &keys("1"));
        }
        let mut refusals = 0;
        for instance in &instances {
            if standing.check(instance, false, at(1)).is_ok() {
                refusals += 1;
                standing.refused(instance, &keys("1"), "no", at(1));
                // Its file holds nothing else.
                standing.unchanged(instance, &keys("1"), "the keys", at(1)).unwrap_err();
            }
        }
        assert_eq!(refusals, MANY);
    }

    #[test]
    fn keys_are_tried_by_one_call_and_tokens_by_any() {
        let mut standing = Standing::new(1);
        assert!(standing.needs_trial(&keys("1")));
        assert!(!standing.needs_trial(&Credential::Token(SecretString::from("t"))));
        standing.accepted(&name("a"), &keys("1"));
        assert!(!standing.needs_trial(&keys("1")));
        assert!(standing.needs_trial(&keys("2")), "another one is another trial");
    }
}
