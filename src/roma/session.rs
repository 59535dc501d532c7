//! The credential of one account: obtained when needed, renewed before it runs out, forgotten when
//! it is refused. Nothing here tries twice, and a pause that `standing` has begun is kept by
//! everybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::agency::Metadata;
use super::credential::Credential;
use super::error::RomaError;
use super::signin::{self, Held};
use super::standing::{Refused, Standing};
use crate::model::{Name, Timestamp, story};
use crate::settings::{Account, Auth, foreign_region};

/// One account's way to sign in, and what it holds at the moment.
pub(super) struct Session {
    auth: Auth,
    /// For IAM, or for the metadata service.
    http: reqwest::Client,
    /// Locked while signing in: a hundred steps need one token, not a hundred.
    purse: tokio::sync::Mutex<Purse>,
    /// Never held across an await: the answer at hand may be the beginning of a package.
    standing: Mutex<Standing>,
    /// When the credential at hand ends, where that is known.
    ends: Mutex<Option<Timestamp>>,
    /// Had by the one call that tries a credential nobody has accepted yet.
    trial: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Purse {
    held: Option<Held>,
    metadata: Metadata,
}

/// A credential for one call; dropped as soon as its answer is known.
pub(super) struct Lease {
    pub(super) credential: Credential,
    _trial: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// A session that serves so many instances.
    pub(super) fn new(account: &Account, instances: usize, http: reqwest::Client) -> Self {
        Self {
            auth: account.auth.clone(),
            http,
            purse: tokio::sync::Mutex::default(),
            standing: Mutex::new(Standing::new(instances)),
            ends: Mutex::default(),
            trial: Arc::default(),
        }
    }

    /// Makes sure that there is a credential which lives long enough for a call to `instance`.
    pub(super) async fn ready(&self, instance: &Name, now: Timestamp) -> Result<(), RomaError> {
        self.current(instance, now).await.map(drop)
    }

    /// The credential for one call to `instance`. One that nobody has accepted yet is tried by one
    /// call at a time, while the others wait here for what comes of it.
    pub(super) async fn lease(&self, instance: &Name, now: Timestamp) -> Result<Lease, RomaError> {
        let credential = self.current(instance, now).await?;
        if !self.standing().needs_trial(&credential) {
            return Ok(Lease { credential, _trial: None });
        }
        let trial = self.trial.clone().lock_owned().await;
        // The one before may have been refused.
        let credential = self.current(instance, now).await?;
        let trial = Some(trial).filter(|_| self.standing().needs_trial(&credential));
        Ok(Lease { credential, _trial: trial })
    }

    async fn current(&self, instance: &Name, now: Timestamp) -> Result<Credential, RomaError> {
        let mut purse = self.purse.lock().await;
        let Purse { held, metadata } = &mut *purse;
        let renewable = signin::is_renewable(&self.auth);
        if let Some(refused) = self.standing().check(instance, renewable, now)? {
            held.take_if(|held| held.credential.is_same(&refused));
        }
        if let Some(held) = held.as_ref().filter(|held| held.fresh.holds(now)) {
            return Ok(held.credential.clone());
        }
        let obtained = match signin::obtain(&self.auth, &self.http, metadata, now).await {
            Ok(obtained) => obtained,
            Err(error) => {
                if let Some(held) = held.as_mut().filter(|held| held.good.holds(now)) {
                    let error = story(&error);
                    tracing::warn!(error, "the old credential serves a while longer");
                    held.renew_later(now);
                    return Ok(held.credential.clone());
                }
                let until = self.standing().sign_in_failed(&error, now);
                return Err(RomaError { account_paused_until: until, ..error });
            }
        };
        let credential = obtained.credential.clone();
        let mut standing = self.standing();
        if !renewable {
            let what = signin::described(&self.auth);
            standing.unchanged(instance, &credential, &what, now)?;
        }
        standing.signed_in();
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = obtained.ends;
        *held = Some(obtained);
        Ok(credential)
    }

    /// When the credential at hand ends, where that is known; never waits for a signing in.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `instance` refused what it was sent: its next request brings something new. Should that be
    /// refused as well, then a new one is no help, and nothing is sent for a while: the answer is
    /// until when, if that is so for the whole account.
    pub(super) async fn refused(
        &self,
        lease: &Lease,
        instance: &Name,
        message: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut purse = self.purse.lock().await;
        let held = &mut purse.held;
        // Another step may have renewed it meanwhile.
        if !held.as_ref().is_some_and(|held| held.credential.is_same(&lease.credential)) {
            return None;
        }
        let refused = self.standing().refused(instance, &lease.credential, message, now);
        if refused != Refused::Elsewhere {
            *held = None;
        }
        match refused {
            Refused::AccountPaused(until) => Some(until),
            Refused::Renew | Refused::Elsewhere => None,
        }
    }

    /// Why a refusal may be that of a token from another region.
    pub(super) fn doubt_of_region(&self, endpoint: &Url) -> String {
        let Auth::Password { iam_endpoint, .. } = &self.auth else { return String::new() };
        foreign_region(iam_endpoint, endpoint).map_or(String::new(), |region| {
            format!(" (the token is from IAM of {region}, and good in that region only)")
        })
    }

    /// `instance` accepted what it was sent.
    pub(super) fn accepted(&self, lease: &Lease, instance: &Name) {
        self.standing().accepted(instance, &lease.credential);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every change of it is made whole.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
