//! Every durable operation of a life fails once, and the daemon dies at every one of them, with and
//! without a power cut: whatever the moment, the next start makes it good. O1 to O8 of the oracle
//! are checked after each run; a loss is allowed only where no client could prevent it.

use roma_archived::catalog::Change;
use roma_archived::lifecycle::{Deletion, Event};
use roma_sim::knobs::{ConsumePoint, DownloadFraming};
use roma_sim::{ContentSpec, JobState, Knobs};

use crate::support::faulty_disk::Fault;
use crate::support::platter::Tail;
use crate::support::say;
use crate::support::trial::{Trial, received};
use crate::support::world::Setup;

/// Every way in which an operation can go wrong.
const TROUBLES: [(Fault, Option<Tail>); 9] = [
    (Fault::Eio, None),
    (Fault::Enospc, None),
    (Fault::Full, None),
    (Fault::Crash { happened: false }, None),
    (Fault::Crash { happened: false }, Some(Tail::Cut)),
    (Fault::Crash { happened: false }, Some(Tail::Zeroed)),
    (Fault::Crash { happened: true }, None),
    (Fault::Crash { happened: true }, Some(Tail::Cut)),
    (Fault::Crash { happened: true }, Some(Tail::Zeroed)),
];
/// More operations than any of these lives has.
const MOST: u64 = 500;

/// What one run meets.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    n: u64,
    fault: Fault,
    power_loss: Option<Tail>,
}

/// Runs `life` with every trouble at every operation, until one run is not disturbed any more. It
/// is told what it will meet, and answers whether it met that.
async fn at_every_operation(mut life: impl AsyncFnMut(Trouble) -> bool) {
    let mut runs = 0;
    for (fault, power_loss) in TROUBLES {
        for n in 1..MOST {
            let trouble = Trouble { n, fault, power_loss };
            say(&format!("{trouble:?}"));
            runs += 1;
            if !life(trouble).await {
                assert!(n > 1, "nothing was ever done to the disk");
                break;
            }
            assert!(n + 1 < MOST, "this life has no end");
        }
    }
    say(&format!("{runs} runs"));
}

impl Trouble {
    /// Whether no client could have kept the package that `operation` was taking to the disk.
    /// `proves_itself`: a whole body can be told from a cut one by its content.
    fn excuses(self, operation: &str, proves_itself: bool) -> bool {
        let (power_loss, happened) = (self.power_loss.is_some(), self.happened());
        match operation.split_once(" staging/a").map(|(words, _)| words) {
            // The rest of the body, or the buffer, dies with the process.
            Some("write") => true,
            Some("sync") => !proves_itself || (power_loss && !happened),
            Some("rename") => !proves_itself && (power_loss || !happened),
            Some("sync folder staging after rename") => !proves_itself && power_loss && !happened,
            _ => false,
        }
    }

    fn happened(self) -> bool {
        self.fault == Fault::Crash { happened: true }
    }

    /// The daemon that runs meets it, and then lives on.
    async fn befall(self, trial: &mut Trial) {
        trial.plans.push_front((self.n, self.fault, self.power_loss));
        trial.arm();
        trial.settle().await;
        trial.take_notes();
    }

    /// Faults are over; whatever was not met by an excusable fault is stored, and only a failed
    /// sync has ended a daemon that was not killed. True when the trouble was met.
    async fn judge(self, mut trial: Trial, proves_itself: bool) -> bool {
        let hits = trial.hits.clone();
        let failed_sync = !matches!(self.fault, Fault::Crash { .. })
            && hits.iter().any(|what| what.starts_with("sync"));
        assert_eq!(trial.failures > 0, failed_sync, "only a failed sync ends the daemon");
        let mut excused: Vec<String> = hits
            .iter()
            .filter(|hit| self.excuses(hit, proves_itself))
            .filter_map(|hit| received(hit))
            .map(|id| id.0.to_string())
            .collect();
        if trial.steps_share_folders && matches!(self.fault, Fault::Crash { .. }) {
            // Whatever else was on its way then died as well.
            excused.extend(trial.excuses.interrupted.iter().map(|id| id.0.to_string()));
        }
        let world = trial.conclude().await;
        let lost = world.column("SELECT id FROM archives WHERE state = 'lost'").await;
        assert!(lost.iter().all(|id| excused.contains(id)), "{lost:?} after {hits:?}");
        let other = "SELECT state FROM archives WHERE state NOT IN ('stored', 'deleted', 'lost')";
        assert_eq!(world.column(other).await, Vec::<String>::new());
        // What ROMA can export again is there in the end.
        let open = "SELECT state FROM snapshots WHERE export = 'nightly' AND state = 'incomplete'";
        assert_eq!(world.column(open).await, Vec::<String>::new());
        if excused.is_empty() {
            let summary = world.simulator.world().ledger().summary();
            assert!(summary.completed_more_than_once.is_empty(), "{summary:?}");
        }
        !hits.is_empty()
    }
}

async fn watched(setup: fn() -> Setup, content: ContentSpec, proves_itself: bool) {
    at_every_operation(async |trouble| {
        let mut trial = Trial::new(setup()).await;
        let job = trial.world().job(JobState::Ready, content.clone());
        trial.world().watch(&job.job_id).await;
        trouble.befall(&mut trial).await;
        trouble.judge(trial, proves_itself).await
    })
    .await;
}

#[tokio::test]
async fn a_watched_package_is_stored_whatever_operation_fails() {
    watched(Setup::default, ContentSpec::Assets, true).await;
}

/// A server that would give the package again and again: nobody asks it to, unless the bytes were
/// lost on their way to the disk.
#[tokio::test]
async fn a_package_that_can_be_had_again_is_not() {
    let forgiving = || Setup {
        knobs: Knobs { consume_point: ConsumePoint::Never, ..Knobs::default() },
        ..Setup::default()
    };
    watched(forgiving, ContentSpec::Zip { bytes: 100_000 }, true).await;
}

#[tokio::test]
async fn an_export_is_complete_whatever_operation_fails() {
    at_every_operation(async |trouble| {
        let mut trial = Trial::new(Setup::default()).await;
        trial.world().export().await;
        trouble.befall(&mut trial).await;
        trouble.judge(trial, true).await
    })
    .await;
}

/// One package is larger than the buffers, the other shrinks; both are on their way at once.
#[tokio::test]
async fn two_packages_at_once_are_stored_whatever_operation_fails() {
    at_every_operation(async |trouble| {
        let mut trial = Trial::new(Setup::default().downloads(2)).await;
        trial.steps_share_folders = true;
        for content in [ContentSpec::Zip { bytes: 400_000 }, ContentSpec::Json { bytes: 70_000 }] {
            let job = trial.world().job(JobState::Ready, content);
            trial.world().watch(&job.job_id).await;
        }
        trouble.befall(&mut trial).await;
        trouble.judge(trial, true).await
    })
    .await;
}

/// Nothing but the bytes themselves could tell whether it is whole, and they cannot.
#[tokio::test]
async fn a_package_that_proves_nothing_is_stored_once_it_is_called_raw() {
    watched(Setup::default, ContentSpec::Random { bytes: 70_000 }, false).await;
}

/// A package of unknown length takes the longer way: as it came, then packed.
#[tokio::test]
async fn a_package_of_unknown_length_is_stored_whatever_operation_fails() {
    let setup = || {
        let download_framing = DownloadFraming::Chunked;
        Setup { knobs: Knobs { download_framing, ..Knobs::default() }, ..Setup::default() }
    };
    watched(setup, ContentSpec::Random { bytes: 400_000 }, false).await;
}

/// One that is long and does not shrink is framed as it comes, and taken out where it must be.
#[tokio::test]
async fn a_framed_package_is_stored_whatever_operation_fails() {
    watched(Setup::default, ContentSpec::Zip { bytes: 700_000 }, true).await;
    watched(Setup::default, ContentSpec::Random { bytes: 700_000 }, false).await;
}

/// The order of everything that is done to the disk in one archive's life is what makes it safe: a
/// change of it is a decision, not an accident.
#[tokio::test]
async fn the_durable_operations_of_a_life_keep_their_order() {
    let setup = Setup { serial: true, ..Setup::default() };
    let mut trial = Trial::new(setup).await;
    let job = trial.world().job(JobState::Ready, ContentSpec::Assets);
    let id = trial.world().watch(&job.job_id).await;
    trial.settle().await;
    let world = trial.world();
    let archive = world.archive(id.0).await;
    let deletion = Deletion { reason: "a test".to_owned(), policy: None };
    let event = Event::DeletionDecided { deletion, purge_at: world.now() };
    world.catalog.commit(Change::new(archive, event), world.now()).await.unwrap();
    world.engine.look_again();
    world.run_due().await;
    let mut trace = trial.disk().trace();
    trace.dedup();
    let found = format!("{}\n", trace.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/durable-operations.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "UPDATE_GOLDEN=1 rewrites {path}; read the difference");
}

/// Two files of one folder and one of another go, and the folders with them.
#[tokio::test]
async fn a_deletion_comes_to_its_end_whatever_operation_fails() {
    at_every_operation(async |trouble| {
        let mut trial = Trial::new(Setup::default()).await;
        trial.steps_share_folders = true;
        let mut paths = Vec::new();
        for days in [0, 0, 40] {
            let world = trial.world();
            world.clock.advance(std::time::Duration::from_hours(24 * days));
            let job = world.job(JobState::Ready, ContentSpec::Assets);
            let id = world.watch(&job.job_id).await;
            world.settle().await;
            let archive = world.archive(id.0).await;
            paths.push(world.vault.stored_path(&archive.state.holding().unwrap().file));
        }
        let world = trial.world();
        for id in [1, 2] {
            let archive = world.archive(id).await;
            let deletion = Deletion { reason: "a test".to_owned(), policy: None };
            let event = Event::DeletionDecided { deletion, purge_at: world.now() };
            world.catalog.commit(Change::new(archive, event), world.now()).await.unwrap();
        }
        world.engine.look_again();
        trouble.befall(&mut trial).await;
        trial.world().run_due().await;
        let month = paths[0].parent().unwrap().to_owned();
        assert!(!paths[0].exists() && !paths[1].exists() && paths[2].exists());
        assert_ne!(Some(month.as_path()), paths[2].parent());
        trouble.judge(trial, true).await
    })
    .await;
}

/// The process dies in a download, and then once more, or the power fails, in the recovery from it.
#[tokio::test]
async fn recovery_itself_may_be_interrupted_anywhere() {
    /// From the file that is made for the package to the one that is being packed.
    const OF_THE_DOWNLOAD: u64 = 11;
    /// Enough for opening the vault, adopting what is there, and what follows.
    const OF_THE_RECOVERY: u64 = 9;
    let crash = |n: u64, power_loss| {
        let happened = n.is_multiple_of(2);
        Trouble { n: n.div_ceil(2), fault: Fault::Crash { happened }, power_loss }
    };
    let mut interrupted = 0;
    for first in 1..=2 * OF_THE_DOWNLOAD {
        for power_loss in [None, Some(Tail::Cut), Some(Tail::Zeroed)] {
            let first = crash(first, None);
            for second in 1..=OF_THE_RECOVERY {
                let second = crash(2 * second - first.n % 2, power_loss);
                say(&format!("{first:?}, then {second:?}"));
                let mut trial = Trial::new(Setup::default()).await;
                let job = trial.world().job(JobState::Ready, ContentSpec::Assets);
                trial.world().watch(&job.job_id).await;
                trial.plans.push_back((second.n, second.fault, second.power_loss));
                first.befall(&mut trial).await;
                let excused = [first, second]
                    .into_iter()
                    .zip(&trial.hits)
                    .any(|(trouble, hit)| received(hit).is_some() && trouble.excuses(hit, true));
                let met = trial.deaths == 2;
                // The power failed before anybody had synced what the first process received.
                let unsynced = trial.hits[0] == "sync staging/a1.part" && !first.happened();
                let early = trial.hits.get(1).is_some_and(|hit| {
                    hit.starts_with("create folder") || hit.starts_with("sync folder . after")
                });
                let excused = excused || (unsynced && early && power_loss.is_some());
                let world = trial.conclude().await;
                let states = world.states().await;
                assert!(states == ["stored"] || (excused && states == ["lost"]), "{states:?}");
                if !met {
                    // Nothing was left to be done.
                    break;
                }
                interrupted += 1;
            }
        }
    }
    assert!(interrupted > 400, "{interrupted}");
}

/// Files that nobody knows, on their way to quarantine.
#[tokio::test]
async fn an_unknown_file_is_never_lost_whatever_operation_fails() {
    at_every_operation(async |trouble| {
        let mut trial = Trial::new(Setup::default()).await;
        std::fs::write(trial.world().path("staging/a999.raw"), b"an unknown package").unwrap();
        std::fs::write(trial.world().path("staging/notes.txt"), b"somebody's notes").unwrap();
        trial.plans.push_back((trouble.n, trouble.fault, trouble.power_loss));
        trial.die().await;
        trial.settle().await;
        trial.take_notes();
        let met = !trial.hits.is_empty();
        let world = trial.conclude().await;
        let mut kept: Vec<Vec<u8>> = std::fs::read_dir(world.path("quarantine"))
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, [b"an unknown package".to_vec(), b"somebody's notes".to_vec()]);
        met
    })
    .await;
}

/// A nightly export of which nothing ever changes but the times in the zip, after one run.
async fn unchanged() -> Trial {
    let default_content = ContentSpec::Steady { changes_every: 0 };
    let knobs = Knobs { default_content, ..Knobs::default() };
    let mut trial = Trial::new(Setup { knobs, ..Setup::default() }).await;
    trial.world().export().await;
    trial.settle().await;
    let later = trial.world().now().plus(std::time::Duration::from_hours(24));
    trial.pass_time(later);
    trial
}

#[tokio::test]
async fn an_unchanged_package_is_stored_whatever_operation_fails() {
    let mut shared = 0;
    at_every_operation(async |trouble| {
        let mut trial = unchanged().await;
        trial.world().export().await;
        trouble.befall(&mut trial).await;
        let newest = "SELECT same_as IS NOT NULL FROM archives ORDER BY id DESC LIMIT 1";
        let is_shared = trial.world().column(newest).await == ["1"];
        // A disk that refuses a link takes a file instead.
        let is_refused = trial.hits.iter().any(|what| what.starts_with("link"));
        assert!(is_shared || (is_refused && trial.deaths == 0), "{:?}", trial.hits);
        shared += usize::from(is_shared);
        trouble.judge(trial, true).await
    })
    .await;
    assert!(shared > 60, "{shared}");
}

/// The archive goes whose file two others share.
#[tokio::test]
async fn a_shared_file_is_handed_on_whatever_operation_fails() {
    at_every_operation(async |trouble| {
        let mut trial = unchanged().await;
        for _ in 0..2 {
            trial.world().export().await;
            trial.settle().await;
        }
        let world = trial.world();
        let archive = world.archive(1).await;
        let deletion = Deletion { reason: "a test".to_owned(), policy: None };
        let event = Event::DeletionDecided { deletion, purge_at: world.now() };
        world.catalog.commit(Change::new(archive, event), world.now()).await.unwrap();
        world.engine.look_again();
        trouble.befall(&mut trial).await;
        trial.world().run_due().await;
        let world = trial.world();
        assert_eq!(world.states().await, ["deleted", "stored", "stored"]);
        let same_as = "SELECT coalesce('a' || same_as, '-') FROM archives ORDER BY id";
        assert_eq!(world.column(same_as).await, ["-", "-", "a2"]);
        trouble.judge(trial, true).await
    })
    .await;
}
