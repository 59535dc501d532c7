//! Signs a request with a key pair: SDK-HMAC-SHA256 (contract 6.2). PURE: the keys and the time are
//! arguments, and nothing is sent from here. Held to the vectors that the vendor's SDK made.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::push_encoded;
use crate::model::{Sha256Digest, Timestamp};

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const BODY_HASH: &str = "x-sdk-content-sha256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// An access key and what belongs to it.
#[derive(Clone)]
pub(super) struct Keys {
    /// Names the key; goes over the wire.
    pub(super) access: String,
    /// Signs; never goes over the wire.
    pub(super) secret: SecretString,
    /// Goes with keys that live for some hours only.
    pub(super) security_token: Option<SecretString>,
}

/// A request without its signature.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// With the port, when that is not the usual one of the scheme.
    pub(super) host: &'a str,
    /// Encoded, as it goes over the wire.
    pub(super) path: &'a str,
    /// Not encoded.
    pub(super) query: Vec<(String, String)>,
    /// What is sent and signed besides what the signature adds itself.
    pub(super) headers: Vec<(String, String)>,
    /// `None`: it is made while it is sent, and cannot be hashed before.
    pub(super) body: Option<&'a [u8]>,
}

/// What makes a request a signed one.
#[derive(Debug)]
pub(super) struct Signed {
    /// The query as it must be sent, for the server signs the same.
    pub(super) query: String,
    /// Headers to be added; those that were given are as they were, but for white space.
    pub(super) headers: Vec<(String, String)>,
    /// The value of `Authorization`.
    pub(super) authorization: String,
    /// The signature in it.
    pub(super) signature: String,
}

/// A request in the form that both sides hash.
struct Canonical {
    query: String,
    headers: Vec<(String, String)>,
    /// Of the headers that are signed.
    names: String,
    date: String,
    text: String,
}

/// Signs a request as of `now`.
pub(super) fn sign(request: Unsigned<'_>, keys: &Keys, now: Timestamp) -> Signed {
    let Canonical { query, headers, names, date, text } = canonical(request, keys, now);
    let to_sign = format!("{ALGORITHM}\n{date}\n{}", hash(text.as_bytes()));
    let signature = hmac(&keys.secret, to_sign.as_bytes());
    let access = &keys.access;
    let authorization =
        format!("{ALGORITHM} Access={access}, SignedHeaders={names}, Signature={signature}");
    Signed { query, headers, authorization, signature }
}

fn canonical(request: Unsigned<'_>, keys: &Keys, now: Timestamp) -> Canonical {
    let Unsigned { method, host, path, query, mut headers, body } = request;
    let date = now.compact();
    for (_, value) in &mut headers {
        *value = value.trim().to_owned();
    }
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-sdk-date"));
    headers.push(("X-Sdk-Date".to_owned(), date.clone()));
    if let Some(token) = &keys.security_token {
        headers.push(("X-Security-Token".to_owned(), token.expose_secret().to_owned()));
    }
    let given = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let is_hashed = given("content-type").is_none_or(|(_, value)| {
        value.starts_with("application/json") || value.starts_with("application/bson")
    });
    if given(BODY_HASH).is_none() && (body.is_none() || !is_hashed) {
        headers.push(("X-Sdk-Content-Sha256".to_owned(), UNSIGNED_PAYLOAD.to_owned()));
    }
    let told = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(BODY_HASH));
    let body_hash = match (body, told) {
        (Some([]), _) | (None, None) => hash(b""),
        (_, Some((_, value))) => value.clone(),
        (Some(body), None) => hash(body),
    };

    let mut signed: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
        // Some gateways drop such headers on the way.
        .filter(|(name, _)| !name.contains('_'))
        .collect();
    signed.push(("host".to_owned(), host));
    signed.sort_unstable();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut lines = String::new();
    for (name, value) in &signed {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{name}:{value}");
    }
    let (path, query) = (canonical_path(path), canonical_query(query));
    let text = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}");
    Canonical { query, headers, names, date, text }
}

/// Every segment decoded and encoded again, with a slash at the end. An encoded slash becomes a
/// real one here, and here only.
fn canonical_path(path: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut canonical = String::new();
    for (place, segment) in decoded.split(|byte| *byte == b'/').enumerate() {
        if place > 0 {
            canonical.push('/');
        }
        push_encoded(&mut canonical, segment);
    }
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// Sorted by key and value before they are encoded.
fn canonical_query(mut query: Vec<(String, String)>) -> String {
    query.sort_unstable();
    let mut canonical = String::new();
    for (key, value) in query {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        push_encoded(&mut canonical, key.as_bytes());
        canonical.push('=');
        push_encoded(&mut canonical, value.as_bytes());
    }
    canonical
}

fn hash(bytes: &[u8]) -> String {
    Sha256Digest(Sha256::digest(bytes).into()).to_string()
}

fn hmac(key: &SecretString, text: &[u8]) -> String {
    // An HMAC takes keys of any length; a signature that is none would be refused.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
        return String::new();
    };
    Sha256Digest(mac.chain_update(text).finalize().into_bytes().into()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../sim/fixtures/signing_vectors.json");

    fn text(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    fn pairs(headers: &Value) -> Vec<(String, String)> {
        let fields = headers.as_object().unwrap();
        fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// `[key, value]`, where the value may be a list.
    fn query(input: &Value) -> Vec<(String, String)> {
        let mut query = Vec::new();
        for pair in input.as_array().unwrap() {
            let values = pair[1].as_array().map_or(vec![&pair[1]], |all| all.iter().collect());
            query.extend(values.into_iter().map(|value| (text(&pair[0]), text(value))));
        }
        query
    }

    fn sorted(headers: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
        let lower = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
        let mut lower: Vec<_> = lower.collect();
        lower.sort();
        lower
    }

    /// Hands the request of a vector, and the keys, to `work`.
    fn with_vector<T>(
        vectors: &Value,
        input: &Value,
        secret: &str,
        work: impl FnOnce(Unsigned<'_>, &Keys) -> T,
    ) -> T {
        let mut headers = pairs(&input["headers"]);
        for (header, key) in [("X-Project-Id", "project_id"), ("X-Domain-Id", "domain_id")] {
            headers.extend(input[key].as_str().map(|id| (header.to_owned(), id.to_owned())));
        }
        let keys = Keys {
            access: text(&vectors["credentials"]["ak"]),
            secret: SecretString::from(secret),
            security_token: input["security_token"].as_str().map(SecretString::from),
        };
        let (method, host) = (text(&input["method"]), text(&input["host"]));
        let (path, body) = (text(&input["path"]), text(&input["body"]));
        let request = Unsigned {
            method: &method,
            host: &host,
            path: &path,
            query: query(&input["query"]),
            headers,
            body: Some(body.as_bytes()),
        };
        work(request, &keys)
    }

    #[test]
    fn every_vector_of_the_vendor_is_signed_alike() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let now: Timestamp = "2026-01-02T03:04:05.999Z".parse().unwrap();
        let secret = text(&vectors["credentials"]["sk"]);
        let all = vectors["vectors"].as_array().unwrap();
        for vector in all {
            let (of, input, expected) = (&vector["name"], &vector["input"], &vector["expected"]);
            let form = with_vector(&vectors, input, &secret, |r, keys| canonical(r, keys, now));
            assert_eq!(form.text, text(&expected["canonical_request"]), "{of}");
            let signed = with_vector(&vectors, input, &secret, |r, keys| sign(r, keys, now));
            assert_eq!(signed.signature, text(&expected["signature"]), "{of}");
            assert_eq!(signed.authorization, text(&expected["authorization"]), "{of}");
            let mut target = text(&input["path"]);
            if !signed.query.is_empty() {
                target = format!("{target}?{}", signed.query);
            }
            assert_eq!(target, text(&expected["request_target"]), "{of}");
            let host = ("host".to_owned(), text(&input["host"]));
            let sent = sorted(signed.headers.into_iter().chain([host]));
            assert_eq!(sent, sorted(pairs(&expected["headers"])), "{of}");
        }
        assert!(all.len() >= 20, "{} vectors", all.len());
    }

    #[test]
    fn another_key_or_another_second_is_another_signature() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let input = &vectors["vectors"][0]["input"];
        let expected = text(&vectors["vectors"][0]["expected"]["signature"]);
        let signature = |secret: &str, now| {
            with_vector(&vectors, input, secret, |r, keys| sign(r, keys, now)).signature
        };
        let secret = text(&vectors["credentials"]["sk"]);
        assert_eq!(signature(&secret, now), expected);
        assert_ne!(signature(&format!("{secret}x"), now), expected);
        assert_ne!(signature(&secret, now.plus(std::time::Duration::from_secs(1))), expected);
    }

    /// A form that is made while it is sent is not hashed, whatever it says of its content.
    #[test]
    fn a_body_that_cannot_be_hashed_is_said_to_be_unsigned() {
        let keys =
            Keys { access: "A".to_owned(), secret: SecretString::from("s"), security_token: None };
        let request = Unsigned {
            method: "POST",
            host: "h",
            path: "/",
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        };
        let form = canonical(request, &keys, Timestamp::from_millis(0));
        assert!(form.text.ends_with("\nUNSIGNED-PAYLOAD"), "{}", form.text);
        assert_eq!(form.names, "host;x-sdk-content-sha256;x-sdk-date");
    }
}
