//! A receiver on a thread of its own, so that hashing and writing hold up no async task.
//!
//! It must never take a body for complete because its sender went away. A crash leaves what the
//! receiver has written.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::framing::Framing;
use super::{Received, Receiver, VaultError};
use crate::model::Timestamp;

/// What goes to a [`spawn_receiver`] thread.
#[derive(Debug)]
pub enum Chunk {
    /// The next bytes of the body.
    Bytes(Bytes),
    /// The body is complete, at this moment. Said only by whoever knows it; a sender that is
    /// dropped without it leaves an unfinished file.
    End(Timestamp),
}

/// Runs a receiver on a blocking thread. The body begins with `beginning`; if its length is known,
/// `framing` says how it is to be stored.
///
/// At most `capacity` chunks wait (so memory is bounded by their size); `send` waits when they do,
/// and fails when the thread has ended early: then the task's result says why. Ends with
/// [`VaultError::CutShort`] when the sender goes without [`Chunk::End`].
pub fn spawn_receiver(
    mut receiver: Receiver,
    beginning: Vec<Bytes>,
    framing: Option<Framing>,
    capacity: usize,
) -> (mpsc::Sender<Chunk>, JoinHandle<Result<Received, VaultError>>) {
    let (sender, mut chunks) = mpsc::channel(capacity.max(1));
    let task = tokio::task::spawn_blocking(move || {
        if let Some(framing) = framing {
            receiver.frame(framing, &beginning)?;
        }
        for bytes in beginning {
            receiver.write(&bytes)?;
        }
        while let Some(chunk) = chunks.blocking_recv() {
            match chunk {
                Chunk::Bytes(bytes) => receiver.write(&bytes)?,
                Chunk::End(at) => return receiver.complete(at),
            }
        }
        let (path, bytes) = (receiver.part.clone(), receiver.bytes());
        Err(VaultError::CutShort { path, bytes })
    });
    (sender, task)
}
