use super::*;
use crate::lifecycle::{Deletion, FailureCause, Holding, LossCause, Milestones, Offer};
use crate::model::{
    ArchiveId, Content, Format, JobId, Method, PackageId, Sha256Digest, SnapshotId, StoredFile,
    Timestamp,
};

fn noon() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn job(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn package(text: &str) -> PackageId {
    PackageId::new(text).unwrap()
}

const RAW: Content = Content { bytes: 9, sha256: Sha256Digest([9; 32]) };

fn manifest() -> Manifest {
    Manifest {
        schema_version: Manifest::SCHEMA_VERSION,
        app: Manifest::APP.to_owned(),
        archive_id: ArchiveId(1),
        snapshot_id: SnapshotId(1),
        part: 1,
        parts: 1,
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        instance_id: None,
        job_id: job("j"),
        package_id: package("p"),
        scheduled_at: noon(),
        ready_at: None,
        downloaded_at: noon(),
        raw_bytes: RAW.bytes,
        raw_sha256: RAW.sha256,
        format: Format::Zip,
        entry: "package.zip".to_owned(),
    }
}

fn file() -> StoredFile {
    let content = Content { bytes: 4, sha256: Sha256Digest([4; 32]) };
    let (format, method) = (Format::Zip, Method::Store);
    StoredFile { path: "x.zip".to_owned(), content, format, method, inode: None }
}

fn archive(id: i64, state: State) -> Archive {
    Archive {
        id: ArchiveId(id),
        snapshot: SnapshotId(1),
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        part: 1,
        generation: 0,
        replaces: (id > 1).then(|| ArchiveId(id - 1)),
        scope: None,
        scheduled_at: noon(),
        revision: 0,
        attempts: 0,
        unknown_polls: 0,
        downloads: 0,
        busy_since: None,
        not_before: noon(),
        state,
        milestones: Milestones::default(),
        last_error: None,
    }
}

fn offer(of: &str) -> Offer {
    Offer { job: job(of), package: package("p") }
}

fn held(of: &str) -> Holding {
    Holding { offer: offer(of), raw: RAW, file: file(), content_sha256: None, original: None }
}

fn running(of: &str) -> State {
    State::Running { job: job(of) }
}

fn lost(of: Option<&str>) -> State {
    State::Lost { job: of.map(job), package: None, cause: LossCause::PackageGone }
}

/// Whose it is, among the archives of its part with these states; `None`: that cannot be told.
fn decide(states: &[State], at_start: bool) -> Option<i64> {
    let of_part = (1..).zip(states).map(|(id, state)| archive(id, state.clone())).collect();
    decide_among(&Kin { of_part, of_job: None }, at_start)
}

fn decide_among(kin: &Kin, at_start: bool) -> Option<i64> {
    let found = super::super::reconcile::found(&manifest(), file());
    match owner(&found, &manifest(), kin, at_start) {
        Owner::Archive(archive) => Some(archive.id.0),
        Owner::Nobody => Some(0),
        Owner::Busy => None,
    }
}

#[test]
fn it_goes_to_the_one_that_lacks_it() {
    // Whose it is while steps may run, and at the start when none does.
    type Case = (Vec<State>, Option<i64>, Option<i64>);
    let deletion = Deletion { reason: "old".to_owned(), policy: None };
    let downloaded = |raw| State::Downloaded { offer: offer("j"), raw, format: Format::Zip };
    let failed = State::Failed { job: Some(job("j")), cause: FailureCause::JobFailed };
    let other = Content { bytes: 1, ..RAW };
    let cases: Vec<Case> = vec![
        (vec![], Some(0), Some(0)),
        (vec![State::Scheduled], Some(1), Some(1)),
        (vec![State::Requesting], None, Some(1)),
        (vec![running("j")], Some(1), Some(1)),
        (vec![running("other")], None, None),
        (vec![State::Ready(offer("j"))], Some(1), Some(1)),
        (vec![State::Ready(offer("other"))], None, None),
        (vec![State::Downloading(offer("j"))], None, Some(1)),
        (vec![downloaded(RAW)], None, Some(1)),
        (vec![downloaded(other)], None, None),
        (vec![lost(Some("j"))], Some(1), Some(1)),
        (vec![lost(None)], Some(1), Some(1)),
        (vec![lost(Some("other"))], Some(0), Some(0)),
        (vec![failed], Some(0), Some(0)),
        (vec![State::Stored(held("j"))], Some(0), Some(0)),
        (vec![State::Damaged(held("j"))], Some(0), Some(0)),
        (vec![State::Deleted(held("j"), deletion)], Some(0), Some(0)),
        // What replaces a lost one has not begun anything: it need not.
        (vec![lost(None), State::Scheduled], Some(2), Some(2)),
        (vec![lost(Some("j")), State::Scheduled], Some(2), Some(2)),
        // It has: then the file waits until that is over.
        (vec![lost(Some("j")), running("k")], None, None),
        (vec![lost(Some("j")), State::Requesting], None, None),
        (vec![lost(Some("j")), State::Stored(held("k"))], Some(0), Some(0)),
        (vec![lost(Some("j")), lost(Some("k"))], Some(1), Some(1)),
    ];
    for (states, beside_steps, at_start) in cases {
        assert_eq!(decide(&states, false), beside_steps, "{states:?}");
        assert_eq!(decide(&states, true), at_start, "{states:?} at the start");
    }
}

#[test]
fn a_job_that_is_watched_again_has_its_newest_archive() {
    let with = |part: State, of_job: State| {
        let of_job = Archive { snapshot: SnapshotId(2), ..archive(7, of_job) };
        decide_among(&Kin { of_part: vec![archive(1, part)], of_job: Some(of_job) }, false)
    };
    assert_eq!(with(lost(Some("j")), running("j")), Some(7));
    assert_eq!(with(lost(Some("j")), lost(Some("j"))), Some(7));
    assert_eq!(with(lost(Some("j")), State::Stored(held("j"))), Some(0));
    assert_eq!(with(lost(Some("j")), State::Downloading(offer("j"))), None);
    let failed = State::Failed { job: Some(job("j")), cause: FailureCause::JobFailed };
    assert_eq!(with(lost(Some("j")), failed), Some(0), "a job has one archive that is not lost");
    // Only of the part is a number enough: another archive must know the job.
    let stranger = Kin { of_part: vec![], of_job: Some(archive(7, State::Scheduled)) };
    assert_eq!(decide_among(&stranger, false), None);
}
