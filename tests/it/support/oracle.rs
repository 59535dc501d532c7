//! What must hold whenever everything is at rest, whatever happened before: O1 to O8 of
//! `ARCHITECTURE.md`. It asks the catalog, the disk and the simulator's ledger, and believes none
//! of them alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use roma_archived::lifecycle::{Archive, Event, Holding, Milestones, State, StateWord};
use roma_archived::model::{ArchiveId, Format, Name, Sha256Digest, Timestamp};
use roma_archived::vault::Found;
use roma_sim::{PackageRecord, defaults};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::audit::entries;
use super::world::World;

/// What a trial did that a client cannot make good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excuses {
    /// Archives that were being downloaded when the daemon died or the disk failed: the bytes may
    /// be gone from the wire and not on the disk.
    pub(crate) interrupted: BTreeSet<ArchiveId>,
}

impl World {
    /// An archive's row is what its events make of it.
    async fn check_replay(&self, archive: &Archive) {
        let select = format!(
            "SELECT at, event, detail FROM events WHERE archive_id = {} ORDER BY seq",
            archive.id.0
        );
        let mut rows = self.catalog.view(&select, &[]).await.unwrap().into_objects().into_iter();
        let opened = rows.next().unwrap();
        assert_eq!(opened["event"], "archive_opened");
        let mut replay = Archive {
            state: State::Scheduled,
            revision: 0,
            attempts: 0,
            unknown_polls: 0,
            downloads: 0,
            not_before: moment(&opened["at"]),
            milestones: Milestones::default(),
            last_error: None,
            ..archive.clone()
        };
        for row in rows {
            let mut event: Value = serde_json::from_str(row["detail"].as_str().unwrap()).unwrap();
            event["event"] = row["event"].clone();
            let event: Event = serde_json::from_value(event).unwrap();
            replay = replay.apply(&event, moment(&row["at"])).unwrap();
        }
        assert_eq!(&replay, archive);
    }

    /// What is counted as it changes is what a count of everything comes to.
    async fn check_tally(&self) {
        let facts = self.catalog.facts().await.unwrap();
        let tally = |instance: &Name, export: &Name, state: &str, numbers: [u64; 3]| {
            format!("{instance} {export} {state} {numbers:?}")
        };
        let mut kept = Vec::new();
        for count in facts.archives.iter().filter(|count| count.count > 0) {
            let numbers = [count.count, count.raw_bytes, count.stored_bytes];
            kept.push(tally(&count.instance, &count.export, count.state.as_str(), numbers));
        }
        for count in facts.snapshots.iter().filter(|count| count.count > 0) {
            let numbers = [count.count, count.raw_bytes, count.stored_bytes];
            kept.push(tally(&count.instance, &count.export, count.state.as_str(), numbers));
        }
        let select = |numbers: &str, view: &str| {
            format!(
                "SELECT instance || ' ' || export || ' ' || state || ' [' || {numbers} || ']' \
                 FROM {view} GROUP BY instance, export, state"
            )
        };
        let archives = select("count(*) || ', 0, 0'", "archives");
        let sums = "count(*) || ', ' || sum(raw_bytes) || ', ' || sum(stored_bytes)";
        let mut counted = self.column(&archives).await;
        counted.extend(self.column(&select(sums, "snapshots")).await);
        kept.sort();
        counted.sort();
        assert_eq!(kept, counted, "the tally");
    }

    /// Neither the catalog nor its log of changes holds a secret.
    fn check_secrecy(&self) {
        for file in ["catalog.db", "catalog.db-wal"] {
            let bytes = std::fs::read(self.path(file)).unwrap();
            for secret in [defaults::TOKEN, defaults::PASSWORD, defaults::SECRET_KEY] {
                let shown = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!shown, "{secret} in {file}");
            }
        }
    }

    /// What must hold whenever everything is at rest, where nobody died in the wrong moment.
    pub(crate) async fn check_oracle(&self) {
        assert_eq!(self.check_with(&Excuses::default()).await, 0);
    }

    /// What must hold whenever everything is at rest.
    /// The answer counts the packages that were served whole and are lost: the gap that no client
    /// can close.
    pub(crate) async fn check_with(&self, excuses: &Excuses) -> usize {
        self.check_secrecy();
        let mut archives = Vec::new();
        for id in self.column("SELECT id FROM archives ORDER BY id").await {
            archives.push(self.archive(id.parse().unwrap()).await);
        }
        for archive in &archives {
            self.check_replay(archive).await;
        }
        self.check_tally().await;
        self.check_files(&archives);
        self.check_shares().await;
        self.check_losses(&archives);
        self.check_newest().await;
        self.check_pins().await;
        self.check_ledger(&archives, excuses)
    }

    /// The catalog claims what is there, and nothing else is there.
    fn check_files(&self, archives: &[Archive]) {
        let mut known = Vec::new();
        for archive in archives {
            let Some(held) = archive.state.holding() else { continue };
            let package = held.offer.package.as_str();
            let recorded = self.simulator.world().ledger().package(package).unwrap().clone();
            let has_file = archive.state.word().has_file();
            if let Some(original) = held.original {
                let original = archives.iter().find(|a| a.id == original).unwrap();
                let first = original.state.holding().unwrap();
                let same = (first.original, first.raw, first.content_sha256);
                assert_eq!(same, (None, held.raw, held.content_sha256), "{archive:?}");
            }
            if held.raw.sha256.to_string() != recorded.sha256() {
                let is_excused = match (held.original, held.file.format) {
                    (Some(_), Format::Zip) => !has_file || self.is_alike(held, &recorded),
                    _ => self.lacks_white_space(held, &recorded),
                };
                assert!(is_excused, "{archive:?} {recorded:?}");
            }
            let path = self.vault.stored_path(&held.file);
            match archive.state.word() {
                StateWord::Stored | StateWord::Trashed => {
                    let mut bytes = Vec::new();
                    self.vault.extract(&held.file, held.raw, &mut bytes).unwrap();
                    assert_eq!(bytes.len() as u64, held.raw.bytes);
                    known.push(path);
                }
                _ => assert!(!path.exists(), "{} is still there", path.display()),
            }
        }
        let mut files = Vec::new();
        let mut visit = |found: Found| {
            files.push(self.path("vault").join(found.path));
            ControlFlow::Continue(())
        };
        self.vault.survey(&mut visit, &mut |error| panic!("{error}"));
        files.sort();
        known.sort();
        assert_eq!(files, known, "the vault holds what the catalog knows");
        let staged = self.vault.list_staged().unwrap();
        assert!(staged.ours.is_empty() && staged.foreign.is_empty(), "{staged:?}");
    }

    /// A package that shares a file came in another zip, with the same entries.
    fn is_alike(&self, held: &Holding, recorded: &PackageRecord) -> bool {
        let mut bytes = Vec::new();
        self.vault.extract(&held.file, held.raw, &mut bytes).unwrap();
        entries(bytes) == entries(recorded.to_vec())
    }

    /// Of those that share a file one is its holder: the others say so, and its size counts once.
    async fn check_shares(&self) {
        let wrong = self
            .column(
                "SELECT 'a' || a.id FROM archives AS a LEFT JOIN archives AS h ON h.id = a.same_as \
                 WHERE a.same_as IS NOT NULL AND (h.same_as IS NOT NULL \
                 OR h.state NOT IN ('stored', 'trashed') OR a.raw_sha256 <> h.raw_sha256 \
                 OR a.stored_sha256 <> h.stored_sha256 OR a.export <> h.export)",
            )
            .await;
        assert!(wrong.is_empty(), "they share with one that has no file: {wrong:?}");
        let wrong = self
            .column(
                "SELECT 's' || id FROM snapshots WHERE stored_bytes <> (\
                 SELECT coalesce(sum(a.stored_bytes), 0) FROM archives AS a \
                 WHERE a.snapshot_id = snapshots.id AND a.state IN ('stored', 'trashed') \
                 AND a.same_as IS NULL)",
            )
            .await;
        assert!(wrong.is_empty(), "sizes that are not those of its files: {wrong:?}");
    }

    /// JSON that a power cut left without the white space at its end is taken for whole.
    fn lacks_white_space(&self, held: &Holding, recorded: &PackageRecord) -> bool {
        let mut bytes = Vec::new();
        self.vault.extract(&held.file, held.raw, &mut bytes).unwrap();
        bytes.resize(usize::try_from(recorded.bytes()).unwrap().max(bytes.len()), b' ');
        let padded = Sha256Digest(Sha256::digest(&bytes).into());
        held.file.format == Format::Json && padded.to_string() == recorded.sha256()
    }

    /// What the server served whole is stored once, or a visible loss with an excuse.
    fn check_ledger(&self, archives: &[Archive], excuses: &Excuses) -> usize {
        let mut gap = 0;
        let aside: BTreeSet<String> = std::fs::read_dir(self.path("quarantine"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // Folders and links are moved there as they are.
            .filter(|path| path.symlink_metadata().unwrap().is_file())
            .map(|path| Sha256::digest(std::fs::read(path).unwrap()))
            .map(|digest| Sha256Digest(digest.into()).to_string())
            .collect();
        let packages: Vec<PackageRecord> = self.simulator.world().ledger().packages().to_vec();
        for package in packages {
            let complete = package.gets.iter().filter(|get| get.complete).count();
            if complete == 0 {
                continue;
            }
            let of_package: Vec<&Archive> = archives
                .iter()
                .filter(|a| a.state.job().is_some_and(|job| job.as_str() == package.job_id))
                .collect();
            // Some tests fetch besides the daemon. The last row of a job counts.
            let Some((archive, before)) = of_package.split_last() else { continue };
            assert!(before.iter().all(|a| a.state.word() == StateWord::Lost), "{of_package:?}");
            // A body that nobody could tell from a cut one is kept aside.
            let kept = || aside.contains(package.sha256());
            let is_excused = excuses.interrupted.contains(&archive.id) || kept();
            assert!(complete <= 1 || is_excused, "fetched {complete} times: {archive:?}");
            match archive.state.word() {
                StateWord::Stored
                | StateWord::Trashed
                | StateWord::Deleting
                | StateWord::Deleted => {}
                StateWord::Lost if is_excused => gap += usize::from(!kept()),
                word => panic!("{word} although it was served whole: {archive:?}, {package:?}"),
            }
        }
        for site in &self.setup.sites {
            let most = self.simulator.world().ledger().most_jobs_at_once(site.user());
            assert!(most <= 1, "{most} jobs of {} at once", site.user());
        }
        gap
    }

    /// A loss is exported again as long as it may be.
    fn check_losses(&self, archives: &[Archive]) {
        let lost = archives.iter().filter(|a| a.state.word() == StateWord::Lost);
        for archive in lost.filter(|a| a.scope.is_some()) {
            let replaced = archives.iter().any(|other| other.replaces == Some(archive.id));
            let exhausted = archive.generation >= self.setup.limits.reexports;
            assert!(replaced || exhausted, "lost and left at that: {archive:?}");
            assert!(archive.last_error.is_some(), "lost without a word: {archive:?}");
        }
    }

    /// No deletion was decided or begun while a pin held.
    async fn check_pins(&self) {
        let held = self
            .column(
                "SELECT 'a' || gone.archive_id || ' at ' || gone.at FROM events AS gone \
                 JOIN events AS pin ON pin.snapshot_id = gone.snapshot_id \
                 AND pin.event = 'pinned' AND pin.seq < gone.seq \
                 WHERE gone.event IN ('deletion_decided', 'deletion_started') \
                 AND coalesce(json_extract(pin.detail, '$.until') > gone.at, 1) \
                 AND NOT EXISTS (SELECT 1 FROM events AS later \
                 WHERE later.snapshot_id = pin.snapshot_id \
                 AND later.event IN ('pinned', 'unpinned') \
                 AND later.seq BETWEEN pin.seq + 1 AND gone.seq \
                 AND json_extract(later.detail, '$.name') = json_extract(pin.detail, '$.name'))",
            )
            .await;
        assert!(held.is_empty(), "deleted while a pin held: {held:?}");
    }

    /// No policy took the newest snapshot that was ever good.
    async fn check_newest(&self) {
        let gone = self
            .column(
                "SELECT 's' || id FROM snapshots AS newest \
                 WHERE state IN ('trashed', 'deleted') AND EXISTS (SELECT 1 FROM events \
                 WHERE snapshot_id = newest.id AND event = 'deletion_decided' \
                 AND json_extract(detail, '$.deletion.policy') IS NOT NULL) \
                 AND NOT EXISTS (SELECT 1 FROM snapshots AS s \
                 WHERE s.export = newest.export AND s.state = 'complete' \
                 AND (s.taken_at, s.id) > (newest.taken_at, newest.id))",
            )
            .await;
        assert!(gone.is_empty(), "the newest good snapshot is gone: {gone:?}");
    }
}

fn moment(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}
