//! Questions that only a person asks: does this project exist, is this instance among mine, may I
//! read its jobs? They change nothing, and the daemon never needs the answers.

use serde_json::Value;
use url::Url;

use super::error::{Call, RomaError, Speaker};
use super::listing::PAGE_SIZE;
use super::{Roma, answer};
use crate::lifecycle::FailureClass;
use crate::model::{JobId, Name, Timestamp};

/// Codes that say that a right is missing, or that the credential is none (contract 7).
const RIGHTS: [(Speaker, u32); 6] = [
    (Speaker::Roma, 1_000),
    (Speaker::Roma, 1_002),
    (Speaker::Roma, 1_006),
    (Speaker::Roma, 12_000),
    (Speaker::Roma, 12_001),
    (Speaker::Roma, 12_002),
];

/// A ROMA Connect instance as ROMA lists it (contract 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedInstance {
    /// What `instance_id` must say.
    pub id: String,
    /// Its name in the console.
    pub name: String,
    /// `RUNNING`, or why it cannot be asked for anything.
    pub status: String,
}

impl Roma {
    /// The ids of the projects of this name that IAM shows to the instance's account (contract 5).
    pub async fn projects(
        &self,
        instance: &Name,
        (iam_endpoint, name): (&Url, &str),
        now: Timestamp,
    ) -> Result<Vec<String>, RomaError> {
        let target = self.target(Call::List, instance)?;
        let mut url = iam_endpoint.clone();
        url.set_path("/v3/projects");
        url.query_pairs_mut().append_pair("name", name);
        let body = self.ask_in(Call::List, (target, None), self.api.get(url), now).await?;
        let listed = list(&body, "projects")?;
        Ok(listed.iter().filter_map(|project| text(project, "id")).collect())
    }

    /// All instances of the project that the account may see (contract 5).
    pub async fn listed_instances(
        &self,
        instance: &Name,
        now: Timestamp,
    ) -> Result<Vec<ListedInstance>, RomaError> {
        let target = self.target(Call::List, instance)?;
        let url = target.join(Call::List, &["v2", &target.project_id, "instances"])?;
        let mut found: Vec<ListedInstance> = Vec::new();
        // The documents let an offset go to 100: more than two pages cannot be asked for.
        for page in 0..2 {
            let query = [("offset", page * PAGE_SIZE), ("limit", PAGE_SIZE)];
            let request = self.api.get(url.clone()).query(&query);
            let body = self.ask(Call::List, target, request, now).await?;
            let listed = list(&body, "instances")?;
            found.extend(listed.iter().filter_map(|item| {
                Some(ListedInstance {
                    id: text(item, "id")?,
                    name: text(item, "name").unwrap_or_default(),
                    status: text(item, "status").unwrap_or_default(),
                })
            }));
            if listed.len() < PAGE_SIZE {
                break;
            }
        }
        Ok(found)
    }

    /// Whether the account may read jobs: asked about one that cannot exist, ROMA does not know it
    /// when it may, and says that it may not when it may not.
    pub async fn may_read_jobs(&self, instance: &Name, now: Timestamp) -> Result<(), RomaError> {
        let Some(nobodys) = JobId::new("roma-archived-doctor") else { return Ok(()) };
        match self.job(instance, &nobodys, now).await {
            Err(error) if !says_no_such_job(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Some vintages answer 404, some 400 (contract 2). What lacks a right says so by its code.
fn says_no_such_job(error: &RomaError) -> bool {
    error.class == FailureClass::Gone
        || error.status == Some(400)
            && !error.code.is_some_and(|code| RIGHTS.contains(&(code.speaker, code.number)))
}

fn list(body: &[u8], key: &str) -> Result<Vec<Value>, RomaError> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let listed = answer.as_ref().and_then(|answer| answer.get(key)?.as_array());
    listed.cloned().ok_or_else(|| answer::unexpected(Call::List, body, &format!("no list `{key}`")))
}

fn text(item: &Value, key: &str) -> Option<String> {
    item.get(key)?.as_str().map(ToOwned::to_owned)
}
