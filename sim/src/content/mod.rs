//! What a package contains: deterministic from a seed, with a known exact length and a SHA-256,
//! and for the large kinds streamed in constant memory. Must never ask the time or the world.

mod asset;
mod json;

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::prng::Prng;

pub(crate) use asset::{AssetScope, Item};

/// Streamed content is made in pieces of this size.
const PIECE: usize = 256 * 1024;

/// What the package of a job shall contain.
///
/// As JSON: `"assets"`, `{"steady":{"changes_every":0}}`, `{"random":{"bytes":1000}}`,
/// `{"json":{"bytes":1000}}`, `{"zip":{"bytes":1000}}`, `{"raw":"text"}` or `{"raw":[80,75]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentSpec {
    /// A realistic asset zip: a manifest, one JSON file per application with its APIs, and one
    /// per FDI task. Successive exports of one scope differ by a few percent.
    #[default]
    Assets,
    /// An asset zip as above of assets that hardly change: between two changes only the times of
    /// its entries differ from one export of a scope to the next, and with them its bytes.
    Steady {
        /// The assets change once in so many exports; 0: never.
        changes_every: u64,
    },
    /// Incompressible bytes, never held in memory.
    Random {
        /// Exact length.
        bytes: u64,
    },
    /// One plausible JSON text, never held in memory.
    Json {
        /// Exact length.
        bytes: u64,
    },
    /// A valid zip with one stored, incompressible entry; built in memory.
    Zip {
        /// Length of the entry; the zip is a little longer.
        bytes: u64,
    },
    /// Exactly these bytes.
    Raw(
        #[serde(serialize_with = "raw_as_bytes", deserialize_with = "raw_from_text_or_bytes")]
        Vec<u8>,
    ),
}

fn raw_as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_seq(bytes),
    }
}

fn raw_from_text_or_bytes<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Bytes(Vec<u8>),
    }
    Ok(match Raw::deserialize(source)? {
        Raw::Text(text) => text.into_bytes(),
        Raw::Bytes(bytes) => bytes,
    })
}

/// One content: made when first needed, the same each time it is read.
#[derive(Debug)]
pub(crate) struct Content {
    recipe: Recipe,
    seed: u64,
    memory: OnceLock<Vec<u8>>,
    sha256: OnceLock<String>,
}

#[derive(Debug)]
enum Recipe {
    Assets(Box<AssetScope>),
    Random(u64),
    Json(u64),
    Zip(u64),
    Ready,
}

impl Content {
    /// The scope matters for [`ContentSpec::Assets`] and [`ContentSpec::Steady`] only.
    pub(crate) fn new(spec: &ContentSpec, seed: u64, scope: AssetScope) -> Content {
        let recipe = match spec {
            ContentSpec::Assets => Recipe::Assets(Box::new(scope)),
            ContentSpec::Steady { changes_every } => {
                let number = scope.export_number;
                let export_number = number.checked_div(*changes_every).unwrap_or(0);
                let stamp = Some(number);
                Recipe::Assets(Box::new(AssetScope { export_number, stamp, ..scope }))
            }
            ContentSpec::Random { bytes } => Recipe::Random(*bytes),
            ContentSpec::Json { bytes } => Recipe::Json(*bytes),
            ContentSpec::Zip { bytes } => Recipe::Zip(*bytes),
            ContentSpec::Raw(bytes) => return Content::from_bytes(bytes.clone()),
        };
        Content::by(recipe, seed)
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Content {
        let content = Content::by(Recipe::Ready, 0);
        content.memory.get_or_init(|| bytes);
        content
    }

    fn by(recipe: Recipe, seed: u64) -> Content {
        Content { recipe, seed, memory: OnceLock::new(), sha256: OnceLock::new() }
    }

    /// Exact length. Builds an asset or zip content.
    pub(crate) fn bytes(&self) -> u64 {
        match self.recipe {
            Recipe::Random(bytes) | Recipe::Json(bytes) => bytes,
            Recipe::Assets(_) | Recipe::Zip(_) | Recipe::Ready => length(self.in_memory()),
        }
    }

    /// Whether length and digest can be told without building much.
    pub(crate) fn is_cheap_to_digest(&self) -> bool {
        self.sha256.get().is_some() || self.memory.get().is_some()
    }

    /// SHA-256 in hexadecimal; made by streaming once, then remembered.
    pub(crate) fn sha256(self: &Arc<Content>) -> &str {
        self.sha256.get_or_init(|| {
            let mut hasher = Sha256::new();
            let mut reader = ContentReader::new(Arc::clone(self));
            while let Some(piece) = reader.next(PIECE) {
                hasher.update(piece);
            }
            hex(&hasher.finalize())
        })
    }

    /// Makes the whole content in memory now, so that sending it later costs no work.
    pub(crate) fn prepare(self: &Arc<Content>) {
        if self.memory.get().is_none() {
            let whole = match &self.recipe {
                Recipe::Random(_) | Recipe::Json(_) => collect(self),
                Recipe::Assets(_) | Recipe::Zip(_) | Recipe::Ready => self.build(),
            };
            self.memory.get_or_init(|| whole);
        }
        let _ = self.sha256();
    }

    /// A copy of the whole; for small contents only.
    pub(crate) fn to_vec(self: &Arc<Content>) -> Vec<u8> {
        collect(self)
    }

    fn in_memory(&self) -> &[u8] {
        self.memory.get_or_init(|| self.build())
    }

    /// Zip writing to memory cannot fail in practice; should it, the package is empty.
    fn build(&self) -> Vec<u8> {
        match &self.recipe {
            Recipe::Assets(scope) => asset::build(scope).unwrap_or_default(),
            Recipe::Zip(bytes) => asset::stored_zip(*bytes, self.seed).unwrap_or_default(),
            Recipe::Random(_) | Recipe::Json(_) | Recipe::Ready => Vec::new(),
        }
    }
}

fn collect(content: &Arc<Content>) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut reader = ContentReader::new(Arc::clone(content));
    while let Some(piece) = reader.next(PIECE) {
        whole.extend_from_slice(piece);
    }
    whole
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// SHA-256 of bytes at hand, in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Reads a content from its beginning, piece by piece.
#[derive(Debug)]
pub(crate) struct ContentReader {
    content: Arc<Content>,
    position: u64,
    source: Source,
    buffer: Vec<u8>,
    /// The part of `buffer` that is filled and not yet given out.
    fresh: std::ops::Range<usize>,
}

#[derive(Debug)]
enum Source {
    Memory,
    Random(Prng),
    Json(json::JsonText),
}

impl ContentReader {
    pub(crate) fn new(content: Arc<Content>) -> ContentReader {
        let in_memory = content.memory.get().is_some();
        let source = match &content.recipe {
            Recipe::Random(_) if !in_memory => Source::Random(Prng::new(content.seed)),
            Recipe::Json(bytes) if !in_memory => {
                Source::Json(json::JsonText::new(*bytes, content.seed))
            }
            _ => Source::Memory,
        };
        ContentReader { content, position: 0, source, buffer: Vec::new(), fresh: 0..0 }
    }

    /// At most `max` further bytes; nothing at the end. `max` must not be zero.
    pub(crate) fn next(&mut self, max: usize) -> Option<&[u8]> {
        let left = self.content.bytes().saturating_sub(self.position);
        if left == 0 {
            return None;
        }
        if matches!(self.source, Source::Memory) {
            let start = usize::try_from(self.position).unwrap_or(usize::MAX);
            let rest = self.content.in_memory().get(start..)?;
            let piece = &rest[..rest.len().min(max)];
            self.position += length(piece);
            return Some(piece);
        }
        if self.fresh.is_empty() {
            let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            self.buffer.resize(size, 0);
            match &mut self.source {
                Source::Random(prng) => prng.fill(&mut self.buffer),
                Source::Json(text) => text.fill(&mut self.buffer),
                Source::Memory => {}
            }
            self.fresh = 0..size;
        }
        let start = self.fresh.start;
        let end = self.fresh.end.min(start.saturating_add(max));
        self.fresh.start = end;
        let piece = self.buffer.get(start..end)?;
        self.position += length(piece);
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
