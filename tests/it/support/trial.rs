//! A daemon that may die or fail at any moment and is started again, as systemd would.

use std::collections::VecDeque;

use roma_archived::engine::EngineError;
use roma_archived::model::{ArchiveId, Timestamp};
use roma_archived::vault::StagingContents;

use super::faulty_disk::{Fault, FaultyDisk};
use super::oracle::Excuses;
use super::platter::{Platter, Tail};
use super::say;
use super::world::{Ending, Ground, PATIENCE, Setup, TICK, Turn, World, turn};

/// Starts in a row that may fail.
const STARTS: usize = 50;
/// Looks at the clock that a full disk lasts.
const FULL_FOR: usize = 8;

/// A world on a disk that fails as planned.
pub(crate) struct Trial {
    disk: FaultyDisk,
    platter: Platter,
    world: Option<Box<World>>,
    /// What each process to come meets, the next one first: the n-th operation, what happens to it,
    /// and what a crash does to unsynced bytes.
    pub(crate) plans: VecDeque<(u64, Fault, Option<Tail>)>,
    /// What a crash does to unsynced bytes; without it only the process dies.
    pub(crate) power_loss: Option<Tail>,
    /// How much of `n` unsynced bytes survives a power cut.
    pub(crate) surviving: Box<dyn FnMut(u64) -> u64>,
    pub(crate) excuses: Excuses,
    /// The operations that failed or did not come back.
    pub(crate) hits: Vec<String>,
    /// Syncs after a failed sync of the same file or folder by the same process.
    pub(crate) synced_again: Vec<String>,
    /// Files whose removal from the vault was tried.
    removed: Vec<String>,
    /// Several steps run at once.
    pub(crate) steps_share_folders: bool,
    pub(crate) deaths: usize,
    pub(crate) failures: usize,
    /// Packages that were served whole and are lost.
    pub(crate) gap: usize,
    /// What happened, for whoever has to find out why it went wrong.
    pub(crate) story: Vec<String>,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&self.story.join("\n"));
        }
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The daemon went on.
    Turn(Turn),
    /// It ended and was started again.
    Restarted,
}

impl Trial {
    /// A world that has just been started for the first time, on a disk without faults.
    pub(crate) async fn new(setup: Setup) -> Self {
        let mut ground = Ground::new(setup).await;
        let platter = Platter::new(&ground.path(""));
        let disk = FaultyDisk::new(&platter);
        ground.setup.disk = disk.disk();
        let Ok(world) = Box::pin(ground.try_enter(disk.crashed())).await else {
            panic!("a first start")
        };
        Self {
            disk,
            platter,
            world: Some(Box::new(world)),
            plans: VecDeque::new(),
            power_loss: None,
            surviving: Box::new(|_| 0),
            excuses: Excuses::default(),
            hits: Vec::new(),
            synced_again: Vec::new(),
            removed: Vec::new(),
            steps_share_folders: false,
            deaths: 0,
            failures: 0,
            gap: 0,
            story: Vec::new(),
        }
    }

    pub(crate) fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap()
    }

    pub(crate) fn disk(&self) -> &FaultyDisk {
        &self.disk
    }

    pub(crate) fn platter(&self) -> &Platter {
        &self.platter
    }

    /// The process that runs now meets the next plan.
    pub(crate) fn arm(&mut self) {
        if let Some((n, fault, power_loss)) = self.plans.pop_front() {
            self.disk.plan(n, fault);
            self.power_loss = power_loss;
        }
    }

    /// Starts what is due and waits for one task, whatever becomes of the daemon.
    pub(crate) async fn turn(&mut self) -> Happening {
        self.turn_until(|_| std::future::pending()).await
    }

    /// Like [`Trial::turn`], but the daemon is killed as soon as what `strike` gives ends. It is
    /// called before anything of the turn happens.
    pub(crate) async fn turn_until<F: Future<Output = ()>>(
        &mut self,
        strike: impl FnOnce(&Ground) -> F,
    ) -> Happening {
        let World { engine, ground, .. } = &mut **self.world.as_mut().unwrap();
        let struck = strike(ground);
        let killed = async {
            tokio::select! {
                biased;
                () = self.disk.crashed() => {}
                () = struck => {}
            }
        };
        match turn(engine, killed).await {
            Ok(turn) => Happening::Turn(turn),
            Err(ending) => {
                self.end(ending).await;
                Happening::Restarted
            }
        }
    }

    /// The daemon has come to `ending`; another one takes over.
    async fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Crashed => self.die().await,
            Ending::Engine(EngineError::Disk(_)) => self.give_up().await,
            ending => panic!("{ending:?}"),
        }
    }

    /// The process is killed, and starts again.
    pub(crate) async fn die(&mut self) {
        self.disk.kill();
        let world = self.world.take().unwrap();
        let ground = world.leave().await;
        self.bury(true).await;
        self.start(ground).await;
    }

    /// The disk has failed: what runs may end, then the process ends by itself (exit 74).
    async fn give_up(&mut self) {
        self.failures += 1;
        let mut world = self.world.take().unwrap();
        world.engine.stop_starting();
        while world.engine.is_busy() {
            tokio::select! {
                biased;
                () = self.disk.crashed() => break,
                _ = world.engine.step_finished() => {}
            }
        }
        let ground = world.leave().await;
        self.bury(false).await;
        self.start(ground).await;
    }

    /// What is to be done once nobody of the old process is left.
    async fn bury(&mut self, died: bool) {
        self.disk.kill();
        self.disk.release().await;
        self.take_notes();
        if died {
            self.deaths += 1;
            self.story.push(format!("died, power loss: {:?}", self.power_loss));
            if let Some(tail) = self.power_loss {
                self.platter.lose_power(tail, &mut self.surviving);
            }
        }
    }

    /// What the disk of a process that has ended tells.
    pub(crate) fn take_notes(&mut self) {
        let hits = [self.disk.hits(), self.disk.failed()].concat();
        self.story.extend(hits.iter().map(|hit| format!("the disk: {hit}")));
        self.hits.extend(hits);
        self.synced_again.extend(self.disk.synced_again());
        let trace = self.disk.trace().into_iter();
        self.removed.extend(
            trace.filter_map(|what| what.strip_prefix("remove vault/").map(ToOwned::to_owned)),
        );
        self.excuses.interrupted.extend(self.hits.iter().filter_map(|what| received(what)));
    }

    async fn start(&mut self, mut ground: Ground) {
        for _ in 0..STARTS {
            self.disk = FaultyDisk::new(&self.platter);
            self.arm();
            ground.setup.disk = self.disk.disk();
            match Box::pin(ground.try_enter(self.disk.crashed())).await {
                Ok(world) => {
                    self.excuses.interrupted.extend(&world.in_doubt);
                    self.world = Some(Box::new(world));
                    return;
                }
                Err((same, ending)) => {
                    self.excuses.interrupted.extend(&same.in_doubt);
                    ground = same;
                    let died = matches!(ending, Ending::Crashed);
                    self.failures += usize::from(!died);
                    self.bury(died).await;
                    // Nobody waits for space between starts that fail.
                    self.platter.set_full(false);
                }
            }
        }
        panic!("the daemon does not start any more");
    }

    /// Lets everything happen that is planned, moves time to whatever falls due next, and goes on
    /// until every archive is at rest.
    pub(crate) async fn settle(&mut self) {
        let mut looks = 0;
        for _ in 0..PATIENCE {
            match self.turn().await {
                Happening::Turn(Turn::AtRest) => return,
                Happening::Turn(Turn::Idle(wake)) => {
                    looks += 1;
                    if looks > FULL_FOR {
                        self.platter.set_full(false);
                    }
                    self.pass_time(wake);
                }
                Happening::Turn(Turn::Worked) | Happening::Restarted => {}
            }
        }
        self.tell().await;
        panic!("nothing comes to rest: {}", self.world().engine.summary());
    }

    /// Adds what was recorded to the story.
    async fn tell(&mut self) {
        let events = "SELECT at || ' a' || coalesce(archive_id, 0) || ' ' || event || ' ' || \
                      detail FROM events ORDER BY seq";
        let events = self.world().column(events).await;
        self.story.extend(events);
        let now = self.world().now();
        self.story.push(format!("it is {now} in the end"));
    }

    /// Moves the clocks on until the daemon's shows `until`.
    pub(crate) fn pass_time(&mut self, until: Timestamp) {
        let world = self.world();
        let span = until.since(world.now()).max(TICK);
        world.clock.advance(span);
        if let Some(truth) = &world.setup.truth {
            truth.advance(span);
        }
    }

    /// Faults are over: everything comes to rest, also after another start, and nothing is wrong.
    pub(crate) async fn conclude(&mut self) -> Box<World> {
        self.disk.spare();
        self.plans.clear();
        self.power_loss = None;
        self.platter.set_full(false);
        self.settle().await;
        // What is left in staging is tidied away by the next start.
        let tidy = self.world().vault.list_staged().unwrap() == StagingContents::default();
        if self.deaths + self.failures == 0 || !tidy {
            self.die().await;
            self.settle().await;
        }
        self.take_notes();
        if self.steps_share_folders {
            // The sync of another step vouches for the names of that step only.
            self.synced_again.retain(|what| !what.starts_with("sync folder"));
        }
        assert!(self.synced_again.is_empty(), "synced again: {:?}", self.synced_again);
        let decided = "SELECT path FROM archives WHERE id IN \
                       (SELECT archive_id FROM events WHERE event = 'deletion_started')";
        let decided = self.world().column(decided).await;
        let undecided = self.removed.iter().find(|path| !decided.contains(path));
        assert_eq!(undecided, None, "removed without a recorded decision");
        self.tell().await;
        let excuses = self.excuses.clone();
        self.gap = self.world().check_with(&excuses).await;
        self.world.take().unwrap()
    }
}

/// The archive whose package was on its way to the disk in this operation.
pub(crate) fn received(what: &str) -> Option<ArchiveId> {
    let (words, rest) = what.split_once(" staging/a")?;
    let (id, _) = rest.split_once(".part")?;
    let word = words.rsplit(' ').next()?;
    ["write", "sync", "rename"].contains(&word).then(|| ArchiveId(id.parse().unwrap()))
}
