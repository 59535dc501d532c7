//! Access keys: whose they are, whether a signature by one is taken, and when one is locked.

use super::World;
use super::users::Caller;
use crate::auth::{self, Signature};
use crate::http::Request;
use crate::reply::{Refusal, expired_token};

/// An access key of a user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// The key that names it.
    pub access: String,
    /// The key that signs.
    pub secret: String,
    /// Whose it is.
    pub user: String,
    /// Must come along, where the key is a temporary one.
    #[serde(default)]
    pub security_token: Option<String>,
    /// When it ends; none: never.
    #[serde(default)]
    pub expires_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct AccessKey {
    spec: KeySpec,
    /// Failed signatures in a row.
    failures: u32,
    locked_until_ms: i64,
}

impl World {
    /// Adds a key, or replaces the one of the same name.
    pub fn add_key(&mut self, spec: KeySpec) {
        let key = AccessKey { failures: 0, locked_until_ms: 0, spec };
        self.keys.insert(key.spec.access.clone(), key);
    }

    /// Nobody knows this key any more.
    pub fn remove_key(&mut self, access: &str) {
        self.keys.remove(access);
    }

    /// How many signatures by this key have failed in a row, and whether it is locked.
    pub fn key_failures(&self, access: &str, now_ms: i64) -> (u32, bool) {
        self.keys.get(access).map_or((0, false), |key| (key.failures, key.locked_until_ms > now_ms))
    }

    pub(super) fn check_signature(
        &mut self,
        request: &Request,
        signature: &Signature,
        now_ms: i64,
    ) -> Result<Caller, Refusal> {
        let knobs = &self.knobs;
        let Some(key) = self.keys.get_mut(&signature.access) else {
            return Err(auth::unknown(&signature.access));
        };
        if key.locked_until_ms > now_ms {
            return Err(auth::locked());
        }
        let off_ms = signature.at_ms.map(|at_ms| at_ms.abs_diff(now_ms));
        let is_timely = off_ms.is_some_and(|off_ms| off_ms <= knobs.skew_ms);
        let refusal = if !is_timely {
            auth::skewed()
        } else if key.spec.expires_ms.is_some_and(|end_ms| end_ms <= now_ms) {
            // Nobody tries to guess a key that has run out.
            return Err(expired_token());
        } else if signature.security_token == key.spec.security_token
            && auth::fits(request, signature, &key.spec.secret)
        {
            key.failures = 0;
            return Ok(Caller::with_key(&key.spec.user));
        } else {
            auth::bad_signature()
        };
        key.failures += 1;
        if knobs.ak_lock_after.is_some_and(|limit| key.failures > limit) {
            key.failures = 0;
            key.locked_until_ms = now_ms + knobs.ak_lock_ms;
        }
        Err(refusal)
    }
}
