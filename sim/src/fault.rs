//! Faults that a test scripts: what the next request of an endpoint meets. Must never decide by
//! chance (that is `chaos`) nor touch a socket (that is `transmit`).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::wire::JobReason;

/// One call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST .../assets/export`
    Export,
    /// `GET .../assets/jobs/{job_id}`
    Job,
    /// `GET .../assets/archives/{archive_id}`
    Download,
    /// `POST .../assets/import`
    Import,
    /// `POST /v3/auth/tokens`
    Token,
    /// `GET .../instances/{id}/apps`
    Apps,
    /// `GET .../fdi/instances/{id}/tasks`
    Tasks,
    /// `GET .../instances`
    Instances,
    /// `GET /v3/projects`
    Projects,
    /// `PUT /meta-data/latest/api/token` of the metadata service
    MetadataToken,
    /// `GET /openstack/latest/securitykey` of the metadata service
    SecurityKey,
}

/// Whether a failure comes before or after the effect of the request: a job started, a package
/// consumed, a token issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The failure comes before the effect: nothing happened.
    #[default]
    Before,
    /// The failure comes after the effect: it did happen.
    After,
}

/// The ways in which credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnauthorizedKind {
    /// 401 APIGW.0307, "The token must be updated."
    ExpiredToken,
    /// 401 APIGW.0301, "decrypt token fail"
    BadToken,
    /// 401 APIGW.0301, "verify aksk signature fail"
    BadSignature,
    /// 401 APIGW.0301, "signature expired"
    ClockSkew,
    /// 401 APIGW.0301, "AK access failed to reach the limit,forbidden"
    AkLocked,
    /// 401 APIGW.0305, "ak not exist"
    AkUnknown,
    /// 400 ROMA.1002: a wrong token refused as a bad request
    WrongTokenAs400,
}

/// How a list changes. Places count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListMove {
    /// The asset in this place is deleted.
    Gone(usize),
    /// A new asset comes before this place.
    New(usize),
    /// The asset in this place becomes a favourite, which stands first (section 5).
    Favourite(usize),
}

/// What a request meets instead of, or on top of, its ordinary answer.
///
/// As JSON: the variant's name in `snake_case`, with its fields as an object:
/// `"lose_job"`, `{"status":{"code":503}}`, `{"stall":{"bytes":10,"ms":500}}`.
/// A fault that makes no sense for an endpoint changes nothing there. All byte counts are of the
/// body as it goes over the wire, chunk sizes apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An error answer; the request has no effect.
    Status {
        /// HTTP status.
        code: u16,
        /// `error_code` of the envelope, as it stands here. None: a code that fits the status.
        #[serde(default)]
        error_code: Option<String>,
        /// The whole body instead of an envelope.
        #[serde(default)]
        body: Option<String>,
        /// `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
        /// `Content-Type` of the body.
        #[serde(default)]
        content_type: Option<String>,
    },
    /// Credentials refused; no effect.
    Unauthorized {
        /// In which way.
        kind: UnauthorizedKind,
    },
    /// 429 APIGW.0308; no effect.
    Throttle {
        /// `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 302 to somewhere else; no effect.
    Redirect {
        /// `Location`.
        location: String,
    },
    /// Read the request, then hang up without an answer.
    CloseBeforeHead {
        /// Whether the effect took place.
        #[serde(default)]
        effect: Effect,
    },
    /// Reset the connection (RST) after so many bytes of the body.
    ResetAfter {
        /// Bytes of the body.
        bytes: u64,
    },
    /// Close the connection properly after so many bytes, short of the `Content-Length`.
    CutBody {
        /// Bytes of the body.
        bytes: u64,
    },
    /// Close a chunked answer after so many bytes, without the last chunk.
    CutChunked {
        /// Bytes of the body.
        bytes: u64,
    },
    /// A `Content-Length` larger than the body, which is sent whole.
    LongerLength {
        /// By how much.
        extra: u64,
    },
    /// A `Content-Length` smaller than the body, which is sent whole.
    ShorterLength {
        /// By how much.
        less: u64,
    },
    /// Stop sending for a while (real time) after so many bytes of the body.
    Stall {
        /// Bytes of the body.
        bytes: u64,
        /// For how long.
        ms: u64,
    },
    /// Send the body in small pieces with pauses (real time) between them.
    Trickle {
        /// Bytes per piece.
        bytes_per_tick: u64,
        /// Pause after each.
        ms: u64,
    },
    /// A body that never ends.
    EndlessBody,
    /// 200 with an HTML page; no effect.
    HtmlError200,
    /// 200 with an error envelope; no effect.
    JsonError200,
    /// 200 with nothing; no effect.
    Empty200,
    /// `Content-Encoding: gzip`, asked for or not.
    Gzip,
    /// `Content-Encoding: deflate`, asked for or not.
    Deflate,
    /// An informational answer (100, 103) ahead of the ordinary one.
    Informational {
        /// Its status.
        code: u16,
    },
    /// The ordinary answer's JSON, cut in the middle, with a matching `Content-Length`.
    MalformedJson,
    /// A JSON answer of this size.
    HugeJson {
        /// Its size.
        bytes: u64,
    },
    /// The job is unknown (404) from now on, and blocks nothing.
    LoseJob,
    /// The job's status is this word, this once.
    UnknownStatus {
        /// The word.
        word: String,
    },
    /// A success without the id it should carry (job: `archive_id`, export: `job_id`, token: the
    /// header), this once.
    SuccessWithoutId,
    /// The job has failed.
    FailedWithReasons {
        /// Why.
        reasons: Vec<JobReason>,
    },
    /// The job runs for ever, until the faults are cleared.
    StuckRunning,
    /// The job offers another job's package.
    SamePackageIdAsOtherJob {
        /// That package.
        package_id: String,
    },
    /// The job's package gets this id, and can be had under it.
    OddPackageId {
        /// Such as one with `../`, NUL, 128 characters or other alphabets.
        id: String,
    },
    /// 502 or 504 from the gateway.
    BadGateway {
        /// 502 or 504.
        code: u16,
        /// Whether the effect took place.
        #[serde(default)]
        effect: Effect,
    },
    /// The page as it is; then, before the next request, the list changes.
    ListMoves(ListMove),
    /// A `Date` header off the clock.
    WrongDate {
        /// By how much.
        offset_ms: i64,
    },
}

impl Fault {
    /// An error answer with this status and a fitting envelope.
    pub fn status(code: u16) -> Fault {
        Fault::Status { code, error_code: None, body: None, retry_after: None, content_type: None }
    }

    /// The same with this `error_code`, spelt as it stands here.
    pub fn refusal(code: u16, error_code: &str) -> Fault {
        let error_code = Some(error_code.to_owned());
        Fault::Status { code, error_code, body: None, retry_after: None, content_type: None }
    }
}

/// The faults that wait for their request.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultBook {
    next: BTreeMap<Endpoint, VecDeque<Fault>>,
    named: Vec<(Endpoint, String, Fault)>,
    always: BTreeMap<Endpoint, Fault>,
}

impl FaultBook {
    pub(crate) fn next(&mut self, endpoint: Endpoint, fault: Fault) {
        self.next.entry(endpoint).or_default().push_back(fault);
    }

    pub(crate) fn next_for(&mut self, endpoint: Endpoint, id: &str, fault: Fault) {
        self.named.push((endpoint, id.to_owned(), fault));
    }

    pub(crate) fn always(&mut self, endpoint: Endpoint, fault: Fault) {
        self.always.insert(endpoint, fault);
    }

    /// The fault for a request that names these ids: one for an id first, then the oldest of the
    /// endpoint, then the standing one.
    pub(crate) fn take(&mut self, endpoint: Endpoint, ids: &[&str]) -> Option<Fault> {
        let named =
            self.named.iter().position(|(of, id, _)| *of == endpoint && ids.contains(&id.as_str()));
        if let Some(index) = named {
            return Some(self.named.remove(index).2);
        }
        if let Some(fault) = self.next.get_mut(&endpoint).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        self.always.get(&endpoint).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_order_and_those_for_an_id_wait_for_it() {
        let mut book = FaultBook::default();
        book.always(Endpoint::Job, Fault::Empty200);
        book.next(Endpoint::Job, Fault::status(500));
        book.next(Endpoint::Job, Fault::status(503));
        book.next_for(Endpoint::Job, "j1", Fault::LoseJob);
        assert_eq!(book.take(Endpoint::Job, &["j0"]), Some(Fault::status(500)));
        assert_eq!(book.take(Endpoint::Job, &["j1"]), Some(Fault::LoseJob));
        assert_eq!(book.take(Endpoint::Job, &["j1"]), Some(Fault::status(503)));
        assert_eq!(book.take(Endpoint::Job, &["j1"]), Some(Fault::Empty200));
        assert_eq!(book.take(Endpoint::Download, &["j1"]), None);
    }

    #[test]
    fn a_fault_reads_from_json() {
        let read = |text: &str| serde_json::from_str::<Fault>(text).unwrap();
        assert_eq!(read("\"lose_job\""), Fault::LoseJob);
        assert_eq!(read("{\"status\":{\"code\":503}}"), Fault::status(503));
        assert_eq!(
            read("{\"close_before_head\":{\"effect\":\"after\"}}"),
            Fault::CloseBeforeHead { effect: Effect::After }
        );
    }
}
