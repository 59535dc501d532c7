//! Where an archive can stand.

use serde::{Deserialize, Serialize};

use crate::model::{
    ArchiveId, Content, Format, JobId, PackageId, Sha256Digest, StoredFile, Timestamp, UnknownWord,
};

/// A package that ROMA offers for its one download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The job that made it.
    pub job: JobId,
    /// The package; a GET of it is destructive (contract 3).
    pub package: PackageId,
}

/// A package that we hold as a file of the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Where it came from.
    pub offer: Offer,
    /// The package in the file, byte for byte: as ROMA sent it to this archive or, if it shares the
    /// file, to the one that stored it.
    pub raw: Content,
    /// The file that holds it.
    pub file: StoredFile,
    /// The digest of what the package contains, whatever its zip looks like; `None`: unknown.
    pub content_sha256: Option<Sha256Digest>,
    /// The archive that stored the file, if this one shares it.
    pub original: Option<ArchiveId>,
}

/// What a file of the vault says of itself, checked against its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The job that made the package.
    pub job: JobId,
    /// The package.
    pub package: PackageId,
    /// When ROMA offered it.
    pub ready_at: Option<Timestamp>,
    /// When the whole package was durable here; `None`: nobody knows.
    pub downloaded_at: Option<Timestamp>,
    /// The package byte for byte, as ROMA sent it.
    pub raw: Content,
    /// The file that holds it.
    pub file: StoredFile,
    /// The archive that stored the file, if this one shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<ArchiveId>,
}

/// Why a file goes, kept in its tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// The retention rule in words.
    pub reason: String,
    /// Digest of the policy that decided, to find the configuration of that day.
    pub policy: Option<String>,
}

/// Why an archive came to nothing without a package being lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// ROMA refused to start the job, and trying again would not help.
    Refused,
    /// ROMA could not be brought to start the job in all attempts.
    AttemptsExhausted,
    /// ROMA was busy with other asset jobs of this account for too long (contract U10).
    AccountBusy,
    /// The job ran and ROMA reports it as failed.
    JobFailed,
    /// Another archive already holds, or held, the package that this job offers.
    DuplicatePackage,
}

/// Why a package, or a job that may have made one, is out of reach for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The answer to the start of the job was lost; ROMA has no call that lists jobs (contract 1).
    RequestUnanswered,
    /// ROMA no longer knows the job (contract U13).
    JobVanished,
    /// The job never ended within the deadline (contract U13).
    JobStuck,
    /// The job's answer stays unreadable or refused.
    JobUnreadable,
    /// ROMA says that the package was fetched or has expired (contract U3, U12).
    PackageGone,
    /// Transfers broke off again and again, though ROMA went on offering the package.
    DownloadsExhausted,
    /// The staged file vanished or changed before it was packed.
    StagedFileLost,
}

/// Where an archive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Due; nothing is outstanding at ROMA.
    Scheduled,
    /// In doubt: ROMA may have started the job.
    Requesting,
    /// ROMA runs the job, or has to be asked what became of it.
    Running {
        /// The job to ask for.
        job: JobId,
    },
    /// The package waits at ROMA for its one download.
    Ready(Offer),
    /// In doubt: the package may be consumed, and its bytes may lie in staging.
    Downloading(Offer),
    /// The whole package is durable in staging. From here ROMA is no longer needed.
    Downloaded {
        /// Where it came from.
        offer: Offer,
        /// What lies in staging.
        raw: Content,
        /// What it looks like.
        format: Format,
    },
    /// The package lies in the vault, read back and compared.
    Stored(Holding),
    /// Retention has decided; the file is still there and `undelete` brings it back.
    Trashed(Holding, Deletion),
    /// In doubt: the file may be gone.
    Deleting(Holding, Deletion),
    /// A tombstone: the file is gone, the record stays for ever.
    Deleted(Holding, Deletion),
    /// The file is missing or is not what it was.
    Damaged(Holding),
    /// There was never a package to keep.
    Failed {
        /// The job, when there was one.
        job: Option<JobId>,
        /// Why.
        cause: FailureCause,
    },
    /// A package is out of reach, or must be taken for it.
    Lost {
        /// The job, when its identifier is known.
        job: Option<JobId>,
        /// The package, when its identifier is known.
        package: Option<PackageId>,
        /// Why.
        cause: LossCause,
    },
}

/// The name of a state, without what belongs to it: the words of the public views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is explained at the variant of `State` of the same name")]
pub enum StateWord {
    Scheduled,
    Requesting,
    Running,
    Ready,
    Downloading,
    Downloaded,
    Stored,
    Trashed,
    Deleting,
    Deleted,
    Damaged,
    Failed,
    Lost,
}

impl StateWord {
    /// All states, in the order of a life.
    pub const ALL: [Self; 13] = [
        Self::Scheduled,
        Self::Requesting,
        Self::Running,
        Self::Ready,
        Self::Downloading,
        Self::Downloaded,
        Self::Stored,
        Self::Trashed,
        Self::Deleting,
        Self::Deleted,
        Self::Damaged,
        Self::Failed,
        Self::Lost,
    ];

    /// The word in the catalog, on the screen and in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Requesting => "requesting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Stored => "stored",
            Self::Trashed => "trashed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }

    /// Whether an archive in this state still has its way to the vault before it.
    pub const fn is_unfinished(self) -> bool {
        matches!(
            self,
            Self::Scheduled
                | Self::Requesting
                | Self::Running
                | Self::Ready
                | Self::Downloading
                | Self::Downloaded
        )
    }

    /// Whether it has its file, as far as anybody knows, and is not about to lose it: of those that
    /// share one, the first of these counts as its holder.
    pub const fn has_file(self) -> bool {
        matches!(self, Self::Stored | Self::Trashed)
    }

    /// Whether a job or a package of this archive occupies its account at ROMA: only one asset job
    /// of a user may run (contract 1), and none may start while a package waits (contract U9).
    pub const fn occupies_account(self) -> bool {
        matches!(self, Self::Requesting | Self::Running | Self::Ready | Self::Downloading)
    }
}

impl std::fmt::Display for StateWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for StateWord {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownWord::new("state", word))
    }
}

impl State {
    /// The name of this state.
    pub const fn word(&self) -> StateWord {
        match self {
            Self::Scheduled => StateWord::Scheduled,
            Self::Requesting => StateWord::Requesting,
            Self::Running { .. } => StateWord::Running,
            Self::Ready(_) => StateWord::Ready,
            Self::Downloading(_) => StateWord::Downloading,
            Self::Downloaded { .. } => StateWord::Downloaded,
            Self::Stored(_) => StateWord::Stored,
            Self::Trashed(..) => StateWord::Trashed,
            Self::Deleting(..) => StateWord::Deleting,
            Self::Deleted(..) => StateWord::Deleted,
            Self::Damaged(_) => StateWord::Damaged,
            Self::Failed { .. } => StateWord::Failed,
            Self::Lost { .. } => StateWord::Lost,
        }
    }

    /// The job at ROMA, as far as it is known.
    pub const fn job(&self) -> Option<&JobId> {
        match self {
            Self::Scheduled | Self::Requesting => None,
            Self::Running { job } => Some(job),
            Self::Failed { job, .. } | Self::Lost { job, .. } => job.as_ref(),
            Self::Ready(offer) | Self::Downloading(offer) | Self::Downloaded { offer, .. } => {
                Some(&offer.job)
            }
            Self::Stored(held)
            | Self::Damaged(held)
            | Self::Trashed(held, _)
            | Self::Deleting(held, _)
            | Self::Deleted(held, _) => Some(&held.offer.job),
        }
    }

    /// The package at ROMA, as far as it is known.
    pub const fn package(&self) -> Option<&PackageId> {
        match self {
            Self::Scheduled | Self::Requesting | Self::Running { .. } | Self::Failed { .. } => None,
            Self::Lost { package, .. } => package.as_ref(),
            Self::Ready(offer) | Self::Downloading(offer) | Self::Downloaded { offer, .. } => {
                Some(&offer.package)
            }
            _ => match self.holding() {
                Some(held) => Some(&held.offer.package),
                None => None,
            },
        }
    }

    /// The file that is, or was, in the vault.
    pub const fn holding(&self) -> Option<&Holding> {
        match self {
            Self::Stored(held)
            | Self::Damaged(held)
            | Self::Trashed(held, _)
            | Self::Deleting(held, _)
            | Self::Deleted(held, _) => Some(held),
            _ => None,
        }
    }
}
