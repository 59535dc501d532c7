//! The README's first command, from start to end.

use crate::support::binary::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demonstration_tells_a_whole_life_and_ends_well() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("demo");
    let nothing = directory.path().join("no-configuration-is-needed.toml");
    let output = run(&nothing, &["demo", "--state-dir", state.to_str().unwrap()]).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "due: the schedule says so",
        "ROMA runs job",
        "is ready for its one download",
        "downloaded,",
        "packed and stored,",
        "LOST: ",
        "the same scope is exported again, in place of",
        "to the trash: no rule keeps it (nearest ",
        "deleted; its record stays",
        "arrived with the server's SHA-256; 0 were asked for a second time",
        "sqlite3 -readonly",
    ] {
        assert!(told.contains(part), "{part:?} is missing in\n{told}");
    }
    // What it leaves behind can be looked at with the ordinary commands.
    let config = state.join("demo.toml");
    let listed = run(&config, &["list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed["archives"].as_array().unwrap().len() >= 19, "{listed}");
    assert_eq!(run(&config, &["status"]).await.status.code(), Some(0));
}
