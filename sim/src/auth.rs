//! What a request shows to prove who it is. Must never decide whether that is good enough: the
//! world knows its users. Verification of AK/SK signatures belongs here too, once the world has
//! keys; until then every signature is refused.

use crate::http::Request;
use crate::reply::Refusal;

/// The credentials of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// `X-Auth-Token`
    Token(String),
    /// `Authorization: SDK-HMAC-SHA256 ...`
    Signature,
    Missing,
}

pub(crate) fn credential(request: &Request) -> Credential {
    if let Some(token) = request.header("x-auth-token") {
        return Credential::Token(token.to_owned());
    }
    match request.header("authorization") {
        Some(value) if value.starts_with("SDK-HMAC-SHA256") => Credential::Signature,
        _ => Credential::Missing,
    }
}

/// The answer to a signature that does not fit.
pub(crate) fn bad_signature() -> Refusal {
    Refusal::gateway(
        401,
        301,
        "Incorrect IAM authentication information: verify aksk signature fail",
    )
}
