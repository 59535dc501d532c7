//! The file system turns read-only, as ext4 does by itself after an error, and comes back.

use std::time::Duration;

use crate::Amount;
use crate::mount::{Mount, missing, tool};
use crate::report::{Report, is_explained, seed};
use crate::support::stage::{Dice, Stage, moody};

const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n";

pub(crate) fn run(amount: Amount) -> Report {
    let mut report = Report::new("turns to read-only");
    if let Some(why) = missing(&["mkfs.ext4", "mount", "umount", "e2fsck"]) {
        report.skip(why);
        return report;
    }
    for round in 0..amount.unwrap_or(5) {
        let seed = seed(round);
        let mut findings = Vec::new();
        if let Err(problem) = live_through(seed, &mut findings) {
            findings.push(problem);
        }
        report.tried += 1;
        for finding in findings {
            report.find(format!("seed {seed}: {finding}"));
        }
    }
    report
}

fn live_through(seed: u64, findings: &mut Vec<String>) -> Result<(), String> {
    let mut dice = Dice(seed);
    let mut stage = Stage::new(moody(&mut dice, false), CONFIG);
    stage.simulator.world().knobs_mut().bandwidth_bytes_per_s = Some(60_000);
    let image = stage.scratch().join("disk");
    let mount = Mount::new_ext4(&image, &stage.state, 64 * 1024 * 1024)?;
    let jobs = stage.jobs(&mut dice, 12);
    stage.watch(jobs)?;
    let daemon = stage.start(&["run"]);
    std::thread::sleep(Duration::from_millis(20) + dice.micros(400_000));
    // An error in the file system, with `errors=remount-ro`.
    let name = mount.device().trim_start_matches("/dev/").to_owned();
    let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
    std::fs::write(&trigger, "1").map_err(|error| format!("{trigger}: {error}"))?;
    // It cannot go on, and says so with its exit code; a service manager starts it again. One with
    // nothing to do has no reason to end.
    let ended = daemon.wait(Duration::from_secs(30));
    let was_idle = stage
        .column("SELECT count(*) FROM archives WHERE state NOT IN ('stored', 'lost', 'failed')")
        == ["0"];
    if ended.code != Some(74) && !(ended.hung && was_idle) {
        findings.push(format!("turned read-only while working: {}", ended.story()));
    }
    let gets = stage.simulator.world().ledger().summary().gets;
    let again = stage.run(&["run"]);
    if !matches!(again.code, Some(73 | 74)) || again.stderr.trim().is_empty() {
        findings.push(format!("started on a read-only file system: {}", again.story()));
    }
    if stage.simulator.world().ledger().summary().gets != gets {
        findings.push("a package was asked for although nothing can be kept".to_owned());
    }
    for command in ["status", "list"] {
        let ended = stage.run(&[command]);
        if !matches!(ended.code, Some(0 | 1)) {
            findings.push(format!("`{command}` on a read-only file system: {}", ended.story()));
        }
    }
    mount.unmount()?;
    // 1: errors were found and mended.
    if let Err(problem) = tool("e2fsck", &["-p", "-f", image.to_str().unwrap()])
        && problem.contains("UNEXPECTED")
    {
        return Err(problem);
    }
    let mount = Mount::ext4(&image, &stage.state)?;
    stage.settle()?;
    let audit = stage.audit();
    findings.extend(audit.findings);
    for gap in audit.gaps.iter().filter(|gap| !is_explained(gap)) {
        findings.push(format!("not explained: {gap}"));
    }
    mount.unmount()
}
