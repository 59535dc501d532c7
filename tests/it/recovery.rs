//! For each state in doubt: the process dies there, starts again, and the table of the failure
//! cases holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roma_archived::catalog::Change;
use roma_archived::lifecycle::{Archive, Deletion, Event};
use roma_archived::model::ArchiveId;
use roma_sim::knobs::Vintage;
use roma_sim::{ContentSpec, JobState, Knobs};

use crate::support::disk::Illegible;
use crate::support::oracle::Excuses;
use crate::support::world::{Setup, World};

async fn commit(world: &World, archive: &Archive, event: Event) -> Archive {
    world.catalog.commit(Change::new(archive.clone(), event), world.now()).await.unwrap()
}

/// An archive whose package waits, found by a daemon that then died.
async fn ready(world: &mut World) -> (Archive, String) {
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    let archive = world.archive(id.0).await;
    let package = job.package_id.unwrap();
    let offered = roma_archived::model::PackageId::new(package.clone()).unwrap();
    (commit(world, &archive, Event::JobSucceeded { package: offered }).await, package)
}

/// Fetches a package besides the daemon, as far as `bytes`, and leaves them in staging.
async fn fetch_into_staging(world: &World, package: &str, id: ArchiveId, whole: bool) {
    let url = format!(
        "{}/v2/{}/instances/{}/assets/archives/{package}",
        world.simulator.url(),
        roma_sim::defaults::PROJECT_ID,
        roma_sim::defaults::INSTANCE_ID,
    );
    let request = reqwest::Client::new().get(url).header("X-Auth-Token", "sim-token");
    let body = request.send().await.unwrap().bytes().await.unwrap();
    let mut receiver = world.vault.receive(id).unwrap();
    receiver.write(if whole { &body } else { &body[..body.len() / 2] }).unwrap();
    drop(receiver);
}

#[tokio::test]
async fn a_request_in_doubt_is_lost_and_made_good() {
    let mut world = World::new(Setup::default()).await;
    world.export().await;
    // Only the planning: the archive is opened, and the daemon dies right after the intent.
    world.engine.pass().await.unwrap();
    world.finish_steps().await;
    let archive = world.archive(1).await;
    commit(&world, &archive, Event::RequestStarted).await;
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "stored"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_download_that_never_left_is_begun_again() {
    let mut world = World::new(Setup::default()).await;
    let (archive, package) = ready(&mut world).await;
    commit(&world, &archive, Event::DownloadStarted).await;
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(world.simulator.world().ledger().gets(&package).len(), 1);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_whole_package_in_staging_is_adopted_without_another_get() {
    let mut world = World::new(Setup::default()).await;
    let (archive, package) = ready(&mut world).await;
    commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, true).await;
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(world.simulator.world().ledger().gets(&package).len(), 1);
    let adopted = "SELECT json_extract(detail, '$.adopted') FROM events \
                   WHERE event = 'download_finished'";
    assert_eq!(world.column(adopted).await, ["1"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn half_a_package_of_a_consumed_job_is_a_loss_that_shows() {
    let knobs = Knobs::of_vintage(Vintage::V2022);
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    let (archive, package) = ready(&mut world).await;
    commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, false).await;
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
    // What had arrived is kept aside, never thrown away.
    let world = world.restart().await;
    assert_eq!(std::fs::read_dir(world.path("quarantine")).unwrap().count(), 1);
    // The test itself has fetched the package, and thrown half of it away.
    let excuses = Excuses { interrupted: [archive.id].into() };
    assert_eq!(world.check_with(&excuses).await, 1);
}

#[tokio::test]
async fn a_package_durable_in_staging_needs_no_server() {
    let mut world = World::new(Setup::default()).await;
    let (archive, package) = ready(&mut world).await;
    let archive = commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, true).await;
    let world = world.restart().await;
    assert_eq!(world.states().await, ["downloaded"]);
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_staged_package_that_vanished_is_a_loss() {
    let mut world = World::new(Setup::default()).await;
    let (archive, package) = ready(&mut world).await;
    let archive = commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, true).await;
    let mut world = world.restart().await;
    std::fs::remove_file(world.path("staging").join(format!("{}.raw", archive.id))).unwrap();
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
}

#[tokio::test]
async fn a_deletion_in_doubt_is_done_again() {
    for gone in [false, true] {
        let mut world = World::new(Setup::default()).await;
        world.export().await;
        world.settle().await;
        let archive = world.archive(1).await;
        let deletion = Deletion { reason: "a test".to_owned(), policy: None };
        let purge_at = world.now();
        let decided = Event::DeletionDecided { deletion, purge_at };
        let archive = commit(&world, &archive, decided).await;
        let archive = commit(&world, &archive, Event::DeletionStarted).await;
        let file = world.vault.stored_path(&archive.state.holding().unwrap().file);
        if gone {
            std::fs::remove_file(&file).unwrap();
        }
        let mut world = world.restart().await;
        world.settle().await;
        world.run_due().await;
        assert_eq!(world.states().await, ["deleted"]);
        assert!(!file.exists());
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn files_that_nobody_knows_are_moved_aside_and_kept() {
    let world = World::new(Setup::default()).await;
    std::fs::write(world.path("staging/a999.raw"), b"an unknown package").unwrap();
    std::fs::write(world.path("staging/notes.txt"), b"somebody's notes").unwrap();
    let world = world.restart().await;
    let mut kept: Vec<Vec<u8>> = std::fs::read_dir(world.path("quarantine"))
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, [b"an unknown package".to_vec(), b"somebody's notes".to_vec()]);
}

/// A disk that reads no file of a dead process, as long as the switch is on.
fn illegible() -> (Setup, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(true));
    (Setup { disk: Arc::new(Illegible(refuses.clone())), ..Setup::default() }, refuses)
}

#[tokio::test]
async fn a_file_of_nobody_that_cannot_be_read_stays_where_it_is() {
    let (setup, refuses) = illegible();
    let world = World::new(setup).await;
    for place in ["staging/a999.raw", "staging/notes.txt", "vault/notes.txt"] {
        std::fs::write(world.path(place), b"nobody's").unwrap();
    }
    let mut world = world.restart().await;
    world.export().await;
    world.settle().await;
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await, ["stored"]);
    assert!(world.path("staging/a999.raw").exists() && world.path("staging/notes.txt").exists());
    assert!(world.path("vault/notes.txt").exists());
    refuses.store(false, Ordering::SeqCst);
    let mut world = world.restart().await;
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(std::fs::read_dir(world.path("quarantine")).unwrap().count(), 3);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_download_that_cannot_be_looked_at_holds_up_nobody_else() {
    let (setup, refuses) = illegible();
    let mut world = World::new(setup).await;
    let (archive, package) = ready(&mut world).await;
    commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, true).await;
    let mut world = world.restart().await;
    let other = world.job(JobState::Ready, ContentSpec::Assets);
    world.watch(&other.job_id).await;
    world.live_through(Duration::from_mins(15)).await;
    assert_eq!(world.states().await, ["downloading", "stored"]);
    refuses.store(false, Ordering::SeqCst);
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "stored"]);
    assert_eq!(world.simulator.world().ledger().gets(&package).len(), 1);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_download_that_can_never_be_looked_at_is_a_failure_that_shows() {
    let (setup, refuses) = illegible();
    let mut world = World::new(setup).await;
    let (archive, package) = ready(&mut world).await;
    commit(&world, &archive, Event::DownloadStarted).await;
    fetch_into_staging(&world, &package, archive.id, true).await;
    let mut world = world.restart().await;
    world.live_through(Duration::from_hours(2)).await;
    // ROMA offers the package still, but what lies in staging may be the only copy one day.
    assert_eq!(world.states().await, ["ready"]);
    let error = world.archive(1).await.last_error.unwrap();
    assert!(error.contains("cannot read"), "{error}");
    let events = world.events(1).await;
    assert!(events.contains(&"download_interrupted".to_owned()), "{events:?}");
    assert_eq!(world.simulator.world().ledger().gets(&package).len(), 1);
    refuses.store(false, Ordering::SeqCst);
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    assert_eq!(world.simulator.world().ledger().gets(&package).len(), 1);
    world.check_oracle().await;
}

#[tokio::test]
async fn restarts_at_every_moment_store_every_package() {
    // The daemon dies whenever steps have ended and none is in doubt, over and over.
    let knobs = Knobs { job_duration_ms: 10_000, ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    world.export().await;
    for _ in 0..200 {
        let wake = world.engine.pass().await.unwrap();
        if world.engine.is_busy() {
            world.finish_steps().await;
            world.clock.advance(std::time::Duration::from_secs(1));
            world = world.restart().await;
        } else if world.engine.is_at_rest() {
            break;
        } else {
            world.clock.set(wake);
        }
    }
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete"]);
    world.check_oracle().await;
}
