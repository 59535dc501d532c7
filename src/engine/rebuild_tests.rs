use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{Content, Format, Method, Sha256Digest};
use crate::vault::OsDisk;

/// A file of its own, as its path and its manifest say alike.
fn own(archive: i64, snapshot: i64, part: u32, day: u32) -> Proven {
    let scheduled_at: Timestamp = format!("2026-11-{day:02}T02:00:00.5Z").parse().unwrap();
    let raw = Content { bytes: 1_000, sha256: Sha256Digest([1; 32]) };
    let manifest = Manifest {
        schema_version: Manifest::SCHEMA_VERSION,
        app: Manifest::APP.to_owned(),
        archive_id: ArchiveId(archive),
        snapshot_id: SnapshotId(snapshot),
        part,
        parts: 2,
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        instance_id: None,
        job_id: JobId::new(format!("job-{archive}-{day}")).unwrap(),
        package_id: PackageId::new(format!("package-{archive}-{day}")).unwrap(),
        scheduled_at,
        ready_at: Some(scheduled_at),
        downloaded_at: scheduled_at.plus(std::time::Duration::from_mins(u64::from(part))),
        raw_bytes: raw.bytes,
        raw_sha256: raw.sha256,
        format: Format::Json,
        entry: Format::Json.entry_name().to_owned(),
    };
    let digest = Sha256Digest([u8::try_from(archive % 200).unwrap(); 32]);
    let file = StoredFile {
        path: manifest.place(),
        content: Content { bytes: 500, sha256: digest },
        format: Format::Json,
        method: Method::Deflate,
        inode: Some(7),
    };
    Proven { place: Place::parse(&file.path).unwrap(), manifest, file }
}

/// The same file under the name of a later run.
fn shared(original: &Proven, snapshot: i64, day: u32) -> Proven {
    let mut shared = original.clone();
    shared.place.snapshot = SnapshotId(snapshot);
    shared.place.taken_at = format!("2026-11-{day:02}T02:00:00Z").parse().unwrap();
    shared.file.path = shared.place.path();
    shared
}

/// `s3 a7 part 1 of 2, as a5` and the like.
fn story_of(history: &History) -> Vec<String> {
    let mut lines = Vec::new();
    for snapshot in &history.snapshots {
        for RebuiltArchive { id, part, found } in &snapshot.archives {
            let (snapshot, parts) = (snapshot.id, snapshot.parts);
            let as_of = found.original.map_or(String::new(), |id| format!(", as {id}"));
            let job = found.job.as_str();
            lines.push(format!("{snapshot} {id} part {part} of {parts}, {job}{as_of}"));
        }
    }
    lines
}

#[test]
fn files_of_one_run_are_one_snapshot_and_keep_their_numbers() {
    let history = arrange(vec![own(9, 4, 2, 2), own(5, 3, 1, 1), own(8, 4, 1, 2)], ArchiveId(0));
    let expected =
        ["s3 a5 part 1 of 2, job-5-1", "s4 a8 part 1 of 2, job-8-2", "s4 a9 part 2 of 2, job-9-2"];
    assert_eq!(story_of(&history), expected);
    assert_eq!(history.highest, (ArchiveId(9), SnapshotId(4)));
    assert_eq!(history.left, []);
    let taken_at = history.snapshots[0].taken_at.to_string();
    assert_eq!(taken_at, "2026-11-01T02:00:00.500Z", "the manifest knows it better than the name");
}

#[test]
fn the_newest_manifest_of_a_run_knows_how_many_parts_it_has() {
    let (first, mut second) = (own(1, 1, 1, 1), own(2, 1, 2, 1));
    second.manifest.parts = 3;
    let history = arrange(vec![first.clone(), second.clone()], ArchiveId(0));
    assert_eq!(history.snapshots[0].parts, 3);
    second.manifest.parts = 1;
    let history = arrange(vec![first, second], ArchiveId(0));
    assert_eq!(history.snapshots[0].parts, 2, "both are there");
}

#[test]
fn a_shared_file_counts_as_the_one_that_stored_it_or_else_as_the_first() {
    let stored = own(5, 3, 1, 1);
    let all = vec![shared(&stored, 6, 4), stored.clone(), shared(&stored, 4, 2)];
    let history = arrange(all, ArchiveId(20));
    let expected = [
        "s3 a5 part 1 of 2, job-5-1",
        "s4 a21 part 1 of 2, unknown-s4-1, as a5",
        "s6 a22 part 1 of 2, unknown-s6-1, as a5",
    ];
    assert_eq!(story_of(&history), expected, "no number that a download in staging has");
    let found = &history.snapshots[1].archives[0].found;
    assert_eq!((found.ready_at, found.downloaded_at), (None, None));

    let history = arrange(vec![shared(&stored, 6, 4), shared(&stored, 4, 2)], ArchiveId(0));
    let expected = ["s4 a6 part 1 of 2, unknown-s4-1", "s6 a7 part 1 of 2, unknown-s6-1, as a6"];
    assert_eq!(story_of(&history), expected);
}

/// Runs in one second; only one of them is known to the millisecond.
#[test]
fn who_shares_comes_after_whoever_stored_it() {
    let stored = own(5, 3, 1, 1);
    let history = arrange(vec![shared(&stored, 4, 1), stored], ArchiveId(0));
    let expected = ["s3 a5 part 1 of 2, job-5-1", "s4 a6 part 1 of 2, unknown-s4-1, as a5"];
    assert_eq!(story_of(&history), expected);
    assert!(history.snapshots[0].taken_at > history.snapshots[1].taken_at);
}

#[test]
fn what_contradicts_itself_or_another_is_left_alone() {
    let stored = own(5, 3, 1, 1);
    let mut other_part = shared(&stored, 4, 2);
    other_part.place.part = 2;
    other_part.file.path = other_part.place.path();
    let mut same_job = own(9, 6, 1, 6);
    same_job.manifest.job_id = stored.manifest.job_id.clone();
    let all = vec![stored.clone(), shared(&stored, 2, 9), shared(&stored, 8, 20), other_part];
    let history = arrange([all, vec![same_job]].concat(), ArchiveId(0));
    assert_eq!(history.snapshots.len(), 2, "{:?}", story_of(&history));
    let reasons: Vec<&str> = history.left.iter().map(|left| left.reason.as_str()).collect();
    let elsewhere = "its manifest says that it belongs at \
                     prod/nightly/2026/11/20261101T020000Z-s3-1.zip";
    let twice = "another file holds the package of job job-5-1 as well";
    assert_eq!(reasons, [twice, elsewhere, elsewhere]);
}

/// As after a catalog that was begun anew once.
#[test]
fn numbers_that_were_given_twice_are_given_anew() {
    let history = arrange(vec![own(1, 1, 1, 1), own(1, 1, 1, 9), own(2, 2, 1, 9)], ArchiveId(0));
    let expected =
        ["s1 a1 part 1 of 2, job-1-1", "s3 a3 part 1 of 2, job-1-9", "s2 a2 part 1 of 2, job-2-9"];
    assert_eq!(story_of(&history), expected);
    assert_eq!(history.highest, (ArchiveId(3), SnapshotId(3)));
}

#[test]
fn every_byte_is_told_once_and_what_is_no_package_of_ours_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::open(directory.path(), Arc::new(OsDisk)).unwrap();
    let folder = directory.path().join("vault/prod/nightly/2026/11");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("20261101T020000Z-s3-1.zip"), "no zip").unwrap();
    std::fs::write(folder.join("notes.txt"), "mine").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("20261102T020000Z-s4-1.zip")).unwrap();
    let mut told = Vec::new();
    let gathered = gather(&vault, &mut |done, total| told.push((done, total)));
    assert_eq!(told, [(0, 10), (6, 10), (6, 10), (10, 10)]);
    assert!(gathered.proven.is_empty() && gathered.unreadable.is_empty(), "{gathered:?}");
    let left: Vec<(&str, bool)> = gathered
        .left
        .iter()
        .map(|left| (left.path.rsplit('/').next().unwrap(), left.reason.contains("as a zip")))
        .collect();
    let expected = [
        ("20261101T020000Z-s3-1.zip", true),
        ("20261102T020000Z-s4-1.zip", false),
        ("notes.txt", false),
    ];
    assert_eq!(left, expected);
}

/// Files of a few runs, some of which share one of an earlier run, in any order.
fn vaults() -> impl Strategy<Value = Vec<Proven>> {
    let one = (1_i64..20, 1_i64..8, 1_u32..3, 1_u32..28, prop::option::of(0_usize..20));
    prop::collection::vec(one, 0..16).prop_map(|all| {
        let mut files: Vec<Proven> = Vec::new();
        for (archive, snapshot, part, day, of) in all {
            let file = match of.and_then(|index| files.get(index)) {
                Some(earlier) => shared(earlier, snapshot, day),
                None => own(archive, snapshot, part, day),
            };
            // The file system knows a name once only.
            if files.iter().all(|other| other.file.path != file.file.path) {
                files.push(file);
            }
        }
        files
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the order in which the disk shows them: every file is entered once or left, every
    /// number is given once, and a shared file comes after the one that it counts as.
    #[test]
    fn the_same_files_give_the_same_history(
        (files, shuffled) in vaults().prop_flat_map(|f| (Just(f.clone()), Just(f).prop_shuffle())),
        staged in 0_i64..40,
    ) {
        let history = arrange(files.clone(), ArchiveId(staged));
        prop_assert_eq!(&arrange(shuffled, ArchiveId(staged)), &history);
        let entered: Vec<&RebuiltArchive> =
            history.snapshots.iter().flat_map(|snapshot| &snapshot.archives).collect();
        let mut paths: Vec<&str> = entered.iter().map(|a| a.found.file.path.as_str()).collect();
        paths.extend(history.left.iter().map(|left| left.path.as_str()));
        paths.sort_unstable();
        let mut all: Vec<&str> = files.iter().map(|file| file.file.path.as_str()).collect();
        all.sort_unstable();
        prop_assert_eq!(paths, all);
        let mut seen = BTreeSet::new();
        let (mut jobs, mut packages) = (BTreeSet::new(), BTreeSet::new());
        for archive in entered {
            if let Some(original) = archive.found.original {
                prop_assert!(seen.contains(&original));
            }
            prop_assert!(seen.insert(archive.id) && archive.id <= history.highest.0);
            prop_assert!(jobs.insert(&archive.found.job));
            prop_assert!(packages.insert(&archive.found.package));
        }
        let numbers: BTreeSet<SnapshotId> = history.snapshots.iter().map(|s| s.id).collect();
        prop_assert_eq!(numbers.len(), history.snapshots.len());
        prop_assert!(numbers.last().is_none_or(|last| *last <= history.highest.1));
    }
}
