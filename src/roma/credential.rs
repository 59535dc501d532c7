//! What a request is sent with: a token, or a signature by a key pair. It says what an answer must
//! not repeat; it never decides which credential is the right one.

use reqwest::Request;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Position;

use super::error::{Call, RomaError};
use super::signing::{self, Keys, Unsigned};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::Timestamp;

/// A clock that is off by less has nothing to do with a refused signature.
const WORTH_A_WORD_MS: u64 = 10 * 60 * 1_000;

/// Proves who asks.
#[derive(Clone)]
pub(super) enum Credential {
    /// `X-Auth-Token` (contract 6.1).
    Token(SecretString),
    /// `Authorization: SDK-HMAC-SHA256 ...` (contract 6.2).
    Keys(Keys),
}

impl Credential {
    /// Whether a server would see the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let optional = |one: &Option<SecretString>| {
            one.as_ref().map(|secret| secret.expose_secret().to_owned())
        };
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one.expose_secret() == other.expose_secret(),
            (Self::Keys(one), Self::Keys(other)) => {
                one.access == other.access
                    && one.secret.expose_secret() == other.secret.expose_secret()
                    && optional(&one.security_token) == optional(&other.security_token)
            }
            _ => false,
        }
    }

    /// Why a refusal may be the clock's fault: signatures more than 15 minutes off are refused
    /// (contract 6.2). `skew` is how far the server's clock is ahead of ours, in milliseconds.
    pub(super) fn doubt_of_clock(&self, skew: Option<i64>) -> String {
        let skew = skew.filter(|skew| skew.unsigned_abs() > WORTH_A_WORD_MS);
        let (Self::Keys(_), Some(skew)) = (self, skew) else { return String::new() };
        let seconds = skew.unsigned_abs() / 1_000;
        let direction = if skew > 0 { "behind" } else { "ahead of" };
        format!(
            " (this machine's clock is {seconds} s {direction} the server's, and signatures more \
             than 15 min off are refused)"
        )
    }

    /// Adds the proof to a request, the last thing before it is sent. `project_id` is that of
    /// ROMA's addresses; those of IAM have none. The answer is what must not be shown should the
    /// server repeat it.
    pub(super) fn attach(
        &self,
        call: Call,
        request: &mut Request,
        project_id: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<SecretString>, RomaError> {
        match self {
            Self::Token(token) => {
                insert(call, request, "X-Auth-Token", token.expose_secret(), true)?;
                Ok(vec![token.clone()])
            }
            Self::Keys(keys) => attach_signature(call, request, (keys, project_id), now),
        }
    }
}

/// Signs what is ours to say. Headers that the HTTP client adds later, or that a proxy may change,
/// are not signed.
fn attach_signature(
    call: Call,
    request: &mut Request,
    (keys, project_id): (&Keys, Option<&str>),
    now: Timestamp,
) -> Result<Vec<SecretString>, RomaError> {
    let mut headers = Vec::new();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    headers.extend(content_type.map(|value| ("Content-Type".to_owned(), value.to_owned())));
    headers.extend(project_id.map(|id| ("X-Project-Id".to_owned(), id.to_owned())));
    let url = request.url().clone();
    let body = match request.body() {
        Some(body) => body.as_bytes(),
        None => Some(&b""[..]),
    };
    let signed = signing::sign(
        Unsigned {
            method: request.method().as_str(),
            host: &url[Position::BeforeHost..Position::AfterPort],
            path: url.path(),
            query: url.query_pairs().into_owned().collect(),
            headers,
            body,
        },
        keys,
        now,
    );
    let query = Some(signed.query.as_str()).filter(|query| !query.is_empty());
    request.url_mut().set_query(query);
    for (name, value) in signed.headers {
        let is_secret = name == "X-Security-Token";
        insert(call, request, &name, &value, is_secret)?;
    }
    insert(call, request, AUTHORIZATION.as_str(), &signed.authorization, true)?;
    let mut hidden = vec![SecretString::from(signed.signature)];
    hidden.extend(keys.security_token.clone());
    Ok(hidden)
}

fn insert(
    call: Call,
    request: &mut Request,
    name: &str,
    value: &str,
    is_secret: bool,
) -> Result<(), RomaError> {
    let unfit = || {
        let message = "the credential cannot be sent in a header";
        RomaError::new(call, FailureClass::Unauthorized, Effect::NotDone, message)
    };
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| unfit())?;
    value.set_sensitive(is_secret);
    request.headers_mut().insert(header, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str, security_token: Option<&str>) -> Credential {
        Credential::Keys(Keys {
            access: "AK".to_owned(),
            secret: SecretString::from(secret),
            security_token: security_token.map(SecretString::from),
        })
    }

    #[test]
    fn any_part_that_differs_makes_another_credential() {
        let token = |text: &str| Credential::Token(SecretString::from(text));
        assert!(token("a").is_same(&token("a")) && !token("a").is_same(&token("b")));
        assert!(keys("s", Some("t")).is_same(&keys("s", Some("t"))));
        assert!(!keys("s", Some("t")).is_same(&keys("s", None)));
        assert!(!keys("s", Some("t")).is_same(&keys("s", Some("u"))));
        assert!(!keys("s", None).is_same(&keys("r", None)));
        assert!(!keys("s", None).is_same(&token("s")));
    }

    #[test]
    fn the_address_is_sent_as_it_was_signed_and_secrets_are_marked() {
        let url = "http://127.0.0.1:18080/v2/p/a%2Fb?name=a+b&limit=2".parse().unwrap();
        let mut request = Request::new(reqwest::Method::GET, url);
        let now = Timestamp::from_millis(0);
        let credential = keys("secret-key", Some("temporary"));
        let hidden = credential.attach(Call::List, &mut request, Some("p"), now).unwrap();
        assert_eq!(request.url().as_str(), "http://127.0.0.1:18080/v2/p/a%2Fb?limit=2&name=a%20b");
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let names = "SignedHeaders=host;x-project-id;x-sdk-date;x-security-token";
        assert!(header("authorization").contains(names), "{}", header("authorization"));
        assert_eq!(header("x-sdk-date"), "19700101T000000Z");
        let shown = format!("{:?}", request.headers());
        let signature = hidden[0].expose_secret();
        assert!(header("authorization").ends_with(signature));
        assert_eq!(hidden[1].expose_secret(), "temporary");
        assert!(!shown.contains(signature) && !shown.contains("temporary"), "{shown}");
    }
}
