//! What a package contains, whatever its zip looks like: ROMA's zips carry the time of the export,
//! so that two exports of unchanged assets differ in their bytes and not in their content.
//!
//! The digest must be the same for the same entries, and must never be given to a package of which
//! anything was left unread: none is always a right answer, and costs only room. It works in memory
//! that does not grow with the package, and in bounded time on any bytes whatever. It only reads,
//! so a crash means nothing here.

use std::fs::File;
use std::io::{self, Read, Seek};

use sha2::{Digest, Sha256};
use zip::read::ZipReadOptions;

use super::meter::Meter;
use super::staging::StagedKind;
use super::whole::{open_strictly, unwrap_io};
use super::{Vault, VaultError, io_error};
use crate::model::{ArchiveId, Content, Format, Sha256Digest};

/// A larger directory is not read: the reader holds it in memory, several times its size, and 32
/// packages may be looked at together. This is enough for some 30,000 entries; ROMA exports at most
/// 100 assets (contract 1).
const MAX_DIRECTORY: u64 = 4 << 20;
/// Entries are short, mostly: they are read in pieces of so many bytes.
const PIECE: usize = 32 << 10;
/// Begins what is hashed, so that no file can be made whose own SHA-256 is such a digest.
const DOMAIN: &[u8] = b"roma-archived zip content 1\n";

impl Vault {
    /// The digest of what the staged package `raw` of an archive contains; `None`: it cannot be
    /// told, for instance because an entry is encrypted or because all entries together would
    /// inflate to more than `max_inflated` bytes.
    ///
    /// Of a zip it covers name, length and content of each entry, in the order of their names; not
    /// their times, their order, their compression, nor any comment. Of everything else it is the
    /// SHA-256 of the package.
    pub fn content_of_staged(
        &self,
        id: ArchiveId,
        raw: Content,
        format: Format,
        max_inflated: u64,
    ) -> Result<Option<Sha256Digest>, VaultError> {
        if format != Format::Zip {
            return Ok(Some(raw.sha256));
        }
        let path = self.staged_path(id, StagedKind::Raw);
        let digest = File::open(&path).and_then(|file| content_of_zip(&file, max_inflated));
        match digest {
            // If it is not sealed either, packing says what is wrong.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.content_of_sealed(id, max_inflated)
            }
            digest => digest.map_err(io_error("read", &path)),
        }
    }
}

/// [`Vault::content_of_staged`] of a package that is read here. Fails only if the disk cannot be
/// read.
pub(super) fn content_of(
    package: impl Read + Seek,
    raw: Content,
    format: Format,
    max_inflated: u64,
) -> io::Result<Option<Sha256Digest>> {
    if format == Format::Zip { content_of_zip(package, max_inflated) } else { Ok(Some(raw.sha256)) }
}

/// Fails only if the disk cannot be read.
fn content_of_zip(file: impl Read + Seek, max_inflated: u64) -> io::Result<Option<Sha256Digest>> {
    match digest_entries(file, max_inflated) {
        // Readers report broken content as errors too; only the disk's own count.
        Err(error) if error.raw_os_error().is_none() => Ok(None),
        result => result,
    }
}

fn digest_entries(file: impl Read + Seek, max_inflated: u64) -> io::Result<Option<Sha256Digest>> {
    // It refuses two entries of one name, and entries that share bytes.
    let Some(mut archive) = open_strictly(file, MAX_DIRECTORY)? else { return Ok(None) };
    let mut entries = Vec::with_capacity(archive.len());
    let mut buffer = vec![0; PIECE];
    let mut left = max_inflated;
    for index in 0..archive.len() {
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let mut entry = archive.by_index_with_options(index, options).map_err(unwrap_io)?;
        let mut meter = Meter::default();
        // The reader compares the checksum when it comes to the end.
        loop {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let Some(rest) = left.checked_sub(count as u64) else { return Ok(None) };
            left = rest;
            meter.update(&buffer[..count]);
        }
        let content = meter.content();
        if entry.encrypted() || content.bytes != entry.size() {
            return Ok(None);
        }
        entries.push((entry.name_raw().to_vec(), content));
    }
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut hasher = Sha256::new_with_prefix(DOMAIN);
    for (name, content) in entries {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(&name);
        hasher.update(content.bytes.to_le_bytes());
        hasher.update(content.sha256.0);
    }
    Ok(Some(Sha256Digest(hasher.finalize().into())))
}

#[cfg(test)]
#[path = "likeness_tests.rs"]
mod tests;
