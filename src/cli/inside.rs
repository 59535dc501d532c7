//! Packages opened for looking into them: what `ls`, `cat` and `diff` have in common.
//!
//! Memory is bounded here: a document is read only up to a size, and what all documents of one look
//! may have together is a budget. What lies beyond is told apart by its digest.

use std::io::{self, Write};
use std::sync::Arc;

use super::error::CliError;
use super::output;
use super::packages::{find, holding, lease, mention_trash};
use crate::catalog::Catalog;
use crate::contents;
use crate::lifecycle::Archive;
use crate::model::{Content, Reference};
use crate::settings::Settings;
use crate::vault::{EntryError, EntryKind, Inside, Lease, OsDisk, Vault};

/// A longer JSON text is not looked into: as a value it takes several times as much memory. ROMA
/// imports packages of up to 12 MB (contract 4).
pub(super) const MAX_DOCUMENT: u64 = 16 << 20;

/// Why a text that calls itself JSON is not looked into.
pub(super) const TOO_MUCH: &str = "it is too large to be looked into, or no JSON that all agree on";

/// Whether an entry of this name calls itself JSON.
pub(super) fn looks_like_json(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// Whether an entry of this name may be JSON: it says so, or nothing at all.
pub(super) fn may_be_json(name: &str) -> bool {
    looks_like_json(name) || std::path::Path::new(name).extension().is_none()
}

/// Archives whose files stay where they are until this is dropped.
pub(super) struct Held {
    vault: Vault,
    pub(super) archives: Vec<Archive>,
    /// In the order of the archives.
    _leases: Vec<Lease>,
}

/// The archives that an id means, with their files held. All of them before the first byte is read.
pub(super) async fn hold(
    catalog: &Catalog,
    settings: &Settings,
    id: Reference,
) -> Result<Held, CliError> {
    let vault = Vault::at(&settings.state_dir, Arc::new(OsDisk));
    let archives = find(catalog, id).await?;
    let leases = lease(catalog, &vault, &archives).await?;
    archives.iter().for_each(mention_trash);
    Ok(Held { vault, archives, _leases: leases })
}

impl Held {
    /// Opens the package of one of them; its digest is checked on the way.
    pub(super) fn open(&self, archive: &Archive) -> Result<Inside, CliError> {
        let held = holding(archive)?;
        self.vault
            .look_inside(&held.file, held.raw)
            .map_err(|source| CliError::Look { id: archive.id, source })
    }
}

/// Tells when a package could not be taken apart.
pub(super) fn mention_flaw(archive: &Archive, inside: &Inside) {
    if let Some(flaw) = inside.flaw() {
        let id = archive.id;
        output::note(&format!(
            "note: the package of {id} begins like a zip and cannot be read as one ({flaw}): it is \
             taken as one entry; its bytes are as ROMA sent them"
        ));
    }
}

/// What was read of an entry.
pub(super) enum Read {
    /// A JSON document.
    Document(serde_json::Value, Content),
    /// Anything else.
    Bytes(Content),
    /// Its bytes are not to be had, for this reason.
    Sealed(EntryError),
}

/// Reads an entry to its end. `budget` is what documents may have altogether, in bytes.
pub(super) fn read(inside: &mut Inside, number: usize, budget: &mut u64) -> Result<Read, CliError> {
    let entry = &inside.entries()[number];
    let limit = MAX_DOCUMENT.min(*budget);
    // What the zip says of the length may be wrong; the end of the pocket is not.
    let fits = entry.kind == EntryKind::File && entry.bytes <= limit;
    let mut pocket = Pocket { bytes: Vec::new(), limit: if fits { limit } else { 0 } };
    match inside.read(number, &mut pocket) {
        Ok(content) => {
            let document = pocket.whole(content.bytes).and_then(contents::parse);
            Ok(match document {
                Some(document) => {
                    *budget -= content.bytes;
                    Read::Document(document, content)
                }
                None => Read::Bytes(content),
            })
        }
        Err(EntryError::Disk(source)) => Err(CliError::Input(source)),
        Err(error) => Ok(Read::Sealed(error)),
    }
}

/// Keeps the first bytes and forgets the others.
struct Pocket {
    bytes: Vec<u8>,
    limit: u64,
}

impl Pocket {
    fn whole(&self, length: u64) -> Option<&[u8]> {
        (length > 0 && self.bytes.len() as u64 == length).then_some(&self.bytes)
    }
}

impl Write for Pocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.bytes.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_json;

    #[test]
    fn only_what_may_be_json_is_looked_into() {
        for (name, may_be) in [
            ("apps/7.json", true),
            ("7.JSON", true),
            ("manifest", true),
            ("video.mp4", false),
            ("lib/driver.jar", false),
        ] {
            assert_eq!(may_be_json(name), may_be, "{name}");
        }
    }
}
