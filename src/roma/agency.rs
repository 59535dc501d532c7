//! Keys of the agency that the machine itself has: asked of the metadata service of the cloud's
//! machines (contract 6.3). It knows the two modes of that service and which one it met; when keys
//! are obtained, and by whom, is decided by `session`.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer;
use super::error::{Call, RomaError};
use super::standing::Term;
use super::wire::{self, AgencyKeys};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::Timestamp;

/// The service is on the machine's own link: what takes longer does not come (contract 6.3).
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a metadata token is asked for, the most there is.
const TOKEN_SECONDS: u64 = 21_600;
/// It is renewed so long before its end.
const TOKEN_MARGIN: Duration = Duration::from_mins(10);
/// After so long a service without tokens is asked again whether it has them now.
const PLAIN_FOR: Duration = Duration::from_hours(24);
/// What the service says on a machine that has no agency.
const NO_AGENCY: &str = "configure cloud service agency first";

/// What is known of the metadata service.
#[derive(Default)]
pub(super) struct Metadata {
    mode: Option<Mode>,
}

enum Mode {
    /// It gives keys to whoever asks.
    Plain(Term),
    /// It wants a token of its own.
    Hardened(SecretString, Term),
}

impl Metadata {
    /// The agency's keys, and how long they are good.
    pub(super) async fn keys(
        &mut self,
        http: &Client,
        base: &Url,
        now: Timestamp,
    ) -> Result<(AgencyKeys, Duration), RomaError> {
        let (token, mut response) = self.ask(http, base, now).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let error = refusal(response, token.as_ref(), now).await;
            if is_without_agency(&error) {
                return Err(error);
            }
            // The token has run out, or the service wants one since a moment ago. Once.
            self.mode = None;
            let (token, again) = self.ask(http, base, now).await?;
            if again.status() == StatusCode::UNAUTHORIZED {
                return Err(refusal(again, token.as_ref(), now).await);
            }
            response = again;
        }
        if !response.status().is_success() {
            return Err(refusal(response, token.as_ref(), now).await);
        }
        let server_now = answer::date(response.headers()).unwrap_or(now);
        let body = answer::body(Call::Metadata, response).await.map_err(not_done)?;
        let keys = wire::agency_keys(&body)
            .ok_or_else(|| not_done(answer::bad(Call::Metadata, "no key pair in it")))?;
        let lifetime = keys.expires_at.map_or(PLAIN_FOR, |end| end.since(server_now));
        if lifetime.is_zero() {
            return Err(error(FailureClass::Transient, "it gave keys that have run out"));
        }
        Ok((keys, lifetime))
    }

    async fn ask(
        &mut self,
        http: &Client,
        base: &Url,
        now: Timestamp,
    ) -> Result<(Option<SecretString>, Response), RomaError> {
        let token = self.token(http, base, now).await;
        let mut url = base.clone();
        url.set_path("/openstack/latest/securitykey");
        let mut request = http.get(url);
        if let Some(token) = &token {
            request = request.header("X-Metadata-Token", token.expose_secret());
        }
        match request.send().await {
            Ok(response) => Ok((token, response)),
            Err(error) => {
                // It could not be reached: that says nothing about its mode.
                self.mode = None;
                Err(not_done(RomaError::transport(Call::Metadata, error)))
            }
        }
    }

    /// The token that the service wants; `None`: it wants none. Any failure of the question means
    /// that (contract 6.3).
    async fn token(&mut self, http: &Client, base: &Url, now: Timestamp) -> Option<SecretString> {
        match &self.mode {
            Some(Mode::Plain(term)) if term.holds(now) => return None,
            Some(Mode::Hardened(token, term)) if term.holds(now) => return Some(token.clone()),
            _ => {}
        }
        let mut url = base.clone();
        url.set_path("/meta-data/latest/api/token");
        let asked = http.put(url).header("X-Metadata-Token-Ttl-Seconds", TOKEN_SECONDS);
        let given = async {
            let response = asked.send().await.ok().filter(|r| r.status().is_success())?;
            let body = answer::body(Call::Metadata, response).await.ok()?;
            let text = String::from_utf8(body).ok()?.trim().to_owned();
            (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
        };
        let span = |span| Term { from: now, span };
        let (mode, token) = match given.await.map(SecretString::from) {
            Some(token) => {
                let term = span(Duration::from_secs(TOKEN_SECONDS).saturating_sub(TOKEN_MARGIN));
                (Mode::Hardened(token.clone(), term), Some(token))
            }
            None => (Mode::Plain(span(PLAIN_FOR)), None),
        };
        self.mode = Some(mode);
        token
    }
}

async fn refusal(response: Response, token: Option<&SecretString>, now: Timestamp) -> RomaError {
    let hidden: Vec<SecretString> = token.cloned().into_iter().collect();
    let is_missing = response.status() == StatusCode::NOT_FOUND;
    let mut error = not_done(answer::refusal(Call::Metadata, response, &hidden, now).await);
    if is_missing || is_without_agency(&error) {
        error.class = FailureClass::Permanent;
        error.message.push_str(
            "; give this machine an agency (in the console of ECS) that may export assets of ROMA \
             Connect",
        );
    }
    error
}

fn is_without_agency(error: &RomaError) -> bool {
    error.message.to_ascii_lowercase().contains(NO_AGENCY)
}

fn error(class: FailureClass, message: &str) -> RomaError {
    RomaError::new(Call::Metadata, class, Effect::NotDone, message)
}

/// Whatever happened there, the call that the keys are for was not made.
fn not_done(error: RomaError) -> RomaError {
    RomaError { effect: Effect::NotDone, ..error }
}
