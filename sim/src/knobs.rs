//! The standing behaviour of the simulated service: one knob for each point that the vendor's
//! documents leave open or tell differently. Must hold values only.
//!
//! The section and U numbers are those of the API contract in the project's documents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::choices::{
    AgencySpelling, ArchiveIdPlace, CodeStyle, ConsumePoint, DownloadFraming, EmptyLists, Encoding,
    GatewayPrefix, LockScope, MetadataMode, ReasonForm, ReasonKey, SecondGet, SpentJob, TimeForm,
    UnknownIds, Vintage,
};
use crate::content::ContentSpec;
use crate::fault::{Endpoint, Fault};

/// Faults by chance, the same for the same seed and the same order of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chaos {
    /// Seed of the dice.
    pub seed: u64,
    /// How likely a request of the endpoint meets a fault, 0 to 1.
    pub probability: BTreeMap<Endpoint, f64>,
    /// The faults to choose from; empty means a list that fits the endpoint.
    pub menu: Vec<Fault>,
}

/// All knobs. `None` means: as the vintage has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Generation of the documents (section 2).
    pub vintage: Vintage,
    /// Where the package's id stands (section 2).
    pub archive_id_place: ArchiveIdPlace,
    /// Whether the id is shown while the job still runs (section 2, the example).
    pub id_while_running: bool,
    /// When a package counts as consumed (U1).
    pub consume_point: ConsumePoint,
    /// The answer to a second GET (U3). 2025: 403; 2022: bare 404.
    pub second_get: Option<SecondGet>,
    /// The job of a consumed package (section 2). 2025: keeps its id; 2022: finished without.
    pub consumed_job: Option<SpentJob>,
    /// How long a package can be had (U8); none: for ever.
    pub validity_ms: Option<i64>,
    /// The job of an expired package (U8). As `consumed_job` by default.
    pub expired_job: Option<SpentJob>,
    /// Whether a newer package of the same user throws away an older one (U9).
    pub export_replaces_package: bool,
    /// Whom a running job blocks (U10).
    pub lock_scope: LockScope,
    /// Spelling of ROMA's codes (section 7).
    pub code_style: CodeStyle,
    /// The gateway's prefix (section 7).
    pub gateway_prefix: GatewayPrefix,
    /// Whether an error carries `suggestion` (section 7). 2022 only.
    pub suggestion: Option<bool>,
    /// Key of the failure list (U14). 2025: `reason`; 2022: `reasons`.
    pub reason_key: Option<ReasonKey>,
    /// Form of the failure list (U14).
    pub reason_form: ReasonForm,
    /// Form of a job's times (U15). 2025: text; 2022: milliseconds.
    pub time_form: Option<TimeForm>,
    /// What full progress is: 1, or 100 as some read it (U15).
    pub progress_scale: u32,
    /// How long a job runs, by the simulator's clock.
    pub job_duration_ms: i64,
    /// How many polls (or exports refused because of the job) find it running at least.
    pub polls_until_done: u32,
    /// An export with unknown ids (U18).
    pub unknown_ids: UnknownIds,
    /// An export with one empty list (U19).
    pub empty_lists: EmptyLists,
    /// Applications and tasks in one export together (section 1).
    pub max_export_ids: usize,
    /// `Content-Type` of a package; none: no such header (U4).
    pub download_content_type: Option<String>,
    /// `Content-Disposition` of a package; none: no such header (section 3).
    pub download_disposition: Option<String>,
    /// How the end of a package is told (U4).
    pub download_framing: DownloadFraming,
    /// `Content-Encoding` of a package (U5).
    pub download_encoding: Encoding,
    /// Bytes per second of one connection, in real time; none: as fast as it goes.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Real time before each answer.
    pub latency_ms: u64,
    /// How far the `Date` of each answer is off the simulator's clock.
    pub date_offset_ms: i64,
    /// How long a token is good, by the simulator's clock (section 6.1: 24 h).
    pub token_lifetime_s: i64,
    /// How long the text of a token is (section 6.1: several kilobytes).
    pub token_length: usize,
    /// Wrong passwords until the user is locked; none: never (section 6.1).
    pub lock_after: Option<u32>,
    /// How long a user stays locked.
    pub lock_ms: i64,
    /// How far the time of a signature may be off (section 6.2: 15 minutes).
    pub skew_ms: u64,
    /// Failed signatures in a row that a key survives; none: any (section 6.2).
    pub ak_lock_after: Option<u32>,
    /// How long a key stays locked.
    pub ak_lock_ms: i64,
    /// How the metadata service wants to be asked (section 6.3).
    pub metadata: MetadataMode,
    /// Who the machine's agency acts as; none: the machine has no agency (section 6.3).
    pub agency_user: Option<String>,
    /// How the agency's keys are spelt (section 6.3).
    pub agency_spelling: AgencySpelling,
    /// How long the agency's keys are good (section 6.3: 24 h; 1 h in a container cluster).
    pub agency_lifetime_s: i64,
    /// How long before their end new ones appear, at most half their life (section 6.3: 6 h).
    pub agency_renew_s: i64,
    /// Largest body of an import (section 4: 12 MB).
    pub import_limit_bytes: u64,
    /// What the package of an export contains.
    pub default_content: ContentSpec,
    /// Make a package in memory when its job succeeds, so that sending it costs no work.
    pub prepare_in_memory: bool,
    /// Faults by chance.
    pub chaos: Chaos,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            vintage: Vintage::default(),
            archive_id_place: ArchiveIdPlace::default(),
            id_while_running: false,
            consume_point: ConsumePoint::default(),
            second_get: None,
            consumed_job: None,
            validity_ms: None,
            expired_job: None,
            export_replaces_package: false,
            lock_scope: LockScope::default(),
            code_style: CodeStyle::default(),
            gateway_prefix: GatewayPrefix::default(),
            suggestion: None,
            reason_key: None,
            reason_form: ReasonForm::default(),
            time_form: None,
            progress_scale: 1,
            job_duration_ms: 0,
            polls_until_done: 0,
            unknown_ids: UnknownIds::default(),
            empty_lists: EmptyLists::default(),
            max_export_ids: 100,
            download_content_type: Some("application/octet-stream".to_owned()),
            download_disposition: None,
            download_framing: DownloadFraming::default(),
            download_encoding: Encoding::default(),
            bandwidth_bytes_per_s: None,
            latency_ms: 0,
            date_offset_ms: 0,
            token_lifetime_s: 86_400,
            token_length: 2_048,
            lock_after: Some(5),
            lock_ms: 15 * 60 * 1_000,
            skew_ms: 15 * 60 * 1_000,
            ak_lock_after: Some(5),
            ak_lock_ms: 5 * 60 * 1_000,
            metadata: MetadataMode::default(),
            agency_user: Some(crate::defaults::USER.to_owned()),
            agency_spelling: AgencySpelling::default(),
            agency_lifetime_s: 86_400,
            agency_renew_s: 21_600,
            import_limit_bytes: 12 * 1_024 * 1_024,
            default_content: ContentSpec::default(),
            prepare_in_memory: false,
            chaos: Chaos::default(),
        }
    }
}

impl Knobs {
    /// The default knobs in another vintage.
    pub fn of_vintage(vintage: Vintage) -> Knobs {
        Knobs { vintage, ..Knobs::default() }
    }

    fn old(&self) -> bool {
        self.vintage == Vintage::V2022
    }

    pub(crate) fn second_get(&self) -> SecondGet {
        self.second_get.unwrap_or(if self.old() {
            SecondGet::NotFound404Bare
        } else {
            SecondGet::Forbidden403
        })
    }

    pub(crate) fn consumed_job(&self) -> SpentJob {
        self.consumed_job.unwrap_or(if self.old() {
            SpentJob::FinishedWithoutId
        } else {
            SpentJob::KeepsId
        })
    }

    pub(crate) fn expired_job(&self) -> SpentJob {
        self.expired_job.unwrap_or(self.consumed_job())
    }

    pub(crate) fn suggestion(&self) -> bool {
        self.suggestion.unwrap_or(self.old())
    }

    pub(crate) fn reason_key(&self) -> ReasonKey {
        self.reason_key.unwrap_or(if self.old() { ReasonKey::Reasons } else { ReasonKey::Reason })
    }

    pub(crate) fn time_form(&self) -> TimeForm {
        self.time_form.unwrap_or(if self.old() { TimeForm::Milliseconds } else { TimeForm::Text })
    }

    /// These knobs with the keys of a JSON object laid over them; `null` sets back to the vintage.
    pub(crate) fn merged(&self, changes: &serde_json::Value) -> Result<Knobs, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        if let (Some(target), Some(source)) = (whole.as_object_mut(), changes.as_object()) {
            for (key, value) in source {
                target.insert(key.clone(), value.clone());
            }
        }
        serde_json::from_value(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_read_from_toml_and_merge() {
        let knobs: Knobs = toml::from_str(
            "vintage = \"v2022\"\nsecond_get = \"notfound404_bare\"\n\
             default_content = { random = { bytes = 5 } }\n\
             [chaos.probability]\nexport = 0.5\n",
        )
        .unwrap();
        assert_eq!(knobs.second_get(), SecondGet::NotFound404Bare);
        assert_eq!(knobs.default_content, ContentSpec::Random { bytes: 5 });
        let merged = knobs.merged(&serde_json::json!({"second_get": "gone410"})).unwrap();
        assert_eq!(merged.second_get, Some(SecondGet::Gone410));
        assert_eq!(merged.vintage, Vintage::V2022);
        assert!(knobs.merged(&serde_json::json!({"no_such": 1})).is_err());
    }
}
