//! The power goes: an ext4 that stops at a random moment without writing anything more, as a
//! machine does; then the journal is replayed and the daemon starts again.

use std::time::Duration;

use crate::Amount;
use crate::mount::{Mount, missing, tool};
use crate::report::{Report, is_explained, on_two_cores, seed};
use crate::support::stage::{Dice, Stage, moody};

/// Cuts of one state directory.
const ROUND: u64 = 10;
const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n\
                      [retention]\nkeep_last = 6\ntrash = \"1s\"\n";
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const CUT: &str = "import fcntl, os, struct, sys\n\
                   fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                   fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))\n";

pub(crate) fn run(amount: Amount) -> Report {
    let mut report = Report::new("power cuts");
    if let Some(why) = missing(&["mkfs.ext4", "mount", "umount", "python3"]) {
        report.skip(why);
        return report;
    }
    let wanted = amount.unwrap_or(100);
    let rounds = on_two_cores(wanted.div_ceil(ROUND), |piece| {
        round(seed(piece), ROUND.min(wanted - piece * ROUND))
    });
    for round in rounds {
        report.add(round);
    }
    report
}

fn round(seed: u64, cuts: u64) -> Report {
    let mut report = Report::new("");
    if let Err(problem) = live_through(seed, cuts, &mut report) {
        report.find(format!("seed {seed}: {problem}"));
    }
    report
}

fn live_through(seed: u64, cuts: u64, report: &mut Report) -> Result<(), String> {
    let mut dice = Dice(seed);
    let mut stage = Stage::new(moody(&mut dice, true), CONFIG);
    let image = stage.scratch().join("disk");
    let mut mount = Mount::new_ext4(&image, &stage.state, 96 * 1024 * 1024)?;
    for _ in 0..cuts {
        let speed = dice.pick(&[None, Some(2_000_000), Some(200_000)]);
        stage.simulator.world().knobs_mut().bandwidth_bytes_per_s = speed;
        let count = 1 + dice.below(6);
        let jobs = stage.jobs(&mut dice, count);
        stage.watch(jobs)?;
        if dice.below(3) == 0 {
            let ended = stage.run(&["export", "nightly"]);
            if ended.code != Some(0) {
                return Err(format!("`export` failed, {}", ended.story()));
            }
        }
        let daemon = stage.start(&["run"]);
        std::thread::sleep(Duration::from_millis(20) + dice.micros(500_000));
        tool("python3", &["-c", CUT, stage.state.to_str().unwrap()])?;
        // The process sees errors for a moment: whatever it makes of them must not matter.
        std::thread::sleep(dice.micros(30_000));
        let ended = daemon.kill();
        if ended.code.is_some_and(|code| code != 74) {
            report.find(format!("seed {seed}: without power, {}", ended.story()));
        }
        report.tried += 1;
        mount.unmount()?;
        mount = Mount::ext4(&image, &stage.state)?;
    }
    stage.settle()?;
    let audit = stage.audit();
    report.note(format!("seed {seed}: {}", audit.summary()));
    for finding in &audit.findings {
        report.find(format!("seed {seed}: {finding}"));
    }
    // A file system that stands still refuses writes before the process is gone.
    for gap in audit.gaps.iter().filter(|gap| !is_explained(gap)) {
        report.find(format!("seed {seed}: the power does not explain {gap}"));
    }
    // Beginnings of packages that are lost are set aside; a whole file must never be.
    for name in audit.quarantined.iter().filter(|name| !name.ends_with(".part")) {
        report.find(format!("seed {seed}: in quarantine: {name}"));
    }
    mount.unmount()
}
