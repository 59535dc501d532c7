//! What goes over the wire is what the server's OpenAPI document describes: every request of the
//! product, and every answer of the simulator that stands in for the server, in every vintage.

mod contract;

use std::collections::BTreeSet;

use roma_sim::knobs::{CodeStyle, SecondGet, Vintage};
use roma_sim::{ContentSpec, Effect, Endpoint, Fault, JobState, Knobs, UnauthorizedKind, defaults};

use crate::support::relay::{Exchange, Message, Relay};
use crate::support::say;
use crate::support::stage::Stage;
use contract::Contract;

const TARGET: &str = "f2f2f2f2-0a37-4f04-8856-4101b08cc5e2";

/// Everything between the product and a server goes through the relay; the account signs in with a
/// password, and there is a second instance to restore into.
fn stage(knobs: Knobs) -> (Stage, Relay) {
    let more = format!(
        "min_free_space = \"1MiB\"\nreexports = 1\n\
         [[instance]]\nname = \"dr\"\naccount = \"ops\"\nendpoint = \"URL\"\n\
         project_id = \"{}\"\ninstance_id = \"{TARGET}\"\n",
        defaults::PROJECT_ID
    );
    let stage = Stage::new(knobs, &more);
    let address = stage.simulator.url().replace("http://", "");
    let relay = stage.runtime.block_on(Relay::start(address));
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let token = stage.scratch().join("token");
    std::fs::write(&token, defaults::PASSWORD).unwrap();
    let password = format!(
        "auth = \"password\"\niam_endpoint = \"URL\"\nuser = \"{}\"\ndomain = \"{}\"\n\
         project = \"{}\"\npassword_file",
        defaults::USER,
        defaults::DOMAIN,
        defaults::PROJECT_NAME
    );
    let text = text
        .replace("auth = \"token\"\ntoken_file", &password)
        .replace(&stage.simulator.url(), "URL")
        .replace("URL", relay.url());
    std::fs::write(&stage.config, text).unwrap();
    stage.add_empty_instance(TARGET, "dr");
    (stage, relay)
}

/// All that a backup is: an export in several parts, adopted jobs, a look around, the way back.
fn whole_life(stage: &mut Stage) {
    stage.simulator.world().resize_instance(defaults::INSTANCE_ID, 20, 130);
    assert_eq!(stage.run(&["export", "nightly"]).code, Some(0));
    let ready = stage.create(JobState::Ready, ContentSpec::Zip { bytes: 3_000 });
    let running = stage.create(JobState::Running, ContentSpec::Json { bytes: 3_000 });
    stage.watch(vec![ready.job_id, running.job_id]).unwrap();
    let ended = stage.start(&["run", "--once"]).wait(std::time::Duration::from_mins(2));
    assert_eq!(ended.code, Some(0), "{}", ended.story());
    assert_eq!(stage.run(&["doctor"]).code, Some(0));
    for mode in ["merge", "add-new"] {
        let arguments = ["restore", "s1", "--instance", "dr", "--mode", mode];
        let more = ["--prefix", "dr_", "--overwrite-datasources", "--yes"];
        let ended = stage.run(&[&arguments[..], &more[..]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.story());
    }
}

/// What the document describes besides success, and what it leaves open. A token is refused once: a
/// second time in a row, and the account would rest for minutes.
fn refusals(stage: &Stage, unauthorized: Endpoint) {
    let mut world = stage.simulator.world();
    let throttle = || Fault::Throttle { retry_after: Some("1".to_owned()) };
    let kind = UnauthorizedKind::ExpiredToken;
    world.script(unauthorized, Fault::Unauthorized { kind });
    for endpoint in [Endpoint::Export, Endpoint::Job, Endpoint::Download] {
        world.script(endpoint, throttle());
    }
    world.script(Endpoint::Export, Fault::refusal(400, "ROMA.10012"));
    world.script(Endpoint::Job, Fault::refusal(500, "ROMA.11000"));
    world.script(Endpoint::Job, Fault::BadGateway { code: 502, effect: Effect::Before });
    world.script(Endpoint::Download, Fault::CloseBeforeHead { effect: Effect::After });
    world.script(Endpoint::Token, Fault::status(503));
}

/// Operation and status of each exchange; none of them may contradict the document.
#[track_caller]
fn seen(contract: &Contract, exchanges: &[Exchange]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for exchange in exchanges {
        let reading = contract.read(exchange);
        findings.extend(reading.findings);
        let status = exchange.answer.as_ref().map_or(0, |answer| answer.status);
        seen.insert(format!("{} {status}", reading.operation.as_deref().unwrap_or("?")));
    }
    assert_eq!(findings, [""; 0]);
    seen
}

#[test]
fn every_exchange_of_every_vintage_is_as_described() {
    let contract = Contract::load();
    let mut all = BTreeSet::new();
    let mut count = 0;
    for (vintage, code_style, second_get, unauthorized) in [
        (Vintage::V2022, CodeStyle::Plain, SecondGet::NotFound404Bare, Endpoint::Export),
        (Vintage::V2025, CodeStyle::Padded, SecondGet::Forbidden403, Endpoint::Job),
        (Vintage::ExampleCasing, CodeStyle::Padded, SecondGet::NotFound404, Endpoint::Download),
    ] {
        let second_get = Some(second_get);
        let knobs =
            Knobs { vintage, code_style, second_get, job_duration_ms: 20, ..Knobs::default() };
        let (mut stage, relay) = stage(knobs);
        refusals(&stage, unauthorized);
        whole_life(&mut stage);
        assert_eq!(stage.audit().findings, [""; 0]);
        count += relay.exchanges().len();
        all.append(&mut seen(&contract, &relay.exchanges()));
    }
    say(&format!("{count} exchanges: {all:?}"));
    for operation in contract.operations() {
        let success = if operation.starts_with("Keystone") { 201 } else { 200 };
        assert!(all.contains(&format!("{operation} {success}")), "{operation} in {all:?}");
    }
    for refusal in [
        "ExportAsset 400",
        "ExportAsset 401",
        "ExportAsset 429",
        "CheckAssetJobStatus 401",
        "CheckAssetJobStatus 429",
        "CheckAssetJobStatus 500",
        "CheckAssetJobStatus 502",
        "DownloadAssetArchive 0",
        "DownloadAssetArchive 401",
        "DownloadAssetArchive 429",
        "KeystoneCreateUserTokenByPassword 503",
    ] {
        assert!(all.contains(refusal), "{refusal} in {all:?}");
    }
}

/// One thing of a good exchange spoilt, and what has to be said of it.
type Spoilt = (&'static str, fn(&mut Exchange), &'static str);

const EXPORT: &str = "ExportAsset";
const IMPORT: &str = "ImportAsset";

const REQUESTS: [Spoilt; 13] = [
    (EXPORT, |e| "PUT".clone_into(&mut e.method), "no such call"),
    (EXPORT, |e| e.target += "/", "no such call"),
    (EXPORT, |e| e.target += "?force=1", "parameter force is not described"),
    (EXPORT, |e| replace_in(&mut e.target, defaults::INSTANCE_ID, &"i".repeat(65)), "than 64"),
    (EXPORT, |e| replace(&mut e.request, "\"tasks\"", "\"task\""), "\"tasks\" is a required"),
    (EXPORT, |e| replace(&mut e.request, "\"tasks\"", "\"task\""), "request/task is not described"),
    (EXPORT, |e| replace(&mut e.request, "{", "["), "is not JSON"),
    (EXPORT, |e| rename(&mut e.request, "x-auth-token"), "credentials []"),
    (EXPORT, |e| rename(&mut e.request, "content-type"), "the content type of the request is ``"),
    (
        IMPORT,
        |e| replace(&mut e.request, "ImportAssetRequestBody", "file"),
        "\"ImportAssetRequestBody\" is a required",
    ),
    (IMPORT, |e| replace(&mut e.request, "s1-1.zip", "_s1-1.zip"), "the file name `_s1-1.zip`"),
    (IMPORT, |e| replace_in(&mut e.target, "Merge", "Overwrite"), "\"Overwrite\" is not one of"),
    ("DownloadAssetArchive", |e| e.request.body = b"{}".to_vec(), "a body that is not described"),
];

const ANSWERS: [Spoilt; 3] = [
    (EXPORT, |e| replace(answer(e), "job_id", "id"), "\"job_id\" is a required"),
    (
        "CheckAssetJobStatus",
        |e| replace(answer(e), "\"status\":\"", "\"status\":\"NOT "),
        "is not one of",
    ),
    (
        "KeystoneCreateUserTokenByPassword",
        |e| rename(answer(e), "x-subject-token"),
        "201 without the header X-Subject-Token",
    ),
];

fn answer(exchange: &mut Exchange) -> &mut Message {
    &mut exchange.answer.as_mut().unwrap().message
}

fn replace(message: &mut Message, from: &str, to: &str) {
    let mut text = String::from_utf8_lossy(&message.body).into_owned();
    replace_in(&mut text, from, to);
    message.body = text.into_bytes();
}

fn replace_in(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "no {from} in {text}");
    *text = text.replacen(from, to, 1);
}

/// Takes a header away without taking it out.
fn rename(message: &mut Message, header: &str) {
    let header = message.headers.iter_mut().find(|(name, _)| name == header).unwrap();
    header.0 += "-not";
}

/// The check is worth something only if it notices.
#[test]
fn what_is_not_described_is_noticed() {
    let contract = Contract::load();
    let (mut stage, relay) = stage(Knobs::default());
    whole_life(&mut stage);
    let exchanges = relay.exchanges();
    for (operation, spoil, words) in REQUESTS.into_iter().chain(ANSWERS) {
        let is_it = |exchange: &&Exchange| {
            let is_good = exchange.answer.as_ref().is_some_and(|answer| answer.status < 300);
            is_good && contract.read(exchange).operation.as_deref() == Some(operation)
        };
        let mut exchange = exchanges.iter().find(is_it).unwrap().clone();
        assert_eq!(contract.read(&exchange).findings, [""; 0]);
        spoil(&mut exchange);
        let found = contract.read(&exchange).findings.join("\n");
        assert!(found.contains(words), "`{words}` in `{found}`");
    }
}
