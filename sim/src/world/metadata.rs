//! The metadata service of the cloud's machines: keys of the machine's agency for whoever asks, or
//! for whoever brings a token of its own. It listens on the same port as everything else.

use serde_json::json;

use super::{KeySpec, World};
use crate::calendar::iso_micros;
use crate::choices::{AgencySpelling, MetadataMode};
use crate::http::Request;
use crate::prng::hex_id;
use crate::reply::Reply;

const LONGEST_TTL_S: i64 = 21_600;

/// What the service has given.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    /// Its own tokens, and when each ends.
    tokens: Vec<(String, i64)>,
    /// The keys it gives at present.
    keys: Option<KeySpec>,
}

impl World {
    /// Withdraws the tokens that the metadata service has given; new ones can be had.
    pub fn forget_metadata_tokens(&mut self) {
        self.metadata.tokens.clear();
    }

    /// Withdraws the keys of the agency early. The metadata service gives others from now on.
    pub fn revoke_agency_keys(&mut self) {
        if let Some(keys) = self.metadata.keys.take() {
            self.remove_key(&keys.access);
        }
    }

    pub(super) fn metadata_token(&mut self, request: &Request, now_ms: i64) -> Reply {
        match self.knobs.metadata {
            MetadataMode::Plain => return text(404, "Not Found"),
            MetadataMode::Cce => return text(400, "Bad Request"),
            MetadataMode::Hardened => {}
        }
        let wished = request.header("x-metadata-token-ttl-seconds").unwrap_or_default();
        let Some(seconds) = wished.parse().ok().filter(|s| (1..=LONGEST_TTL_S).contains(s)) else {
            return text(400, "X-Metadata-Token-Ttl-Seconds must be from 1 to 21600");
        };
        if request.header("x-forwarded-for").is_some() {
            return text(403, "Forbidden");
        }
        let number = self.next_number();
        let token = hex_id(self.seed, "metadata-token", number);
        self.metadata.tokens.push((token.clone(), now_ms + seconds * 1_000));
        text(200, &token)
    }

    pub(super) fn security_key(&mut self, request: &Request, now_ms: i64) -> Reply {
        if self.knobs.metadata == MetadataMode::Hardened {
            let shown = request.header("x-metadata-token").unwrap_or_default();
            let mut tokens = self.metadata.tokens.iter();
            if !tokens.any(|(token, end_ms)| token == shown && *end_ms > now_ms) {
                return text(401, "Unauthorized");
            }
        }
        let Some(user) = self.knobs.agency_user.clone() else {
            return text(401, "Please configure Cloud Service Agency first");
        };
        let keys = self.present_keys(user, now_ms);
        let (access, secret) = (keys.access, keys.secret);
        let token = keys.security_token.unwrap_or_default();
        let end = iso_micros(keys.expires_ms.unwrap_or(now_ms));
        let body = match self.knobs.agency_spelling {
            AgencySpelling::Ecs => json!({ "credential": {
                "access": access, "secret": secret, "securitytoken": token, "expires_at": end,
            }}),
            AgencySpelling::Other => json!({ "credentials": {
                "accessKeyId": access, "secretAccessKey": secret, "security_token": token,
                "expiration": end,
            }}),
        };
        Reply::json(200, &body)
    }

    /// New ones appear some time before the old ones end, and both are good meanwhile.
    fn present_keys(&mut self, user: String, now_ms: i64) -> KeySpec {
        let lifetime_ms = self.knobs.agency_lifetime_s * 1_000;
        let ahead_ms = (self.knobs.agency_renew_s * 1_000).min(lifetime_ms / 2);
        let serve =
            |keys: &&KeySpec| keys.expires_ms.is_some_and(|end_ms| end_ms - ahead_ms > now_ms);
        if let Some(keys) = self.metadata.keys.as_ref().filter(serve) {
            return keys.clone();
        }
        let number = self.next_number();
        let keys = KeySpec {
            access: format!("AGENCY{}", hex_id(self.seed, "agency-access", number)),
            secret: hex_id(self.seed, "agency-secret", number),
            user,
            security_token: Some(hex_id(self.seed, "agency-token", number) + "/+=="),
            expires_ms: Some(now_ms + lifetime_ms),
        };
        self.add_key(keys.clone());
        self.metadata.keys = Some(keys.clone());
        keys
    }
}

fn text(status: u16, body: &str) -> Reply {
    Reply::bytes(status, Some("text/plain"), body.as_bytes().to_vec())
}
