//! Catalog and vault compared: what is missing shows and comes back, what nobody knows is moved
//! aside and kept, and a catalog that is older than its vault gets back what it does not know of.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roma_archived::catalog::Change;
use roma_archived::engine::{Finding, Keeper};
use roma_archived::lifecycle::{Deletion, Event, LossCause};
use roma_archived::model::{ArchiveId, PackageId, Timestamp};
use roma_archived::retention::{Count, CountRule, Policy};
use roma_archived::vault::{Manifest, PackJob, StagedEvidence, Vault};
use roma_sim::knobs::DownloadFraming;
use roma_sim::{ContentSpec, Endpoint, JobState, Knobs};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::support::world::{Setup, World};

/// Adopts so many jobs whose packages wait, and stores them.
async fn stored(world: &mut World, count: usize) -> Vec<PathBuf> {
    for _ in 0..count {
        let job = world.job(JobState::Ready, ContentSpec::Random { bytes: 5_000 });
        world.watch(&job.job_id).await;
    }
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; count]);
    let paths = world.column("SELECT path FROM archives ORDER BY id").await;
    paths.iter().map(|path| world.path("vault").join(path)).collect()
}

/// Everything in quarantine, by name.
fn quarantine(world: &World) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(world.path("quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn keeper(world: &World) -> Keeper {
    let clock = roma_archived::clock::Clock::Manual(world.clock.clone());
    Keeper::new(world.catalog.clone(), world.vault.clone(), clock)
}

/// What a comparison at this moment finds.
async fn compare(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    keeper(world).reconcile(&mut |finding| findings.push(finding)).await.unwrap();
    findings
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn whatever_is_not_there_as_recorded_shows_and_comes_back() {
    let mut world = World::new(Setup::default()).await;
    let files = stored(&mut world, 5).await;
    let copies: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let outside = world.path("outside.zip");
    std::fs::write(&outside, &copies[3]).unwrap();
    let mut world = world
        .restart_after(|_| {
            std::fs::remove_file(&files[0]).unwrap();
            std::fs::write(&files[1], &copies[1][..100]).unwrap();
            std::fs::remove_file(&files[2]).unwrap();
            std::fs::create_dir(&files[2]).unwrap();
            std::fs::remove_file(&files[3]).unwrap();
            symlink(&outside, &files[3]).unwrap();
        })
        .await;
    assert_eq!(world.states().await, vec!["stored"; 5], "the start does not wait for it");
    world.settle().await;
    let damaged = ["damaged", "damaged", "damaged", "damaged", "stored"];
    assert_eq!(world.states().await, damaged);
    let errors = world.column("SELECT last_error FROM archives WHERE state = 'damaged'").await;
    let reasons = ["is missing", "has 100 bytes", "not a regular file", "not a regular file"];
    for ((error, reason), id) in errors.iter().zip(reasons).zip(1..) {
        assert!(error.contains(reason), "{error}");
        assert!(error.contains(&format!("`roma-archived verify a{id}`")), "{error}");
    }
    // Nothing was touched: somebody may know what to do with it.
    assert!(files[3].is_symlink() && files[2].is_dir() && quarantine(&world).is_empty());
    // A second look records nothing twice.
    let events = "SELECT count(*) FROM events WHERE event = 'file_damaged'";
    compare(&world).await;
    assert_eq!(world.column(events).await, ["4"]);
    let mut world = world
        .restart_after(|_| {
            std::fs::remove_dir(&files[2]).unwrap();
            std::fs::remove_file(&files[3]).unwrap();
            for (file, copy) in files.iter().zip(&copies) {
                std::fs::write(file, copy).unwrap();
            }
        })
        .await;
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 5]);
    let states = world.column("SELECT DISTINCT state FROM snapshots").await;
    assert_eq!(states, ["complete"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_said_to_be_kept_by_a_rule() {
    let rule = CountRule { period: None, count: Count::Limited(2) };
    let policy = Policy { counts: vec![rule], ..Policy::default() };
    let setup = Setup { schedule: Some("0 2 * * *"), policy, ..Setup::default() };
    let mut world = World::new(setup).await;
    world.live_through(Duration::from_hours(24 * 2)).await;
    let kept = "SELECT coalesce(kept_because, 'nothing') FROM snapshots ORDER BY id";
    assert_eq!(world.column(kept).await, ["last 2/2", "last 1/2"]);
    let file = world.column("SELECT path FROM archives WHERE id = 2").await.remove(0);
    let file = world.path("vault").join(file);
    let copy = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    compare(&world).await;
    assert_eq!(world.column(kept).await, ["last 2/2", "nothing"]);
    world.live_through(Duration::from_hours(2)).await;
    // The older one is the newest good one now.
    assert_eq!(world.column(kept).await, ["last 1/2", "nothing"]);
    std::fs::write(&file, copy).unwrap();
    let world_again = compare(&world).await;
    assert!(matches!(world_again[..], [Finding::Restored(_)]), "{world_again:?}");
    world.live_through(Duration::from_hours(2)).await;
    assert_eq!(world.column(kept).await, ["last 2/2", "last 1/2"]);
}

#[tokio::test]
async fn an_empty_vault_is_damage_that_says_so_and_heals() {
    let mut world = World::new(Setup::default()).await;
    stored(&mut world, 3).await;
    let mut world = world
        .restart_after(|state| std::fs::rename(state.join("vault"), state.join("away")).unwrap())
        .await;
    world.settle().await;
    let errors = world.column("SELECT last_error FROM archives").await;
    assert!(errors.iter().all(|error| error.contains("is its disk mounted?")), "{errors:?}");
    let mut world = world
        .restart_after(|state| {
            std::fs::remove_dir(state.join("vault")).unwrap();
            std::fs::rename(state.join("away"), state.join("vault")).unwrap();
        })
        .await;
    world.settle().await;
    assert_eq!(world.states().await, vec!["stored"; 3]);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_flipped_bit_is_found_by_reading_and_only_by_that() {
    let mut world = World::new(Setup::default()).await;
    let files = stored(&mut world, 3).await;
    flip(&files[1]);
    assert!(compare(&world).await.is_empty());
    world.live_through(Duration::from_hours(24 * 6)).await;
    let not_read = "SELECT count(*) FROM archives WHERE verified_at > stored_at";
    assert_eq!(world.column(not_read).await, ["0"]);
    world.live_through(Duration::from_hours(24 * 2)).await;
    assert_eq!(world.states().await, ["stored", "damaged", "stored"]);
    assert_eq!(world.column(not_read).await, ["2"]);
    // A restart reads nothing again that was read today.
    let mut world = world.restart().await;
    world.live_through(Duration::from_hours(24)).await;
    let verified = "SELECT count(*) FROM events WHERE event = 'file_verified'";
    assert_eq!(world.column(verified).await, ["2"]);
    flip(&files[1]);
    let findings = compare(&world).await;
    assert!(matches!(findings[..], [Finding::Restored(_)]), "{findings:?}");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_small_budget_spreads_the_reading_over_days() {
    let mut setup = Setup::default();
    // One file of five a day.
    setup.verify.daily_bytes = 6_000;
    setup.verify.every = Duration::from_hours(24);
    let mut world = World::new(setup).await;
    stored(&mut world, 5).await;
    let read = "SELECT count(*) FROM events WHERE event = 'file_verified'";
    world.live_through(Duration::from_hours(26)).await;
    assert_eq!(world.column(read).await, ["1"]);
    let mut world = world.restart().await;
    world.live_through(Duration::from_hours(12)).await;
    assert_eq!(world.column(read).await, ["1"], "a restart is no new day");
    world.live_through(Duration::from_hours(24 * 4)).await;
    assert_eq!(world.column(read).await, ["5"]);
    let each = "SELECT DISTINCT archive_id FROM events WHERE event = 'file_verified'";
    assert_eq!(world.column(each).await.len(), 5, "the one read longest ago comes first");
}

#[tokio::test]
async fn what_nobody_claims_is_moved_aside_kept_and_recorded() {
    let mut world = World::new(Setup::default()).await;
    let files = stored(&mut world, 1).await;
    let month = files[0].parent().unwrap().to_owned();
    let vault = world.path("vault");
    let secret = world.path("secret");
    std::fs::write(&secret, "outside").unwrap();
    let mut world = world
        .restart_after(|_| {
            std::fs::write(month.join("notes.txt"), "somebody's notes").unwrap();
            std::fs::create_dir_all(vault.join("theirs/deep")).unwrap();
            std::fs::write(vault.join("theirs/deep/x.zip"), "no zip").unwrap();
            symlink(&secret, vault.join("link")).unwrap();
            symlink(vault.join("theirs"), vault.join("linked-folder")).unwrap();
            let odd = std::ffi::OsStr::from_bytes(b"odd\xff.zip");
            std::fs::write(vault.join(odd), "odd").unwrap();
            // A copy of a stored file under another name: its archive has its file.
            std::fs::copy(&files[0], month.join("copy.zip")).unwrap();
        })
        .await;
    world.settle().await;
    assert_eq!(
        quarantine(&world),
        [
            "foreign-link",
            "foreign-linked-folder",
            "foreign-notes.txt",
            "foreign-odd\u{fffd}.zip",
            "foreign-x.zip",
            "unknown-copy.zip"
        ]
    );
    let kept = std::fs::read_to_string(world.path("quarantine/foreign-notes.txt")).unwrap();
    assert_eq!(kept, "somebody's notes");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "outside");
    let events = "SELECT json_extract(detail, '$.path') || ' -> ' ||
        json_extract(detail, '$.kept_as') FROM events WHERE event = 'file_quarantined'
        AND archive_id IS NULL AND snapshot_id IS NULL AND to_state IS NULL";
    let events = world.column(events).await;
    assert_eq!(events.len(), 6);
    let moved = "vault/theirs/deep/x.zip -> quarantine/foreign-x.zip".to_owned();
    assert!(events.contains(&moved), "{events:?}");
    assert!(vault.join("theirs/deep").is_dir(), "folders stay");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_file_that_was_deleted_is_none_of_ours_any_more() {
    let mut world = World::new(Setup::default()).await;
    let files = stored(&mut world, 1).await;
    let copy = std::fs::read(&files[0]).unwrap();
    let deletion = Deletion { reason: "a test".to_owned(), policy: None };
    let decided = Event::DeletionDecided { deletion, purge_at: world.now() };
    let change = Change::new(world.archive(1).await, decided);
    world.catalog.commit(change, world.now()).await.unwrap();
    let mut world = world.restart().await;
    world.live_through(Duration::from_hours(3)).await;
    assert_eq!(world.states().await, ["deleted"]);
    std::fs::create_dir_all(files[0].parent().unwrap()).unwrap();
    std::fs::write(&files[0], copy).unwrap();
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!(quarantine(&world).len(), 1);
    assert_eq!(world.states().await, ["deleted"]);
    world.check_oracle().await;
}

#[tokio::test]
async fn what_a_step_has_just_packed_is_left_alone() {
    // One that does not say how long it is is not stored as it comes.
    let knobs = Knobs { download_framing: DownloadFraming::UntilClose, ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    world.watch(&job.job_id).await;
    // Until the package is downloaded, and no further.
    while world.states().await != ["downloaded"] {
        let wake = world.engine.pass().await.unwrap();
        if world.engine.is_busy() {
            world.engine.step_finished().await.unwrap();
        } else {
            world.clock.set(wake);
        }
    }
    let mut world = world.restart().await;
    let archive = world.archive(1).await;
    let roma_archived::lifecycle::State::Downloaded { offer, raw, format } = &archive.state else {
        panic!("{:?}", archive.state);
    };
    let evidence = world.vault.inspect_staged(archive.id).unwrap();
    assert!(matches!(evidence, StagedEvidence::Whole(_)));
    let path = Vault::relative_path(
        &archive.instance,
        &archive.export,
        archive.scheduled_at,
        archive.snapshot,
        1,
    );
    let manifest = Manifest {
        schema_version: Manifest::SCHEMA_VERSION,
        app: Manifest::APP.to_owned(),
        archive_id: archive.id,
        snapshot_id: archive.snapshot,
        part: 1,
        parts: 1,
        instance: archive.instance.clone(),
        export: archive.export.clone(),
        instance_id: None,
        job_id: offer.job.clone(),
        package_id: offer.package.clone(),
        scheduled_at: archive.scheduled_at,
        ready_at: archive.milestones.ready_at,
        downloaded_at: archive.milestones.downloaded_at.unwrap(),
        raw_bytes: raw.bytes,
        raw_sha256: raw.sha256,
        format: *format,
        entry: format.entry_name().to_owned(),
    };
    let options = roma_archived::settings::Pack::default();
    let (raw, format) = (*raw, *format);
    let job = PackJob { id: archive.id, raw, format, path: path.clone(), manifest, options };
    world.vault.pack(&job).unwrap();
    assert!(world.vault.is_there(Path::new(&path)).unwrap());
    let findings = compare(&world).await;
    assert!(findings.is_empty(), "{findings:?}");
    assert!(quarantine(&world).is_empty());
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    world.check_oracle().await;
}

/// A backup of the catalog, as `docs/operations.md` says.
pub(crate) async fn back_up(world: &World) -> PathBuf {
    let copy = world.path("backup.db");
    let options = SqliteConnectOptions::new().filename(world.path("catalog.db")).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let sql = format!("VACUUM INTO '{}'", copy.display());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    copy
}

pub(crate) async fn restore(world: World, backup: &Path) -> World {
    world
        .restart_after(|state| {
            for suffix in ["-wal", "-shm"] {
                drop(std::fs::remove_file(state.join(format!("catalog.db{suffix}"))));
            }
            std::fs::copy(backup, state.join("catalog.db")).unwrap();
        })
        .await
}

/// Whatever the catalog knew at the time of the backup, everything that was stored since is stored
/// again, and ROMA is asked for nothing.
#[tokio::test]
async fn an_older_catalog_gets_back_what_was_stored_since() {
    // The backup is taken after so many turns of the loop, until nothing was on its way any more.
    let mut seen = std::collections::BTreeSet::new();
    for turns in 0.. {
        let knobs = Knobs { job_duration_ms: 3_000, ..Knobs::default() };
        let mut world = World::new(Setup { knobs, ..Setup::default() }.downloads(1)).await;
        let id = roma_sim::defaults::INSTANCE_ID;
        world.simulator.world().resize_instance(id, 50, 200);
        world.export().await;
        for _ in 0..2 {
            let job = world.job(JobState::Ready, ContentSpec::Random { bytes: 9_000 });
            world.watch(&job.job_id).await;
        }
        for _ in 0..turns {
            let wake = world.engine.pass().await.unwrap();
            if world.engine.is_busy() {
                world.engine.step_finished().await.unwrap();
            } else {
                world.clock.set(wake);
            }
        }
        world.finish_steps().await;
        let at_rest = turns > 0 && world.engine.is_at_rest();
        let before = world.states().await;
        seen.extend(before.iter().cloned());
        let backup = back_up(&world).await;
        world.settle().await;
        let planned = before.len() > 2;
        let stored = world.states().await;
        world.clock.advance(Duration::from_mins(1));
        let requests = world.simulator.world().ledger().count_all(Endpoint::Export);
        let mut world = restore(world, &backup).await;
        world.settle().await;
        if planned {
            assert_eq!(world.states().await, stored, "{before:?}");
            let again = world.simulator.world().ledger().count_all(Endpoint::Export);
            assert_eq!(again, requests, "{before:?}");
            assert!(quarantine(&world).is_empty(), "{before:?}");
        }
        world.check_oracle().await;
        if at_rest {
            break;
        }
    }
    for state in ["scheduled", "running", "ready", "stored"] {
        assert!(seen.contains(state), "{seen:?}");
    }
}

#[tokio::test]
async fn a_loss_in_doubt_of_an_older_catalog_is_taken_back() {
    let mut world = World::new(Setup::default()).await;
    world.export().await;
    // The backup falls between the intent of the request and its answer.
    world.engine.pass().await.unwrap();
    world.finish_steps().await;
    let scheduled = back_up(&world).await;
    world.settle().await;
    let mut world = restore(world, &scheduled).await.restart_after(|_| {}).await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    let events = world.events(1).await;
    assert!(events.contains(&"file_found".to_owned()), "{events:?}");
    world.check_oracle().await;
}

/// The file of a package that was given up turns up again, as from a backup of the vault.
#[tokio::test]
async fn a_lost_package_whose_file_turns_up_is_stored() {
    for again in [false, true] {
        let mut world = World::new(Setup::default()).await;
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        let id = world.watch(&job.job_id).await;
        let backup = back_up(&world).await;
        world.settle().await;
        let path = world.column("SELECT path FROM archives").await.remove(0);
        let (path, away) = (world.path("vault").join(path), world.path("away.zip"));
        std::fs::rename(&path, &away).unwrap();
        let mut world = restore(world, &backup).await;
        world.settle().await;
        assert_eq!(world.states().await, ["lost"], "ROMA does not offer it any more");
        if again {
            world.watch_again(&job.job_id).await;
            world.settle().await;
            assert_eq!(world.states().await, ["lost", "lost"]);
        }
        std::fs::rename(&away, &path).unwrap();
        let findings = compare(&world).await;
        assert!(matches!(findings[..], [Finding::Found(_)]), "{findings:?}");
        let states = if again { vec!["lost", "stored"] } else { vec!["stored"] };
        assert_eq!(world.states().await, states);
        assert!(path.exists());
        let lost = world.events(id.0).await;
        assert_eq!(lost.contains(&"file_found".to_owned()), !again, "{lost:?}");
        world.check_oracle().await;
    }
}

/// Numbers are given anew by a catalog that was restored: the same number, another run.
#[tokio::test]
async fn a_file_of_a_later_run_is_no_file_of_another_with_its_number() {
    let mut world = World::new(Setup::default()).await;
    let backup = back_up(&world).await;
    world.export().await;
    world.settle().await;
    world.clock.advance(Duration::from_mins(1));
    let mut world = restore(world, &backup).await;
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    let kept = quarantine(&world);
    assert!(matches!(&kept[..], [name] if name.starts_with("unknown-")), "{kept:?}");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_look_does_not_race_with_deletion() {
    let mut world = World::new(Setup::default()).await;
    let files = stored(&mut world, 1).await;
    let seen = world.archive(1).await;
    // Deleted by the policy between the page of the catalog and the look at the disk.
    let now: Timestamp = world.now();
    let deletion = Deletion { reason: "a test".to_owned(), policy: None };
    let decided = Event::DeletionDecided { deletion, purge_at: now };
    let mut archive = seen.clone();
    for event in [decided, Event::DeletionStarted] {
        archive = world.catalog.commit(Change::new(archive, event), now).await.unwrap();
    }
    std::fs::remove_file(&files[0]).unwrap();
    let finding = keeper(&world).read(seen).await.unwrap();
    assert!(matches!(finding, Finding::Changed(ArchiveId(1))), "{finding:?}");
    assert_eq!(world.states().await, ["deleting"]);
}

/// A package that another archive has taken over meanwhile is not given to two.
#[tokio::test]
async fn a_package_is_never_given_to_two_archives() {
    let mut world = World::new(Setup::default()).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    let package = PackageId::new(job.package_id.clone().unwrap()).unwrap();
    let archive = world.archive(id.0).await;
    let ready = Change::new(archive, Event::JobSucceeded { package });
    let ready = world.catalog.commit(ready, world.now()).await.unwrap();
    let message = "a proxy said so".to_owned();
    let lost = Event::PackageLost { cause: LossCause::PackageGone, message };
    world.catalog.commit(Change::new(ready, lost), world.now()).await.unwrap();
    world.watch_again(&job.job_id).await;
    world.settle().await;
    assert_eq!(world.states().await, ["lost", "stored"]);
    // A second copy of the stored file where the lost one would have had its own.
    let path = world.column("SELECT path FROM archives WHERE id = 2").await.remove(0);
    let lost = world.archive(id.0).await;
    let (instance, export) = (&lost.instance, &lost.export);
    let own = Vault::relative_path(instance, export, lost.scheduled_at, lost.snapshot, 1);
    let vault = world.path("vault");
    std::fs::copy(vault.join(path), vault.join(own)).unwrap();
    let findings = compare(&world).await;
    assert!(matches!(findings[..], [Finding::Quarantined { .. }]), "{findings:?}");
    assert_eq!(world.states().await, ["lost", "stored"]);
    world.check_oracle().await;
}
