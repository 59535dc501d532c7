//! What is to be done next: every archive that is not at rest, ordered by when its next step is
//! due. In memory, so that a look costs nothing and history does not count; the catalog has the
//! same facts and rebuilds it after a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::lifecycle::{
    Archive, Pace, State, StateWord, Step, credible_due, is_at_rest, next_step, poll_delay,
};
use crate::model::{ArchiveId, Name, SnapshotId, Timestamp};

/// Archives of one instance that wait for one step, by when it is due.
type Queue = BTreeSet<(Timestamp, ArchiveId)>;

/// Archives in motion.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: HashMap<ArchiveId, Entry>,
    /// For each step and instance, so that one with a thousand due archives hides no other.
    due: HashMap<Step, BTreeMap<Name, Queue>>,
    occupied: HashMap<Name, usize>,
    /// Kept up to date, because it is asked for after every step.
    counts: HashMap<StateWord, usize>,
}

#[derive(Debug)]
struct Entry {
    archive: Archive,
    /// Looks at the running job since it was accepted or since the start.
    polls: u32,
    /// Where it stands in `due`; `None` while a step has it.
    slot: Option<(Step, Timestamp)>,
}

impl Agenda {
    /// Takes an archive as it is now. One that is at rest is forgotten; one that is known already
    /// as it is later, because a look at the catalog came first, is left alone.
    pub(super) fn put(&mut self, archive: Archive) {
        self.put_not_before(archive, Timestamp::EARLIEST);
    }

    /// Takes an archive as a command left it, whose clock may have been another.
    pub(super) fn put_as_of(&mut self, archive: Archive, now: Timestamp) {
        let id = archive.id;
        self.put(archive);
        if let Some(mut entry) = self.remove(id) {
            entry.slot =
                entry.slot.map(|(step, due)| (step, credible_due(&entry.archive, due, now)));
            self.enter(entry);
        }
    }

    /// Takes an archive that a task has made or changed besides its own. If a look at the catalog
    /// came first, it may be under way already.
    pub(super) fn put_if_newer(&mut self, archive: Archive) {
        if self.revision(archive.id).is_none_or(|known| known < archive.revision) {
            self.put(archive);
        }
    }

    /// Like [`Agenda::put`], but its step is not due before `earliest`.
    pub(super) fn put_not_before(&mut self, archive: Archive, earliest: Timestamp) {
        if self.revision(archive.id).is_some_and(|known| known > archive.revision) {
            return;
        }
        let polls = self.remove(archive.id).map_or(0, |entry| entry.polls);
        if is_at_rest(&archive) {
            return;
        }
        let slot = next_step(&archive).map(|(step, due)| (step, due.max(earliest)));
        self.enter(Entry { archive, polls, slot });
    }

    /// The job still runs: look again later, less and less often.
    pub(super) fn poll_again(&mut self, archive: Archive, pace: Pace, now: Timestamp) {
        let polls = self.remove(archive.id).map_or(0, |entry| entry.polls);
        let due = now.plus(poll_delay(archive.id, polls, pace));
        let slot = Some((Step::Poll, due));
        self.enter(Entry { archive, polls: polls.saturating_add(1), slot });
    }

    /// A request for this archive is under way: it keeps its account busy although the catalog
    /// does not say so yet.
    pub(super) fn hold(&mut self, mut archive: Archive) {
        let polls = self.remove(archive.id).map_or(0, |entry| entry.polls);
        archive.state = State::Requesting;
        self.enter(Entry { archive, polls, slot: None });
    }

    fn enter(&mut self, entry: Entry) {
        let id = entry.archive.id;
        if let Some((step, due)) = entry.slot {
            let queues = self.due.entry(step).or_default();
            queues.entry(entry.archive.instance.clone()).or_default().insert((due, id));
        }
        *self.counts.entry(entry.archive.state.word()).or_default() += 1;
        if entry.occupies_account() {
            *self.occupied.entry(entry.archive.instance.clone()).or_default() += 1;
        }
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: ArchiveId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some((step, due)) = entry.slot {
            self.unqueue(step, &entry.archive.instance, (due, id));
        }
        if let Some(count) = self.counts.get_mut(&entry.archive.state.word()) {
            *count = count.saturating_sub(1);
        }
        if entry.occupies_account()
            && let Some(count) = self.occupied.get_mut(&entry.archive.instance)
        {
            *count = count.saturating_sub(1);
        }
        Some(entry)
    }

    /// The revision that is known of an archive.
    pub(super) fn revision(&self, id: ArchiveId) -> Option<i64> {
        self.entries.get(&id).map(|entry| entry.archive.revision)
    }

    /// Whether a running step has the archive.
    pub(super) fn is_taken(&self, id: ArchiveId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.slot.is_none())
    }

    /// Whether jobs or packages of this instance keep its account busy.
    pub(super) fn occupies(&self, instance: &Name) -> bool {
        self.occupied.get(instance).is_some_and(|count| *count > 0)
    }

    /// Whether a part of an export's run that is older than `run` is still on its way to the vault.
    pub(super) fn is_under_way(&self, (instance, export): (&Name, &Name), run: SnapshotId) -> bool {
        self.entries.values().map(|entry| &entry.archive).any(|archive| {
            archive.snapshot < run
                && archive.state.word().is_unfinished()
                && archive.instance == *instance
                && archive.export == *export
        })
    }

    /// Whether a request to this instance was refused a moment ago, because ROMA was busy with the
    /// account: no other is sent either before that one comes again.
    pub(super) fn awaits_turn(&self, instance: &Name, now: Timestamp) -> bool {
        let queue = self.due.get(&Step::Request).and_then(|queues| queues.get(instance));
        let later = now.plus(Duration::from_millis(1));
        let mut waiting =
            queue.into_iter().flat_map(|queue| queue.range((later, ArchiveId(i64::MIN))..));
        waiting.any(|(_, id)| self.entries.get(id).is_some_and(|e| e.archive.busy_since.is_some()))
    }

    fn unqueue(&mut self, step: Step, instance: &Name, place: (Timestamp, ArchiveId)) {
        let Some(queues) = self.due.get_mut(&step) else { return };
        if let Some(queue) = queues.get_mut(instance) {
            queue.remove(&place);
            if queue.is_empty() {
                queues.remove(instance);
            }
        }
    }

    /// Hands out the archive whose `step` has been due the longest, of the instance with the lowest
    /// rank; an instance without one is passed over. It stays out until it is put back.
    pub(super) fn take_due(
        &mut self,
        step: Step,
        now: Timestamp,
        rank: impl Fn(&Self, &Name) -> Option<usize>,
    ) -> Option<Archive> {
        let heads = self.due.get(&step)?.iter().filter_map(|(instance, queue)| {
            let (due, id) = *queue.first()?;
            (due <= now).then_some((instance, due, id))
        });
        let ranked = heads.filter_map(|(instance, due, id)| Some((rank(self, instance)?, due, id)));
        let (_, due, id) = ranked.min()?;
        let entry = self.entries.get_mut(&id)?;
        entry.slot = None;
        let archive = entry.archive.clone();
        self.unqueue(step, &archive.instance, (due, id));
        Some(archive)
    }

    /// The moment the first step falls due that is not due already.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let later = now.plus(Duration::from_millis(1));
        let first =
            |queue: &Queue| queue.range((later, ArchiveId(i64::MIN))..).next().map(|(due, _)| *due);
        self.due.values().flat_map(BTreeMap::values).filter_map(first).min()
    }

    /// What was put off after failures is due now: what made it fail is over.
    pub(super) fn hasten(&mut self, steps: &[Step], now: Timestamp) {
        self.move_dues(|entry, step, due| {
            let failed = entry.archive.attempts > 0 && steps.contains(&step);
            if failed { due.min(now) } else { due }
        });
    }

    /// What is due to leave the trash first leaves it now, before its time, until so many bytes are
    /// free: there is no room.
    pub(super) fn hasten_purge(&mut self, mut missing_bytes: u64, now: Timestamp) {
        let queues = self.due.get(&Step::Purge).into_iter().flat_map(BTreeMap::values);
        let mut trashed: Vec<(Timestamp, ArchiveId)> = queues.flatten().copied().collect();
        trashed.sort_unstable();
        let mut chosen = BTreeSet::new();
        for (_, id) in trashed {
            let held = self.entries.get(&id).and_then(|entry| entry.archive.state.holding());
            if missing_bytes == 0 {
                break;
            }
            missing_bytes = missing_bytes.saturating_sub(held.map_or(0, |h| h.file.content.bytes));
            chosen.insert(id);
        }
        self.move_dues(
            |entry, _, due| {
                if chosen.contains(&entry.archive.id) { due.min(now) } else { due }
            },
        );
    }

    /// The clock was set back, so that moments once near seem far away: no step waits longer than
    /// it was meant to.
    pub(super) fn clock_went_back(&mut self, now: Timestamp) {
        self.move_dues(|entry, _, due| credible_due(&entry.archive, due, now));
    }

    /// Makes other steps due, or the same at another moment.
    fn move_dues(&mut self, moved: impl Fn(&Entry, Step, Timestamp) -> Timestamp) {
        let changed: Vec<(ArchiveId, Step, Timestamp)> = self
            .entries
            .values()
            .filter_map(|entry| {
                let (step, due) = entry.slot?;
                let new = moved(entry, step, due);
                (new != due).then_some((entry.archive.id, step, new))
            })
            .collect();
        for (id, step, due) in changed {
            if let Some(mut entry) = self.remove(id) {
                entry.slot = Some((step, due));
                self.enter(entry);
            }
        }
    }

    /// One line about what is going on: states, runs that are being planned or wait for another,
    /// the next run.
    pub(super) fn summary(
        &self,
        (planned, queued): (usize, usize),
        next: Option<(&Timestamp, &Name)>,
    ) -> String {
        let mut words: Vec<String> = self
            .counts()
            .filter(|(word, _)| *word != StateWord::Trashed)
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        if planned > 0 {
            words.push(format!("{planned} being planned"));
        }
        if queued > 0 {
            words.push(format!("{queued} queued"));
        }
        if words.is_empty() {
            words.push("idle".to_owned());
        }
        words.extend(next.map(|(due, name)| format!("next {name} at {due}")));
        words.join(", ")
    }

    /// How many archives are in each state, in the order of a life.
    fn counts(&self) -> impl Iterator<Item = (StateWord, usize)> {
        StateWord::ALL
            .into_iter()
            .filter_map(|word| Some((word, *self.counts.get(&word)?)))
            .filter(|(_, count)| *count > 0)
    }

    /// Whether every archive has come to rest; what lies in the trash has.
    pub(super) fn is_at_rest(&self) -> bool {
        self.counts().all(|(word, _)| word == StateWord::Trashed)
    }
}

impl Entry {
    /// Of an adopted job nobody knows whether it still runs; ROMA says so when it does (10012). But
    /// a package of it must not be put at risk by another job (contract U9): one that waited
    /// before may wait still, and until the first look one may wait already.
    fn occupies_account(&self) -> bool {
        let archive = &self.archive;
        let word = archive.state.word();
        if archive.scope.is_some() || word != StateWord::Running {
            return word.occupies_account();
        }
        let looked_at = self.polls > 0 || archive.attempts > 0;
        !looked_at || archive.milestones.ready_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Milestones;
    use crate::model::{JobId, Scope};

    const NOW: i64 = 1_800_000_000_000;

    fn archive(revision: i64, state: State) -> Archive {
        Archive {
            id: ArchiveId(1),
            snapshot: SnapshotId(1),
            instance: "prod".parse().unwrap(),
            export: "nightly".parse().unwrap(),
            part: 1,
            generation: 0,
            replaces: None,
            scope: Some(Scope::default()),
            scheduled_at: Timestamp::from_millis(NOW),
            revision,
            attempts: 0,
            unknown_polls: 0,
            downloads: 0,
            busy_since: None,
            not_before: Timestamp::from_millis(NOW),
            state,
            milestones: Milestones::default(),
            last_error: None,
        }
    }

    fn running() -> State {
        State::Running { job: JobId::new("j").unwrap() }
    }

    fn due(agenda: &mut Agenda, step: Step) -> Option<Archive> {
        agenda.take_due(step, Timestamp::from_millis(NOW), |_, _| Some(0))
    }

    #[test]
    fn what_a_look_at_the_catalog_found_first_is_not_taken_twice() {
        let mut agenda = Agenda::default();
        agenda.put(archive(0, State::Scheduled));
        let taken = due(&mut agenda, Step::Request).unwrap();
        agenda.hold(taken);
        // The planning that opened it is taken in only now.
        agenda.put_if_newer(archive(0, State::Scheduled));
        assert_eq!(due(&mut agenda, Step::Request), None);
        assert!(agenda.occupies(&"prod".parse().unwrap()));
        agenda.put(archive(2, running()));
        // A step that was refused has seen it as it was a moment ago.
        agenda.put(archive(1, State::Requesting));
        assert!(due(&mut agenda, Step::Poll).is_some());
    }

    #[test]
    fn an_adopted_job_occupies_its_account_until_the_first_look() {
        let instance = "prod".parse().unwrap();
        let pace = Pace { poll_interval: Duration::ZERO, poll_interval_max: Duration::ZERO };
        let adopted = Archive { scope: None, ..archive(1, running()) };
        let mut agenda = Agenda::default();
        agenda.put(adopted.clone());
        assert!(agenda.occupies(&instance));
        let taken = due(&mut agenda, Step::Poll).unwrap();
        assert!(agenda.occupies(&instance));
        agenda.poll_again(taken, pace, Timestamp::from_millis(NOW));
        assert!(!agenda.occupies(&instance), "ROMA says itself when it is busy");
        // A package that waited once may wait still.
        let ready_at = Some(Timestamp::from_millis(NOW));
        let milestones = Milestones { ready_at, ..Milestones::default() };
        agenda.put(Archive { revision: 4, milestones, ..adopted });
        assert!(agenda.occupies(&instance));
        agenda.put(Archive {
            revision: 5,
            ..archive(
                5,
                State::Failed { job: None, cause: crate::lifecycle::FailureCause::Refused },
            )
        });
        assert!(!agenda.occupies(&instance));
        assert!(agenda.is_at_rest());
    }
}
