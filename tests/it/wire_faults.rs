//! Every fault of the wire against every call, in one table.
//!
//! `wire_faults/table.txt` says of each what the client makes of it (may it be retried? could it
//! have happened?), what is recorded first, and where the archives end. For each row the fault
//! meets one call of a client of its own, and then one call of a whole run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use roma_archived::lifecycle::{Effect, FailureClass};
use roma_archived::model::{JobId, PackageId, Scope};
use roma_archived::roma::{Roma, RomaError};
use roma_archived::settings::{Account, Auth, Instance, Limits, SecretPlace, Tls};
use roma_sim::knobs::ConsumePoint;
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, Knobs, defaults};

use tokio::task::JoinSet;

use crate::support::world::{Setup, SignIn, World, name};

mod credentials;
mod faults;
mod hosts;
mod packages;
mod patience;

const TABLE: &str = include_str!("wire_faults/table.txt");

/// A call of the API that a fault may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Export,
    Job,
    /// The server deletes the package with the last byte that it sends.
    Package,
    /// The server deletes the package as soon as it is asked for.
    PackageAtOnce,
    Apps,
    Tasks,
    Token,
}

impl Call {
    fn word(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Job => "job",
            Self::Package => "package",
            Self::PackageAtOnce => "package at once",
            Self::Apps => "apps",
            Self::Tasks => "tasks",
            Self::Token => "token",
        }
    }

    fn endpoint(self) -> Endpoint {
        match self {
            Self::Export => Endpoint::Export,
            Self::Job => Endpoint::Job,
            Self::Package | Self::PackageAtOnce => Endpoint::Download,
            Self::Apps => Endpoint::Apps,
            Self::Tasks => Endpoint::Tasks,
            Self::Token => Endpoint::Token,
        }
    }

    fn setup(self) -> Setup {
        let consume_point = match self {
            Self::PackageAtOnce => ConsumePoint::Request,
            _ => ConsumePoint::LastByte,
        };
        let knobs = Knobs { consume_point, ..Knobs::default() };
        let mut setup = Setup { knobs, sign_in: SignIn::Password, ..Setup::default() };
        setup.limits.max_package_bytes = 4 << 20;
        // Days pass here, and reading files again would be the last event of a row.
        setup.verify.daily_bytes = 0;
        setup
    }
}

/// A password at this IAM.
fn password(world: &World, iam: &str) -> Auth {
    Auth::Password {
        iam_endpoint: iam.parse().unwrap(),
        user: defaults::USER.to_owned(),
        domain: defaults::DOMAIN.to_owned(),
        project: defaults::PROJECT_NAME.to_owned(),
        password: SecretPlace::File(world.path("password")),
    }
}

/// An instance of the account `ops`.
fn instance(called: &str, endpoint: &str) -> Instance {
    Instance {
        name: name(called),
        account: name("ops"),
        endpoint: endpoint.parse().unwrap(),
        project_id: defaults::PROJECT_ID.to_owned(),
        instance_id: defaults::INSTANCE_ID.to_owned(),
    }
}

fn client_of(auth: Auth, endpoint: &str, limits: &Limits, tls: &Tls) -> Roma {
    let account = Account { name: name("ops"), auth };
    Roma::new(&[account], &[instance("prod", endpoint)], limits, tls).unwrap()
}

/// A client of its own, which has never signed in.
fn client(world: &World) -> Roma {
    let url = world.simulator.url();
    client_of(password(world, &url), &url, &world.setup.limits, &Tls::default())
}

/// Makes the call once, to its last byte.
async fn call_once(call: Call, world: &World, roma: &Roma) -> Result<(), RomaError> {
    let (prod, now) = (name("prod"), world.now());
    match call {
        Call::Export => {
            let apps = world.simulator.world().app_ids(defaults::INSTANCE_ID);
            let scope = Scope { apps, tasks: Vec::new(), omit_empty: false };
            roma.start_export(&prod, &scope, now).await.map(drop)
        }
        Call::Job => {
            let job = world.job(JobState::Ready, ContentSpec::Assets);
            roma.job(&prod, &JobId::new(job.job_id).unwrap(), now).await.map(drop)
        }
        Call::Package | Call::PackageAtOnce => {
            let job = world.job(JobState::Ready, ContentSpec::Assets);
            let package = PackageId::new(job.package_id.unwrap()).unwrap();
            let mut stream = roma.open_package(&prod, &package, now).await?;
            while stream.next().await?.is_some() {}
            Ok(())
        }
        Call::Apps => roma.list_apps(&prod, now).await.map(drop),
        Call::Tasks => roma.list_tasks(&prod, now).await.map(drop),
        Call::Token => roma.ready_credential(&prod, now).await,
    }
}

/// Events of a run that nothing disturbs.
const USUAL: [&str; 11] = [
    "snapshot_opened",
    "parts_planned",
    "archive_opened",
    "request_started",
    "job_accepted",
    "job_succeeded",
    "download_started",
    "download_finished",
    "file_stored",
    "snapshot_complete",
    // After a row with a wrong date.
    "clock_trusted",
];

/// Lets a fault meet a call, first of a client of its own, then of a whole run: a row of the table.
async fn row(world: &mut World, fault_name: &str, fault: &Fault, call: Call) -> String {
    if call == Call::Token {
        // The token of the row before has run out.
        world.clock.advance(Duration::from_hours(24));
    }
    let number =
        async |world: &World, select| -> i64 { world.column(select).await[0].parse().unwrap() };
    let seq = number(world, "SELECT coalesce(max(seq), 0) FROM events").await;
    let archive = number(world, "SELECT coalesce(max(id), 0) FROM archives").await;
    let roma = client(world);
    world.simulator.world().script(call.endpoint(), fault.clone());
    let told = call_once(call, world, &roma).await.err();
    world.simulator.world().script(call.endpoint(), fault.clone());
    world.export().await;
    world.settle().await;
    let select = format!("SELECT event FROM events WHERE seq > {seq} ORDER BY seq");
    let events = world.column(&select).await;
    let unusual = events.iter().find(|event| !USUAL.contains(&event.as_str()));
    let select = format!("SELECT state FROM archives WHERE id > {archive} ORDER BY id");
    let states = world.column(&select).await;
    check(world, told.as_ref(), &states, &format!("{fault_name}, {}", call.word()));
    let (class, effect) = match &told {
        Some(error) => (word(error.class), word(error.effect)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let event = unusual.map_or("-", String::as_str);
    let states = states.join(", ");
    format!("{fault_name} | {} | {class} | {effect} | {event} | {states}", call.word())
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

/// What holds for every fault whatever the table says.
fn check(world: &World, told: Option<&RomaError>, states: &[String], of: &str) {
    let server = world.simulator.world();
    for package in server.ledger().packages() {
        let complete = package.gets.iter().position(|get| get.complete);
        let last = package.gets.len().checked_sub(1);
        assert!(complete.is_none() || complete == last, "{of}: a GET after a whole one");
    }
    if let Some(error) = told {
        let untouched = error.effect == Effect::NotDone && error.class != FailureClass::Gone;
        let lost = states.iter().any(|state| state == "lost");
        assert!(!(untouched && lost), "{of}: lost although nothing can have happened");
        let line = error.to_string();
        assert!(line.len() < 1_000 && !line.contains(defaults::PASSWORD), "{of}: {line}");
    }
    assert!(!states.iter().any(|state| state == "downloading" || state == "requesting"), "{of}");
}

/// Compares what the faults lead to with the table; the difference is shown as rows.
async fn compare(call: Call, faults: Vec<(&'static str, Fault)>) {
    // What these leave in the vault is not what the server has.
    let bends = |fault: &Fault| {
        let package = matches!(call, Call::Package | Call::PackageAtOnce);
        package && matches!(fault, Fault::ShorterLength { .. } | Fault::Gzip | Fault::Deflate)
    };
    let (bent, straight): (Vec<_>, Vec<_>) = faults.into_iter().partition(|(_, f)| bends(f));
    let mut found = BTreeSet::new();
    for (faults, is_straight) in [(straight, true), (bent, false)] {
        let mut world = World::new(call.setup()).await;
        for (fault_name, fault) in faults {
            found.insert(row(&mut world, fault_name, &fault, call).await);
        }
        // What stays in staging of a lost archive is moved aside at the next start.
        let world = world.restart().await;
        if is_straight {
            world.check_oracle().await;
        }
    }
    let difference = difference(call, &found);
    assert!(
        difference.is_empty(),
        "of {} rows of {} differ\n{difference}",
        found.len(),
        call.word()
    );
}

/// The rows that the table has otherwise: `-` in the table, `+` found.
fn difference(call: Call, found: &BTreeSet<String>) -> String {
    let names: BTreeSet<&str> = found.iter().map(|row| first(row)).collect();
    let of_call = |row: &String| row.split(" | ").nth(1) == Some(call.word());
    let columns = |row: &str| row.split('|').map(str::trim).collect::<Vec<_>>().join(" | ");
    let expected: BTreeSet<String> = TABLE
        .lines()
        .map(columns)
        .filter(of_call)
        .filter(|row| names.contains(first(row)))
        .collect();
    let mut difference = String::new();
    for row in expected.difference(found) {
        writeln!(difference, "- {row}").unwrap();
    }
    for row in found.difference(&expected) {
        writeln!(difference, "+ {row}").unwrap();
    }
    difference
}

fn first(row: &str) -> &str {
    row.split(" | ").next().unwrap()
}

#[tokio::test]
async fn faults_of_the_export_call() {
    compare(Call::Export, faults::all()).await;
}

#[tokio::test]
async fn faults_of_the_job_call() {
    compare(Call::Job, [faults::all(), faults::of_jobs()].concat()).await;
}

#[tokio::test]
async fn faults_of_the_package_call() {
    compare(Call::Package, faults::all()).await;
}

#[tokio::test]
async fn faults_of_the_package_call_when_asking_consumes() {
    compare(Call::PackageAtOnce, faults::all()).await;
}

#[tokio::test]
async fn faults_of_the_first_list() {
    compare(Call::Apps, faults::all()).await;
}

#[tokio::test]
async fn faults_of_the_second_list() {
    compare(Call::Tasks, faults::all()).await;
}

#[tokio::test]
async fn faults_of_the_sign_in() {
    compare(Call::Token, faults::all()).await;
}

/// A silence is broken off; each takes a second of real time, so they come together.
#[tokio::test]
async fn silences() {
    let calls = [
        Call::Export,
        Call::Job,
        Call::Package,
        Call::PackageAtOnce,
        Call::Apps,
        Call::Tasks,
        Call::Token,
    ];
    let mut rows = JoinSet::new();
    for call in calls {
        rows.spawn(async move {
            let mut setup = call.setup();
            setup.limits.request_timeout = Duration::from_secs(1);
            setup.limits.download_idle_timeout = Duration::from_secs(1);
            let fault = Fault::Stall { bytes: 9, ms: 600_000 };
            let mut world = World::new(setup).await;
            (call, row(&mut world, "silence", &fault, call).await)
        });
    }
    let rows = rows.join_all().await.into_iter();
    let differences: String = rows.map(|(call, row)| difference(call, &[row].into())).collect();
    assert!(differences.is_empty(), "\n{differences}");
}
