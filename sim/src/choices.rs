//! What a knob can be set to, where that is one of a few words. Must hold values only.
//!
//! The section and U numbers are those of the API contract in the project's documents.

use serde::{Deserialize, Serialize};

/// A generation of the vendor's documents (section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vintage {
    /// `Running`, `Success`, `Failed`, `Finished`; `reasons`; times as numbers; `suggestion`.
    V2022,
    /// `RUNNING`, `SUCCEEDED`, `FAILED`; `reason`; times as text.
    #[default]
    V2025,
    /// As 2025, but with the casing of its own example: `Running`.
    ExampleCasing,
}

/// Where the job answer carries the package's id (section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveIdPlace {
    /// `archive_id` at the top level.
    #[default]
    Top,
    /// `entities.archive_id`.
    Entities,
    /// Both.
    Both,
}

/// When a package counts as consumed (U1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsumePoint {
    /// As soon as the GET has been understood.
    Request,
    /// With the first byte of the body.
    FirstByte,
    /// With the last byte of the body.
    #[default]
    LastByte,
    /// Never: every GET succeeds.
    Never,
}

/// The answer to the GET of a package that is gone, or never was (U3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondGet {
    /// 403 with an envelope, the page of 2025.
    Forbidden403,
    /// 404 with an envelope.
    #[serde(rename = "notfound404", alias = "not_found404")]
    NotFound404,
    /// 404 with `{"archive_id":...}` and no envelope, the page of 2022.
    #[serde(rename = "notfound404_bare", alias = "not_found404_bare")]
    NotFound404Bare,
    /// 400 with an envelope.
    BadRequest400,
    /// 200 without a body.
    Ok200Empty,
    /// 200 with a JSON body.
    Ok200Json,
    /// 410 with an envelope.
    Gone410,
}

/// What a job whose package is gone looks like (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpentJob {
    /// A success that still offers the id.
    KeepsId,
    /// Finished, without the id.
    FinishedWithoutId,
    /// A success without the id.
    SuccessWithoutId,
    /// 404.
    NotFound,
    /// Failed.
    Failed,
}

/// Whom a running job keeps from starting another (U10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockScope {
    /// The user, on all instances.
    #[default]
    PerUser,
    /// The user on that instance.
    PerUserAndInstance,
}

/// How ROMA's codes are spelt (section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeStyle {
    /// `ROMA.10012`
    #[default]
    Plain,
    /// `ROMA.00010012`
    Padded,
}

/// The gateway's prefix (section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayPrefix {
    /// `APIGW.0301`, the cloud service gateway.
    #[default]
    Apigw,
    /// `APIG.0301`, the older one.
    Apig,
}

/// The key of the failure list (U14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKey {
    /// `reason`
    Reason,
    /// `reasons`
    Reasons,
}

/// The form of the failure list (U14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonForm {
    /// A list of objects.
    #[default]
    Array,
    /// The first object alone.
    Object,
    /// `null`
    Null,
}

/// The form of a job's times (U15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeForm {
    /// ISO 8601 text.
    Text,
    /// A number of milliseconds.
    Milliseconds,
    /// A number of seconds.
    Seconds,
}

/// What happens to an export that names an unknown asset (U18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownIds {
    /// The job is accepted and fails, with the ids as reasons.
    #[default]
    FailJob,
    /// The job leaves them out.
    Skip,
    /// 400 ROMA.13000.
    Refuse,
}

/// Whether `"apps": []` beside tasks (or the other way round) is accepted (U19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyLists {
    /// Accepted, as long as one list has an id.
    #[default]
    Accept,
    /// 400 ROMA.13000; a list that is empty has to be left out.
    Omit,
    /// 400 ROMA.13000, and both lists are mandatory.
    Refuse,
}

/// How the end of a package is told (U4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadFraming {
    /// `Content-Length`
    #[default]
    Length,
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// The connection closes.
    UntilClose,
}

/// `Content-Encoding` of a package, whatever the client asked for (U5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// None.
    #[default]
    Identity,
    /// `gzip`
    Gzip,
    /// `deflate`
    Deflate,
}

/// How the metadata service answers the question for a token of its own (section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataMode {
    /// 404: it wants none.
    #[default]
    Plain,
    /// It gives one, and wants to see it.
    Hardened,
    /// 400, as on nodes of a container cluster: it wants none.
    Cce,
}

/// The names of the fields of an agency's keys (section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgencySpelling {
    /// `credential`, `access`, `securitytoken`, `expires_at`.
    #[default]
    Ecs,
    /// `credentials`, `accessKeyId`, `security_token`, `expiration`.
    Other,
}
