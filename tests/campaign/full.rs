//! A disk that fills up while the daemon works, stays full for a while, and grows again: nothing
//! wedges, no package is wasted, and the daemon goes on by itself.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use roma_sim::{ContentSpec, JobState, Knobs};

use crate::Amount;
use crate::mount::{Mount, missing};
use crate::report::Report;
use crate::support::process::Process;
use crate::support::stage::Stage;

/// A package of the kind that does not shrink.
const PACKAGE: u64 = 60_000;

pub(crate) fn run(amount: Amount) -> Report {
    let mut report = Report::new("full disks");
    if let Some(why) = missing(&["mount", "umount"]) {
        report.skip(why);
        return report;
    }
    let rounds = amount.unwrap_or(1);
    let scenes: [(&str, fn(&mut Scene) -> Result<(), String>); 5] = [
        ("packages fill 16 MiB", |scene| packages_fill_it(scene, "16m", "2MB", 300)),
        ("packages fill 1 MiB", |scene| packages_fill_it(scene, "1m", "100KB", 30)),
        ("another program fills it to the last byte", another_fills_it),
        ("full at the start", full_at_the_start),
        ("no reserve is configured", no_reserve),
    ];
    for _ in 0..rounds {
        for (name, play) in scenes {
            let mut scene = Scene::default();
            if let Err(problem) = play(&mut scene) {
                scene.findings.push(problem);
            }
            report.tried += 1;
            for finding in scene.findings {
                report.find(format!("{name}: {finding}"));
            }
            for note in scene.notes {
                report.note(format!("{name}: {note}"));
            }
        }
    }
    report
}

#[derive(Default)]
struct Scene {
    findings: Vec<String>,
    notes: Vec<String>,
}

impl Scene {
    fn find(&mut self, what: impl Into<String>) {
        self.findings.push(what.into());
    }

    /// The commands that people turn to then.
    fn ask(&mut self, stage: &Stage) {
        for command in ["status", "list"] {
            let ended = stage.run(&[command]);
            if !matches!(ended.code, Some(0 | 1)) {
                self.find(format!("`{command}` on a full disk: {}", ended.story()));
            }
        }
    }

    /// There is room again. A daemon that runs has to go on by itself; one that ended is started
    /// again, as a service manager would.
    fn recover(&mut self, stage: &Stage, mount: &Mount, mut daemon: Process) -> Result<(), String> {
        if daemon.has_ended() {
            self.find(format!("the daemon has ended: {}", daemon.kill().story()));
            mount.remount("size=64m")?;
        } else {
            mount.remount("size=64m")?;
            // The longest pause between two attempts is five minutes.
            if !until(3_300, || unfinished(stage) == ["0"]) {
                self.find(format!("does not go on by itself: {:?}", states(stage)));
            }
            let ended = daemon.kill();
            if ended.code.is_some() {
                self.find(format!("the daemon has ended: {}", ended.story()));
            }
        }
        stage.settle()
    }

    /// However full the disk was, no package is lost to it.
    fn conclude(&mut self, stage: &Stage) {
        let audit = stage.audit();
        self.notes.push(audit.summary());
        self.findings.extend(audit.findings);
        let wasted = audit.gaps.iter().map(|gap| format!("a package was wasted: {gap}"));
        self.findings.extend(wasted);
    }
}

fn stage(min_free: &str) -> Stage {
    let more = format!("min_free_space = \"{min_free}\"\nreexports = 1\ndownloads = 4\n");
    Stage::new(Knobs::default(), &more)
}

fn ready(stage: &Stage, count: u64, bytes: u64) -> Vec<String> {
    (0..count)
        .map(|_| stage.create(JobState::Ready, ContentSpec::Random { bytes }).job_id)
        .collect()
}

fn unfinished(stage: &Stage) -> Vec<String> {
    stage.column(
        "SELECT count(*) FROM archives WHERE state IN ('scheduled', 'requesting', 'running', \
         'ready', 'downloading', 'downloaded')",
    )
}

fn states(stage: &Stage) -> Vec<String> {
    stage.column(
        "SELECT state || ' ' || count(*) || ' ' || coalesce(max(last_error), '') \
                  FROM archives GROUP BY state",
    )
}

/// Looks ten times a second.
fn until(looks: u32, mut holds: impl FnMut() -> bool) -> bool {
    (0..looks).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        holds()
    })
}

/// Writes until nothing more fits.
fn fill(stage: &Stage) -> PathBuf {
    let path = stage.state.join("ballast");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    for size in [64 * 1024, 4096, 512, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    path
}

/// What is configured to stay free stays free: the packages wait at ROMA.
fn packages_fill_it(
    scene: &mut Scene,
    size: &str,
    min_free: &str,
    packages: u64,
) -> Result<(), String> {
    let mut stage = stage(min_free);
    let mount = Mount::tmpfs(&stage.state, size)?;
    let jobs = ready(&stage, packages, PACKAGE);
    stage.watch(jobs)?;
    let mut daemon = stage.start(&["run"]);
    let waits = "SELECT count(*) FROM archives WHERE state = 'ready' \
                 AND last_error LIKE '%bytes are free%'";
    let waiting = || stage.column(waits).first().map_or(0, |count| count.parse::<u64>().unwrap());
    if !until(300, || waiting() >= 4) {
        scene.find(format!("nothing waits for room: {:?}", states(&stage)));
    }
    // It stays so for a while, and what is tried meanwhile must not fill the disk.
    until(100, || daemon.has_ended());
    let summary = stage.simulator.world().ledger().summary();
    let held = "SELECT count(*) FROM archives WHERE state IN ('downloaded', 'stored')";
    let held = || stage.column(held).first().map_or(0, |count| count.parse::<usize>().unwrap());
    // Some may still be on their way to the vault.
    if !until(100, || held() == summary.consumed) {
        scene.find(format!("{} packages were taken, {} are kept", summary.consumed, held()));
    }
    scene.ask(&stage);
    scene.notes.push(format!("{} packages fitted", summary.consumed));
    scene.recover(&stage, &mount, daemon)?;
    scene.conclude(&stage);
    mount.unmount()
}

/// Not a byte is left, for the catalog neither.
fn another_fills_it(scene: &mut Scene) -> Result<(), String> {
    let mut stage = stage("300KB");
    let mount = Mount::tmpfs(&stage.state, "4m")?;
    let jobs = ready(&stage, 40, PACKAGE);
    stage.watch(jobs)?;
    stage.simulator.world().knobs_mut().bandwidth_bytes_per_s = Some(100_000);
    let daemon = stage.start(&["run"]);
    until(100, || stage.simulator.world().ledger().summary().gets > 2);
    let ballast = fill(&stage);
    std::thread::sleep(Duration::from_secs(2));
    scene.ask(&stage);
    fs::write(&ballast, "").unwrap();
    scene.recover(&stage, &mount, daemon)?;
    // Downloads that were under way have waited for room.
    scene.conclude(&stage);
    mount.unmount()
}

fn full_at_the_start(scene: &mut Scene) -> Result<(), String> {
    let mut stage = stage("300KB");
    let mount = Mount::tmpfs(&stage.state, "2m")?;
    let jobs = ready(&stage, 3, PACKAGE);
    stage.watch(jobs)?;
    let ballast = fill(&stage);
    let mut daemon = stage.start(&["run"]);
    std::thread::sleep(Duration::from_secs(2));
    scene.ask(&stage);
    if stage.simulator.world().ledger().summary().gets > 0 {
        scene.find("a package was asked for without room for it");
    }
    if daemon.has_ended() {
        let ended = daemon.kill();
        scene.find(format!("the daemon does not wait for room: {}", ended.story()));
        fs::write(&ballast, "").unwrap();
        stage.settle()?;
    } else {
        fs::write(&ballast, "").unwrap();
        scene.recover(&stage, &mount, daemon)?;
    }
    scene.conclude(&stage);
    mount.unmount()
}

/// Whoever sets `min_free_space` to nothing meets the end of the disk in the middle of bodies, of
/// packing and of the catalog: all of them wait.
fn no_reserve(scene: &mut Scene) -> Result<(), String> {
    let mut stage = stage("0");
    let mount = Mount::tmpfs(&stage.state, "3m")?;
    let sizes = [900_000, 40_000, 700_000, 150_000, 400_000, 20_000, 500_000];
    let jobs = sizes.into_iter().flat_map(|bytes| ready(&stage, 2, bytes)).collect();
    stage.watch(jobs)?;
    let daemon = stage.start(&["run"]);
    until(30, || unfinished(&stage) == ["0"]);
    scene.ask(&stage);
    scene.notes.push(format!("{:?}", states(&stage)));
    scene.recover(&stage, &mount, daemon)?;
    scene.conclude(&stage);
    mount.unmount()
}
