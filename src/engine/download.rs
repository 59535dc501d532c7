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
use super::shell::{Changed, Shell, joined};
use crate::lifecycle::{Archive, Effect, Event, Failure, FailureClass, Remarks, State};
use crate::model::PackageId;
use crate::roma::{PackageStream, RomaError};
use crate::vault::{
    Chunk, Follower, PACKED_AHEAD_FROM, Receiver, Staged, StagedEvidence, StagedKind, VaultError,
    spawn_receiver,
};

/// Chunks that may wait for the disk, at most; each is what the network delivered at once.
const WAITING_CHUNKS: usize = 16;

/// A package that was not expected to be large may still be three times the largest recent one.
const ROOM_FACTOR: u64 = 3;

/// What a download under way may still take: the package as it comes, and packed.
const PROMISE_FACTOR: u64 = 2;

/// So many bodies of one package that cannot prove themselves whole are set aside.
const UNPROVEN_KEPT: u32 = 4;

/// How the transfer ended.
enum Transfer {
    Whole(Staged, Remarks),
    Failed(Failure),
}

/// Downloads the package of a `ready` archive.
pub(super) async fn run(shell: &Arc<Shell>, archive: Archive) -> Changed {
    let State::Ready(offer) = &archive.state else { return Ok(vec![archive]) };
    let package = offer.package.clone();
    let expected = shell.catalog.largest_recent(&archive.instance).await?;
    let room = Room::promise(shell, expected);
    let receiver = match preflight(shell, &archive, &room).await? {
        Preflight::Ready(receiver) => receiver,
        Preflight::NotReady(failure) => return shell.fail(&archive, failure).await,
        Preflight::AlreadyThere(staged) => return adopt(shell, &archive, staged).await,
    };
    let archive = match shell.advance(&archive, Event::DownloadStarted).await? {
        Ok(archive) => archive,
        Err(other) => return Ok(other),
    };
    match transfer(shell, &archive, &package, receiver).await? {
        Transfer::Whole(staged, remarks) => finish(shell, &archive, staged, remarks, false).await,
        Transfer::Failed(failure) => shell.fail(&archive, failure).await,
    }
}

enum Preflight {
    Ready(Receiver),
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
    async fn is_missing(&self, shell: &Shell) -> Result<Option<Failure>, EngineError> {
        let (needed, promised) = (self.needed, self.promised);
        match shell.blocking(crate::vault::Vault::free_bytes).await {
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
    match shell.blocking(move |vault| vault.receive(id)).await {
        Ok(mut receiver) => {
            // Only now: the rest of an earlier attempt, which is gone, may be what took the room.
            if let Some(failure) = room.is_missing(shell).await? {
                drop(receiver);
                discard_empty(shell, archive).await?;
                return Ok(Preflight::NotReady(failure));
            }
            receiver.set_patience(shell.room_patience);
            Ok(Preflight::Ready(receiver))
        }
        Err(VaultError::AlreadyStaged { .. }) => {
            match shell.blocking(move |vault| vault.inspect_staged(id)).await {
                Ok(StagedEvidence::Whole(staged)) => Ok(Preflight::AlreadyThere(staged)),
                Ok(_) => Ok(Preflight::NotReady(failure::local("staging changed meanwhile"))),
                Err(error) => of_vault(error, Effect::NotDone).map(Preflight::NotReady),
            }
        }
        Err(error) => of_vault(error, Effect::NotDone).map(Preflight::NotReady),
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
        Ok(archive) => finish(shell, &archive, staged, Remarks::default(), true).await,
        Err(other) => Ok(other),
    }
}

async fn finish(
    shell: &Shell,
    archive: &Archive,
    staged: Staged,
    remarks: Remarks,
    adopted: bool,
) -> Changed {
    let Staged { content: raw, format, flaw } = staged;
    if let Some(flaw) = flaw {
        tracing::warn!(archive.id = %archive.id, flaw,
            "the package is kept as it came");
    }
    let remarks = Remarks { flaw: flaw.map(ToOwned::to_owned), ..remarks };
    shell.record(archive, Event::DownloadFinished { raw, format, adopted, remarks }).await
}

/// The one GET, and its bytes into staging.
async fn transfer(
    shell: &Arc<Shell>,
    archive: &Archive,
    package: &PackageId,
    receiver: Receiver,
) -> Result<Transfer, EngineError> {
    let now = shell.clock.now();
    let answer = shell.roma.open_package(&archive.instance, package, now).await;
    let mut stream = match shell.heard(&archive.instance, answer) {
        Ok(stream) => stream,
        Err(failure) => {
            drop(receiver);
            discard_empty(shell, archive).await?;
            return Ok(Transfer::Failed(failure));
        }
    };
    let remarks = Remarks {
        encoding: stream.encoding.clone(),
        media_type: stream.odd_media_type.clone(),
        flaw: None,
    };
    if let Some(encoding) = &remarks.encoding {
        tracing::warn!(archive.id = %archive.id, %encoding,
            "the package comes encoded although that was not asked for; it is kept as it comes");
    }
    let follower = pack_ahead(shell, archive, &stream).await;
    let (sender, task) = spawn_receiver(receiver, WAITING_CHUNKS);
    let sent = pump(&mut stream, &sender).await;
    let whole = matches!(sent, Sent::All) && stream.self_delimiting;
    if whole {
        // A receiver that has gone away says why below.
        drop(sender.send(Chunk::End).await);
    }
    drop(sender);
    match joined(task).await {
        Ok(staged) => {
            if let Some(follower) = follower {
                follower.whole();
            }
            Ok(Transfer::Whole(staged, remarks))
        }
        Err(error) => {
            let failure = match (error, sent) {
                (VaultError::CutShort { .. }, Sent::Broken(error)) => {
                    shell.blame(&archive.instance, error)
                }
                (VaultError::CutShort { .. }, _) => {
                    return match prove_whole(shell, archive, remarks, unproven()).await? {
                        Transfer::Failed(failure) => set_aside(shell, archive, failure).await,
                        whole @ Transfer::Whole(..) => Ok(whole),
                    };
                }
                // The bytes are gone from the wire and not on the disk.
                (error, _) => of_vault(error, Effect::Unknown)?,
            };
            prove_whole(shell, archive, remarks, failure).await
        }
    }
}

/// Has a large package packed while it comes. Whatever stands in the way, it is packed later.
async fn pack_ahead(
    shell: &Arc<Shell>,
    archive: &Archive,
    stream: &PackageStream,
) -> Option<Follower> {
    let bytes = stream.length.filter(|bytes| *bytes >= PACKED_AHEAD_FROM)?;
    let parts = shell.catalog.parts_of(archive.snapshot).await.ok()?;
    let draft = packing::draft(shell, archive, parts, bytes)?;
    shell.blocking(move |vault| vault.pack_ahead(draft)).await
}

/// Not a byte came: the file that was prepared for them is of no use to anybody.
async fn discard_empty(shell: &Arc<Shell>, archive: &Archive) -> Result<(), EngineError> {
    let id = archive.id;
    match shell.blocking(move |vault| vault.discard_staged(id)).await {
        // The next attempt, or the next start, removes it.
        Err(error) => of_vault(error, Effect::NotDone).map(drop),
        Ok(()) => Ok(()),
    }
}

enum Sent {
    All,
    Broken(RomaError),
    ReceiverGone,
}

async fn pump(stream: &mut PackageStream, sender: &tokio::sync::mpsc::Sender<Chunk>) -> Sent {
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => {
                if sender.send(Chunk::Bytes(bytes)).await.is_err() {
                    return Sent::ReceiverGone;
                }
            }
            Ok(None) => return Sent::All,
            Err(error) => return Sent::Broken(error),
        }
    }
}

/// The transfer did not end as it should, or could not tell its end: the server gave neither a
/// length nor chunks. The package may be consumed all the same, so a body whose content proves
/// that nothing is missing is adopted (contract U4).
async fn prove_whole(
    shell: &Arc<Shell>,
    archive: &Archive,
    remarks: Remarks,
    failure: Failure,
) -> Result<Transfer, EngineError> {
    let id = archive.id;
    match shell.blocking(move |vault| vault.inspect_staged(id)).await {
        Ok(StagedEvidence::Whole(staged)) => Ok(Transfer::Whole(staged, remarks)),
        Ok(_) => Ok(Transfer::Failed(failure)),
        Err(error) => of_vault(error, Effect::Unknown).map(Transfer::Failed),
    }
}

/// The body ended in good order and may be the whole package, the only copy of it, although neither
/// transfer nor content says so: the next attempt must not discard it. Should ROMA offer the
/// package still after several such bodies, then none of them is the only copy.
async fn set_aside(
    shell: &Arc<Shell>,
    archive: &Archive,
    mut failure: Failure,
) -> Result<Transfer, EngineError> {
    if archive.downloads > UNPROVEN_KEPT {
        return Ok(Transfer::Failed(failure));
    }
    let part = shell.vault.staged_path(archive.id, StagedKind::Part);
    match shell.blocking(move |vault| vault.quarantine(&part, "unproven")).await {
        Ok(path) => {
            failure.message = format!("{}; it is kept as {}", failure.message, path.display());
            tracing::warn!(archive.id = %archive.id, path = %path.display(),
                "a body that may be the whole package is kept in quarantine");
            Ok(Transfer::Failed(failure))
        }
        Err(error) => of_vault(error, Effect::Unknown).map(Transfer::Failed),
    }
}

fn unproven() -> Failure {
    let message = "the server announced no length, and the body does not prove itself whole";
    Failure::new(FailureClass::Transient, Effect::Unknown, message)
}
