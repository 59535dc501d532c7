//! Servers that cannot be reached, that are not who they should be, or that point elsewhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use roma_archived::catalog::Change;
use roma_archived::lifecycle::{Effect, Event, FailureClass};
use roma_archived::model::PackageId;
use roma_archived::roma::Roma;
use roma_archived::settings::{Auth, Limits, SecretPlace, Tls};
use roma_sim::{ContentSpec, JobState};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Call, call_once, client_of, password};
use crate::support::world::{Setup, World};

const CALLS: [Call; 6] =
    [Call::Export, Call::Job, Call::Package, Call::Apps, Call::Tasks, Call::Token];
const CERTIFICATE: &str = "tests/it/wire_faults/self_signed.crt.pem";

/// Nobody listens there.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Speaks TLS with a certificate that nobody has signed, and hands everything on to `behind`.
async fn self_signed(behind: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_file(CERTIFICATE.replace("crt", "key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = tokio::net::TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    address
}

/// Endpoints that no request ever reaches.
async fn unreachable(world: &World) -> Vec<(&'static str, String)> {
    let here = world.simulator.address();
    vec![
        ("no such name", "https://no-such-host.invalid".to_owned()),
        ("refused", format!("http://{}", closed())),
        ("no TLS", format!("https://{here}")),
        ("self-signed", format!("https://{}", self_signed(here).await)),
    ]
}

fn from_file(world: &World) -> Auth {
    Auth::Token { token: SecretPlace::File(world.path("token")) }
}

#[tokio::test]
async fn what_cannot_be_reached_was_certainly_not_asked() {
    let world = World::new(Setup::default()).await;
    for (host, url) in unreachable(&world).await {
        for call in CALLS {
            let auth = match call {
                Call::Token => password(&world, &url),
                _ => from_file(&world),
            };
            let roma = client_of(auth, &url, &Limits::default(), &Tls::default());
            let error = call_once(call, &world, &roma).await.unwrap_err();
            let answer = (error.class, error.effect);
            let expected = (FailureClass::Transient, Effect::NotDone);
            assert_eq!(answer, expected, "{host} {call:?}: {error:?}");
            let told = error.into_failure().message;
            assert!(told.contains("cannot connect") && !told.contains('\n'), "{told}");
        }
    }
    assert_eq!(world.simulator.world().ledger().summary().gets, 0);
}

#[tokio::test]
async fn a_certificate_that_the_operator_trusts_is_enough() {
    let world = World::new(Setup::default()).await;
    let url = format!("https://{}", self_signed(world.simulator.address()).await);
    let tls = Tls { ca_file: Some(Path::new(CERTIFICATE).to_owned()), proxy: None };
    let roma = client_of(password(&world, &url), &url, &Limits::default(), &tls);
    for call in CALLS {
        call_once(call, &world, &roma).await.unwrap();
    }
}

/// Every step waits until the server can be reached, and nothing is lost or used up meanwhile.
#[tokio::test]
async fn a_server_out_of_reach_is_waited_for() {
    let hosts = unreachable(&World::new(Setup::default()).await).await;
    for (host, url) in hosts {
        let mut world = World::new(Setup::default()).await;
        let ready = world.job(JobState::Ready, ContentSpec::Assets);
        let running = world.job(JobState::Ready, ContentSpec::Assets);
        let id = world.watch(&ready.job_id).await;
        world.watch(&running.job_id).await;
        let package = PackageId::new(ready.package_id.clone().unwrap()).unwrap();
        let offered = Change::new(world.archive(id.0).await, Event::JobSucceeded { package });
        world.catalog.commit(offered, world.now()).await.unwrap();
        world.setup.endpoint = Some(url);
        let mut world = world.restart().await;
        world.live_through(std::time::Duration::from_mins(20)).await;
        assert_eq!(world.states().await, ["ready", "running"], "{host}");
        assert_eq!(world.archive(1).await.downloads, 0, "{host}");
        let told = "SELECT DISTINCT event || ' ' || json_extract(detail, '$.failure.class') || ' ' \
                    || json_extract(detail, '$.failure.effect') FROM events \
                    WHERE event LIKE '%postponed' ORDER BY 1";
        let expected =
            ["download_postponed transient not_done", "poll_postponed transient not_done"];
        assert_eq!(world.column(told).await, expected, "{host}");
        world.setup.endpoint = None;
        let mut world = world.restart().await;
        world.settle().await;
        assert_eq!(world.states().await, ["stored", "stored"], "{host}");
        for package in [ready.package_id, running.package_id] {
            assert_eq!(world.simulator.world().ledger().gets(&package.unwrap()).len(), 1);
        }
        world.check_oracle().await;
    }
}

/// Gives every connection the same answer, and keeps what it was sent.
struct Canned {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answer, notes) = (answer.into(), heard.clone());
        // Ends with the process: a thread that waits for nobody keeps nothing from ending.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let mut length = 0;
                while !request[..length].windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut request[length..]) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => length += read,
                    }
                }
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                notes.lock().unwrap().push(text);
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, heard }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A client of a server that always gives this answer.
fn client_of_canned(world: &World, call: Call, canned: &Canned) -> Roma {
    let url = canned.url();
    let auth = match call {
        Call::Token => password(world, &url),
        _ => from_file(world),
    };
    client_of(auth, &url, &Limits::default(), &Tls::default())
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let world = World::new(Setup::default()).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let other = elsewhere.local_addr().unwrap();
    for code in [301, 302, 303, 307, 308] {
        for location in [
            format!("http://{other}/v2/x"),
            format!("https://{other}/v2/x"),
            format!("//{other}/v2/x"),
            "/v2/elsewhere".to_owned(),
        ] {
            for call in CALLS {
                let canned = Canned::new(format!(
                    "HTTP/1.1 {code} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                ));
                let roma = client_of_canned(&world, call, &canned);
                let error = call_once(call, &world, &roma).await.unwrap_err();
                assert!(error.to_string().contains("points elsewhere"), "{error}");
                assert_eq!(canned.heard().len(), 1, "{code} {location} {call:?}");
            }
        }
    }
    // A connection would wait in the listener's queue.
    let error = elsewhere.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "somebody came");
}

/// What no server should send. Each time the package may be consumed, and ROMA has to be asked.
#[tokio::test]
async fn answers_that_are_no_http_leave_the_package_in_doubt() {
    let world = World::new(Setup::default()).await;
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    for answer in [
        "HELLO\r\n\r\n",
        "HTTP/1.1 two hundred OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nPK",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nPK",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nPK",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nPK\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nPK",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        &long,
    ] {
        let canned = Canned::new(answer);
        let roma = client_of_canned(&world, Call::Package, &canned);
        let error = call_once(Call::Package, &world, &roma).await.unwrap_err();
        let shown = &answer[..answer.len().min(80)];
        assert_eq!(error.effect, Effect::Unknown, "{shown:?} {error:?}");
        assert_eq!(error.class, FailureClass::Transient, "{shown:?} {error:?}");
        assert_eq!(canned.heard().len(), 1, "{shown:?}: sent again");
    }
}

/// The one GET asks for the bytes as they are, all of them, and says who asks.
#[tokio::test]
async fn the_one_get_asks_for_the_whole_as_it_is() {
    let world = World::new(Setup::default()).await;
    let partial = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n\
                   Content-Length: 2\r\nContent-Disposition: attachment; filename=../x\r\n\r\nPK";
    let canned = Canned::new(partial);
    let roma = client_of_canned(&world, Call::Package, &canned);
    let package = PackageId::new("p/../1").unwrap();
    let prod = crate::support::world::name("prod");
    let stream = roma.open_package(&prod, &package, world.now()).await.unwrap();
    // A part of a package, although nobody asked for one, is not taken for the whole.
    assert!(!stream.self_delimiting);
    let heard = canned.heard().remove(0).to_ascii_lowercase();
    assert!(heard.contains("accept-encoding: identity\r\n"), "{heard}");
    assert!(!heard.contains("range:"), "{heard}");
    assert!(heard.lines().next().unwrap().ends_with("/p%2f..%2f1 http/1.1"), "{heard}");
}
