//! `manifest.json`: what a stored file says of itself, so that the catalog can be rebuilt from the
//! vault alone.
//!
//! The same values give the same bytes. It must never hold a secret, and never anything that is
//! known only after packing, such as the digest of the zip. Pure data: nothing can crash here.

use serde::{Deserialize, Deserializer, Serialize};

use super::Vault;
use crate::model::{
    ArchiveId, Content, Format, JobId, Name, PackageId, Sha256Digest, SnapshotId, Timestamp,
};

/// The first entry of every stored zip. Fields that a later version adds are ignored here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`Manifest::SCHEMA_VERSION`] when this version wrote it.
    pub schema_version: u32,
    /// [`Manifest::APP`].
    pub app: String,
    /// Our number of the package.
    pub archive_id: ArchiveId,
    /// The run it belongs to.
    pub snapshot_id: SnapshotId,
    /// 1 for the first part of the snapshot.
    pub part: u32,
    /// How many parts the snapshot has.
    pub parts: u32,
    /// The configured instance.
    #[serde(deserialize_with = "name")]
    pub instance: Name,
    /// The configured export.
    #[serde(deserialize_with = "name")]
    pub export: Name,
    /// ROMA's identifier of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// ROMA's identifier of the job.
    pub job_id: JobId,
    /// ROMA's identifier of the package.
    pub package_id: PackageId,
    /// When the run fell due.
    pub scheduled_at: Timestamp,
    /// When ROMA offered the package.
    pub ready_at: Option<Timestamp>,
    /// When the whole package was durable here; also the time of the zip's entries.
    pub downloaded_at: Timestamp,
    /// Length of the package as ROMA sent it, in bytes.
    pub raw_bytes: u64,
    /// Its digest.
    pub raw_sha256: Sha256Digest,
    /// What it looks like.
    pub format: Format,
    /// Its name in the zip.
    pub entry: String,
}

impl Manifest {
    /// Raised when a field changes its meaning; new fields do not raise it.
    pub const SCHEMA_VERSION: u32 = 1;
    /// Who writes such files.
    pub const APP: &'static str = "roma-archived";
    /// The name of the manifest in the zip.
    pub const ENTRY: &'static str = "manifest.json";

    /// The package as ROMA sent it.
    pub const fn raw(&self) -> Content {
        Content { bytes: self.raw_bytes, sha256: self.raw_sha256 }
    }

    /// Where the file was stored, relative to `vault/`; archives that share it have it elsewhere.
    pub fn place(&self) -> String {
        Vault::relative_path(
            &self.instance,
            &self.export,
            self.scheduled_at,
            self.snapshot_id,
            self.part,
        )
    }

    /// Indented JSON in the order of the fields, with a newline at the end.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads what [`Manifest::to_json`] wrote, in this version or a later one.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manifest of a package with this content.
    pub(in crate::vault) fn manifest_of(raw: Content, format: Format) -> Manifest {
        Manifest {
            schema_version: Manifest::SCHEMA_VERSION,
            app: Manifest::APP.to_owned(),
            archive_id: ArchiveId(34),
            snapshot_id: SnapshotId(12),
            part: 1,
            parts: 2,
            instance: "prod".parse().unwrap(),
            export: "nightly".parse().unwrap(),
            instance_id: Some("e34610ca".to_owned()),
            job_id: JobId::new("job/1").unwrap(),
            package_id: PackageId::new("package \"1\"").unwrap(),
            scheduled_at: "2026-11-24T02:00:00Z".parse().unwrap(),
            ready_at: Some("2026-11-24T02:01:00.5Z".parse().unwrap()),
            downloaded_at: "2026-11-24T02:01:07.25Z".parse().unwrap(),
            raw_bytes: raw.bytes,
            raw_sha256: raw.sha256,
            format,
            entry: format.entry_name().to_owned(),
        }
    }

    #[test]
    fn it_is_written_in_a_fixed_order_and_read_back() {
        let raw = Content { bytes: 5, sha256: Sha256Digest([0xab; 32]) };
        let manifest = manifest_of(raw, Format::Json);
        let json = manifest.to_json().unwrap();
        let expected = format!(
            r#"{{
  "schema_version": 1,
  "app": "roma-archived",
  "archive_id": 34,
  "snapshot_id": 12,
  "part": 1,
  "parts": 2,
  "instance": "prod",
  "export": "nightly",
  "instance_id": "e34610ca",
  "job_id": "job/1",
  "package_id": "package \"1\"",
  "scheduled_at": "2026-11-24T02:00:00.000Z",
  "ready_at": "2026-11-24T02:01:00.500Z",
  "downloaded_at": "2026-11-24T02:01:07.250Z",
  "raw_bytes": 5,
  "raw_sha256": "{}",
  "format": "json",
  "entry": "package.json"
}}
"#,
            "ab".repeat(32)
        );
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
    }

    #[test]
    fn fields_of_later_versions_are_ignored_and_names_stay_strict() {
        let raw = Content { bytes: 0, sha256: Sha256Digest([0; 32]) };
        let manifest = Manifest { instance_id: None, ..manifest_of(raw, Format::Other) };
        let json = String::from_utf8(manifest.to_json().unwrap()).unwrap();
        let newer = json.replacen('{', "{ \"colour\": {\"a\": [1]},", 1);
        assert_eq!(Manifest::from_json(newer.as_bytes()).unwrap(), manifest);
        let bad = json.replace("\"prod\"", "\"../prod\"");
        assert!(Manifest::from_json(bad.as_bytes()).is_err());
    }
}
