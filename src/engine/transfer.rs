//! The one GET, and its bytes into staging: what comes of it, however it ends.
//!
//! It must never take a body for whole that neither the transfer nor its content proves to be so,
//! and never throw away one that may be. Killed anywhere: what has come lies in staging.

use std::sync::Arc;

use bytes::Bytes;

use super::failure::{EngineError, of_vault};
use super::packing;
use super::shell::{Shell, joined};
use crate::lifecycle::{Archive, Effect, Failure, FailureClass, Remarks};
use crate::model::PackageId;
use crate::roma::{PackageStream, RomaError};
use crate::vault::{
    Chunk, Follower, Framing, LONGEST_SEALED, PACKED_AHEAD_FROM, Received, Receiver, Sealing,
    Staged, StagedEvidence, StagedKind, VaultError, spawn_receiver,
};

/// Chunks that may wait for the disk, at most; each is what the network delivered at once.
const WAITING_CHUNKS: usize = 6;

/// So many bodies of one package that cannot prove themselves whole are set aside.
const UNPROVEN_KEPT: u32 = 4;

/// How the transfer ended.
pub(super) enum Transfer {
    Whole(Box<Received>, Remarks),
    Failed(Failure),
}

impl Transfer {
    fn staged(staged: Staged, remarks: Remarks) -> Self {
        Self::Whole(Box::new(Received::Staged(staged)), remarks)
    }
}

/// The one GET, and its bytes into staging. `parts` is how many the snapshot has.
pub(super) async fn transfer(
    shell: &Arc<Shell>,
    archive: &Archive,
    (package, parts): (&PackageId, u32),
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
    let (beginning, end) = take_beginning(&mut stream).await;
    if matches!(end, Some(Sent::All)) && stream.self_delimiting {
        let sealing = sealing(shell, archive, parts);
        return match shell.blocking(move |_| take_whole(receiver, beginning, sealing)).await {
            Ok(package) => Ok(Transfer::Whole(Box::new(package), remarks)),
            Err(error) => {
                // The bytes are gone from the wire and not on the disk.
                let failure = of_vault(error, Effect::Unknown)?;
                prove_whole(shell, archive, remarks, failure).await
            }
        };
    }
    let follower = pack_ahead(shell, archive, parts, &stream).await;
    // What has ended already did so too early, and is kept as it came.
    let framing = match end {
        Some(_) => None,
        None => framing(shell, archive, parts, &stream),
    };
    let (sender, task) = spawn_receiver(receiver, beginning, framing, WAITING_CHUNKS);
    let sent = match end {
        Some(end) => end,
        None => pump(&mut stream, &sender).await,
    };
    let whole = matches!(sent, Sent::All) && stream.self_delimiting;
    if whole {
        // A receiver that has gone away says why below.
        drop(sender.send(Chunk::End(shell.clock.now())).await);
    }
    drop(sender);
    match joined(task).await {
        Ok(package) => {
            if let Some(follower) = follower {
                follower.whole();
            }
            Ok(Transfer::Whole(Box::new(package), remarks))
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

/// Takes so much of the body as a short package may have; of one the end is seen as well.
async fn take_beginning(stream: &mut PackageStream) -> (Vec<Bytes>, Option<Sent>) {
    let (mut beginning, mut length) = (Vec::new(), 0);
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => {
                length += bytes.len();
                beginning.push(bytes);
                if length > LONGEST_SEALED {
                    return (beginning, None);
                }
            }
            Ok(None) => return (beginning, Some(Sent::All)),
            Err(error) => return (beginning, Some(Sent::Broken(error))),
        }
    }
}

/// Makes a short package durable. Blocking.
fn take_whole(
    mut receiver: Receiver,
    body: Vec<Bytes>,
    sealing: Option<Sealing>,
) -> Result<Received, VaultError> {
    for bytes in body {
        receiver.write(&bytes)?;
    }
    match sealing {
        Some(sealing) => receiver.seal(sealing),
        None => receiver.finish().map(Received::Staged),
    }
}

/// How the package is to be stored, should it be short enough to be stored at once.
fn sealing(shell: &Shell, archive: &Archive, parts: u32) -> Option<Sealing> {
    let max_inflated = shell.limits.max_package_bytes;
    let job = packing::job_to_come(shell, archive, parts)?;
    Some(Sealing { job, max_inflated })
}

/// Has a large package packed while it comes. Whatever stands in the way, it is packed later.
async fn pack_ahead(
    shell: &Arc<Shell>,
    archive: &Archive,
    parts: u32,
    stream: &PackageStream,
) -> Option<Follower> {
    let bytes = stream.length.filter(|bytes| *bytes >= PACKED_AHEAD_FROM)?;
    let draft = packing::draft(shell, archive, parts, bytes)?;
    shell.blocking(move |vault| vault.pack_ahead(draft)).await
}

/// How a long package is to be stored, should it be one that does not shrink.
fn framing(
    shell: &Shell,
    archive: &Archive,
    parts: u32,
    stream: &PackageStream,
) -> Option<Framing> {
    let bytes = stream.length.filter(|_| stream.self_delimiting)?;
    let sealing = sealing(shell, archive, parts)?;
    Some(Framing { sealing, bytes })
}

/// Not a byte came: the file that was prepared for them is of no use to anybody.
pub(super) async fn discard_empty(
    shell: &Arc<Shell>,
    archive: &Archive,
) -> Result<(), EngineError> {
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
        Ok(StagedEvidence::Whole(staged)) => Ok(Transfer::staged(staged, remarks)),
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
