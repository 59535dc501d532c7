//! What people and machines do to a state directory: two daemons at once, a catalog from an older
//! backup, a vault that somebody has been in. The campaign plays each many times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roma_sim::Knobs;

use crate::support::process::Process;
use crate::support::stage::{Dice, Stage, moody};

const CONFIG: &str = "min_free_space = \"0\"\nreexports = 1\n";

/// Stores so many more packages.
fn store(stage: &mut Stage, dice: &mut Dice, count: u64) -> Result<(), String> {
    let jobs = stage.jobs(dice, count);
    stage.watch(jobs)?;
    stage.settle()
}

/// Takes the end of a story into its findings.
fn told(story: impl FnOnce(&mut Vec<String>) -> Result<(), String>) -> Vec<String> {
    let mut findings = Vec::new();
    if let Err(problem) = story(&mut findings) {
        findings.push(problem);
    }
    findings
}

/// Many starts at once, and one after another: exactly one daemon works there.
pub(crate) fn two_daemons(dice: &mut Dice) -> Vec<String> {
    let mut stage = Stage::new(moody(dice, false), CONFIG);
    told(|findings| {
        let jobs = stage.jobs(dice, 6);
        stage.watch(jobs)?;
        for _ in 0..3 {
            let mut daemons: Vec<Process> = (0..6).map(|_| stage.start(&["run"])).collect();
            // All but one are turned away; it is the last that runs.
            let mut patience = 3_000;
            while daemons.len() > 1 && patience > 0 {
                let (mut gone, mut left) = (Vec::new(), Vec::new());
                for mut daemon in daemons {
                    if daemon.has_ended() { gone.push(daemon) } else { left.push(daemon) }
                }
                for daemon in gone {
                    let ended = daemon.kill();
                    if ended.code != Some(75) {
                        findings.push(format!("turned away with {}", ended.story()));
                    }
                }
                daemons = left;
                patience -= 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            if daemons.len() != 1 {
                findings.push(format!("{} daemons work there", daemons.len()));
            }
            let late = stage.run(&["run", "--once"]);
            if late.code != Some(75) {
                findings.push(format!("a second daemon was not turned away: {}", late.story()));
            }
            let jobs = stage.jobs(dice, 3);
            stage.watch(jobs)?;
            std::thread::sleep(dice.micros(200_000));
            // The next one need not wait for anything: the lock ends with its holder.
            for daemon in daemons {
                daemon.kill();
            }
        }
        stage.settle()?;
        let audit = stage.audit();
        findings.extend(audit.findings);
        findings.extend(audit.gaps.iter().filter(|g| !g.is_by_a_kill()).map(|g| format!("{g}")));
        Ok(())
    })
}

/// The catalog of an older backup is put back, after more was stored and deleted.
pub(crate) fn older_catalog(dice: &mut Dice) -> Vec<String> {
    let policy = "[retention]\nkeep_last = 4\ntrash = \"1s\"\n";
    let mut stage = Stage::new(moody(dice, false), &format!("{CONFIG}{policy}"));
    told(|findings| {
        store(&mut stage, dice, 5)?;
        let backup = stage.scratch().join("backup.db");
        stage.column(&format!("VACUUM INTO '{}'", backup.display()));
        let then = 2 + dice.below(5);
        store(&mut stage, dice, then)?;
        if dice.below(2) == 0 {
            // What was moved to the trash is purged, which the backup does not know.
            std::thread::sleep(Duration::from_millis(1_100));
            stage.settle()?;
        }
        let files = everything(&stage.state);
        for side in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(stage.state.join(format!("catalog.db{side}")));
        }
        fs::copy(&backup, stage.state.join("catalog.db")).map_err(|e| e.to_string())?;
        // What was accepted since is forgotten with the newer catalog.
        stage.watched.truncate(5);
        stage.settle()?;
        for (digest, path) in files {
            if !everything(&stage.state).contains_key(&digest) {
                findings.push(format!("{} is gone", path.display()));
            }
        }
        // Its numbers are given out again.
        store(&mut stage, dice, 4)?;
        let missing = stage.column("SELECT count(*) FROM archives WHERE state = 'damaged'");
        let status = stage.run(&["status"]).code;
        if (status == Some(1)) != (missing != ["0"]) {
            findings.push(format!("{missing:?} files are missing and `status` says {status:?}"));
        }
        findings.extend(stage.audit_an_older_catalog().findings);
        Ok(())
    })
}

/// Every file in the vault and in quarantine, by its content.
fn everything(state: &Path) -> BTreeMap<Vec<u8>, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![state.join("vault"), state.join("quarantine")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(fs::read(&path).unwrap_or_default(), path);
            }
        }
    }
    found
}

/// Files of the vault vanish, rot, shrink, turn into something else, and strangers move in.
pub(crate) fn spoilt_vault(dice: &mut Dice) -> Vec<String> {
    let mut stage = Stage::new(Knobs::default(), CONFIG);
    told(|findings| {
        store(&mut stage, dice, 6)?;
        let paths = stage.column("SELECT path FROM archives ORDER BY id");
        let paths: Vec<PathBuf> =
            paths.iter().map(|path| stage.state.join("vault").join(path)).collect();
        let kept = stage.scratch().join("kept");
        fs::create_dir(&kept).unwrap();
        for (number, path) in paths.iter().enumerate() {
            fs::copy(path, kept.join(number.to_string())).unwrap();
        }
        spoil(dice, &paths, &kept);
        let strangers = [
            stage.state.join("vault/stranger.txt"),
            paths[0].with_file_name("20200101T000000Z-s9-1.zip"),
            stage.state.join("vault/other/folder/file"),
        ];
        for (number, path) in strangers.iter().enumerate() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("stranger {number}")).unwrap();
        }
        stage.settle()?;
        let verified = stage.run(&["verify", "--all"]);
        if verified.code != Some(1) {
            findings.push(format!("`verify` over a spoilt vault: {}", verified.story()));
        }
        let states = stage.column("SELECT state FROM archives ORDER BY id");
        if states != ["damaged", "damaged", "damaged", "damaged", "damaged", "stored"] {
            findings.push(format!("the damage is not told: {states:?}"));
        }
        if stage.run(&["status"]).code != Some(1) {
            findings.push("`status` hides the damage".to_owned());
        }
        let found = everything(&stage.state);
        for number in 0..strangers.len() {
            let content = format!("stranger {number}").into_bytes();
            if !found
                .get(&content)
                .is_some_and(|path| path.starts_with(stage.state.join("quarantine")))
            {
                findings.push(format!("stranger {number} is not in quarantine"));
            }
        }
        findings.extend(stage.audit().findings);
        // Put back, everything is well again.
        for (number, path) in paths.iter().enumerate() {
            let _ = fs::remove_dir_all(path);
            let _ = fs::remove_file(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(kept.join(number.to_string()), path).unwrap();
        }
        let verified = stage.run(&["verify", "--all"]);
        if verified.code != Some(0) {
            findings.push(format!("`verify` after all was put back: {}", verified.story()));
        }
        stage.settle()?;
        let states = stage.column("SELECT DISTINCT state FROM archives");
        if states != ["stored"] || stage.run(&["status"]).code != Some(0) {
            findings.push(format!("not well although all was put back: {states:?}"));
        }
        findings.extend(stage.audit().findings);
        Ok(())
    })
}

/// One way each for the first five; the sixth stays as it is.
fn spoil(dice: &mut Dice, paths: &[PathBuf], kept: &Path) {
    fs::remove_file(&paths[0]).unwrap();
    let mut bytes = fs::read(&paths[1]).unwrap();
    // Anywhere: in the package, in the manifest, in what the container says of them.
    let bit = usize::try_from(dice.below(bytes.len() as u64 * 8)).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(&paths[1], bytes).unwrap();
    let length = fs::metadata(&paths[2]).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&paths[2]).unwrap();
    file.set_len(dice.below(length)).unwrap();
    fs::remove_file(&paths[3]).unwrap();
    fs::create_dir(&paths[3]).unwrap();
    fs::remove_file(&paths[4]).unwrap();
    std::os::unix::fs::symlink(kept.join("4"), &paths[4]).unwrap();
}

#[test]
fn one_daemon_works_and_the_others_are_turned_away() {
    assert_eq!(two_daemons(&mut Dice(1)), [""; 0]);
}

#[test]
fn an_older_catalog_claims_nothing_false_and_nothing_is_thrown_away() {
    assert_eq!(older_catalog(&mut Dice(1)), [""; 0]);
}

#[test]
fn a_spoilt_vault_is_told_and_mended() {
    assert_eq!(spoilt_vault(&mut Dice(1)), [""; 0]);
}
