//! What a request shows to prove who it is, and whether a signature fits a key. PURE. Must never
//! decide who may do what: the world knows its users and their keys.
//!
//! The signature is worked out here from the vendor's description, with a HMAC of its own, so that
//! a client's misreading of it does not pass.

use sha2::{Digest, Sha256};

use crate::http::{Request, percent_decode_bytes};
use crate::reply::Refusal;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const BLOCK: usize = 64;

/// The credentials of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// `X-Auth-Token`
    Token(String),
    /// `Authorization: SDK-HMAC-SHA256 ...`
    Signature(Signature),
    Missing,
}

/// What stands in `Authorization`, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) access: String,
    pub(crate) security_token: Option<String>,
    /// `X-Sdk-Date`, where it can be read.
    pub(crate) at_ms: Option<i64>,
    signed_headers: Vec<String>,
    hex: String,
}

pub(crate) fn credential(request: &Request) -> Credential {
    if let Some(token) = request.header("x-auth-token") {
        return Credential::Token(token.to_owned());
    }
    let value = request.header("authorization").unwrap_or_default();
    value.strip_prefix(ALGORITHM).map_or(Credential::Missing, |rest| {
        let field = |name: &str| {
            let mut fields = rest.split(',').filter_map(|field| field.trim().split_once('='));
            fields.find(|(key, _)| *key == name).map_or("", |(_, value)| value).to_owned()
        };
        Credential::Signature(Signature {
            access: field("Access"),
            security_token: request.header("x-security-token").map(ToOwned::to_owned),
            at_ms: request.header("x-sdk-date").and_then(crate::calendar::from_basic),
            signed_headers: field("SignedHeaders").split(';').map(ToOwned::to_owned).collect(),
            hex: field("Signature"),
        })
    })
}

/// Whether the request was signed with this secret key.
pub(crate) fn fits(request: &Request, signature: &Signature, secret: &str) -> bool {
    // Without the date in it a signature would be good for ever; without the host, anywhere.
    let covers = |name: &str| signature.signed_headers.iter().any(|signed| signed == name);
    let date = request.header("x-sdk-date").unwrap_or_default();
    let canonical = canonical(request, &signature.signed_headers);
    let text = format!("{ALGORITHM}\n{date}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    covers("x-sdk-date")
        && covers("host")
        && hex(&hmac(secret.as_bytes(), text.as_bytes())) == signature.hex
}

fn canonical(request: &Request, signed_headers: &[String]) -> String {
    let mut names = signed_headers.to_vec();
    names.sort();
    let line = |name: &String| {
        let value = request.header(name).unwrap_or_default().trim();
        [name, ":", value, "\n"].concat()
    };
    let headers: String = names.iter().map(line).collect();
    let body = match request.header("x-sdk-content-sha256") {
        Some(told) if !request.body.is_empty() => told.to_owned(),
        _ => hex(&Sha256::digest(&request.body)),
    };
    let parts = [
        request.method.clone(),
        path(request.path()),
        query(&request.target),
        headers,
        names.join(";"),
        body,
    ];
    parts.join("\n")
}

fn path(raw: &str) -> String {
    let decoded = percent_decode_bytes(raw);
    let segments: Vec<String> = decoded.split(|byte| *byte == b'/').map(encode).collect();
    let joined = segments.join("/");
    if joined.ends_with('/') { joined } else { joined + "/" }
}

/// The pairs in the order of what they say, not of how it is written.
fn query(target: &str) -> String {
    let raw = target.split_once('?').map_or("", |(_, query)| query);
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (percent_decode_bytes(key), percent_decode_bytes(value)))
        .collect();
    pairs.sort();
    let written: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    written.join("&")
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte]).to_uppercase());
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The answer to a signature that does not fit.
pub(crate) fn bad_signature() -> Refusal {
    refusal(301, "verify aksk signature fail")
}

/// The answer to one that was made too long ago, or in the future.
pub(crate) fn skewed() -> Refusal {
    refusal(301, "calc ak sk signature fail:signature expired")
}

/// The answer while a key is locked.
pub(crate) fn locked() -> Refusal {
    refusal(301, "AK access failed to reach the limit,forbidden")
}

/// The answer to a key that nobody knows.
pub(crate) fn unknown(access: &str) -> Refusal {
    refusal(305, &format!("Get secretKey failed,ak:{access},err:ak not exist"))
}

fn refusal(code: u32, cause: &str) -> Refusal {
    Refusal::gateway(401, code, &format!("Incorrect IAM authentication information: {cause}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_hmac_is_that_of_the_rfc() {
        // RFC 4231, cases 1, 2 and 6 (a key longer than a block).
        let cases: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, text, expected) in cases {
            assert_eq!(hex(&hmac(key, text)), expected);
        }
    }

    /// As the server would have received what the vendor's SDK sends.
    fn received(vector: &Value) -> Request {
        let (input, expected) = (&vector["input"], &vector["expected"]);
        let body = input["body"].as_str().unwrap().as_bytes().to_vec();
        let mut headers: Vec<(String, String)> = expected["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()))
            .collect();
        let authorization = expected["authorization"].as_str().unwrap().to_owned();
        headers.push(("authorization".to_owned(), authorization));
        Request {
            method: input["method"].as_str().unwrap().to_owned(),
            target: expected["request_target"].as_str().unwrap().to_owned(),
            headers,
            body_bytes: u64::try_from(body.len()).unwrap(),
            body,
            close: false,
        }
    }

    #[test]
    fn every_vector_of_the_vendor_fits_and_nothing_that_was_changed_does() {
        let vectors: Value =
            serde_json::from_str(include_str!("../fixtures/signing_vectors.json")).unwrap();
        let secret = vectors["credentials"]["sk"].as_str().unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 20);
        for vector in vectors {
            let of = &vector["name"];
            let request = received(vector);
            let Credential::Signature(signature) = credential(&request) else { panic!("{of}") };
            assert_eq!(signature.at_ms, Some(1_767_323_045_000), "{of}");
            assert!(fits(&request, &signature, secret), "{of}");
            assert!(!fits(&request, &signature, "another"), "{of}");
            let changed: [fn(&mut Request); 4] = [
                |request| request.method = "PATCH".to_owned(),
                |request| request.target.insert(1, 'x'),
                |request| {
                    let mark = if request.target.contains('?') { "&z=" } else { "?z=" };
                    request.target.push_str(mark);
                },
                |request| {
                    let date = request.headers.iter_mut().find(|(name, _)| name == "x-sdk-date");
                    date.unwrap().1 = "20260102T030406Z".to_owned();
                },
            ];
            for (number, change) in changed.iter().enumerate() {
                let mut request = request.clone();
                change(&mut request);
                assert!(!fits(&request, &signature, secret), "{of}: change {number}");
            }
            if request.header("x-sdk-content-sha256").is_none() {
                let mut request = request.clone();
                request.body.push(b' ');
                assert!(!fits(&request, &signature, secret), "{of}: another body");
            }
        }
    }

    #[test]
    fn a_signature_without_the_date_in_it_is_none() {
        let request = Request {
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: vec![("host".to_owned(), "h".to_owned())],
            ..Request::default()
        };
        let signed_headers = vec!["host".to_owned()];
        let text = hex(&Sha256::digest(canonical(&request, &signed_headers).as_bytes()));
        let text = format!("{ALGORITHM}\n\n{text}");
        let signature = Signature {
            access: "a".to_owned(),
            security_token: None,
            at_ms: None,
            signed_headers,
            hex: hex(&hmac(b"s", text.as_bytes())),
        };
        assert!(!fits(&request, &signature, "s"));
    }
}
