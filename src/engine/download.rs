//! The once-only download.
//!
//! Everything that could waste the package is proven before the GET is sent: the credential, the
//! room on the disk, the file in staging, and the catalog, which has just recorded the intent.
//! Killed after the intent: if the whole package is in staging it is adopted; if not, ROMA is asked
//! about the job before another GET.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::failure::{self, EngineError, of_vault};
use super::packing;
use super::shell::{Changed, Shell};
use super::transfer::{Transfer, discard_empty, transfer};
use crate::lifecycle::{Archive, Effect, Event, Failure, Remarks, State};
use crate::vault::{Received, Receiver, Staged, StagedEvidence, Vault, VaultError};

/// A package that was not expected to be large may still be three times the largest recent one.
const ROOM_FACTOR: u64 = 3;

/// What a download under way may still take: the package as it comes, and packed.
const PROMISE_FACTOR: u64 = 2;

/// Downloads the package of a `ready` archive.
pub(super) async fn run(shell: &Arc<Shell>, archive: Archive) -> Changed {
    let State::Ready(offer) = &archive.state else { return Ok(vec![archive]) };
    let package = offer.package.clone();
    let expected = shell.largest_recent(&archive.instance).await?;
    let room = Room::promise(shell, expected);
    let receiver = match preflight(shell, &archive, &room).await? {
        Preflight::Ready(receiver) => *receiver,
        Preflight::NotReady(failure) => return shell.fail(&archive, failure).await,
        Preflight::AlreadyThere(staged) => return adopt(shell, &archive, staged).await,
    };
    // Asked before the GET: should the catalog not answer afterwards, the bytes would be lost.
    let parts = match archive.scope {
        Some(_) => shell.catalog.parts_of(archive.snapshot).await?,
        // A job that was started elsewhere is all of its snapshot.
        None => 1,
    };
    let archive = match shell.advance(&archive, Event::DownloadStarted).await? {
        Ok(archive) => archive,
        Err(other) => return Ok(other),
    };
    match transfer(shell, &archive, (&package, parts), receiver).await? {
        Transfer::Whole(package, remarks) => match *package {
            Received::Sealed(sealed) => {
                let event = finished(shell, &archive, sealed.staged, remarks, false);
                packing::store_sealed(shell, &archive, event, sealed).await
            }
            Received::Staged(staged) => {
                let event = finished(shell, &archive, staged, remarks, false);
                shell.record(&archive, event).await
            }
        },
        Transfer::Failed(failure) => shell.fail(&archive, failure).await,
    }
}

enum Preflight {
    Ready(Box<Receiver>),
    NotReady(Failure),
    AlreadyThere(Staged),
}

/// Room that a download counts on until it ends. Downloads begin together, and without this each
/// of them would find the same room free.
struct Room {
    shell: Arc<Shell>,
    /// What must be free for it to begin, in bytes.
    needed: u64,
    /// What downloads under way count on, in bytes.
    promised: u64,
    own: u64,
}

impl Room {
    fn promise(shell: &Arc<Shell>, expected: u64) -> Self {
        let own = expected.saturating_mul(PROMISE_FACTOR);
        let promised = shell.promised.fetch_add(own, Ordering::Relaxed);
        let needed = expected
            .saturating_mul(ROOM_FACTOR)
            .saturating_add(promised)
            .saturating_add(shell.limits.min_free_bytes);
        Self { shell: shell.clone(), needed, promised, own }
    }
}

impl Room {
    /// Why the download must not begin, if there is too little room.
    fn is_missing(&self, free: Result<u64, VaultError>) -> Result<Option<Failure>, EngineError> {
        let (needed, promised) = (self.needed, self.promised);
        match free {
            Ok(free) if free < needed => Ok(Some(failure::local(format!(
                "{free} bytes are free, {needed} are wanted (limits.min_free_space, three times \
                 the largest recent package, and {promised} for downloads under way): the \
                 package stays at ROMA until there is room"
            )))),
            Ok(_) => Ok(None),
            Err(error) => of_vault(error, Effect::NotDone).map(Some),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shell.promised.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Proves that nothing on this side can waste the package.
async fn preflight(
    shell: &Arc<Shell>,
    archive: &Archive,
    room: &Room,
) -> Result<Preflight, EngineError> {
    if let Err(failure) = shell.credential(&archive.instance).await {
        return Ok(Preflight::NotReady(failure));
    }
    if let Some(failure) = is_rejected(shell, archive).await {
        return Ok(Preflight::NotReady(failure));
    }
    let id = archive.id;
    let prepare = move |vault: &Vault| {
        let receiver = vault.receive(id);
        // Only now: the rest of an earlier attempt, which is gone, may be what took the room.
        (receiver, vault.free_bytes())
    };
    match shell.blocking(prepare).await {
        (Ok(mut receiver), free) => {
            if let Some(failure) = room.is_missing(free)? {
                drop(receiver);
                discard_empty(shell, archive).await?;
                return Ok(Preflight::NotReady(failure));
            }
            receiver.set_patience(shell.room_patience);
            Ok(Preflight::Ready(Box::new(receiver)))
        }
        (Err(VaultError::AlreadyStaged { .. }), _) => {
            match shell.blocking(move |vault| vault.inspect_staged(id)).await {
                Ok(StagedEvidence::Whole(staged)) => Ok(Preflight::AlreadyThere(staged)),
                Ok(_) => Ok(Preflight::NotReady(failure::local("staging changed meanwhile"))),
                Err(error) => of_vault(error, Effect::NotDone).map(Preflight::NotReady),
            }
        }
        (Err(error), _) => of_vault(error, Effect::NotDone).map(Preflight::NotReady),
    }
}

/// After a pause of the account a harmless call tries the credential, not the one GET.
async fn is_rejected(shell: &Shell, archive: &Archive) -> Option<Failure> {
    let State::Ready(offer) = &archive.state else { return None };
    let account = shell.roma.account_of(&archive.instance)?;
    if !shell.accounts().is_on_trial(account) {
        return None;
    }
    let asked = shell.roma.job(&archive.instance, &offer.job, shell.clock.now()).await;
    shell.heard(&archive.instance, asked).err()
}

/// The package lies whole in staging although it was still to be fetched: no GET at all.
async fn adopt(shell: &Arc<Shell>, archive: &Archive, staged: Staged) -> Changed {
    match shell.advance(archive, Event::DownloadStarted).await? {
        Ok(archive) => {
            let event = finished(shell, &archive, staged, Remarks::default(), true);
            shell.record(&archive, event).await
        }
        Err(other) => Ok(other),
    }
}

fn finished(
    shell: &Shell,
    archive: &Archive,
    staged: Staged,
    remarks: Remarks,
    adopted: bool,
) -> Event {
    let Staged { content: raw, format, flaw } = staged;
    if let Some(flaw) = flaw {
        tracing::warn!(archive.id = %archive.id, flaw,
            "the package is kept as it came");
    }
    shell.recent().came(&archive.instance, raw.bytes);
    let remarks = Remarks { flaw: flaw.map(ToOwned::to_owned), ..remarks };
    Event::DownloadFinished { raw, format, adopted, remarks }
}
