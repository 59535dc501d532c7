//! The simulator's own reading of the vendor's JSON, fields in the vendor's words. Must never be
//! shared with a client: a misread field name shall show up as a disagreement.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An application or a task named in an export request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRef {
    pub(crate) id: String,
}

/// Body of an export request. Both keys are mandatory; the world says so in its own words, so
/// they are optional here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssetSelection {
    pub(crate) apps: Option<Vec<IdRef>>,
    pub(crate) tasks: Option<Vec<IdRef>>,
}

/// Answer to an export or import request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobAccepted {
    pub(crate) job_id: String,
}

/// Why a job failed, for one asset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReason {
    /// `application` or `task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Name (or id) of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// An error code, such as `ROMA.00000101`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The error in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_msg: Option<String>,
}

/// Answer to a job request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AssetJob {
    pub(crate) id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    pub(crate) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress_percent: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archive_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entities: Option<Entities>,
    /// A list, an object or null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    pub(crate) reason: Option<Value>,
    /// The same in the vintage of 2022.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    pub(crate) reasons: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) begin_time: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<Value>,
}

/// A key that is there with `null` is not a key that is missing.
fn even_null<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(source).map(Some)
}

/// The other place for a package's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entities {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) archive_id: Option<String>,
}

/// The error envelope of ROMA and its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorEnvelope {
    pub(crate) error_code: String,
    pub(crate) error_msg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_details: Option<String>,
    /// Vintage of 2022 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

/// The answer of 2022 to a download of a package that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BareArchiveRef {
    pub(crate) archive_id: String,
}

/// IAM's own error shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeystoneError {
    pub(crate) error: KeystoneCause,
}

/// Inside of [`KeystoneError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeystoneCause {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) title: String,
}

/// Body of a token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRequest {
    pub(crate) auth: Auth,
}

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Auth {
    pub(crate) identity: Identity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scope>,
}

/// How the asker proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) methods: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<PasswordMethod>,
}

/// Proof by password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordMethod {
    pub(crate) user: PasswordUser,
}

/// Name, password and account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordUser {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) domain: NameOrId,
}

/// What the token shall be good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<NameOrId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<NameOrId>,
}

/// A thing named by its name, its id, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameOrId {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// Body of a token answer; the token itself is in a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenAnswer {
    pub(crate) token: TokenBody,
}

/// Inside of [`TokenAnswer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenBody {
    pub(crate) expires_at: String,
    pub(crate) issued_at: String,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default)]
    pub(crate) catalog: Vec<Value>,
    #[serde(default)]
    pub(crate) roles: Vec<NameOrId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<NameOrId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<NameOrId>,
    pub(crate) user: NameOrId,
}

/// Answer to a project request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProjectList {
    pub(crate) projects: Vec<Project>,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) enabled: bool,
}

/// Answer to an instance list request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceList {
    pub(crate) total: usize,
    pub(crate) size: usize,
    pub(crate) instances: Vec<InstanceEntry>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceEntry {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
}

/// Answer to an application list request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppList {
    pub(crate) total: usize,
    pub(crate) size: usize,
    pub(crate) apps: Vec<AppEntry>,
}

/// One application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppEntry {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) update_time: String,
}

/// Answer to a task list request: the list is called `entities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskList {
    pub(crate) total: usize,
    pub(crate) size: usize,
    pub(crate) entities: Vec<TaskEntry>,
}

/// One FDI task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskEntry {
    pub(crate) task_id: String,
    pub(crate) task_name: String,
    pub(crate) source_app_id: String,
    pub(crate) target_app_id: String,
    pub(crate) last_modified_time: String,
    pub(crate) ext_type: String,
}

#[cfg(test)]
mod tests;
