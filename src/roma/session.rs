//! The credential of one account: fetched when needed, renewed before it runs out, forgotten when
//! ROMA refuses it. A refused sign-in pauses the account, because repeated ones lock the user
//! (contract 6.1); nothing here tries twice.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::error::{Call, RomaError, classify};
use super::{answer, secret, wire};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::Timestamp;
use crate::settings::{Account, Auth};

/// Tokens are valid for 24 hours (contract 6.1); one without an expiry is taken for that long.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);
/// No request starts with a token that expires sooner than this; of a token that lives for less
/// than twice as long, half of its life.
const MARGIN: Duration = Duration::from_mins(10);
/// After a refused sign-in, longer than the locks of IAM and the gateway (contract 6.2).
const PAUSE: Duration = Duration::from_secs(330);

/// One account's way to sign in, and what it holds at the moment.
pub(super) struct Session {
    auth: Auth,
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    token: Option<Token>,
    /// The token that ROMA refused; a static one is not tried again until its file changes.
    refused: Option<SecretString>,
    paused_until: Option<Timestamp>,
}

struct Token {
    value: SecretString,
    renew_at: Timestamp,
}

impl Token {
    fn new(value: SecretString, now: Timestamp, lifetime: Duration) -> Self {
        let margin = MARGIN.min(lifetime / 2);
        Self { value, renew_at: now.plus(lifetime.saturating_sub(margin)) }
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

    /// A token that is good for [`MARGIN`] more.
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        now: Timestamp,
    ) -> Result<SecretString, RomaError> {
        // Held while signing in: a hundred steps need one token, not a hundred.
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && token.renew_at > now
        {
            return Ok(token.value.clone());
        }
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            let message = format!("the credential was refused; the account pauses until {until}");
            return Err(unauthorized(message));
        }
        let result = match &self.auth {
            Auth::Password { .. } => self.sign_in(http, now).await,
            Auth::Token { .. } => self.read_token(now, state.refused.as_ref()),
        };
        match result {
            Ok(token) => {
                let value = token.value.clone();
                *state = SessionState { token: Some(token), ..SessionState::default() };
                Ok(value)
            }
            Err(error) => {
                if error.class == FailureClass::Unauthorized {
                    state.paused_until = Some(now.plus(PAUSE));
                }
                Err(error)
            }
        }
    }

    /// ROMA refused `token`: the next request brings a new one.
    pub(super) async fn forget(&self, token: &SecretString) {
        let mut state = self.state.lock().await;
        // Another step may have renewed it meanwhile.
        if state.token.as_ref().is_some_and(|t| t.value.expose_secret() == token.expose_secret()) {
            state.refused = state.token.take().map(|token| token.value);
        }
    }

    fn read_token(
        &self,
        now: Timestamp,
        refused: Option<&SecretString>,
    ) -> Result<Token, RomaError> {
        let Auth::Token { token: place } = &self.auth else { return Err(unauthorized("no token")) };
        let value = secret::read(place).map_err(unreadable)?;
        if refused.is_some_and(|refused| refused.expose_secret() == value.expose_secret()) {
            return Err(unauthorized(format!(
                "ROMA refused the token in {place}: put a new one there"
            )));
        }
        Ok(Token::new(value, now, TOKEN_LIFETIME))
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
        let header = response.headers().get("X-Subject-Token").cloned();
        let body = answer::body(Call::Token, response).await.map_err(before_the_call)?;
        if status != 201 && status != 200 {
            let error = wire::error_body(&answer::redact(&body, &password));
            let (class, _) = classify(Call::Token, status, error.code);
            let message = format!("IAM answered {status} {}", error.message);
            return Err(RomaError::new(Call::Token, class, Effect::NotDone, message));
        }
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

/// Whatever happened at IAM, the call the token was for was not made.
fn before_the_call(error: RomaError) -> RomaError {
    RomaError { effect: Effect::NotDone, ..error }
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
