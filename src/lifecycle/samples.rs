//! One archive in every state and every kind of event, for the tests of this module.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::{Union, ValueTree};
use proptest::test_runner::TestRunner;

use super::archive::{Archive, Milestones};
use super::event::{Event, Remarks};
use super::failure::{Effect, Failure, FailureClass};
use super::state::{Deletion, FailureCause, Found, Holding, LossCause, Offer, State, StateWord};
use crate::model::{
    ArchiveId, Content, Format, JobId, Method, PackageId, Scope, Sha256Digest, SnapshotId,
    StoredFile, Timestamp,
};

/// Every class there is.
pub(super) const CLASSES: [FailureClass; 8] = [
    FailureClass::Transient,
    FailureClass::Busy,
    FailureClass::Paused,
    FailureClass::Throttled,
    FailureClass::Unauthorized,
    FailureClass::Permanent,
    FailureClass::Gone,
    FailureClass::Local,
];

/// Every answer to "could it have happened?".
pub(super) const EFFECTS: [Effect; 2] = [Effect::NotDone, Effect::Unknown];

/// A moment of an ordinary day.
pub(super) fn noon() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// An archive that fell due at noon and whose scope is known.
pub(super) fn archive(state: State) -> Archive {
    Archive {
        id: ArchiveId(7),
        snapshot: SnapshotId(3),
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        part: 1,
        generation: 0,
        replaces: None,
        scope: Some(Scope { apps: vec!["app".to_owned()], tasks: Vec::new(), omit_empty: false }),
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

/// A failure without any wish of the server's.
pub(super) fn failure(class: FailureClass, effect: Effect) -> Failure {
    Failure { class, effect, message: "it broke".to_owned(), retry_after_ms: None }
}

/// One state of each word.
pub(super) fn state(word: StateWord) -> State {
    let job = JobId::new("job-1").unwrap();
    let package = PackageId::new("package-1").unwrap();
    let offer = Offer { job: job.clone(), package: package.clone() };
    let raw = Content { bytes: 1_000, sha256: Sha256Digest([1; 32]) };
    let file = StoredFile {
        path: "prod/nightly/2026/11/20261124T120000Z-s3-1.zip".to_owned(),
        content: Content { bytes: 400, sha256: Sha256Digest([2; 32]) },
        format: Format::Zip,
        method: Method::Deflate,
        inode: Some(7),
    };
    let content_sha256 = Some(Sha256Digest([3; 32]));
    let held = Holding { offer: offer.clone(), raw, file, content_sha256, original: None };
    let deletion = Deletion { reason: "no rule keeps it".to_owned(), policy: None };
    match word {
        StateWord::Scheduled => State::Scheduled,
        StateWord::Requesting => State::Requesting,
        StateWord::Running => State::Running { job },
        StateWord::Ready => State::Ready(offer),
        StateWord::Downloading => State::Downloading(offer),
        StateWord::Downloaded => State::Downloaded { offer, raw, format: Format::Zip },
        StateWord::Stored => State::Stored(held),
        StateWord::Trashed => State::Trashed(held, deletion),
        StateWord::Deleting => State::Deleting(held, deletion),
        StateWord::Deleted => State::Deleted(held, deletion),
        StateWord::Damaged => State::Damaged(held),
        StateWord::Failed => State::Failed { job: Some(job), cause: FailureCause::JobFailed },
        StateWord::Lost => {
            State::Lost { job: Some(job), package: Some(package), cause: LossCause::PackageGone }
        }
    }
}

/// Texts as a server may send them, control characters included.
fn text() -> impl Strategy<Value = String> {
    let plain = any::<u32>().prop_map(|number| format!("id-{number}"));
    let strange = any::<char>().prop_map(|c| format!("{c}\u{1b}\"\\/../{c}\0"));
    prop_oneof![3 => plain, 1 => strange]
}

fn job() -> impl Strategy<Value = JobId> {
    text().prop_map(|text| JobId::new(text).unwrap())
}

fn package() -> impl Strategy<Value = PackageId> {
    text().prop_map(|text| PackageId::new(text).unwrap())
}

/// Any moment that a timestamp can hold.
pub(super) fn moment() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

/// Any failure.
pub(super) fn any_failure() -> impl Strategy<Value = Failure> {
    (select(CLASSES.to_vec()), select(EFFECTS.to_vec()), text(), any::<Option<u64>>()).prop_map(
        |(class, effect, message, retry_after_ms)| Failure {
            class,
            effect,
            message,
            retry_after_ms,
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    (any::<u64>(), any::<[u8; 32]>())
        .prop_map(|(bytes, sha256)| Content { bytes, sha256: Sha256Digest(sha256) })
}

fn format() -> impl Strategy<Value = Format> {
    select(vec![Format::Zip, Format::Json, Format::Other])
}

fn remarks() -> impl Strategy<Value = Remarks> {
    let said = || proptest::option::of(text());
    (said(), said(), said()).prop_map(|(flaw, encoding, media_type)| Remarks {
        flaw,
        encoding,
        media_type,
    })
}

fn file() -> impl Strategy<Value = StoredFile> {
    let method = select(vec![Method::Deflate, Method::Store]);
    (text(), content(), format(), method, any::<Option<u64>>()).prop_map(
        |(path, content, format, method, inode)| StoredFile {
            path,
            content,
            format,
            method,
            inode,
        },
    )
}

/// A file of the samples' package.
fn found() -> impl Strategy<Value = Found> {
    let time = || proptest::option::of(moment());
    (time(), time(), file(), any::<Option<i64>>()).prop_map(
        |(ready_at, downloaded_at, file, original)| Found {
            job: JobId::new("job-1").unwrap(),
            package: PackageId::new("package-1").unwrap(),
            ready_at,
            downloaded_at,
            raw: Content { bytes: 1_000, sha256: Sha256Digest([1; 32]) },
            file,
            original: original.map(ArchiveId),
        },
    )
}

fn failure_cause() -> impl Strategy<Value = FailureCause> {
    use FailureCause as C;
    select(vec![C::Refused, C::AttemptsExhausted, C::JobFailed, C::DuplicatePackage])
}

fn loss_cause() -> impl Strategy<Value = LossCause> {
    use LossCause as C;
    select(vec![
        C::RequestUnanswered,
        C::JobVanished,
        C::JobStuck,
        C::JobUnreadable,
        C::PackageGone,
        C::DownloadsExhausted,
        C::StagedFileLost,
    ])
}

type Postponed = fn((Failure, Timestamp)) -> Event;

fn postponed(event: Postponed) -> BoxedStrategy<Event> {
    (any_failure(), moment()).prop_map(event).boxed()
}

/// A strategy for each kind of event, in the order of their definition.
fn kinds() -> Vec<BoxedStrategy<Event>> {
    use Event as E;
    let deletion = (text(), proptest::option::of(text()))
        .prop_map(|(reason, policy)| Deletion { reason, policy });
    vec![
        Just(E::RequestStarted).boxed(),
        job().prop_map(|job| E::JobAccepted { job }).boxed(),
        job().prop_map(|job| E::JobAdopted { job }).boxed(),
        postponed(|(failure, not_before)| {
            let busy_since = (failure.class == FailureClass::Busy).then_some(not_before);
            E::RequestPostponed { failure, not_before, busy_since }
        }),
        (failure_cause(), any_failure())
            .prop_map(|(cause, failure)| E::RequestRefused { cause, failure })
            .boxed(),
        any_failure().prop_map(|failure| E::RequestUnanswered { failure }).boxed(),
        postponed(|(failure, not_before)| E::PollPostponed { failure, not_before }),
        Just(E::JobStillRunning).boxed(),
        package().prop_map(|package| E::JobSucceeded { package }).boxed(),
        text().prop_map(|reasons| E::JobFailed { reasons }).boxed(),
        (package(), any::<i64>().prop_map(ArchiveId))
            .prop_map(|(package, claimed_by)| E::PackageDuplicate { package, claimed_by })
            .boxed(),
        (loss_cause(), text())
            .prop_map(|(cause, message)| E::PackageLost { cause, message })
            .boxed(),
        Just(E::DownloadStarted).boxed(),
        postponed(|(failure, not_before)| E::DownloadPostponed { failure, not_before }),
        postponed(|(failure, not_before)| E::DownloadInterrupted { failure, not_before }),
        (content(), format(), any::<bool>(), remarks())
            .prop_map(|(raw, format, adopted, remarks)| E::DownloadFinished {
                raw,
                format,
                adopted,
                remarks,
            })
            .boxed(),
        postponed(|(failure, not_before)| E::PackPostponed { failure, not_before }),
        (file(), prop::option::of(content()))
            .prop_map(|(file, content)| {
                let content_sha256 = content.map(|content| content.sha256);
                E::FileStored { file, content_sha256 }
            })
            .boxed(),
        (file(), content(), content(), any::<i64>())
            .prop_map(|(file, raw, content, original)| {
                let (content_sha256, original) = (content.sha256, ArchiveId(original));
                E::FileShared { file, raw, content_sha256, original }
            })
            .boxed(),
        any::<i64>().prop_map(|from| E::FileInherited { from: ArchiveId(from) }).boxed(),
        found().prop_map(|found| E::FileFound(Box::new(found))).boxed(),
        Just(E::FileVerified).boxed(),
        text().prop_map(|message| E::FileDamaged { message }).boxed(),
        (text(), prop::option::of(text()))
            .prop_map(|(by, reason)| E::LossAcknowledged { by, reason })
            .boxed(),
        (deletion, moment())
            .prop_map(|(deletion, purge_at)| E::DeletionDecided { deletion, purge_at })
            .boxed(),
        text().prop_map(|by| E::DeletionRevoked { by }).boxed(),
        Just(E::DeletionStarted).boxed(),
        postponed(|(failure, not_before)| E::DeletionPostponed { failure, not_before }),
        Just(E::FileDeleted).boxed(),
    ]
}

/// Any event of any kind.
pub(super) fn any_event() -> impl Strategy<Value = Event> {
    Union::new(kinds())
}

/// One event of each kind, with any content.
pub(super) fn one_of_each() -> impl Strategy<Value = Vec<Event>> {
    kinds()
}

/// One event of each kind, always the same.
pub(super) fn samples() -> Vec<Event> {
    let mut runner = TestRunner::deterministic();
    kinds().into_iter().map(|kind| kind.new_tree(&mut runner).unwrap().current()).collect()
}
