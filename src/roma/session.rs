//! The credential of one account: fetched when needed, renewed before it runs out, forgotten when
//! ROMA refuses it. A refused sign-in pauses the account, because repeated ones lock the user
//! (contract 6.1). An instance that refuses a renewed token like the one before it is left alone
//! for as long, and the account's other instances are not. Nothing here tries twice, and nothing
//! lasts longer because the clock was set back.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::error::{Call, RomaError};
use super::{answer, secret, wire};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::{Name, Timestamp};
use crate::settings::{Account, Auth, SecretPlace};

/// Tokens are valid for 24 hours (contract 6.1); one without an expiry is taken for that long.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);
/// No request starts with a token that expires sooner than this; of a token that lives for less
/// than twice as long, half of its life.
const MARGIN: Duration = Duration::from_mins(10);
/// After a refused sign-in, longer than the locks of IAM and the gateway (contract 6.2).
const PAUSE: Duration = Duration::from_secs(330);
/// The longest pause that IAM may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Steps that wait for one another bring times that are this much behind, at most; a time that is
/// further behind means that the clock was set back.
const WAITING: Duration = Duration::from_mins(5);

/// One account's way to sign in, and what it holds at the moment.
pub(super) struct Session {
    auth: Auth,
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    token: Option<Token>,
    /// After a refused sign-in.
    pause: Option<Pause>,
    /// Instances that refused the last token they saw.
    doubts: HashMap<Name, Doubt>,
}

/// What an instance refused, and what follows.
enum Doubt {
    /// It shall see another token than this one, once.
    Renewed(SecretString),
    /// It refused that one too, or there is no other.
    Paused(SecretString, Pause),
}

/// A span of time that ends by itself, whichever way the clock is set.
#[derive(Clone, Copy)]
struct Term {
    from: Timestamp,
    span: Duration,
}

impl Term {
    fn holds(self, now: Timestamp) -> bool {
        now.plus(WAITING.min(self.span / 2)) >= self.from && now < self.until()
    }

    fn until(self) -> Timestamp {
        self.from.plus(self.span)
    }
}

impl SessionState {
    /// An error while the instance's pause lasts; after it, one more try with another token, or
    /// with what the token's file holds then.
    fn end_pause(
        &mut self,
        instance: &Name,
        renewable: bool,
        now: Timestamp,
    ) -> Result<(), RomaError> {
        let Some(Doubt::Paused(refused, pause)) = self.doubts.get(instance) else { return Ok(()) };
        if pause.term.holds(now) {
            return Err(pause.as_error(now));
        }
        self.token.take_if(|held| is_same(&held.value, refused));
        let refused = refused.clone();
        self.doubts.remove(instance);
        if renewable {
            self.doubts.insert(instance.clone(), Doubt::Renewed(refused));
        }
        Ok(())
    }

    fn pause(
        &mut self,
        instance: &Name,
        refused: SecretString,
        message: String,
        now: Timestamp,
    ) -> RomaError {
        let term = Term { from: now, span: PAUSE };
        let pause = Pause { term, class: FailureClass::Unauthorized, message };
        let error = pause.as_error(now);
        self.doubts.insert(instance.clone(), Doubt::Paused(refused, pause));
        error
    }
}

struct Token {
    value: SecretString,
    fresh: Term,
}

impl Token {
    fn new(value: SecretString, now: Timestamp, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(TOKEN_LIFETIME);
        let span = lifetime.saturating_sub(MARGIN.min(lifetime / 2));
        Self { value, fresh: Term { from: now, span } }
    }
}

/// Until it is over nothing is asked.
struct Pause {
    term: Term,
    class: FailureClass,
    message: String,
}

impl Pause {
    /// What an error means for all other steps of the account; most mean nothing.
    fn after(error: &RomaError, now: Timestamp) -> Option<Self> {
        let wished = error.retry_after_ms.map(Duration::from_millis);
        let span = match error.class {
            FailureClass::Unauthorized | FailureClass::Permanent => PAUSE,
            FailureClass::Throttled => wished?.min(LONGEST_PAUSE),
            _ => return None,
        };
        let term = Term { from: now, span };
        Some(Self { term, class: error.class, message: error.message.clone() })
    }

    fn as_error(&self, now: Timestamp) -> RomaError {
        let until = self.term.until();
        let message = format!("{}; nothing is asked until {until}", self.message);
        let left = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
        RomaError {
            retry_after_ms: Some(left),
            ..RomaError::new(Call::Token, self.class, Effect::NotDone, message)
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    pub(super) fn new(account: &Account) -> Self {
        Self { auth: account.auth.clone(), state: Mutex::new(SessionState::default()) }
    }

    /// A token that is good for [`MARGIN`] more, for a call to `instance`.
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        instance: &Name,
        now: Timestamp,
    ) -> Result<SecretString, RomaError> {
        // Held while signing in: a hundred steps need one token, not a hundred.
        let mut state = self.state.lock().await;
        let renewable = matches!(self.auth, Auth::Password { .. });
        state.end_pause(instance, renewable, now)?;
        if let Some(token) = &state.token
            && token.fresh.holds(now)
        {
            return Ok(token.value.clone());
        }
        if let Some(pause) = state.pause.as_ref().filter(|pause| pause.term.holds(now)) {
            return Err(pause.as_error(now));
        }
        let result = match &self.auth {
            Auth::Password { .. } => self.sign_in(http, now).await,
            Auth::Token { token } => read_token(token, now),
        };
        let token = match result {
            Ok(token) => token,
            Err(error) => {
                state.pause = Pause::after(&error, now);
                return Err(error);
            }
        };
        if let (Auth::Token { token: place }, Some(Doubt::Renewed(refused))) =
            (&self.auth, state.doubts.get(instance))
            && is_same(refused, &token.value)
        {
            let message = format!("ROMA refused the token in {place}: put a new one there");
            return Err(state.pause(instance, token.value, message, now));
        }
        let value = token.value.clone();
        state.token = Some(token);
        state.pause = None;
        Ok(value)
    }

    /// `instance` refused `token`: its next request brings a new one. Should that be refused as
    /// well, then a new one is no help, and the instance is left alone.
    pub(super) async fn refused(&self, token: &SecretString, instance: &Name, now: Timestamp) {
        let mut state = self.state.lock().await;
        // Another step may have renewed it meanwhile.
        if !state.token.as_ref().is_some_and(|held| is_same(&held.value, token)) {
            return;
        }
        match state.doubts.get(instance) {
            None => {
                state.token = None;
                state.doubts.insert(instance.clone(), Doubt::Renewed(token.clone()));
            }
            // The refusal that comes first is the one that counts.
            Some(Doubt::Paused(..)) => {}
            Some(Doubt::Renewed(_)) => {
                let message = "ROMA refuses a token that has just been renewed".to_owned();
                drop(state.pause(instance, token.clone(), message, now));
            }
        }
    }

    /// `instance` accepted a token. Must not wait for a step that signs in: the answer at hand may
    /// be the beginning of a package, and another one will say the same.
    pub(super) fn accepted(&self, instance: &Name) {
        if let Ok(mut state) = self.state.try_lock()
            && !state.doubts.is_empty()
        {
            state.doubts.remove(instance);
        }
    }

    async fn sign_in(&self, http: &reqwest::Client, now: Timestamp) -> Result<Token, RomaError> {
        let Auth::Password { iam_endpoint, user, domain, project, password } = &self.auth else {
            return Err(unauthorized("no password"));
        };
        let password = secret::read(password).map_err(unreadable)?;
        let mut url = iam_endpoint.clone();
        url.set_path("/v3/auth/tokens");
        url.set_query(Some("nocatalog=true"));
        let body = wire::token_request(user, domain, project, password.expose_secret());
        let response = http
            .post(url)
            .json(&body)
            .send()
            .await
            .map_err(|error| before_the_call(RomaError::transport(Call::Token, error)))?;
        let status = response.status().as_u16();
        if status != 201 && status != 200 {
            let error = answer::refusal(Call::Token, response, &password, now).await;
            return Err(before_the_call(error));
        }
        let header = response.headers().get("X-Subject-Token").cloned();
        let body = answer::body(Call::Token, response).await.map_err(before_the_call)?;
        let value = header
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| before_the_call(answer::bad(Call::Token, "no X-Subject-Token")))?;
        let lifetime = wire::token_lifetime(&body, now).unwrap_or(TOKEN_LIFETIME);
        tracing::debug!(lifetime_seconds = lifetime.as_secs(), "signed in to IAM");
        Ok(Token::new(SecretString::from(value), now, lifetime))
    }
}

fn read_token(place: &SecretPlace, now: Timestamp) -> Result<Token, RomaError> {
    let value = secret::read(place).map_err(unreadable)?;
    Ok(Token::new(value, now, TOKEN_LIFETIME))
}

/// Whatever happened at IAM, the call the token was for was not made.
fn before_the_call(error: RomaError) -> RomaError {
    RomaError { effect: Effect::NotDone, ..error }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn unauthorized(message: impl Into<String>) -> RomaError {
    RomaError::new(Call::Token, FailureClass::Unauthorized, Effect::NotDone, message)
}

fn unreadable(error: secret::SecretError) -> RomaError {
    RomaError {
        source: Some(Box::new(error)),
        ..RomaError::new(Call::Token, FailureClass::Local, Effect::NotDone, "no usable credential")
    }
}
