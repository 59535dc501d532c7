//! A catalog in which every state, and every value that may be NULL, occurs.

use std::path::Path;
use std::time::Duration;

use roma_archived::catalog::{
    Access, Adopted, Catalog, Change, ExportRecord, NewSnapshot, Origin, Planning, Sequel,
    Uncovered, VerdictNote,
};
use roma_archived::lifecycle::{
    Archive, Deletion, Effect, Event, Failure, FailureClass, LossCause, Notice, Remarks, State,
};
use roma_archived::model::{
    Content, Format, JobId, Method, Name, PackageId, Scope, Sha256Digest, SnapshotId, StoredFile,
    Timestamp,
};

use crate::support::world::adoption;

pub(crate) fn at() -> Timestamp {
    "2026-01-15T05:22:00.007Z".parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn failure() -> Failure {
    Failure {
        class: FailureClass::Busy,
        effect: Effect::NotDone,
        message: "another job runs".to_owned(),
        retry_after_ms: None,
    }
}

fn content(bytes: u64) -> Content {
    Content { bytes, sha256: Sha256Digest([u8::try_from(bytes % 256).unwrap(); 32]) }
}

/// What happens to an archive from the offer of its package to its end, in order.
fn life(archive: &Archive) -> Vec<Event> {
    let raw = content(1_000 + u64::try_from(archive.id.0 % 4).unwrap());
    let file = StoredFile {
        path: format!("prod/{}/{}.zip", archive.export, archive.id),
        content: content(500),
        format: Format::Zip,
        method: Method::Deflate,
        inode: Some(u64::MAX),
    };
    // Nothing newer takes its place, which a policy would ask for.
    let deletion = Deletion { reason: "no rule keeps it".to_owned(), policy: None };
    let remarks = Remarks::default();
    vec![
        Event::JobSucceeded { package: PackageId::new(format!("p{}", archive.id)).unwrap() },
        Event::DownloadStarted,
        Event::DownloadFinished { raw, format: Format::Zip, adopted: false, remarks },
        Event::FileStored { file, content_sha256: Some(Sha256Digest([9; 32])) },
        Event::DeletionDecided { deletion, purge_at: at().plus(Duration::from_hours(168)) },
        Event::DeletionStarted,
        Event::FileDeleted,
    ]
}

pub(crate) struct Sample {
    pub(crate) catalog: Catalog,
}

impl Sample {
    async fn happens(&self, archive: Archive, events: impl IntoIterator<Item = Event>) -> Archive {
        let mut archive = archive;
        for event in events {
            archive = self.catalog.commit(Change::new(archive, event), at()).await.unwrap();
        }
        archive
    }

    async fn adopt(&self, job: &str) -> Archive {
        match self.catalog.adopt(adoption(job), at()).await.unwrap() {
            Adopted::New(archive) | Adopted::Known(archive) => archive,
        }
    }

    /// An adopted job whose archive has lived for so many events.
    async fn adopted(&self, job: &str, events: usize) -> Archive {
        let archive = self.adopt(job).await;
        let life = life(&archive);
        self.happens(archive, life.into_iter().take(events)).await
    }

    async fn planned(&self, planning: Planning) -> (SnapshotId, Vec<Archive>) {
        let new = NewSnapshot {
            instance: name("prod"),
            export: name("nightly"),
            origin: Origin::Schedule,
            taken_at: at(),
            next_due: Some(at()),
            missed: 0,
        };
        let snapshot = self.catalog.open_snapshot(new, at()).await.unwrap().id;
        (snapshot, self.catalog.plan(snapshot, planning, at()).await.unwrap())
    }

    /// Jobs that were started elsewhere, one in each state that they can be in.
    async fn watched(&self) {
        for (events, job) in
            ["run", "rdy", "dlg", "dld", "sto", "tra", "dlt", "del"].iter().enumerate()
        {
            self.adopted(job, events).await;
        }
        let running = self.adopt("waits").await;
        let postponed = Event::PollPostponed { failure: failure(), not_before: at() };
        self.happens(running, [postponed]).await;
        let stored = self.adopted("dam", 4).await;
        let missing = "the file is missing".to_owned();
        self.happens(stored, [Event::FileDamaged { message: missing }]).await;
        self.shared().await;
        let running = self.adopt("fai").await;
        self.happens(running, [Event::JobFailed { reasons: "no".to_owned() }]).await;
        let ready = self.adopted("los", 1).await;
        let message = "it was already downloaded".to_owned();
        let lost = Event::PackageLost { cause: LossCause::PackageGone, message };
        self.happens(ready, [lost.clone()]).await;
        let ready = self.adopted("ack", 1).await;
        let seen = Event::LossAcknowledged { by: "ops".to_owned(), reason: None };
        self.happens(ready, [lost, seen]).await;
    }

    /// Two that share the file of a third, which has gone since.
    async fn shared(&self) {
        let original = self.adopted("org", 4).await;
        let held = original.state.holding().unwrap().clone();
        for job in ["sh1", "sh2"] {
            let downloaded = self.adopted(job, 3).await;
            let path = format!("prod/watched/{}.zip", downloaded.id);
            let shared = Event::FileShared {
                file: StoredFile { path, ..held.file.clone() },
                raw: held.raw,
                content_sha256: held.content_sha256.unwrap(),
                original: original.id,
            };
            self.happens(downloaded, [shared]).await;
        }
        let end = life(&original).into_iter().skip(4);
        self.happens(original, end).await;
    }

    /// Runs of an export: one that cannot be planned yet, one that came to nothing, one whose
    /// second part was lost and exported again, one that has just begun.
    async fn exported(&self) {
        self.planned(Planning::Postponed(failure(), at())).await;
        self.planned(Planning::Failed("there is nothing to export".to_owned())).await;
        let scope =
            |id: &str| Scope { apps: vec![id.to_owned()], tasks: Vec::new(), omit_empty: false };
        let two = || vec![scope("1"), scope("2")];
        let missing = Uncovered {
            apps: vec!["gone".to_owned()],
            message: "the configuration names what ROMA does not list".to_owned(),
            ..Uncovered::default()
        };
        let (_, parts) = self.planned(Planning::Parts(two(), Some(missing))).await;
        let [first, second] = <[Archive; 2]>::try_from(parts).unwrap();
        self.store(first).await;
        let second = self.happens(second, [Event::RequestStarted]).await;
        let unanswered = Event::RequestUnanswered { failure: failure() };
        let change = Change { archive: second, event: unanswered, sequel: Sequel::Again(1) };
        let mut changed = self.catalog.commit_all(vec![change], at()).await.unwrap();
        assert!(matches!(changed[0].state, State::Lost { .. }));
        self.store(changed.remove(1)).await;
        let (_, parts) = self.planned(Planning::Parts(two(), None)).await;
        self.happens(parts[0].clone(), [Event::RequestStarted]).await;
    }

    async fn store(&self, archive: Archive) {
        let job = JobId::new(format!("j{}", archive.id)).unwrap();
        let started = [Event::RequestStarted, Event::JobAccepted { job }];
        let life = life(&archive).into_iter().take(4);
        self.happens(archive, started.into_iter().chain(life)).await;
    }
}

/// Makes the sample in a new catalog.
pub(crate) async fn catalog(state_dir: &Path) -> Catalog {
    let catalog = Catalog::open(state_dir, Access::Owner).await.unwrap();
    let export = |export: &str, schedule: Option<&str>, hours: Option<u64>| ExportRecord {
        instance: name("prod"),
        name: name(export),
        schedule: schedule.map(ToOwned::to_owned),
        rpo: hours.map(Duration::from_hours),
        next_due: schedule.map(|_| at()),
        policy: ("keep everything".to_owned(), "0".to_owned()),
    };
    let exports = vec![
        export("nightly", Some("0 2 * * *"), Some(26)),
        export("by-hand", None, None),
        export("watched", None, None),
    ];
    catalog.configure_exports(exports, at()).await.unwrap();
    catalog.stamp_once("created_at", at().to_string(), at()).await.unwrap();
    catalog.stamp("app_version", "0.1.0".to_owned(), at()).await.unwrap();
    let sample = Sample { catalog };
    sample.exported().await;
    sample.watched().await;
    let message = "no answer in time".to_owned();
    let paused =
        Notice::InstancePaused { instance: name("prod"), failures: 5, until: at(), message };
    let doubted = Notice::ClockDoubted { message: "it differs".to_owned() };
    let resumed = Notice::InstanceResumed { instance: name("prod") };
    let short = Notice::SpaceShort { free_bytes: 1, wanted_bytes: 2 };
    let restored = Notice::SpaceRestored { free_bytes: 3 };
    let moved = Notice::FileQuarantined {
        path: "vault/notes.txt".to_owned(),
        kept_as: "quarantine/foreign-notes.txt".to_owned(),
        message: "it is none of ours".to_owned(),
    };
    let rebuilt = Notice::CatalogRebuilt { snapshots: 1, archives: 2, bytes: 3, left: 0 };
    let account = name("ops");
    let rejected = Notice::AccountPaused {
        account: account.clone(),
        until: at(),
        reason: "the server answered 401".to_owned(),
    };
    let accepted = Notice::AccountResumed { account };
    let notices = vec![
        rejected,
        accepted,
        paused,
        resumed,
        doubted,
        Notice::ClockTrusted,
        short,
        restored,
        moved,
        Notice::ObjectiveMissed {
            instance: name("prod"),
            export: name("nightly"),
            message: "there is no complete snapshot".to_owned(),
        },
        Notice::ObjectiveMet { instance: name("prod"), export: name("nightly") },
        rebuilt,
    ];
    sample.catalog.notify(notices, at()).await.unwrap();
    let note = |id, kept_because: Option<&str>, expected_delete_at| VerdictNote {
        id: SnapshotId(id),
        kept_because: kept_because.map(ToOwned::to_owned),
        expected_delete_at,
    };
    let notes = vec![note(3, Some("last 1/7"), None), note(4, None, Some(at()))];
    sample.catalog.note_verdicts(notes, at()).await.unwrap();
    sample.catalog
}
