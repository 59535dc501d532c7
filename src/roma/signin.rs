//! How a credential is obtained: from IAM by password, from the machine's metadata service, or from
//! the files where somebody else puts it. One attempt a call; who may make one, and when, is
//! decided by `session`.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::agency::Metadata;
use super::credential::Credential;
use super::error::{Call, RomaError};
use super::signing::Keys;
use super::standing::Term;
use super::wire::AgencyKeys;
use super::{answer, secret, wire};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::Timestamp;
use crate::settings::{Auth, SecretPlace};

/// Tokens are valid for 24 hours (contract 6.1); what has no expiry is looked at that often.
const LIFETIME: Duration = Duration::from_hours(24);
/// No request starts with a token that expires sooner than this; of a token that lives for less
/// than twice as long, half of its life.
const MARGIN: Duration = Duration::from_mins(10);

/// Keys of an agency are renewed so long before their end; the new ones are there for hours by then
/// (contract 6.3). Of keys that live for less than twice as long, half of their life.
const AGENCY_MARGIN: Duration = Duration::from_mins(40);
/// Between two attempts to renew what still serves.
const RENEW_AGAIN: Duration = Duration::from_mins(1);

/// A credential, and how long it serves.
pub(super) struct Held {
    pub(super) credential: Credential,
    /// Until then it is used without a thought.
    pub(super) fresh: Term,
    /// Until then a request may begin with it, should there be no other.
    pub(super) good: Term,
    /// When it runs out, if somebody said so.
    pub(super) ends: Option<Timestamp>,
}

impl Held {
    fn new(credential: Credential, now: Timestamp, lifetime: Duration) -> Self {
        let lifetime = lifetime.min(LIFETIME);
        let span = lifetime.saturating_sub(MARGIN.min(lifetime / 2));
        let term = Term { from: now, span };
        Self { credential, fresh: term, good: term, ends: None }
    }

    fn of_agency(keys: AgencyKeys, now: Timestamp, lifetime: Duration) -> Self {
        let AgencyKeys { access, secret, security_token, .. } = keys;
        let keys = Keys { access, secret, security_token: Some(security_token) };
        let before = |margin: Duration| Term { from: now, span: lifetime.saturating_sub(margin) };
        Self {
            credential: Credential::Keys(keys),
            fresh: before(AGENCY_MARGIN.min(lifetime / 2)),
            good: before(MARGIN.min(lifetime / 4)),
            ends: Some(now.plus(lifetime)),
        }
    }

    /// It could not be renewed now, and serves a while longer.
    pub(super) fn renew_later(&mut self, now: Timestamp) {
        let left = (self.good.from.plus(self.good.span)).since(now);
        self.fresh = Term { from: now, span: RENEW_AGAIN.min(left) };
    }
}

/// Whether asking again brings another credential than the one before. Files hold what somebody
/// else puts there, and the metadata service has the same keys for hours.
pub(super) fn is_renewable(auth: &Auth) -> bool {
    match auth {
        Auth::Password { .. } => true,
        Auth::Token { .. } | Auth::AkSk { .. } | Auth::Agency { .. } => false,
    }
}

/// What the credential is, and what helps when it is refused, for people.
pub(super) fn described(auth: &Auth) -> String {
    match auth {
        Auth::Password { user, .. } => format!("the token of {user}: look at its rights"),
        Auth::Agency { .. } => "the keys of this machine's agency: look at its rights".to_owned(),
        Auth::Token { token } => format!("the token in {token}: put a new one there"),
        Auth::AkSk { access_key, secret_key, .. } => {
            format!("the keys in {access_key} and {secret_key}: put new ones there")
        }
    }
}

/// Obtains one.
pub(super) async fn obtain(
    auth: &Auth,
    http: &reqwest::Client,
    metadata: &mut Metadata,
    now: Timestamp,
) -> Result<Held, RomaError> {
    match auth {
        Auth::Agency { metadata_endpoint } => {
            let (keys, lifetime) = metadata.keys(http, metadata_endpoint, now).await?;
            tracing::debug!(lifetime_seconds = lifetime.as_secs(), "got keys of the agency");
            Ok(Held::of_agency(keys, now, lifetime))
        }
        // Whatever happened at IAM, the call the token is for was not made.
        Auth::Password { .. } => by_password(auth, http, now)
            .await
            .map_err(|error| RomaError { effect: Effect::NotDone, ..error }),
        Auth::Token { token } => {
            let value = read(token)?;
            Ok(Held::new(Credential::Token(value), now, LIFETIME))
        }
        Auth::AkSk { access_key, secret_key, security_token } => {
            let keys = Keys {
                // It is sent in the clear with every request: a name rather than a secret.
                access: read(access_key)?.expose_secret().to_owned(),
                secret: read(secret_key)?,
                security_token: security_token.as_ref().map(read).transpose()?,
            };
            Ok(Held::new(Credential::Keys(keys), now, LIFETIME))
        }
    }
}

fn read(place: &SecretPlace) -> Result<SecretString, RomaError> {
    secret::read(place).map_err(|error| RomaError {
        source: Some(Box::new(error)),
        ..RomaError::new(Call::Token, FailureClass::Local, Effect::NotDone, "no usable credential")
    })
}

async fn by_password(
    auth: &Auth,
    http: &reqwest::Client,
    now: Timestamp,
) -> Result<Held, RomaError> {
    let Auth::Password { iam_endpoint, user, domain, project, password } = auth else {
        let message = "no password";
        let class = FailureClass::Unauthorized;
        return Err(RomaError::new(Call::Token, class, Effect::NotDone, message));
    };
    let password = read(password)?;
    let mut url = iam_endpoint.clone();
    url.set_path("/v3/auth/tokens");
    url.set_query(Some("nocatalog=true"));
    let body = wire::token_request(user, domain, project, password.expose_secret());
    let sent = http.post(url).json(&body).send().await;
    let response = sent.map_err(|error| RomaError::transport(Call::Token, error))?;
    let status = response.status().as_u16();
    if status != 201 && status != 200 {
        return Err(answer::refusal(Call::Token, response, &[password], now).await);
    }
    let header = response.headers().get("X-Subject-Token").cloned();
    let body = answer::body(Call::Token, response).await?;
    let value = header
        .as_ref()
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| answer::bad(Call::Token, "no X-Subject-Token"))?;
    let said = wire::token_lifetime(&body, now);
    let lifetime = said.unwrap_or(LIFETIME);
    tracing::debug!(lifetime_seconds = lifetime.as_secs(), "signed in to IAM");
    let held = Held::new(Credential::Token(SecretString::from(value)), now, lifetime);
    Ok(Held { ends: said.map(|lifetime| now.plus(lifetime)), ..held })
}
