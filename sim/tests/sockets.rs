//! What goes over the socket, byte by byte, seen by a client that reads raw TCP. Nothing here
//! depends on how fast the machine is.

#![expect(clippy::unwrap_used, reason = "a helper of a test that cannot go on shall fail the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use roma_sim::knobs::{ConsumePoint, DownloadFraming, Encoding};
use roma_sim::{
    ContentSpec, Effect, Endpoint, Fault, GetRecord, JobSpec, Knobs, SimOptions, Simulator,
    defaults,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const BODY_BYTES: usize = 100_000;

struct Answer {
    head: String,
    body: Vec<u8>,
    /// How the stream ended: properly or by a reset.
    reset: bool,
}

impl Answer {
    fn status(&self) -> u16 {
        let word = self.head.split(' ').nth(1).unwrap_or("0");
        word.parse().unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn split(raw: &[u8], reset: bool) -> Answer {
    let at = raw.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = at.map_or((raw, &b""[..]), |at| (&raw[..at], &raw[at + 4..]));
    Answer { head: String::from_utf8_lossy(head).into_owned(), body: body.to_vec(), reset }
}

/// Everything the server sends in answer to these bytes, until it closes.
fn talk(simulator: &Simulator, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(simulator.address()).unwrap();
    stream.write_all(request).unwrap();
    let mut raw = Vec::new();
    let mut piece = [0; 8_192];
    let reset = loop {
        match stream.read(&mut piece) {
            Ok(0) => break false,
            Ok(count) => raw.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
            Err(error) => panic!("{error}"),
        }
    };
    split(&raw, reset)
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: sim\r\nX-Auth-Token: {}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        defaults::TOKEN,
        body.len()
    )
    .into_bytes()
}

fn base() -> String {
    let (project, instance) = (defaults::PROJECT_ID, defaults::INSTANCE_ID);
    format!("/v2/{project}/instances/{instance}")
}

async fn start(knobs: Knobs) -> Simulator {
    let options = SimOptions { knobs, ..SimOptions::default() };
    Simulator::start(options).await.unwrap()
}

fn ready(simulator: &Simulator, content: ContentSpec) -> (String, String) {
    let now_ms = simulator.now_ms();
    let spec = JobSpec { content, ..JobSpec::default() };
    let created = simulator.world().create_job(defaults::INSTANCE_ID, spec, now_ms);
    (created.job_id, created.package_id.unwrap())
}

fn random() -> ContentSpec {
    let bytes = u64::try_from(BODY_BYTES).unwrap();
    ContentSpec::Random { bytes }
}

/// Downloads a fresh package under this fault. The ledger's record comes with the answer.
fn download(simulator: &Simulator, fault: Option<Fault>) -> (Answer, GetRecord, String) {
    let (_, package_id) = ready(simulator, random());
    if let Some(fault) = fault {
        simulator.world().script_for(Endpoint::Download, &package_id, fault);
    }
    let path = format!("{}/assets/archives/{package_id}", base());
    let answer = talk(simulator, &request("GET", &path, ""));
    let world = simulator.world();
    let package = world.ledger().package(&package_id).unwrap();
    (answer, package.gets[0].clone(), package.sha256().to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Takes a chunked body apart; the flag says whether the last chunk was there.
fn dechunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut whole = Vec::new();
    while let Some(at) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            return (whole, true);
        }
        whole.extend_from_slice(&body[at + 2..at + 2 + size]);
        body = &body[at + 2 + size + 2..];
    }
    (whole, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_comes_whole_in_every_framing_and_encoding() {
    for framing in [DownloadFraming::Length, DownloadFraming::Chunked, DownloadFraming::UntilClose]
    {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate] {
            for prepare_in_memory in [false, true] {
                let simulator = start(Knobs {
                    download_framing: framing,
                    download_encoding: encoding,
                    prepare_in_memory,
                    ..Knobs::default()
                })
                .await;
                let (answer, get, digest) = download(&simulator, None);
                assert_eq!(answer.status(), 200);
                assert!(answer.header("date").is_some());
                assert!(answer.header("x-request-id").is_some());
                let (body, whole) = match answer.header("transfer-encoding") {
                    Some(_) => dechunk(&answer.body),
                    None => (answer.body, true),
                };
                assert!(whole);
                assert_eq!(get.bytes_sent, u64::try_from(body.len()).unwrap());
                let mut plain = Vec::new();
                match encoding {
                    Encoding::Identity => plain = body,
                    Encoding::Gzip => {
                        let mut decoder = flate2::read::GzDecoder::new(&body[..]);
                        decoder.read_to_end(&mut plain).unwrap();
                    }
                    Encoding::Deflate => {
                        let mut decoder = flate2::read::ZlibDecoder::new(&body[..]);
                        decoder.read_to_end(&mut plain).unwrap();
                    }
                }
                assert_eq!(sha256(&plain), digest);
                assert!(get.complete && get.consumed, "{framing:?} {encoding:?}");
                simulator.stop().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_body_is_short_and_leaves_the_package() {
    let simulator = start(Knobs::default()).await;
    let (answer, get, _) = download(&simulator, Some(Fault::CutBody { bytes: 1_234 }));
    assert_eq!(answer.header("content-length"), Some("100000"));
    assert_eq!((answer.body.len(), answer.reset), (1_234, false));
    assert_eq!((get.bytes_sent, get.complete, get.consumed), (1_234, false, false));

    let (answer, get, _) = download(&simulator, Some(Fault::CutChunked { bytes: 1_234 }));
    let (body, whole) = dechunk(&answer.body);
    assert_eq!((body.len(), whole, get.complete), (1_234, false, false));

    // A chunked body of which only the last, empty chunk is missing.
    let (answer, get, _) = download(&simulator, Some(Fault::CutChunked { bytes: 999_999 }));
    let (body, whole) = dechunk(&answer.body);
    assert_eq!((body.len(), whole, get.complete), (BODY_BYTES, false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_a_reset() {
    let simulator =
        start(Knobs { consume_point: ConsumePoint::FirstByte, ..Knobs::default() }).await;
    let (answer, get, _) = download(&simulator, Some(Fault::ResetAfter { bytes: 1_234 }));
    assert!(answer.reset);
    assert_eq!((get.bytes_sent, get.complete, get.consumed), (1_234, false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lengths_are_told_and_never_count_as_complete() {
    let simulator = start(Knobs::default()).await;
    let (answer, get, _) = download(&simulator, Some(Fault::LongerLength { extra: 7 }));
    assert_eq!(answer.header("content-length"), Some("100007"));
    assert_eq!(answer.body.len(), BODY_BYTES);
    assert_eq!((get.complete, get.consumed), (false, true));
    let (answer, get, _) = download(&simulator, Some(Fault::ShorterLength { less: 7 }));
    assert_eq!(answer.header("content-length"), Some("99993"));
    assert_eq!(answer.body.len(), BODY_BYTES);
    assert!(!get.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_may_or_may_not_have_acted() {
    let simulator = start(Knobs::default()).await;
    for (effect, acted) in [(Effect::Before, false), (Effect::After, true)] {
        let (answer, get, _) = download(&simulator, Some(Fault::CloseBeforeHead { effect }));
        assert_eq!((answer.head.as_str(), answer.reset), ("", false));
        assert_eq!((get.status, get.bytes_sent, get.consumed), (0, 0, acted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_whole_answers() {
    let simulator = start(Knobs {
        bandwidth_bytes_per_s: Some(100_000_000),
        latency_ms: 1,
        ..Knobs::default()
    })
    .await;
    for fault in [
        Fault::Stall { bytes: 10, ms: 5 },
        Fault::Stall { bytes: 0, ms: 5 },
        Fault::Trickle { bytes_per_tick: 30_000, ms: 1 },
        Fault::Informational { code: 103 },
        Fault::WrongDate { offset_ms: 1_000 },
    ] {
        let (answer, get, digest) = download(&simulator, Some(fault.clone()));
        let answer =
            if answer.status() == 103 { split(&answer.body, answer.reset) } else { answer };
        assert_eq!(sha256(&answer.body), digest, "{fault:?}");
        assert!(get.complete, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_ends_with_the_client() {
    let simulator = start(Knobs::default()).await;
    let (_, package_id) = ready(&simulator, random());
    simulator.world().script(Endpoint::Download, Fault::EndlessBody);
    let path = format!("{}/assets/archives/{package_id}", base());
    let mut stream = TcpStream::connect(simulator.address()).unwrap();
    stream.write_all(&request("GET", &path, "")).unwrap();
    let mut piece = vec![0; 1_000_000];
    stream.read_exact(&mut piece).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_have_the_asked_form() {
    let simulator = start(Knobs::default()).await;
    let (job_id, _) = ready(&simulator, random());
    let path = format!("{}/assets/jobs/{job_id}", base());
    let ask = |fault: Fault| {
        simulator.world().script(Endpoint::Job, fault);
        talk(&simulator, &request("GET", &path, ""))
    };
    let answer = ask(Fault::HugeJson { bytes: 300_000 });
    assert_eq!(answer.body.len(), 300_000);
    assert!(serde_json::from_slice::<Value>(&answer.body).is_ok());
    let answer = ask(Fault::MalformedJson);
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    let answer = ask(Fault::HtmlError200);
    assert_eq!((answer.status(), answer.header("content-type")), (200, Some("text/html")));
    let answer = ask(Fault::Empty200);
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    let answer = ask(Fault::JsonError200);
    assert!(String::from_utf8_lossy(&answer.body).contains("ROMA.11000"));
    let location = "http://127.0.0.1:1/x".to_owned();
    let answer = ask(Fault::Redirect { location });
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:1/x"));
    let retry_after = Some("7".to_owned());
    let answer = ask(Fault::Throttle { retry_after });
    assert_eq!((answer.status(), answer.header("retry-after")), (429, Some("7")));
    let answer = ask(Fault::BadGateway { code: 502, effect: Effect::Before });
    assert_eq!(answer.status(), 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_in_chunks_with_expectations_and_on_one_connection() {
    let simulator = start(Knobs::default()).await;
    let (app, task) = {
        let world = simulator.world();
        let app = world.app_ids(defaults::INSTANCE_ID).swap_remove(0);
        (app, world.task_ids(defaults::INSTANCE_ID).swap_remove(0))
    };
    let body = json!({"apps": [{"id": app}], "tasks": [{"id": task}]}).to_string();
    let (first, second) = body.split_at(10);
    let chunked = format!(
        "POST {}/assets/export HTTP/1.1\r\nX-Auth-Token: {}\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\nX-T: 1\r\n\r\n",
        base(),
        defaults::TOKEN,
        first.len(),
        second.len()
    );
    let mut both = chunked.into_bytes();
    both.extend(request("GET", "/v3/projects", ""));
    let answer = talk(&simulator, &both);
    let text = format!("{}\n{}", answer.head, String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.status(), 100);
    assert!(text.contains("job_id") && text.contains("ap-southeast-1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused() {
    let simulator = start(Knobs::default()).await;
    assert_eq!(talk(&simulator, b"\0\0\r\n\r\n").status(), 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(66_000));
    assert_eq!(talk(&simulator, long.as_bytes()).status(), 494);
    let path = format!("{}/assets/archives/x", base());
    let answer = talk(&simulator, &request("HEAD", &path, ""));
    assert_eq!((answer.status(), answer.body.len()), (404, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_endpoints_do_what_the_library_does() {
    let simulator = start(Knobs::default()).await;
    let ask = |method: &str, path: &str, body: &str| -> Value {
        let answer = talk(&simulator, &request(method, path, body));
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let order = r#"{"count": 2, "state": "ready", "content": {"random": {"bytes": 1000}}}"#;
    let jobs = ask("POST", "/admin/jobs", order);
    let package_id = jobs["jobs"][1]["package_id"].as_str().unwrap();
    let fault = r#"{"endpoint": "download", "fault": {"cut_body": {"bytes": 10}}}"#;
    ask("POST", "/admin/faults", fault);
    ask("PUT", "/admin/knobs", r#"{"consume_point": "request"}"#);
    let path = format!("{}/assets/archives/{package_id}", base());
    assert_eq!(talk(&simulator, &request("GET", &path, "")).body.len(), 10);
    let summary = ask("GET", "/admin/ledger/summary", "");
    assert_eq!((&summary["packages"], &summary["gets"]), (&json!(2), &json!(1)));
    assert_eq!((&summary["completed"], &summary["consumed"]), (&json!(0), &json!(1)));
    let ledger = ask("GET", "/admin/ledger?sha256=all", "");
    assert_eq!(ledger["packages"][0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(ledger["packages"][1]["gets"][0]["bytes_sent"], 10);
    assert_eq!(ask("GET", "/admin/knobs", "")["consume_point"], "request");
    ask("DELETE", "/admin/faults", "");
    let wrong = talk(&simulator, &request("PUT", "/admin/knobs", r#"{"no": 1}"#));
    assert_eq!(wrong.status(), 400);
}
