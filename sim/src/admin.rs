//! `/admin/...`: what a demo or a script uses in place of the library. Must never ask for
//! credentials nor meet a fault.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::content::ContentSpec;
use crate::defaults;
use crate::fault::{Endpoint, Fault};
use crate::http::Request;
use crate::reply::Reply;
use crate::server::Shared;
use crate::world::{JobSpec, JobState};

/// Body of `POST /admin/jobs`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewJobs {
    instance: String,
    user: Option<String>,
    count: usize,
    state: JobState,
    content: ContentSpec,
}

impl Default for NewJobs {
    fn default() -> NewJobs {
        NewJobs {
            instance: defaults::INSTANCE_ID.to_owned(),
            user: None,
            count: 1,
            state: JobState::default(),
            content: ContentSpec::default(),
        }
    }
}

/// Body of `POST /admin/faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFault {
    endpoint: Endpoint,
    fault: Fault,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    always: bool,
}

pub(crate) fn answer(shared: &Arc<Shared>, request: &Request, words: &[String]) -> Reply {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (request.method.as_str(), words.as_slice()) {
        ("POST", ["jobs"]) => add_jobs(shared, request),
        ("GET", ["ledger"]) => {
            if request.query("sha256").as_deref() == Some("all") {
                digest_all(shared);
            }
            ok(shared.world().ledger())
        }
        ("GET", ["ledger", "summary"]) => ok(&shared.world().ledger().summary()),
        ("POST", ["faults"]) => add_fault(shared, request),
        ("DELETE", ["faults"]) => {
            shared.world().clear_faults();
            done()
        }
        ("GET", ["knobs"]) => ok(shared.world().knobs()),
        ("PUT", ["knobs"]) => change_knobs(shared, request),
        _ => Reply::json(404, &json!({"error": "no such admin endpoint"})),
    }
}

fn ok(value: &impl Serialize) -> Reply {
    Reply::json(200, value)
}

fn done() -> Reply {
    ok(&json!({"ok": true}))
}

fn wrong(cause: &serde_json::Error) -> Reply {
    Reply::json(400, &json!({"error": cause.to_string()}))
}

fn add_jobs(shared: &Shared, request: &Request) -> Reply {
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    let wanted: NewJobs = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(cause) => return wrong(&cause),
    };
    let now_ms = shared.now_ms();
    let mut world = shared.world();
    let jobs: Vec<_> = (0..wanted.count)
        .map(|_| {
            let spec = JobSpec {
                user: wanted.user.clone(),
                state: wanted.state,
                content: wanted.content.clone(),
            };
            world.create_job(&wanted.instance, spec, now_ms)
        })
        .collect();
    ok(&json!({"jobs": jobs}))
}

fn add_fault(shared: &Shared, request: &Request) -> Reply {
    let wanted: NewFault = match serde_json::from_slice(&request.body) {
        Ok(wanted) => wanted,
        Err(cause) => return wrong(&cause),
    };
    let mut world = shared.world();
    match wanted.id {
        Some(id) => world.script_for(wanted.endpoint, &id, wanted.fault),
        None if wanted.always => world.script_always(wanted.endpoint, wanted.fault),
        None => world.script(wanted.endpoint, wanted.fault),
    }
    done()
}

fn change_knobs(shared: &Shared, request: &Request) -> Reply {
    let changes: Value = match serde_json::from_slice(&request.body) {
        Ok(changes) => changes,
        Err(cause) => return wrong(&cause),
    };
    let mut world = shared.world();
    match world.knobs().merged(&changes) {
        Ok(knobs) => {
            *world.knobs_mut() = knobs;
            ok(world.knobs())
        }
        Err(cause) => wrong(&cause),
    }
}

/// Reads every content once, without holding the world.
fn digest_all(shared: &Shared) {
    let contents: Vec<_> = {
        let world = shared.world();
        let packages = world.ledger().packages();
        packages.iter().map(|package| Arc::clone(&package.content)).collect()
    };
    for content in contents {
        let _ = content.sha256();
    }
}
