//! A fleet through thirty nights: two accounts share two instances, one of them as full as ROMA
//! allows, assets come and go, and the wire fails by chance. What the server's ledger says decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use roma_archived::lifecycle::{Archive, StateWord};
use roma_archived::model::SnapshotId;
use roma_sim::knobs::Chaos;
use roma_sim::{ContentSpec, Effect, Endpoint, Fault, Knobs, ListMove, defaults};

use crate::simulation::dice::Dice;
use crate::support::say;
use crate::support::site::{PROD, Site};
use crate::support::world::{Setup, World};

const NIGHTS: usize = 30;
const DAY: Duration = Duration::from_hours(24);
/// The second instance, a small one.
const TEST: &str = "1c86b3a7-5d0e-4c2b-8f5e-0a4d6b7e9f10";

const SITES: [Site; 4] = [
    PROD,
    Site { instance: "test", account: "ops", server: TEST },
    Site { instance: "prod-dev", account: "dev", server: PROD.server },
    Site { instance: "test-dev", account: "dev", server: TEST },
];

/// What the wire does at times. A fault that comes after the effect leaves a job that nobody knows
/// when it meets a request, and consumes a package when it meets a download.
fn menu() -> Vec<Fault> {
    vec![
        Fault::Throttle { retry_after: Some("2".to_owned()) },
        Fault::Throttle { retry_after: None },
        Fault::status(503),
        Fault::BadGateway { code: 502, effect: Effect::Before },
        Fault::BadGateway { code: 504, effect: Effect::After },
        Fault::CloseBeforeHead { effect: Effect::Before },
        Fault::CloseBeforeHead { effect: Effect::After },
        Fault::ResetAfter { bytes: 7 },
        Fault::CutBody { bytes: 9 },
    ]
}

fn setup(seed: u64) -> Setup {
    let often = [
        (Endpoint::Export, 0.06),
        (Endpoint::Job, 0.03),
        (Endpoint::Download, 0.06),
        (Endpoint::Apps, 0.04),
        (Endpoint::Tasks, 0.04),
    ];
    let knobs = Knobs {
        job_duration_ms: 4_000,
        default_content: ContentSpec::Zip { bytes: 2_000 },
        chaos: Chaos { seed, probability: often.into(), menu: menu() },
        ..Knobs::default()
    };
    let sites = SITES.to_vec();
    // One task at a time, so that a seed always gives the same nights.
    Setup { knobs, sites, schedule: Some("0 2 * * *"), serial: true, ..Setup::default() }
}

/// During the day people work.
fn work_on(world: &World, dice: &mut Dice) {
    let mut server = world.simulator.world();
    for instance in [PROD.server, TEST] {
        for endpoint in [Endpoint::Apps, Endpoint::Tasks] {
            for _ in 0..dice.between(0, 4) {
                let place = usize::try_from(dice.between(0, 90)).unwrap();
                let moves =
                    [ListMove::Gone(place), ListMove::New(place), ListMove::Favourite(place)];
                server.move_list(instance, endpoint, dice.pick(&moves));
            }
        }
    }
    // And at night, while the many pages of one list are read, or right after the only one of the
    // other, before its job begins.
    for instance in [PROD.server, TEST] {
        if dice.one_in(3) {
            let what = dice.pick(&[ListMove::Gone(2), ListMove::Favourite(9), ListMove::New(0)]);
            server.script_for(Endpoint::Tasks, instance, Fault::ListMoves(what));
        }
    }
}

/// The last archive of each part of a snapshot.
async fn parts(world: &World, snapshot: i64) -> Vec<Archive> {
    let archives = world.catalog.archives_of(SnapshotId(snapshot)).await.unwrap();
    let parts: BTreeMap<u32, Archive> = archives.into_iter().map(|a| (a.part, a)).collect();
    parts.into_values().collect()
}

/// Which part each asset is in.
fn places(parts: &[Archive]) -> BTreeMap<String, u32> {
    let assets = |part: &Archive| {
        let scope = part.scope.clone().unwrap();
        scope.apps.into_iter().chain(scope.tasks).map(|id| (id, part.part)).collect::<Vec<_>>()
    };
    parts.iter().flat_map(assets).collect()
}

/// No job of a user begins while a package of the user waits (contract U9), but for those of jobs
/// whose answer was lost: nobody can know of them.
fn assert_fetched_first(world: &World, known: &BTreeSet<String>) {
    let server = world.simulator.world();
    let ledger = server.ledger();
    let users: BTreeMap<&str, &str> =
        ledger.jobs().iter().map(|job| (job.job_id.as_str(), job.user.as_str())).collect();
    for package in ledger.packages().iter().filter(|package| known.contains(&package.job_id)) {
        let user = users[package.job_id.as_str()];
        let gone = package.gets.iter().find(|get| get.consumed).map_or(i64::MAX, |get| get.at_ms);
        let too_early = ledger.exports().iter().find(|export| {
            let begun = export.job_id.is_some() && export.user == user;
            begun && export.at_ms > package.ready_ms && export.at_ms < gone
        });
        assert!(too_early.is_none(), "{too_early:?} while {package:?} waited");
    }
}

/// How much an export's parts changed from one run to the next: assets that both have, and how many
/// of them are in another part although no job was saved by that.
async fn moved(world: &World, instance: &str) -> (usize, usize) {
    let select = format!("SELECT id FROM snapshots WHERE instance = '{instance}' ORDER BY id");
    let (mut common, mut moved) = (0, 0);
    let mut before: Option<Vec<Archive>> = None;
    for id in world.column(&select).await {
        let parts = parts(world, id.parse().unwrap()).await;
        if let Some(before) = before {
            let (old, new) = (places(&before), places(&parts));
            let both = old.iter().filter_map(|(id, place)| Some((place, new.get(id)?)));
            let (same, other): (Vec<_>, Vec<_>) = both.partition(|(old, new)| old == new);
            common += same.len() + other.len();
            if parts.len() >= before.len() {
                moved += other.len();
            }
        }
        before = Some(parts);
    }
    (common, moved)
}

#[tokio::test]
async fn thirty_nights_of_a_fleet_lose_nothing_but_what_the_server_took() {
    let seed = std::env::var("ROMA_SEED").map_or(20_261_127, |seed| seed.parse().unwrap());
    let mut dice = Dice::new(seed);
    let mut world = World::new(setup(seed)).await;
    world.simulator.world().resize_instance(PROD.server, 100, 1_000);
    for night in 1..=NIGHTS {
        world.live_through(DAY).await;
        if night + 1 < NIGHTS {
            work_on(&world, &mut dice);
        }
    }
    world.settle().await;
    world.check_oracle().await;

    let states = world.column("SELECT state FROM snapshots").await;
    assert_eq!(states, vec!["complete"; NIGHTS * SITES.len()]);
    let mut archives = Vec::new();
    for id in world.column("SELECT id FROM archives ORDER BY id").await {
        archives.push(world.archive(id.parse().unwrap()).await);
    }
    let jobs = archives.iter().filter_map(|archive| archive.state.job());
    let known: BTreeSet<String> = jobs.map(ToString::to_string).collect();
    assert_fetched_first(&world, &known);

    // The last night knew all there is.
    for site in SITES {
        let select = format!("SELECT max(id) FROM snapshots WHERE instance = '{}'", site.instance);
        let last = world.column(&select).await[0].parse().unwrap();
        let held: BTreeSet<String> = places(&parts(&world, last).await).into_keys().collect();
        let server = world.simulator.world();
        let there = server.app_ids(site.server).into_iter().chain(server.task_ids(site.server));
        assert_eq!(held, there.collect(), "{}", site.instance);
    }
    report(&world, &archives, &known).await;
}

/// The losses, counted by us and by the server, and a table for whoever wants to see it.
async fn report(world: &World, archives: &[Archive], known: &BTreeSet<String>) {
    let with = |word| archives.iter().filter(|a| a.state.word() == word).count();
    let lost: Vec<&Archive> =
        archives.iter().filter(|a| a.state.word() == StateWord::Lost).collect();
    let unanswered = lost.iter().filter(|a| a.state.job().is_none()).count();
    for archive in &lost {
        assert!(archives.iter().any(|a| a.replaces == Some(archive.id)), "{archive:?}");
    }
    let (consumed, orphans, taken, refused, faults) = {
        let server = world.simulator.world();
        let ledger = server.ledger();
        let packages = ledger.packages();
        let of_ours = packages.iter().filter(|package| known.contains(&package.job_id));
        // A package that was consumed and did not arrive: a planted fault took it.
        let taken = of_ours.filter(|package| {
            let gone = package.gets.iter().any(|get| get.consumed && get.fault.is_some());
            gone && package.gets.iter().all(|get| !get.complete)
        });
        let endpoints =
            [Endpoint::Export, Endpoint::Job, Endpoint::Download, Endpoint::Apps, Endpoint::Tasks];
        let summary = ledger.summary();
        let bad = summary.counts.values().flatten().filter(|(status, _)| **status != 200);
        assert!(endpoints.iter().all(|endpoint| ledger.count_all(*endpoint) > 0));
        (
            summary.consumed,
            packages.iter().filter(|package| !known.contains(&package.job_id)).count(),
            taken.count(),
            ledger.refused_exports(),
            bad.map(|(_, count)| count).sum::<u64>(),
        )
    };
    assert_eq!(lost.len() - unanswered, taken, "losses that the server does not know of");
    assert!(orphans <= unanswered, "{orphans} jobs that nobody knows, {unanswered} known as such");
    assert!(taken > 0 && unanswered > 0 && refused > 0, "the faults did not come");
    let reduced = "SELECT seq FROM events WHERE event = 'coverage_reduced'";
    let reduced = world.column(reduced).await.len();
    assert_eq!(
        with(StateWord::Failed),
        reduced,
        "what was gone was dropped, and the rest exported"
    );
    assert!(reduced > 0, "nothing was gone at night");
    let mut table = format!(
        "{NIGHTS} nights, {} runs, {} archives: {} stored, {} lost and exported again \
         ({taken} consumed by a fault, {unanswered} requests without an answer), {} failed\n\
         server: {consumed} packages consumed, {orphans} never asked for, {refused} exports \
         refused as busy, {faults} answers that were none\n\
         coverage reduced {} times\n\
         account: most jobs at once\n",
        NIGHTS * SITES.len(),
        archives.len(),
        with(StateWord::Stored),
        lost.len(),
        with(StateWord::Failed),
        reduced,
    );
    for user in [defaults::USER, "dev"] {
        let most = world.simulator.world().ledger().most_jobs_at_once(user);
        assert_eq!(most, 1);
        writeln!(table, "  {user}: {most}").unwrap();
    }
    table.push_str("instance: assets kept from night to night, moved to another part\n");
    for site in SITES {
        let (common, moved) = moved(world, site.instance).await;
        assert!(common > 0 && moved == 0, "{}: {moved} of {common} moved", site.instance);
        writeln!(table, "  {}: {common}, {moved}", site.instance).unwrap();
    }
    say(&table);
}
