//! Everything that can happen to an archive; `transition` says what it leads to.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::state::{Deletion, FailureCause, Found, LossCause};
use crate::model::{
    ArchiveId, Content, Format, JobId, PackageId, Sha256Digest, StoredFile, Timestamp,
};

/// What is odd about a package that is kept all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remarks {
    /// The transfer was whole, and the content does not look so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
    /// How it is encoded still, although that was not asked for (contract U5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The media type, when it is none that a package is expected to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// What happened to an archive. Stored for ever in the `events` view; the fields are its `detail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are explained at the types they have")]
pub enum Event {
    /// Intent: the start of a job is about to be sent.
    RequestStarted,
    /// ROMA accepted the job.
    JobAccepted { job: JobId },
    /// A job that was started elsewhere is taken over.
    JobAdopted { job: JobId },
    /// The job certainly did not start; the request comes again.
    RequestPostponed {
        failure: Failure,
        not_before: Timestamp,
        /// It waits for another asset job of its account, and has done so since then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        busy_since: Option<Timestamp>,
    },
    /// The job certainly did not start and will not.
    RequestRefused { cause: FailureCause, failure: Failure },
    /// Nobody knows whether the job started.
    RequestUnanswered { failure: Failure },
    /// ROMA could not be asked about the job; it comes again.
    PollPostponed { failure: Failure, not_before: Timestamp },
    /// ROMA answers again that the job runs; recorded only after an attempt that failed.
    JobStillRunning,
    /// The job ended well and offers a package.
    JobSucceeded { package: PackageId },
    /// The job ended badly; `reasons` are ROMA's, shortened.
    JobFailed { reasons: String },
    /// The job offers a package that another archive already claims.
    PackageDuplicate { package: PackageId, claimed_by: ArchiveId },
    /// The job or its package is out of reach for ever.
    PackageLost { cause: LossCause, message: String },
    /// Intent: the one GET is about to be sent.
    DownloadStarted,
    /// The package is certainly untouched; the GET comes again.
    DownloadPostponed { failure: Failure, not_before: Timestamp },
    /// The package may be consumed; ROMA has to be asked about the job before another GET.
    DownloadInterrupted { failure: Failure, not_before: Timestamp },
    /// The whole package is durable in staging. `adopted`: found there after a restart.
    DownloadFinished {
        raw: Content,
        format: Format,
        adopted: bool,
        #[serde(flatten)]
        remarks: Remarks,
    },
    /// The package could not be packed; the staged file is kept and it comes again.
    PackPostponed { failure: Failure, not_before: Timestamp },
    /// The package lies in the vault, read back and compared.
    FileStored {
        file: StoredFile,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_sha256: Option<Sha256Digest>,
    },
    /// The package contains what an earlier one of its part contains, whose file was read,
    /// compared and shared: `file` and `raw`, the package in it, are that one's.
    FileShared {
        /// Under this archive's own name of it.
        file: StoredFile,
        raw: Content,
        content_sha256: Sha256Digest,
        /// The archive that stored it.
        original: ArchiveId,
    },
    /// The shared file counts as this archive's from now on: `from` no longer has it, or this one
    /// has it back.
    FileInherited { from: ArchiveId },
    /// Its file lies in the vault, whole, though the catalog knew nothing of it: it is older than
    /// the file. What it says of itself is taken over.
    FileFound(Box<Found>),
    /// The stored file was read again and is what it was.
    FileVerified,
    /// The stored file is missing or is not what it was.
    FileDamaged { message: String },
    /// Somebody has seen that it is lost or damaged; it stays so, and `status` is content.
    LossAcknowledged {
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Retention has decided; the file stays until `purge_at`.
    DeletionDecided { deletion: Deletion, purge_at: Timestamp },
    /// The file is brought back from the trash: by a person, or for the sake of a pin.
    DeletionRevoked { by: String },
    /// Intent: the file is about to be removed.
    DeletionStarted,
    /// The file could not be removed; it comes again.
    DeletionPostponed { failure: Failure, not_before: Timestamp },
    /// The file is gone.
    FileDeleted,
}

impl Event {
    /// The word in the column `events.event`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::RequestStarted => "request_started",
            Self::JobAccepted { .. } => "job_accepted",
            Self::JobAdopted { .. } => "job_adopted",
            Self::RequestPostponed { .. } => "request_postponed",
            Self::RequestRefused { .. } => "request_refused",
            Self::RequestUnanswered { .. } => "request_unanswered",
            Self::PollPostponed { .. } => "poll_postponed",
            Self::JobStillRunning => "job_still_running",
            Self::JobSucceeded { .. } => "job_succeeded",
            Self::JobFailed { .. } => "job_failed",
            Self::PackageDuplicate { .. } => "package_duplicate",
            Self::PackageLost { .. } => "package_lost",
            Self::DownloadStarted => "download_started",
            Self::DownloadPostponed { .. } => "download_postponed",
            Self::DownloadInterrupted { .. } => "download_interrupted",
            Self::DownloadFinished { .. } => "download_finished",
            Self::PackPostponed { .. } => "pack_postponed",
            Self::FileStored { .. } => "file_stored",
            Self::FileShared { .. } => "file_shared",
            Self::FileInherited { .. } => "file_inherited",
            Self::FileFound(_) => "file_found",
            Self::FileVerified => "file_verified",
            Self::FileDamaged { .. } => "file_damaged",
            Self::LossAcknowledged { .. } => "loss_acknowledged",
            Self::DeletionDecided { .. } => "deletion_decided",
            Self::DeletionRevoked { .. } => "deletion_revoked",
            Self::DeletionStarted => "deletion_started",
            Self::DeletionPostponed { .. } => "deletion_postponed",
            Self::FileDeleted => "file_deleted",
        }
    }
}
