//! What a person types while something stands in the way: a command is told at once and keeps
//! nobody waiting, least of all the daemon.

use roma_sim::{ContentSpec, JobState, Knobs};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::stage::Stage;

/// Without a daemon a command does what the daemon would do at its start, but it must not wait like
/// one: it would keep the daemon out for as long.
#[test]
fn a_command_does_not_wait_for_a_locked_catalog() {
    let mut stage = Stage::new(Knobs::default(), "");
    let job = stage.create(JobState::Ready, ContentSpec::Json { bytes: 3_000 }).job_id;
    stage.watch(vec![job.clone()]).unwrap();
    let options = SqliteConnectOptions::new().filename(stage.state.join("catalog.db"));
    let mut shell = stage.runtime.block_on(options.connect()).unwrap();
    stage.runtime.block_on(async {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut shell).await.unwrap();
    });
    let refused = stage.run(&["watch", "prod", "another-job"]);
    assert_eq!(refused.code, Some(74), "{}", refused.story());
    assert!(refused.stderr.contains("locked"), "{}", refused.stderr);
    stage.runtime.block_on(shell.close()).unwrap();
    stage.settle().unwrap();
    assert_eq!(stage.column("SELECT state FROM archives"), ["stored"]);
}
