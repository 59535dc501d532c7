//! The words on the wire: the only place that says `archive_id`. Every vintage of the contract is
//! read, and what is not understood is kept as text rather than refused.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::error::{ErrorCode, shorten};
use crate::model::{JobId, PackageId, Scope, Timestamp};

/// The body that starts an export: both lists, possibly empty (contract 1), unless ROMA was found
/// to refuse an empty one (contract U19).
pub(super) fn export_request(scope: &Scope) -> Value {
    let lists = [("apps", &scope.apps), ("tasks", &scope.tasks)];
    let sent = lists.into_iter().filter(|(_, ids)| !scope.omit_empty || !ids.is_empty());
    sent.map(|(key, ids)| {
        let ids: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        (key.to_owned(), Value::Array(ids))
    })
    .collect()
}

/// The answer to it.
pub(super) fn accepted_job(body: &[u8]) -> Option<JobId> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    JobId::new(text_of(answer.get("job_id")?)?)
}

/// What a job says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// Its state, as far as it can be told.
    pub status: JobStatus,
    /// The package it offers; by itself no proof of success (contract 2).
    pub package: Option<PackageId>,
    /// Why it failed, in one line.
    pub reasons: String,
    /// An import or delete job, which never has a package.
    pub not_an_export: bool,
}

/// The states of all vintages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Running, or a word that is not known: wait, up to a deadline (contract U12).
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// 2022: the package was downloaded.
    Finished,
}

/// Reads a job in any vintage; `None` when the body is not a JSON object, or one that says nothing
/// of a job but that there was an error.
pub fn job_report(body: &[u8]) -> Option<JobReport> {
    let job: Value = serde_json::from_slice(body).ok()?;
    let job = job.as_object()?;
    let is_error = ["error_code", "errorCode"].iter().any(|key| job.contains_key(*key));
    if is_error && !job.contains_key("status") {
        return None;
    }
    let word = job.get("status").and_then(Value::as_str).unwrap_or_default();
    let status = match word.trim().to_ascii_lowercase().as_str() {
        "succeeded" | "success" => JobStatus::Succeeded,
        "failed" => JobStatus::Failed,
        "finished" => JobStatus::Finished,
        _ => JobStatus::Running,
    };
    // The download page of every vintage says "entities.archive_id", the job page the top level.
    let package = job
        .get("archive_id")
        .and_then(text_of)
        .or_else(|| job.get("entities")?.get("archive_id").and_then(text_of))
        .and_then(PackageId::new);
    let reasons = ["reason", "reasons"]
        .iter()
        .filter_map(|key| job.get(*key))
        .map(reasons_text)
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let kind = job.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let not_an_export = kind.contains("import") || kind.contains("delete");
    Some(JobReport { status, package, reasons, not_an_export })
}

/// An array of failure items, one item, or text (contract U14).
fn reasons_text(value: &Value) -> String {
    let line = |item: &Value| match item {
        Value::Object(fields) => {
            let field = |key: &str| fields.get(key).and_then(text_of).unwrap_or_default();
            let parts = [
                field("resource_type"),
                field("resource_name"),
                field("error_code"),
                field("error_msg"),
            ];
            let known: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            if known.is_empty() { item.to_string() } else { known.join(" ") }
        }
        Value::Null => String::new(),
        other => text_of(other).unwrap_or_else(|| other.to_string()),
    };
    let text = match value {
        Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join("; "),
        other => line(other),
    };
    shorten(&text)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// One page of applications or tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many there are in all, as far as the answer says.
    pub(super) total: Option<u64>,
    /// How many this page has: the next one begins after them.
    pub(super) items: usize,
    /// Their ids. One without an id cannot be exported.
    pub(super) ids: Vec<String>,
}

/// Reads a page: `apps[].id`, or `entities[].task_id` (contract 5).
pub(super) fn page(body: &[u8], list: &str, id: &str) -> Option<Page> {
    let page: Value = serde_json::from_slice(body).ok()?;
    let items = page.get(list)?.as_array()?;
    let ids = items.iter().filter_map(|item| item.get(id).and_then(text_of)).collect();
    Some(Page { total: page.get("total").and_then(Value::as_u64), items: items.len(), ids })
}

/// An error answer of whatever shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// ROMA's or the gateway's code, when there is one.
    pub code: Option<ErrorCode>,
    /// One line for people.
    pub message: String,
}

/// The envelope, keystone's shape, other spellings and one level of nesting; anything else is
/// quoted (contract 7).
pub fn error_body(body: &[u8]) -> ErrorBody {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(&body[..body.len().min(2_000)]);
        return ErrorBody { code: None, message: shorten(text.trim()) };
    };
    let nested = value.as_object().and_then(|fields| fields.values().find(|v| v.is_object()));
    for fields in [Some(&value), nested].into_iter().flatten() {
        let field = |keys: &[&str]| keys.iter().find_map(|key| fields.get(*key).and_then(text_of));
        let code = field(&["error_code", "errorCode", "code"]);
        let message = field(&["error_msg", "errorMsg", "message", "title"]);
        if code.is_some() || message.is_some() {
            let mut text = [code.clone(), message].into_iter().flatten().collect::<Vec<_>>();
            text.extend(field(&["request_id"]).map(|id| format!("(request {id})")));
            return ErrorBody {
                code: code.as_deref().and_then(ErrorCode::parse),
                message: shorten(&text.join(" ")),
            };
        }
    }
    ErrorBody { code: None, message: shorten(&value.to_string()) }
}

/// What a short body that came with status 200 really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShortBody {
    /// Keep it: it may be the only copy.
    Package,
    /// A refusal in disguise: an error envelope, or the bare reference of 2022 (contract 3, U3).
    Refusal,
    /// A page of some proxy; the package may or may not be consumed.
    WebPage,
}

/// Tells a package from a refusal that came with status 200.
pub fn short_body(body: &[u8]) -> ShortBody {
    let start = body.trim_ascii_start();
    let head = start[..start.len().min(16)].to_ascii_lowercase();
    if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
        return ShortBody::WebPage;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return ShortBody::Package;
    };
    // 2022 documents the package itself as JSON with these lists. One that lists nothing holds
    // nothing: some servers answer so when the package is gone.
    let lists = ["apps", "tasks"].map(|key| fields.get(key));
    let is_empty = |list: &Value| list.is_null() || list.as_array().is_some_and(Vec::is_empty);
    let nothing_listed = lists.iter().flatten().all(|list| is_empty(list));
    if lists.iter().any(Option::is_some) && !nothing_listed {
        return ShortBody::Package;
    }
    let marks = ["error_code", "errorCode", "error", "code", "error_msg", "errorMsg", "message"];
    let is_error = marks.iter().any(|key| fields.contains_key(*key));
    let is_bare_list = lists.iter().flatten().count() == fields.len();
    let is_bare = fields.len() == 1 && fields.contains_key("archive_id");
    if is_bare_list || is_error || is_bare { ShortBody::Refusal } else { ShortBody::Package }
}

/// What is asked of IAM for a token (contract 6.1). The password appears nowhere else.
pub(super) fn token_request(user: &str, domain: &str, project: &str, password: &str) -> Value {
    // Ids are 32 hexadecimal digits; names begin with a region, which has a hyphen.
    let is_id = project.len() == 32 && project.bytes().all(|b| b.is_ascii_hexdigit());
    let key = if is_id { "id" } else { "name" };
    json!({ "auth": {
        "identity": {
            "methods": ["password"],
            "password": { "user": {
                "name": user, "password": password, "domain": { "name": domain },
            } },
        },
        "scope": { "project": { key: project } },
    } })
}

/// How long a token is good for, by IAM's own clock, from which ours may differ:
/// `token.expires_at` less `token.issued_at`, or less `now` when that is missing.
pub(super) fn token_lifetime(body: &[u8], now: Timestamp) -> Option<Duration> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let time = |key| value.get("token")?.get(key)?.as_str()?.parse::<Timestamp>().ok();
    Some(time("expires_at")?.since(time("issued_at").unwrap_or(now)))
}

/// Keys of an agency.
pub(super) struct AgencyKeys {
    pub(super) access: String,
    pub(super) secret: SecretString,
    pub(super) security_token: SecretString,
    pub(super) expires_at: Option<Timestamp>,
}

/// The answer of the metadata service, in both spellings (contract 6.3).
pub(super) fn agency_keys(body: &[u8]) -> Option<AgencyKeys> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let keys = ["credential", "credentials"].iter().find_map(|key| value.get(*key))?;
    let field = |names: [&str; 3]| names.iter().find_map(|name| text_of(keys.get(*name)?));
    let access = field(["access", "accessKeyId", "access_key_id"])?;
    let secret = field(["secret", "secretAccessKey", "secret_access_key"])?;
    let token = field(["securitytoken", "security_token", "securityToken"])?;
    let expires_at = field(["expires_at", "expiration", "expiresAt"]);
    Some(AgencyKeys {
        access,
        secret: SecretString::from(secret),
        security_token: SecretString::from(token),
        expires_at: expires_at.and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> JobReport {
        job_report(text.as_bytes()).unwrap()
    }

    #[test]
    fn both_vintages_and_both_places_are_read() {
        let new =
            report(r#"{"id":"j","type":"exportAsset","status":"SUCCEEDED","archive_id":"p"}"#);
        let old = report(r#"{"status":"Success","entities":{"archive_id":"p"},"begin_time":1}"#);
        for job in [new, old] {
            assert_eq!(job.status, JobStatus::Succeeded);
            assert_eq!(job.package, PackageId::new("p"));
        }
        let both =
            report(r#"{"status":"Success","archive_id":"top","entities":{"archive_id":"e"}}"#);
        assert_eq!(both.package, PackageId::new("top"));
        assert_eq!(report(r#"{"status":"Finished"}"#).status, JobStatus::Finished);
        assert_eq!(report(r#"{"status":"Running","archive_id":"p"}"#).status, JobStatus::Running);
        assert_eq!(report(r#"{"status":"QUEUED"}"#).status, JobStatus::Running);
        assert_eq!(report("{}").status, JobStatus::Running);
        assert!(report(r#"{"type":"importAsset","status":"SUCCEEDED"}"#).not_an_export);
        assert_eq!(job_report(br#"{"error_code":"ROMA.11000","error_msg":"x"}"#), None);
        assert_eq!(job_report(b"[]"), None);
        assert_eq!(job_report(b"<html>"), None);
    }

    #[test]
    fn reasons_are_read_in_every_shape() {
        let item = r#"{"resource_type":"application","resource_name":"crm","error_code":"ROMA.1"}"#;
        for text in [
            format!(r#"{{"status":"FAILED","reason":[{item}]}}"#),
            format!(r#"{{"status":"Failed","reasons":{item},"reason":null}}"#),
        ] {
            assert_eq!(report(&text).reasons, "application crm ROMA.1");
        }
        assert_eq!(report(r#"{"status":"FAILED","reason":"no space"}"#).reasons, "no space");
        assert_eq!(report(r#"{"status":"FAILED"}"#).reasons, "");
    }

    #[test]
    fn error_bodies_of_any_shape_are_read() {
        let code = |text: &str| error_body(text.as_bytes()).code;
        assert_eq!(code(r#"{"error_code":"ROMA.00010012"}"#), ErrorCode::parse("ROMA.10012"));
        assert_eq!(
            code(r#"{"errorCode":"APIG.0307","errorMsg":"x"}"#),
            ErrorCode::parse("APIG.307")
        );
        let keystone = error_body(br#"{"error":{"code":401,"message":"wrong","title":"U"}}"#);
        assert_eq!((keystone.code, keystone.message.as_str()), (None, "401 wrong"));
        assert_eq!(error_body(b"<html>502</html>").message, "<html>502</html>");
        assert_eq!(error_body(b"").message, "");
        assert_eq!(error_body(br#"{"archive_id":"id"}"#).message, r#"{"archive_id":"id"}"#);
    }

    #[test]
    fn a_refusal_in_disguise_is_not_a_package() {
        for refusal in [
            r#"{"error_code":"ROMA.1"}"#,
            r#"{"message":"no such archive"}"#,
            r#"{"archive_id":"id"}"#,
            r#"{"apps":[],"tasks":[]}"#,
            r#"{"apps":null}"#,
            "{}",
        ] {
            assert_eq!(short_body(refusal.as_bytes()), ShortBody::Refusal, "{refusal}");
        }
        for package in
            ["PK\u{3}\u{4}", r#"{"apps":[{"id":"a"}],"code":1}"#, r#"{"x":1}"#, "[1]", "plain"]
        {
            assert_eq!(short_body(package.as_bytes()), ShortBody::Package, "{package}");
        }
        assert_eq!(short_body(b" <!DOCTYPE html><p>"), ShortBody::WebPage);
    }

    #[test]
    fn a_token_is_asked_for_a_project_by_name_or_by_id() {
        let scope = |project| token_request("u", "d", project, "p")["auth"]["scope"].clone();
        assert_eq!(
            scope("ap-southeast-1_sub"),
            json!({ "project": { "name": "ap-southeast-1_sub" } })
        );
        let id = "0605768a3300d5762f82c0180692f7e0";
        assert_eq!(scope(id), json!({ "project": { "id": id } }));
    }

    #[test]
    fn the_keys_of_an_agency_are_read_in_both_spellings() {
        use secrecy::ExposeSecret;
        for text in [
            r#"{"credential":{"access":"A","secret":"S","securitytoken":"T",
                "expires_at":"2026-01-02T03:04:05.123456Z"}}"#,
            r#"{"credentials":{"accessKeyId":"A","secretAccessKey":"S","security_token":"T",
                "expiration":"2026-01-02T03:04:05Z"}}"#,
        ] {
            let keys = agency_keys(text.as_bytes()).unwrap();
            assert_eq!((keys.access.as_str(), keys.secret.expose_secret()), ("A", "S"));
            assert_eq!(keys.security_token.expose_secret(), "T");
            let seconds = keys.expires_at.unwrap().as_millis() / 1_000;
            assert_eq!(seconds, 1_767_323_045);
        }
        for text in ["", "{}", r#"{"credential":{"access":"A","secret":"S"}}"#, "[]"] {
            assert!(agency_keys(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_lives_as_long_as_iam_says_whatever_our_clock_says() {
        let text = r#"{"token":{"issued_at":"2020-01-04T09:05:22.701000Z",
            "expires_at":"2020-01-05T09:05:22.701000Z"}}"#;
        let lifetime = |text: &str| token_lifetime(text.as_bytes(), Timestamp::from_millis(0));
        assert_eq!(lifetime(text), Some(Duration::from_hours(24)));
        let short = r#"{"token":{"expires_at":"1970-01-01T00:01:00Z"}}"#;
        assert_eq!(lifetime(short), Some(Duration::from_mins(1)));
        assert_eq!(lifetime("{}"), None);
    }
}
