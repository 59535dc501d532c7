//! Tests of `world`: requests go in, plans come out, nothing is sent.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::fault::{Effect, ListMove, UnauthorizedKind};
use crate::http::Request;
use crate::knobs::{
    ArchiveIdPlace, CodeStyle, ConsumePoint, EmptyLists, LockScope, ReasonForm, SecondGet,
    SpentJob, UnknownIds, Vintage,
};
use crate::reply::Body;
use crate::wire::JobReason;

const BASE: &str = "/v2/0605768a3300d5762f82c0180692f7e0/instances/\
                    e34610ca-0a37-4f04-8856-4101b08cc5e2";
const NOW: i64 = 1_767_323_045_000;

fn world(knobs: Knobs) -> World {
    World::with_defaults(1, knobs)
}

fn request(method: &str, target: &str, body: &[u8]) -> Request {
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: vec![("x-auth-token".to_owned(), defaults::TOKEN.to_owned())],
        body: body.to_vec(),
        body_bytes: u64::try_from(body.len()).unwrap(),
        close: false,
    }
}

fn json_of(plan: &Plan) -> Value {
    match &plan.reply.body {
        Body::Content(content) => serde_json::from_slice(&content.to_vec()).unwrap_or(Value::Null),
        Body::Endless => Value::Null,
    }
}

fn get(world: &mut World, path: &str, now_ms: i64) -> (u16, Value) {
    let plan = world.serve(&request("GET", &format!("{BASE}{path}"), b""), now_ms);
    (plan.reply.status, json_of(&plan))
}

fn post_export(world: &mut World, body: &Value, now_ms: i64) -> (u16, Value) {
    let target = format!("{BASE}/assets/export");
    let plan = world.serve(&request("POST", &target, body.to_string().as_bytes()), now_ms);
    (plan.reply.status, json_of(&plan))
}

fn selection(world: &World, apps: usize, tasks: usize) -> Value {
    let refs = |ids: Vec<String>, count: usize| -> Vec<Value> {
        ids.into_iter().take(count).map(|id| json!({"id": id})).collect()
    };
    json!({
        "apps": refs(world.app_ids(defaults::INSTANCE_ID), apps),
        "tasks": refs(world.task_ids(defaults::INSTANCE_ID), tasks),
    })
}

fn export(world: &mut World, now_ms: i64) -> (u16, Value) {
    let body = selection(world, 2, 3);
    post_export(world, &body, now_ms)
}

fn export_job(world: &mut World, now_ms: i64) -> String {
    let (status, answer) = export(world, now_ms);
    assert_eq!(status, 200, "{answer}");
    answer["job_id"].as_str().unwrap().to_owned()
}

fn job(world: &mut World, job_id: &str, now_ms: i64) -> Value {
    let (status, answer) = get(world, &format!("/assets/jobs/{job_id}"), now_ms);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn ready(world: &mut World) -> CreatedJob {
    let spec = JobSpec { content: ContentSpec::Raw(b"PK-package".to_vec()), ..JobSpec::default() };
    world.create_job(defaults::INSTANCE_ID, spec, NOW)
}

/// What the socket would do with a whole, good download.
fn fetch(world: &mut World, package_id: &str) -> u16 {
    let target = format!("{BASE}/assets/archives/{package_id}");
    let plan = world.serve(&request("GET", &target, b""), NOW);
    if let Some(ticket) = plan.ticket {
        world.first_byte(ticket, NOW);
        world.last_byte(ticket, plan.shape.truthful, 10, NOW);
        world.get_ended(ticket, 10);
    }
    plan.reply.status
}

#[test]
fn a_job_of_2025_runs_succeeds_and_keeps_its_id_after_the_download() {
    let mut world = world(Knobs { job_duration_ms: 1_000, ..Knobs::default() });
    let job_id = export_job(&mut world, NOW);
    let running = job(&mut world, &job_id, NOW + 350);
    assert_eq!(running["status"], "RUNNING");
    assert_eq!(running["progress_percent"], 0.35);
    assert_eq!(running["begin_time"], "2026-01-02T03:04:05Z");
    assert_eq!(running.get("archive_id"), None);
    let done = job(&mut world, &job_id, NOW + 1_000);
    assert_eq!(done["status"], "SUCCEEDED");
    assert_eq!(done["end_time"], "2026-01-02T03:04:06Z");
    let package_id = done["archive_id"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&mut world, &package_id), 200);
    assert_eq!(job(&mut world, &job_id, NOW + 2_000), done);
    assert_eq!(fetch(&mut world, &package_id), 403);
    assert_eq!(world.ledger().completed_gets(&package_id), 1);
    assert_eq!(world.ledger().gets(&package_id).len(), 2);
}

#[test]
fn a_job_of_2022_finishes_and_forgets_its_id_after_the_download() {
    let mut world = world(Knobs::of_vintage(Vintage::V2022));
    let created = ready(&mut world);
    let done = job(&mut world, &created.job_id, NOW);
    assert_eq!(done["status"], "Success");
    assert_eq!(done["begin_time"], NOW);
    let package_id = created.package_id.unwrap();
    assert_eq!(fetch(&mut world, &package_id), 200);
    let after = job(&mut world, &created.job_id, NOW);
    assert_eq!(after["status"], "Finished");
    assert_eq!(after.get("archive_id"), None);
    let (status, bare) = get(&mut world, &format!("/assets/archives/{package_id}"), NOW);
    assert_eq!((status, bare), (404, json!({"archive_id": package_id})));
}

#[test]
fn answers_have_the_keys_of_the_samples() {
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let sample = |name: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let old = Knobs::of_vintage(Vintage::V2022);
    let in_entities = Knobs { archive_id_place: ArchiveIdPlace::Entities, ..Knobs::default() };
    let example =
        Knobs { vintage: Vintage::ExampleCasing, id_while_running: true, ..Knobs::default() };
    for (knobs, state, name) in [
        (Knobs::default(), JobState::Running, "job_2025_running.json"),
        (Knobs::default(), JobState::Ready, "job_2025_succeeded.json"),
        (Knobs::default(), JobState::Failed, "job_2025_failed_reason.json"),
        (old.clone(), JobState::Running, "job_2022_running.json"),
        (old.clone(), JobState::Ready, "job_2022_success.json"),
        (old.clone(), JobState::Failed, "job_2022_failed_reasons.json"),
        (old, JobState::Finished, "job_2022_finished_without_id.json"),
        (in_entities, JobState::Ready, "job_entities_archive_id.json"),
        (example, JobState::Running, "job_2025_example_casing.json"),
    ] {
        let mut world = world(Knobs { job_duration_ms: 10, ..knobs });
        let spec = JobSpec { state, ..JobSpec::default() };
        let created = world.create_job(defaults::INSTANCE_ID, spec, NOW);
        let answer = job(&mut world, &created.job_id, NOW);
        let sample = sample(name);
        assert_eq!(keys(&answer), keys(&sample), "{name}");
        assert_eq!(answer["status"], sample["status"], "{name}");
    }
    let mut world = world(Knobs::default());
    let lists = [("/apps", "app_list.json"), ("/tasks", "task_list.json")];
    for (path, name) in lists {
        let base = BASE.replace(
            "/instances/",
            if path == "/tasks" { "/fdi/instances/" } else { "/instances/" },
        );
        let plan = world.serve(&request("GET", &format!("{base}{path}"), b""), NOW);
        let (answer, sample) = (json_of(&plan), sample(name));
        assert_eq!(keys(&answer), keys(&sample));
        for list in ["apps", "entities"] {
            if let Some(entries) = answer.get(list) {
                assert_eq!(keys(&entries[0]), keys(&sample[list][0]));
            }
        }
    }
}

#[test]
fn a_package_is_consumed_where_the_knob_says() {
    for (point, at_request, at_first, at_last) in [
        (ConsumePoint::Request, true, true, true),
        (ConsumePoint::FirstByte, false, true, true),
        (ConsumePoint::LastByte, false, false, true),
        (ConsumePoint::Never, false, false, false),
    ] {
        let mut world = world(Knobs { consume_point: point, ..Knobs::default() });
        let package_id = ready(&mut world).package_id.unwrap();
        let target = format!("{BASE}/assets/archives/{package_id}");
        let plan = world.serve(&request("GET", &target, b""), NOW);
        let ticket = plan.ticket.unwrap();
        let consumed = |world: &World| world.ledger().gets(&package_id)[0].consumed;
        assert_eq!(consumed(&world), at_request, "{point:?}");
        world.first_byte(ticket, NOW);
        assert_eq!(consumed(&world), at_first, "{point:?}");
        world.last_byte(ticket, true, 10, NOW);
        assert_eq!(consumed(&world), at_last, "{point:?}");
        let second = fetch(&mut world, &package_id);
        assert_eq!(second, if at_last { 403 } else { 200 }, "{point:?}");
    }
}

#[test]
fn a_last_byte_that_could_not_be_sent_leaves_the_package() {
    let mut world = world(Knobs::default());
    let package_id = ready(&mut world).package_id.unwrap();
    let target = format!("{BASE}/assets/archives/{package_id}");
    let ticket = world.serve(&request("GET", &target, b""), NOW).ticket.unwrap();
    world.last_byte(ticket, true, 10, NOW);
    world.last_byte_failed(ticket);
    assert_eq!(world.ledger().completed_gets(&package_id), 0);
    assert_eq!(fetch(&mut world, &package_id), 200);
}

#[test]
fn every_answer_to_a_second_get_can_be_had() {
    for (answer, status) in [
        (SecondGet::Forbidden403, 403),
        (SecondGet::NotFound404, 404),
        (SecondGet::NotFound404Bare, 404),
        (SecondGet::BadRequest400, 400),
        (SecondGet::Ok200Empty, 200),
        (SecondGet::Ok200Json, 200),
        (SecondGet::Gone410, 410),
    ] {
        let mut world = world(Knobs { second_get: Some(answer), ..Knobs::default() });
        let package_id = ready(&mut world).package_id.unwrap();
        assert_eq!(fetch(&mut world, &package_id), 200);
        assert_eq!(fetch(&mut world, &package_id), status, "{answer:?}");
        assert_eq!(world.ledger().completed_gets(&package_id), 1);
    }
}

#[test]
fn one_job_per_user_at_a_time() {
    let mut world = world(Knobs { job_duration_ms: 1_000, ..Knobs::default() });
    export_job(&mut world, NOW);
    let (status, refused) = export(&mut world, NOW + 999);
    assert_eq!(status, 400);
    assert_eq!(refused["error_code"], "ROMA.10012");
    world.knobs_mut().code_style = CodeStyle::Padded;
    let (_, refused) = export(&mut world, NOW + 999);
    assert_eq!(refused["error_code"], "ROMA.00010012");
    export_job(&mut world, NOW + 1_000);
    let ledger = world.ledger();
    assert_eq!(ledger.refused_exports(), 2);
    assert_eq!(ledger.most_jobs_at_once(defaults::USER), 1);
    assert_eq!(ledger.jobs()[0].ended_ms, Some(NOW + 1_000));
    let refused: Vec<_> = ledger.exports().iter().map(|one| one.job_id.is_none()).collect();
    assert_eq!(refused, [false, true, true, false]);
    assert_eq!(ledger.exports()[0].apps.len(), 2);
}

#[test]
fn the_lock_can_be_per_instance_and_console_jobs_hold_it_too() {
    let mut world = world(Knobs { job_duration_ms: 1_000, ..Knobs::default() });
    let spec = JobSpec { state: JobState::Running, ..JobSpec::default() };
    world.create_job("another-instance", spec, NOW);
    assert_eq!(export(&mut world, NOW).0, 400);
    world.knobs_mut().lock_scope = LockScope::PerUserAndInstance;
    assert_eq!(export(&mut world, NOW).0, 200);
}

#[test]
fn a_lost_job_id_does_not_block_for_ever_when_jobs_end_by_polls() {
    let mut world = world(Knobs { polls_until_done: 2, ..Knobs::default() });
    export_job(&mut world, NOW);
    let statuses: Vec<_> = (0..3).map(|_| export(&mut world, NOW).0).collect();
    assert_eq!(statuses, [400, 400, 200]);
}

#[test]
fn polls_until_done_are_counted() {
    let mut world = world(Knobs { polls_until_done: 2, ..Knobs::default() });
    let job_id = export_job(&mut world, NOW);
    let words: Vec<_> = (0..3).map(|_| job(&mut world, &job_id, NOW)["status"].clone()).collect();
    assert_eq!(words, ["RUNNING", "RUNNING", "SUCCEEDED"]);
}

#[test]
fn what_an_export_may_ask_for() {
    let mut world = world(Knobs::default());
    world.resize_instance(defaults::INSTANCE_ID, 60, 60);
    let code = |answer: (u16, Value)| (answer.0, answer.1["error_code"].clone());
    let bad = |code: &str| (400, json!(code));
    let too_many = selection(&world, 50, 51);
    assert_eq!(code(post_export(&mut world, &too_many, NOW)), bad("ROMA.13000"));
    let one_key = json!({"apps": []});
    assert_eq!(code(post_export(&mut world, &one_key, NOW)), bad("ROMA.13000"));
    let nothing = json!({"apps": [], "tasks": []});
    assert_eq!(code(post_export(&mut world, &nothing, NOW)), bad("ROMA.13000"));
    let no_tasks = selection(&world, 5, 0);
    world.knobs_mut().empty_lists = EmptyLists::Refuse;
    assert_eq!(code(post_export(&mut world, &no_tasks, NOW)), bad("ROMA.13000"));
    world.knobs_mut().empty_lists = EmptyLists::Accept;
    assert_eq!(post_export(&mut world, &no_tasks, NOW).0, 200);
    let most = selection(&world, 50, 50);
    assert_eq!(post_export(&mut world, &most, NOW).0, 200);
    let plan = world.serve(&request("POST", &format!("{BASE}/assets/export"), b""), NOW);
    assert_eq!(json_of(&plan)["error_code"], "ROMA.13001");
}

#[test]
fn unknown_ids_fail_the_job_or_are_left_out_or_refused() {
    let body = json!({"apps": [{"id": "no-such"}], "tasks": []});
    let mut world = world(Knobs::default());
    let answer = post_export(&mut world, &body, NOW).1;
    let failed = job(&mut world, answer["job_id"].as_str().unwrap(), NOW);
    assert_eq!(failed["status"], "FAILED");
    assert_eq!(failed["reason"][0]["resource_name"], "no-such");
    world.knobs_mut().unknown_ids = UnknownIds::Refuse;
    assert_eq!(post_export(&mut world, &body, NOW).0, 400);
    world.knobs_mut().unknown_ids = UnknownIds::Skip;
    let answer = post_export(&mut world, &body, NOW).1;
    let done = job(&mut world, answer["job_id"].as_str().unwrap(), NOW);
    assert_eq!(done["status"], "SUCCEEDED");
}

#[test]
fn a_package_expires_and_its_job_shows_it() {
    for (look, status) in [
        (SpentJob::KeepsId, json!("SUCCEEDED")),
        (SpentJob::SuccessWithoutId, json!("SUCCEEDED")),
        (SpentJob::FinishedWithoutId, json!("FINISHED")),
        (SpentJob::Failed, json!("FAILED")),
        (SpentJob::NotFound, Value::Null),
    ] {
        let mut world =
            world(Knobs { validity_ms: Some(1_000), expired_job: Some(look), ..Knobs::default() });
        let created = ready(&mut world);
        let path = format!("/assets/jobs/{}", created.job_id);
        assert_eq!(get(&mut world, &path, NOW + 999).1["status"], "SUCCEEDED");
        let (code, answer) = get(&mut world, &path, NOW + 1_000);
        assert_eq!(answer["status"], status, "{look:?}");
        assert_eq!(code == 404, look == SpentJob::NotFound);
        assert_eq!(answer.get("archive_id").is_some(), look == SpentJob::KeepsId);
        let path = format!("/assets/archives/{}", created.package_id.unwrap());
        assert_eq!(get(&mut world, &path, NOW + 1_000).0, 403);
    }
}

#[test]
fn a_newer_package_can_replace_an_older_one() {
    let mut world = world(Knobs { export_replaces_package: true, ..Knobs::default() });
    let first = ready(&mut world).package_id.unwrap();
    let second = ready(&mut world).package_id.unwrap();
    assert_eq!(fetch(&mut world, &first), 403);
    assert_eq!(fetch(&mut world, &second), 200);
}

#[test]
fn job_faults_change_the_job() {
    let mut world = world(Knobs::default());
    let stuck = export_job(&mut world, NOW);
    world.script(Endpoint::Job, Fault::StuckRunning);
    assert_eq!(job(&mut world, &stuck, NOW)["status"], "RUNNING");
    assert_eq!(job(&mut world, &stuck, NOW + 9_999_999)["status"], "RUNNING");
    assert_eq!(export(&mut world, NOW).0, 400);
    world.clear_faults();
    assert_eq!(job(&mut world, &stuck, NOW)["status"], "SUCCEEDED");

    world.script(Endpoint::Export, Fault::LoseJob);
    let lost = export_job(&mut world, NOW);
    assert_eq!(get(&mut world, &format!("/assets/jobs/{lost}"), NOW).0, 404);

    let created = ready(&mut world);
    let queued = "QUEUED".to_owned();
    world.script_for(Endpoint::Job, &created.job_id, Fault::UnknownStatus { word: queued });
    assert_eq!(job(&mut world, &created.job_id, NOW)["status"], "QUEUED");
    world.script(Endpoint::Job, Fault::SuccessWithoutId);
    assert_eq!(job(&mut world, &created.job_id, NOW).get("archive_id"), None);
    let id = "../ä\0/x".to_owned();
    world.script(Endpoint::Job, Fault::OddPackageId { id: id.clone() });
    assert_eq!(job(&mut world, &created.job_id, NOW)["archive_id"], json!(id));
    assert_eq!(fetch(&mut world, "..%2F%C3%A4%00%2Fx"), 200);
    assert_eq!(world.ledger().completed_gets(&id), 1);

    let other = ready(&mut world);
    let package_id = id.clone();
    world.script(Endpoint::Job, Fault::SamePackageIdAsOtherJob { package_id });
    assert_eq!(job(&mut world, &other.job_id, NOW)["archive_id"], json!(id));

    let failed = ready(&mut world);
    let reasons = vec![JobReason::default()];
    world.knobs_mut().reason_form = ReasonForm::Object;
    world.script(Endpoint::Job, Fault::FailedWithReasons { reasons });
    let answer = job(&mut world, &failed.job_id, NOW);
    assert_eq!(answer["status"], "FAILED");
    assert_eq!(answer["reason"], json!({}));
}

#[test]
fn a_failure_before_the_effect_has_none_and_one_after_it_has() {
    for (fault, effect) in [
        (Fault::status(500), false),
        (Fault::Throttle { retry_after: None }, false),
        (Fault::Unauthorized { kind: UnauthorizedKind::ExpiredToken }, false),
        (Fault::BadGateway { code: 504, effect: Effect::Before }, false),
        (Fault::BadGateway { code: 504, effect: Effect::After }, true),
        (Fault::CloseBeforeHead { effect: Effect::Before }, false),
        (Fault::CloseBeforeHead { effect: Effect::After }, true),
        (Fault::MalformedJson, true),
    ] {
        let mut world = world(Knobs::default());
        world.script(Endpoint::Export, fault.clone());
        export(&mut world, NOW);
        assert_eq!(!world.ledger().jobs().is_empty(), effect, "{fault:?}");
        if fault == Fault::MalformedJson {
            continue;
        }
        let package_id = ready(&mut world).package_id.unwrap();
        world.script(Endpoint::Download, fault.clone());
        assert_ne!(fetch(&mut world, &package_id), 0);
        let gets = world.ledger().gets(&package_id);
        assert_eq!(gets[0].consumed, effect, "{fault:?}");
        assert_eq!(gets[0].fault, Some(fault.clone()));
        let after = fetch(&mut world, &package_id);
        assert_eq!(after, if effect { 403 } else { 200 }, "{fault:?}");
    }
}

#[test]
fn a_list_moves_between_two_pages() {
    let mut world = world(Knobs::default());
    let ids = |world: &World| world.app_ids(defaults::INSTANCE_ID);
    let before = ids(&world);
    let last = before.len() - 1;
    let moves = [ListMove::Favourite(last), ListMove::New(0), ListMove::Gone(2)];
    for what in moves {
        world.script(Endpoint::Apps, Fault::ListMoves(what));
    }
    let (_, page) = get(&mut world, "/apps?limit=1", NOW);
    assert_eq!(page["apps"][0]["id"], json!(before[0]), "the page is as it was");
    assert_eq!((&ids(&world)[0], &ids(&world)[1]), (&before[last], &before[0]));
    get(&mut world, "/apps?limit=1", NOW);
    let (_, page) = get(&mut world, "/apps?limit=1", NOW);
    assert_eq!(page["total"], json!(before.len() + 1));
    let after = ids(&world);
    assert!(!before.contains(&after[0]) && !after.contains(&before[0]), "{after:?}");
    world.move_list(defaults::INSTANCE_ID, Endpoint::Job, ListMove::Gone(0));
    world.move_list(defaults::INSTANCE_ID, Endpoint::Tasks, ListMove::Gone(1_000_000));
    assert_eq!(ids(&world), after);
}

#[test]
fn tokens_are_issued_expire_and_are_revoked_and_users_are_locked() {
    let mut world = world(Knobs::default());
    let ask = |world: &mut World, password: &str, now_ms: i64| {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "backup", "password": password, "domain": {"name": "corp"}}}},
            "scope": {"project": {"name": "ap-southeast-1"}},
        }});
        let target = "/v3/auth/tokens?nocatalog=true";
        let plan = world.serve(&request("POST", target, body.to_string().as_bytes()), now_ms);
        let token = plan.reply.headers.iter().find(|(name, _)| name == "X-Subject-Token");
        (plan.reply.status, token.map(|(_, value)| value.clone()), json_of(&plan))
    };
    let list = |world: &mut World, token: &str, now_ms: i64| {
        let mut request = request("GET", &format!("{BASE}/apps?limit=5&offset=10"), b"");
        request.headers = vec![("x-auth-token".to_owned(), token.to_owned())];
        let plan = world.serve(&request, now_ms);
        (plan.reply.status, json_of(&plan))
    };
    let (status, token, body) = ask(&mut world, defaults::PASSWORD, NOW);
    assert_eq!(status, 201);
    assert_eq!(body["token"]["expires_at"], "2026-01-03T03:04:05.000000Z");
    let token = token.unwrap();
    let (status, apps) = list(&mut world, &token, NOW);
    assert_eq!((status, &apps["total"], &apps["size"]), (200, &json!(12), &json!(2)));
    let (status, expired) = list(&mut world, &token, NOW + 86_400_000);
    assert_eq!((status, &expired["error_code"]), (401, &json!("APIGW.0307")));
    world.revoke_tokens(defaults::USER);
    assert_eq!(list(&mut world, &token, NOW).0, 401);
    assert_eq!(list(&mut world, "wrong", NOW).1["error_code"], "APIGW.0301");

    for _ in 0..5 {
        let (status, _, body) = ask(&mut world, "wrong", NOW);
        assert_eq!((status, &body["error"]["code"]), (401, &json!(401)));
    }
    assert_eq!(ask(&mut world, defaults::PASSWORD, NOW).0, 401);
    assert_eq!(ask(&mut world, defaults::PASSWORD, NOW + 900_000).0, 201);
}

#[test]
fn an_import_is_checked_and_recorded() {
    let mut world = world(Knobs::default());
    let post = |world: &mut World, name: &str, data: &str| {
        let body = format!(
            "--b1\r\nContent-Disposition: form-data; name=\"ImportAssetRequestBody\"; \
             filename=\"{name}\"\r\nContent-Type: application/zip\r\n\r\n{data}\r\n--b1--\r\n"
        );
        let target = format!("{BASE}/assets/import?type=Merge");
        let mut request = request("POST", &target, body.as_bytes());
        let kind = "multipart/form-data; boundary=b1".to_owned();
        request.headers.push(("content-type".to_owned(), kind));
        let plan = world.serve(&request, NOW);
        (plan.reply.status, json_of(&plan)["error_code"].clone())
    };
    assert_eq!(post(&mut world, "a b.zip", "PK\x03\x04").1, "ROMA.10013");
    assert_eq!(post(&mut world, "a.zip", "junk").1, "ROMA.10011");
    assert_eq!(post(&mut world, "a-1.zip", "PK\x03\x04\r\n--x").0, 200);
    let import = &world.ledger().imports()[0];
    assert_eq!((import.bytes, import.mode.as_str()), (9, "Merge"));
    let job_id = import.job_id.clone();
    let done = job(&mut world, &job_id, NOW);
    assert_eq!((&done["type"], &done["status"]), (&json!("importAsset"), &json!("SUCCEEDED")));
    world.knobs_mut().import_limit_bytes = 10;
    assert_eq!(post(&mut world, "a.zip", "PK\x03\x04"), (413, json!("APIGW.0201")));
}

#[test]
fn other_projects_instances_and_paths_are_refused() {
    let mut world = world(Knobs::default());
    let get = |world: &mut World, target: &str| {
        let plan = world.serve(&request("GET", target, b""), NOW);
        (plan.reply.status, json_of(&plan)["error_code"].clone())
    };
    assert_eq!(get(&mut world, "/v2/other/instances"), (403, json!("ROMA.12000")));
    let project = defaults::PROJECT_ID;
    let target = format!("/v2/{project}/instances/none/apps");
    assert_eq!(get(&mut world, &target), (404, json!("ROMA.14002")));
    assert_eq!(get(&mut world, "/v2/x/y"), (404, json!("APIGW.0101")));
    let target = format!("/v2/{project}/instances");
    assert_eq!(get(&mut world, &target).0, 200);
    assert_eq!(get(&mut world, "/v3/projects?name=ap-southeast-1").0, 200);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = || {
        let mut world = world(Knobs::default());
        let job_id = export_job(&mut world, NOW);
        let package_id = job(&mut world, &job_id, NOW)["archive_id"].as_str().unwrap().to_owned();
        let package = world.ledger().package(&package_id).unwrap();
        (job_id, package.sha256().to_owned(), package.bytes())
    };
    assert_eq!(run(), run());
}
