//! What lies in the vault: plain zips that say what they are, private, and the same every time.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roma_sim::{ContentSpec, Endpoint, Fault, JobState};

use crate::support::disk::Tight;
use crate::support::world::{Setup, World};

#[tokio::test]
async fn each_kind_of_package_is_kept_byte_for_byte() {
    let mut world = World::new(Setup::default()).await;
    let contents = [
        (ContentSpec::Assets, "zip"),
        (ContentSpec::Zip { bytes: 200_000 }, "zip"),
        (ContentSpec::Json { bytes: 400_000 }, "json"),
        (ContentSpec::Random { bytes: 300_000 }, "other"),
        (ContentSpec::Raw(b"not what anybody expected".to_vec()), "other"),
    ];
    for (content, _) in &contents {
        let job = world.job(JobState::Ready, content.clone());
        world.watch(&job.job_id).await;
    }
    world.settle().await;
    let formats = world.column("SELECT format FROM archives ORDER BY id").await;
    assert_eq!(formats, contents.map(|(_, format)| format));
    // What shrinks is deflated, what does not is stored as it came.
    let methods = world.column("SELECT method FROM archives ORDER BY id").await;
    assert_eq!((methods[2].as_str(), methods[3].as_str()), ("deflate", "store"));
    world.check_oracle().await;
}

#[tokio::test]
async fn a_large_package_is_packed_while_it_comes() {
    let mut world = World::new(Setup::default()).await;
    let job = world.job(JobState::Ready, ContentSpec::Json { bytes: 17 << 20 });
    world.watch(&job.job_id).await;
    // What was packed of the first attempt goes with it.
    let cut = Fault::CutBody { bytes: 9 << 20 };
    world.simulator.world().script(Endpoint::Download, cut);
    world.settle().await;
    assert_eq!(world.column("SELECT method FROM archives").await, ["deflate"]);
    assert_eq!(std::fs::read_dir(world.path("staging")).unwrap().count(), 0);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_stored_file_describes_itself_and_is_private() {
    let mut world = World::new(Setup::default()).await;
    world.export().await;
    world.settle().await;
    let path = world.column("SELECT path FROM archives").await.remove(0);
    assert_eq!(path, "prod/nightly/2026/11/20261124T120000Z-s1-1.zip");
    let file = world.path("vault").join(&path);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let folder = file.parent().unwrap().metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o750);
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&file).unwrap()).unwrap();
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["manifest.json", "package.zip"]);
    let manifest: serde_json::Value =
        serde_json::from_reader(zip.by_name("manifest.json").unwrap()).unwrap();
    assert_eq!(manifest["instance"], "prod");
    assert_eq!(manifest["export"], "nightly");
    let sha256 = world.column("SELECT raw_sha256 FROM archives").await.remove(0);
    assert_eq!(manifest["raw_sha256"], sha256.as_str());
    assert_eq!(manifest["parts"], 1);
}

#[tokio::test]
async fn without_room_the_package_stays_at_the_server() {
    let free = Arc::new(AtomicU64::new(0));
    let mut setup = Setup { disk: Arc::new(Tight::new(free.clone())), ..Setup::default() };
    setup.limits.min_free_bytes = 1 << 20;
    let mut world = World::new(setup).await;
    let job = world.job(JobState::Ready, ContentSpec::Assets);
    let id = world.watch(&job.job_id).await;
    world.live_through(std::time::Duration::from_hours(2)).await;
    let archive = world.archive(id.0).await;
    assert_eq!(archive.state.word().as_str(), "ready");
    assert!(archive.last_error.unwrap().contains("limits.min_free_space"));
    assert_eq!(world.simulator.world().ledger().count_all(Endpoint::Download), 0);
    free.store(u64::MAX, Ordering::SeqCst);
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    world.check_oracle().await;
}
