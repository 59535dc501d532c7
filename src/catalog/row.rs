//! Rows to archives and back. What the `CHECK`s of the schema promise is checked here once more:
//! a row that does not add up is an error, never a guess.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::CatalogError;
use crate::lifecycle::{
    Archive, Deletion, FailureCause, Holding, LossCause, Milestones, Offer, State, StateWord,
    is_at_rest,
};
use crate::model::{
    ArchiveId, Content, JobId, Name, PackageId, Scope, Sha256Digest, SnapshotId, StoredFile,
    Timestamp,
};

/// Columns of `internal_archive` that follow from an archive's state.
pub(super) struct StateColumns {
    pub(super) state: &'static str,
    pub(super) at_rest: bool,
    pub(super) cause: Option<String>,
    pub(super) job_id: Option<String>,
    pub(super) package_id: Option<String>,
    pub(super) raw: Option<Content>,
    pub(super) format: Option<&'static str>,
    pub(super) file: Option<StoredFile>,
    pub(super) content_sha256: Option<Sha256Digest>,
    pub(super) original: Option<ArchiveId>,
    pub(super) deletion: Option<Deletion>,
}

impl StateColumns {
    pub(super) fn of(archive: &Archive) -> Self {
        let state = &archive.state;
        let (raw, format) = match state {
            State::Downloaded { raw, format, .. } => (Some(*raw), Some(format.word())),
            state => match state.holding() {
                Some(held) => (Some(held.raw), Some(held.file.format.word())),
                None => (None, None),
            },
        };
        let cause = match state {
            State::Failed { cause, .. } => word_of(cause),
            State::Lost { cause, .. } => word_of(cause),
            _ => None,
        };
        let deletion = match state {
            State::Trashed(_, deletion)
            | State::Deleting(_, deletion)
            | State::Deleted(_, deletion) => Some(deletion.clone()),
            _ => None,
        };
        Self {
            state: state.word().as_str(),
            at_rest: is_at_rest(archive),
            cause,
            job_id: state.job().map(|job| job.as_str().to_owned()),
            package_id: state.package().map(|package| package.as_str().to_owned()),
            raw,
            format,
            file: state.holding().map(|held| held.file.clone()),
            content_sha256: state.holding().and_then(|held| held.content_sha256),
            original: state.holding().and_then(|held| held.original),
            deletion,
        }
    }
}

/// The snake-case word of a fieldless enum, as serde writes it.
fn word_of(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

/// One row, with errors that name it.
struct Reader<'r> {
    row: &'r SqliteRow,
    id: ArchiveId,
}

impl<'r> Reader<'r> {
    fn get<T>(&self, column: &str) -> Result<T, CatalogError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.row.try_get(column).map_err(CatalogError::Read)
    }

    fn bad(&self, why: impl std::fmt::Display) -> CatalogError {
        CatalogError::BadRow { what: self.id.to_string(), why: why.to_string() }
    }

    fn need<T>(&self, column: &str, value: Option<T>) -> Result<T, CatalogError> {
        value.ok_or_else(|| self.bad(format!("{column} is missing")))
    }

    fn parse<T>(&self, text: &str) -> Result<T, CatalogError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        text.parse().map_err(|error| self.bad(error))
    }

    fn count(&self, column: &str) -> Result<u32, CatalogError> {
        u32::try_from(self.get::<i64>(column)?)
            .map_err(|_| self.bad(format!("{column} is out of range")))
    }

    fn time(&self, column: &str) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    fn content(&self, bytes: &str, sha256: &str) -> Result<Content, CatalogError> {
        let length = self.need(bytes, self.get::<Option<i64>>(bytes)?)?;
        let sha256 = self.need(sha256, self.digest(sha256)?)?;
        let bytes = u64::try_from(length).map_err(|_| self.bad(format!("{bytes} is negative")))?;
        Ok(Content { bytes, sha256 })
    }

    fn digest(&self, column: &str) -> Result<Option<Sha256Digest>, CatalogError> {
        let Some(bytes) = self.get::<Option<Vec<u8>>>(column)? else { return Ok(None) };
        let bytes = bytes.try_into();
        let bytes = bytes.map_err(|_| self.bad(format!("{column} is not 32 bytes")))?;
        Ok(Some(Sha256Digest(bytes)))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, CatalogError> {
        serde_json::from_str(text).map_err(|error| self.bad(error))
    }

    fn cause<T: serde::de::DeserializeOwned>(&self) -> Result<T, CatalogError> {
        let word: String = self.need("cause", self.get("cause")?)?;
        serde_json::from_value(serde_json::Value::String(word)).map_err(|error| self.bad(error))
    }

    fn job(&self) -> Result<Option<JobId>, CatalogError> {
        Ok(self.get::<Option<String>>("job_id")?.and_then(JobId::new))
    }

    fn package(&self) -> Result<Option<PackageId>, CatalogError> {
        Ok(self.get::<Option<String>>("package_id")?.and_then(PackageId::new))
    }

    fn offer(&self) -> Result<Offer, CatalogError> {
        Ok(Offer {
            job: self.need("job_id", self.job()?)?,
            package: self.need("package_id", self.package()?)?,
        })
    }

    fn holding(&self) -> Result<Holding, CatalogError> {
        let format: String = self.need("format", self.get("format")?)?;
        let method: String = self.need("method", self.get("method")?)?;
        Ok(Holding {
            offer: self.offer()?,
            raw: self.content("raw_bytes", "raw_sha256")?,
            file: StoredFile {
                path: self.need("path", self.get("path")?)?,
                content: self.content("stored_bytes", "stored_sha256")?,
                format: self.parse(&format)?,
                method: self.parse(&method)?,
                inode: self.get::<Option<i64>>("inode")?.map(i64::cast_unsigned),
            },
            content_sha256: self.digest("content_sha256")?,
            original: self.get::<Option<i64>>("original")?.map(ArchiveId),
        })
    }

    fn deletion(&self) -> Result<Deletion, CatalogError> {
        Ok(Deletion {
            reason: self.need("deletion_reason", self.get("deletion_reason")?)?,
            policy: self.get("deletion_policy")?,
        })
    }

    fn state(&self) -> Result<State, CatalogError> {
        let word: String = self.get("state")?;
        Ok(match self.parse::<StateWord>(&word)? {
            StateWord::Scheduled => State::Scheduled,
            StateWord::Requesting => State::Requesting,
            StateWord::Running => State::Running { job: self.need("job_id", self.job()?)? },
            StateWord::Ready => State::Ready(self.offer()?),
            StateWord::Downloading => State::Downloading(self.offer()?),
            StateWord::Downloaded => {
                let format: String = self.need("format", self.get("format")?)?;
                State::Downloaded {
                    offer: self.offer()?,
                    raw: self.content("raw_bytes", "raw_sha256")?,
                    format: self.parse(&format)?,
                }
            }
            StateWord::Stored => State::Stored(self.holding()?),
            StateWord::Trashed => State::Trashed(self.holding()?, self.deletion()?),
            StateWord::Deleting => State::Deleting(self.holding()?, self.deletion()?),
            StateWord::Deleted => State::Deleted(self.holding()?, self.deletion()?),
            StateWord::Damaged => State::Damaged(self.holding()?),
            StateWord::Failed => {
                State::Failed { job: self.job()?, cause: self.cause::<FailureCause>()? }
            }
            StateWord::Lost => State::Lost {
                job: self.job()?,
                package: self.package()?,
                cause: self.cause::<LossCause>()?,
            },
        })
    }
}

/// A row of `internal_archive`.
pub(super) fn archive(row: &SqliteRow) -> Result<Archive, CatalogError> {
    let id = ArchiveId(row.try_get("id").map_err(CatalogError::Read)?);
    let reader = Reader { row, id };
    let name = |column: &str| -> Result<Name, CatalogError> {
        reader.parse(&reader.get::<String>(column)?)
    };
    let scope: Option<String> = reader.get("scope")?;
    Ok(Archive {
        id,
        snapshot: SnapshotId(reader.get("snapshot_id")?),
        instance: name("instance")?,
        export: name("export")?,
        part: reader.count("part")?,
        generation: reader.count("generation")?,
        replaces: reader.get::<Option<i64>>("replaces")?.map(ArchiveId),
        scope: scope.map(|text| reader.json::<Scope>(&text)).transpose()?,
        scheduled_at: Timestamp::from_millis(reader.get("scheduled_at_ms")?),
        revision: reader.get("revision")?,
        attempts: reader.count("attempts")?,
        unknown_polls: reader.count("unknown_polls")?,
        downloads: reader.count("downloads")?,
        busy_since: reader.time("busy_since_ms")?,
        not_before: Timestamp::from_millis(reader.get("not_before_ms")?),
        state: reader.state()?,
        milestones: Milestones {
            accepted_at: reader.time("accepted_at_ms")?,
            ready_at: reader.time("ready_at_ms")?,
            downloaded_at: reader.time("downloaded_at_ms")?,
            stored_at: reader.time("stored_at_ms")?,
            verified_at: reader.time("verified_at_ms")?,
            deleted_at: reader.time("deleted_at_ms")?,
            acknowledged_at: reader.time("acknowledged_at_ms")?,
        },
        last_error: reader.get("last_error")?,
    })
}
