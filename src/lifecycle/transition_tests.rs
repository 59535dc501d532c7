use super::*;

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::lifecycle::archive::{Archive, Milestones};
use crate::lifecycle::samples::{any_event, archive, noon, one_of_each, samples, state};
use crate::lifecycle::step::{Step, next_step};
use crate::model::{JobId, PackageId, Sha256Digest, UnknownWord};
use StateWord as W;

/// What may happen in each state and where it leads, written down apart from the code: the table
/// of the specification, read from the state's side.
fn life(state: W) -> &'static [(&'static str, W)] {
    match state {
        W::Scheduled => &[
            ("request_started", W::Requesting),
            ("job_adopted", W::Running),
            ("request_postponed", W::Scheduled),
            ("request_refused", W::Failed),
            ("file_found", W::Stored),
        ],
        W::Requesting => &[
            ("job_accepted", W::Running),
            ("request_postponed", W::Scheduled),
            ("request_refused", W::Failed),
            ("request_unanswered", W::Lost),
            ("file_found", W::Stored),
        ],
        W::Running => &[
            ("poll_postponed", W::Running),
            ("job_still_running", W::Running),
            ("job_succeeded", W::Ready),
            ("job_failed", W::Failed),
            ("package_duplicate", W::Failed),
            ("package_lost", W::Lost),
            ("file_found", W::Stored),
        ],
        W::Ready => &[
            ("download_started", W::Downloading),
            ("download_postponed", W::Ready),
            ("package_lost", W::Lost),
            ("file_found", W::Stored),
        ],
        W::Downloading => &[
            ("download_postponed", W::Ready),
            ("download_interrupted", W::Running),
            ("download_finished", W::Downloaded),
            ("package_lost", W::Lost),
            ("file_found", W::Stored),
        ],
        W::Downloaded => &[
            ("pack_postponed", W::Downloaded),
            ("file_stored", W::Stored),
            ("file_shared", W::Stored),
            ("package_lost", W::Lost),
            ("file_found", W::Stored),
        ],
        W::Stored => &[
            ("file_inherited", W::Stored),
            ("file_verified", W::Stored),
            ("file_damaged", W::Damaged),
            ("deletion_decided", W::Trashed),
        ],
        W::Trashed => &[
            ("file_inherited", W::Trashed),
            ("file_verified", W::Trashed),
            ("file_damaged", W::Damaged),
            ("deletion_revoked", W::Stored),
            ("deletion_started", W::Deleting),
        ],
        W::Deleting => &[
            ("deletion_postponed", W::Deleting),
            ("file_damaged", W::Damaged),
            ("file_deleted", W::Deleted),
        ],
        W::Damaged => &[
            ("file_verified", W::Stored),
            ("file_damaged", W::Damaged),
            ("loss_acknowledged", W::Damaged),
        ],
        W::Lost => &[("file_found", W::Stored), ("loss_acknowledged", W::Lost)],
        W::Deleted | W::Failed => &[],
    }
}

fn expected(state: StateWord, event: &str) -> Option<StateWord> {
    life(state).iter().find(|(word, _)| *word == event).map(|(_, next)| *next)
}

/// The variants of an enum with their documentation, as (snake case, text).
fn documented(name: &str) -> Vec<(String, String)> {
    let source = concat!(include_str!("state.rs"), include_str!("event.rs"));
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let (mut variants, mut text) = (Vec::new(), Vec::new());
    for line in body.lines().filter_map(|line| line.strip_prefix("    ")) {
        if let Some(doc) = line.strip_prefix("/// ") {
            text.push(doc);
        } else if line.starts_with(|c: char| c.is_ascii_uppercase()) {
            let variant = line.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            let mut word = String::new();
            for c in variant.chars() {
                if c.is_uppercase() && !word.is_empty() {
                    word.push('_');
                }
                word.push(c.to_ascii_lowercase());
            }
            variants.push((word, std::mem::take(&mut text).join(" ")));
        }
    }
    variants
}

#[test]
fn every_pair_is_allowed_or_refused_as_the_table_says() {
    for word in StateWord::ALL {
        for event in samples() {
            let result = transition(state(word), &event);
            if let Some(next) = expected(word, event.word()) {
                assert_eq!(result.unwrap().word(), next, "{word} {}", event.word());
            } else {
                let refused = result.unwrap_err();
                assert_eq!((refused.state, refused.event.as_str()), (word, event.word()));
            }
        }
    }
}

#[test]
fn the_samples_and_the_table_know_every_state_and_every_event() {
    let words: Vec<String> = samples().iter().map(|event| event.word().to_owned()).collect();
    let events: Vec<String> = documented("Event").into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, events);
    let states: Vec<String> = documented("State").into_iter().map(|(word, _)| word).collect();
    assert_eq!(StateWord::ALL.map(|word| word.to_string()).to_vec(), states);
    for event in &events {
        let somewhere = StateWord::ALL.iter().any(|word| expected(*word, event).is_some());
        assert!(somewhere, "{event} can never happen");
    }
}

#[test]
fn every_state_can_be_reached_and_the_tombstones_are_final() {
    let mut reached = vec![StateWord::Scheduled];
    let mut next = 0;
    while let Some(state) = reached.get(next) {
        for (_, target) in life(*state) {
            if !reached.contains(target) {
                reached.push(*target);
            }
        }
        next += 1;
    }
    reached.sort_unstable();
    assert_eq!(reached, StateWord::ALL);
    for last in [StateWord::Deleted, StateWord::Failed] {
        for event in samples() {
            assert!(transition(state(last), &event).is_err(), "{last} {}", event.word());
        }
    }
}

#[test]
fn only_an_intent_leads_into_doubt() {
    let intents = ["request_started", "download_started", "deletion_started"];
    let doubtful = [StateWord::Requesting, StateWord::Downloading, StateWord::Deleting];
    for word in StateWord::ALL {
        for event in samples() {
            let Ok(next) = transition(state(word), &event) else { continue };
            let enters = doubtful.contains(&next.word()) && next.word() != word;
            assert_eq!(enters, intents.contains(&event.word()), "{word} {}", event.word());
        }
    }
}

#[test]
fn words_survive_their_own_text() {
    for word in StateWord::ALL {
        assert_eq!(word.as_str().parse(), Ok(word));
        assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        assert_eq!(format!("{word:>12}").len(), 12);
    }
    for wrong in ["", "Stored", "stored ", "store"] {
        assert_eq!(wrong.parse::<StateWord>(), Err(UnknownWord::new("state", wrong)));
    }
    for event in samples() {
        assert_eq!(serde_json::to_value(&event).unwrap()["event"], event.word());
    }
}

#[test]
fn a_restart_has_exactly_three_rules() {
    let raw = Content { bytes: 9, sha256: Sha256Digest([9; 32]) };
    for word in StateWord::ALL {
        for evidence in [Evidence::Nothing, Evidence::Whole(raw, Format::Json, None)] {
            let event = on_restart(&state(word), evidence, noon());
            let archive = archive(state(word));
            match (word, evidence) {
                (StateWord::Requesting, _) => {
                    let event = event.unwrap();
                    assert_eq!(event.word(), "request_unanswered");
                    assert_eq!(
                        archive.apply(&event, noon()).unwrap().state.word(),
                        StateWord::Lost
                    );
                }
                (StateWord::Downloading, Evidence::Whole(raw, format, _)) => {
                    let remarks = Remarks::default();
                    let finished = Event::DownloadFinished { raw, format, adopted: true, remarks };
                    assert_eq!(event, Some(finished));
                }
                (StateWord::Downloading, Evidence::Nothing) => {
                    let next = archive.apply(&event.unwrap(), noon()).unwrap();
                    // ROMA is asked about the job at once; no second GET before that.
                    assert_eq!(next_step(&next), Some((Step::Poll, noon())));
                }
                _ => assert_eq!(event, None, "{word}"),
            }
        }
    }
    assert_eq!(
        next_step(&archive(state(StateWord::Deleting))),
        Some((Step::Delete, noon())),
        "a deletion in doubt is done again"
    );
}

#[test]
fn a_look_at_a_file_in_the_trash_does_not_hasten_its_end() {
    let purge_at = "2026-12-01T12:00:00Z".parse().unwrap();
    let deletion = crate::lifecycle::Deletion { reason: "old".to_owned(), policy: None };
    let trashed = archive(state(StateWord::Stored))
        .apply(&Event::DeletionDecided { deletion, purge_at }, noon())
        .unwrap();
    assert_eq!(next_step(&trashed), Some((Step::Purge, purge_at)));
    let verified = trashed.apply(&Event::FileVerified, noon()).unwrap();
    assert_eq!(next_step(&verified), Some((Step::Purge, purge_at)));
    assert_eq!(verified.milestones.verified_at, Some(noon()));
}

#[test]
fn a_found_file_belongs_only_to_an_archive_that_says_the_same() {
    let Some(Event::FileFound(found)) = samples().into_iter().find(|e| e.word() == "file_found")
    else {
        panic!("no sample");
    };
    let job = crate::lifecycle::Found { job: JobId::new("job-2").unwrap(), ..(*found).clone() };
    let package = PackageId::new("package-2").unwrap();
    let package = crate::lifecycle::Found { package, ..(*found).clone() };
    let raw = Content { bytes: 1, ..found.raw };
    let raw = crate::lifecycle::Found { raw, ..*found };
    for (other, states) in [
        (job, &[W::Running, W::Ready, W::Downloading, W::Downloaded, W::Lost][..]),
        (package, &[W::Ready, W::Downloading, W::Downloaded, W::Lost]),
        (raw, &[W::Downloaded]),
    ] {
        for word in states {
            let event = Event::FileFound(Box::new(other.clone()));
            assert!(transition(state(*word), &event).is_err(), "{word} {other:?}");
        }
    }
    // What was known before is not overwritten by what the file says.
    let lost = Archive { milestones: Milestones::default(), ..archive(state(W::Lost)) };
    let event = samples().into_iter().find(|e| e.word() == "file_found").unwrap();
    let back = lost.apply(&event, noon()).unwrap();
    assert_eq!((back.state.word(), back.milestones.stored_at), (W::Stored, Some(noon())));
}

#[test]
fn an_acknowledgement_changes_nothing_else_and_holds_for_one_loss_only() {
    let seen = Event::LossAcknowledged { by: "ops".to_owned(), reason: None };
    for word in [W::Lost, W::Damaged] {
        let why = Some("it is gone".to_owned());
        let before = Archive { last_error: why, attempts: 2, ..archive(state(word)) };
        let later = noon().plus(std::time::Duration::from_hours(1));
        let after = before.apply(&seen, later).unwrap();
        let milestones = Milestones { acknowledged_at: Some(later), ..before.milestones };
        let expected = Archive { revision: 1, milestones, ..before };
        assert_eq!(after, expected);
    }
    let damaged = archive(state(W::Damaged)).apply(&seen, noon()).unwrap();
    let back = damaged.apply(&Event::FileVerified, noon()).unwrap();
    assert_eq!(back.milestones.acknowledged_at, None);
    let again = back.apply(&Event::FileDamaged { message: String::new() }, noon()).unwrap();
    assert_eq!(again.milestones.acknowledged_at, None);
    let worse = damaged.apply(&Event::FileDamaged { message: String::new() }, noon()).unwrap();
    assert_eq!((worse.state.word(), worse.milestones.acknowledged_at), (W::Damaged, None));
}

#[test]
fn only_gets_that_may_have_reached_roma_are_counted() {
    let ready = archive(state(StateWord::Ready));
    let failure = crate::lifecycle::samples::failure(FailureClass::Transient, Effect::NotDone);
    let not_before = noon();
    let refused = Event::DownloadPostponed { failure: failure.clone(), not_before };
    let broken = Event::DownloadInterrupted { failure, not_before };
    let begun = ready.apply(&Event::DownloadStarted, noon()).unwrap();
    assert_eq!(begun.downloads, 1);
    assert_eq!(begun.apply(&broken, noon()).unwrap().downloads, 1);
    let again = begun.apply(&refused, noon()).unwrap();
    assert_eq!((again.downloads, again.attempts), (0, 1));
    // A preflight that fails before the GET takes nothing back.
    assert_eq!(Archive { downloads: 3, ..ready }.apply(&refused, noon()).unwrap().downloads, 3);
}

fn target(word: StateWord, event: &Event) -> String {
    transition(state(word), event).map_or(String::new(), |next| next.word().to_string())
}

fn after_restart(word: StateWord) -> String {
    let raw = Content { bytes: 9, sha256: Sha256Digest([9; 32]) };
    let outcome = |evidence| {
        let event = on_restart(&state(word), evidence, noon())?;
        Some(format!("`{}`, so {}", event.word(), target(word, &event)))
    };
    match (outcome(Evidence::Whole(raw, Format::Zip, None)), outcome(Evidence::Nothing)) {
        (Some(whole), Some(nothing)) if whole == nothing => whole,
        (Some(whole), Some(nothing)) => {
            format!("whole package in staging: {whole}; otherwise {nothing}")
        }
        _ if word == StateWord::Deleting => "deletes again".to_owned(),
        _ => "rests as it is".to_owned(),
    }
}

fn document() -> String {
    let mut text = String::from(
        "# The life of an archive\n\n\
         <!-- Written by the tests from `src/lifecycle/`; `UPDATE_GOLDEN=1 cargo test lifecycle` \
         renews it. -->\n\n\
         An archive is the record and the file of one package. It stands in exactly one state, and \
         only an event\nmoves it. The word of the state is the column `state` of the view \
         `archives`; every event is a row of the\nview `events`.\n\n\
         Three states are *in doubt*: while an archive is `requesting`, `downloading` or \
         `deleting`, the effect on\nthe outside may or may not have happened. The intent is \
         recorded before, the fact after; a process that dies\nin between is followed by one that \
         applies the rule in the last column.\n\n## States\n\n\
         | state | meaning | next step | after a restart |\n|---|---|---|---|\n",
    );
    for (word, (_, meaning)) in StateWord::ALL.into_iter().zip(documented("State")) {
        let step = next_step(&archive(state(word)))
            .map_or(String::new(), |(step, _)| format!("{step:?}").to_lowercase());
        writeln!(text, "| `{word}` | {meaning} | {step} | {} |", after_restart(word)).unwrap();
    }
    text.push_str("\n## Events\n\n| event | meaning |\n|---|---|\n");
    for (word, meaning) in documented("Event") {
        writeln!(text, "| `{word}` | {meaning} |").unwrap();
    }
    text.push_str(
        "\n## What follows what\n\n\
         A row is an event, a column the state it meets, a cell the state that follows. Where a \
         cell is empty the\nevent is refused: nothing changes, and the refusal is reported as a \
         bug.\n\n| |",
    );
    for word in StateWord::ALL {
        write!(text, " {word} |").unwrap();
    }
    writeln!(text, "\n|---|{}", "---|".repeat(StateWord::ALL.len())).unwrap();
    for event in samples() {
        write!(text, "| `{}` |", event.word()).unwrap();
        for word in StateWord::ALL {
            write!(text, " {} |", target(word, &event)).unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/lifecycle.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, document()).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == document(),
        "docs/lifecycle.md is stale: run `UPDATE_GOLDEN=1 cargo test lifecycle` and read the diff"
    );
}

/// A life as a test made it happen: what came, when, and every archive on the way.
struct Walk {
    events: Vec<(Event, Timestamp)>,
    archives: Vec<Archive>,
}

/// A turn of a life: one event of each kind to choose from, and a stranger.
#[derive(Debug)]
struct Turn {
    hand: Vec<Event>,
    pick: prop::sample::Index,
    /// Whether a bad end may be chosen; rarely, or hardly any life would see the vault.
    doomed: bool,
    stranger: Event,
}

/// Walks through a life: in each turn the stranger bounces off if it may not happen, and one of
/// the events that may happen does.
fn walk(turns: &[Turn]) -> Result<Walk, TestCaseError> {
    let mut archive = archive(State::Scheduled);
    let mut walk = Walk { events: Vec::new(), archives: vec![archive.clone()] };
    for (second, turn) in (1..).zip(turns) {
        let at = Timestamp::from_millis(noon().as_millis() + second * 1_000);
        let word = archive.state.word();
        if expected(word, turn.stranger.word()).is_none() {
            let refused = archive.apply(&turn.stranger, at).unwrap_err();
            prop_assert_eq!((refused.state, &*refused.event), (word, turn.stranger.word()));
        }
        let is_bad = |next| matches!(next, StateWord::Failed | StateWord::Lost);
        let possible: Vec<(&Event, StateWord)> = turn
            .hand
            .iter()
            .filter(|event| !matches!(event, Event::FileFound(f) if !f.fits(&archive.state)))
            .filter_map(|event| Some((event, expected(word, event.word())?)))
            .filter(|(_, next)| turn.doomed || !is_bad(*next))
            .collect();
        if possible.is_empty() {
            continue;
        }
        let (event, next) = possible[turn.pick.index(possible.len())];
        archive = archive.apply(event, at).unwrap();
        prop_assert_eq!(archive.state.word(), next);
        walk.events.push((event.clone(), at));
        walk.archives.push(archive.clone());
    }
    Ok(walk)
}

fn lives() -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        (one_of_each(), any::<prop::sample::Index>(), prop::bool::weighted(0.1), any_event())
            .prop_map(|(hand, pick, doomed, stranger)| Turn { hand, pick, doomed, stranger });
    prop::collection::vec(turn, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// O1: an archive equals the replay of its events, also of events that went through the
    /// catalog as text.
    #[test]
    fn an_archive_is_the_sum_of_its_events(turns in lives()) {
        let walk = walk(&turns)?;
        let mut replayed = archive(State::Scheduled);
        for (event, at) in &walk.events {
            let text = serde_json::to_string(event).unwrap();
            let read: Event = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, event);
            replayed = replayed.apply(&read, *at).unwrap();
        }
        prop_assert_eq!(Some(&replayed), walk.archives.last());
        prop_assert_eq!(usize::try_from(replayed.revision).unwrap(), walk.events.len());
    }

    #[test]
    fn what_is_known_is_never_forgotten(turns in lives()) {
        let walk = walk(&turns)?;
        // A file that was found brings times of its own.
        let found = walk.events.iter().any(|(event, _)| matches!(event, Event::FileFound(_)));
        for pair in walk.archives.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if before.state.job().is_some() {
                prop_assert_eq!(before.state.job(), after.state.job());
            }
            if before.state.holding().is_some() {
                prop_assert_eq!(before.state.holding(), after.state.holding());
                prop_assert_eq!(before.state.package(), after.state.package());
            }
            let stages = |archive: &Archive| {
                let m = archive.milestones;
                [m.accepted_at, m.ready_at, m.downloaded_at, m.stored_at, m.deleted_at]
            };
            for (before, after) in stages(before).into_iter().zip(stages(after)) {
                prop_assert!(before <= after);
            }
            let reached: Vec<Timestamp> = stages(after).into_iter().flatten().collect();
            prop_assert!(found || reached.is_sorted(), "{:?}", after.milestones);
        }
    }

    /// A package is asked for again only if it certainly was not touched, or if ROMA was asked
    /// about the job in between and still offers it.
    #[test]
    fn no_second_get_without_an_answer_to_the_first(turns in lives()) {
        let walk = walk(&turns)?;
        let words: Vec<&str> = walk.events.iter().map(|(event, _)| event.word()).collect();
        let gets: Vec<&[&str]> = words.split(|word| *word == "download_started").collect();
        // Before the first GET and after the last there is nothing to prove.
        for after_get in gets.iter().take(gets.len() - 1).skip(1) {
            let untouched = after_get.first() == Some(&"download_postponed");
            let offered = after_get.first() == Some(&"download_interrupted")
                && after_get.contains(&"job_succeeded");
            prop_assert!(untouched || offered, "{words:?}");
        }
    }

    #[test]
    fn the_vault_is_entered_only_with_a_whole_package(turns in lives()) {
        let walk = walk(&turns)?;
        let first = walk.archives.iter().position(|a| a.state.word() == StateWord::Stored);
        if let Some(first) = first {
            let held = walk.archives[first].state.holding().unwrap();
            if let Event::FileFound(found) = &walk.events[first - 1].0 {
                prop_assert_eq!((&found.raw, &found.file), (&held.raw, &held.file));
                return Ok(());
            }
            let State::Downloaded { offer, raw, .. } = &walk.archives[first - 1].state else {
                return Err(TestCaseError::fail(format!("{:?}", walk.archives[first - 1].state)));
            };
            let event = &walk.events[first - 1].0;
            // Its own package is in the file, or what the file's owner has for the same.
            let raw = if let Event::FileShared { raw, file, original, .. } = event {
                prop_assert_eq!((file, Some(*original)), (&held.file, held.original));
                raw
            } else {
                prop_assert_eq!(held.original, None);
                raw
            };
            prop_assert_eq!((offer, raw), (&held.offer, &held.raw));
        }
    }

    /// Killed anywhere, the archive has a next step or is at rest; it never hangs in doubt.
    #[test]
    fn nothing_hangs_after_a_restart(turns in lives(), whole in any::<bool>()) {
        let raw = Content { bytes: 9, sha256: Sha256Digest([9; 32]) };
        let there = Evidence::Whole(raw, Format::Zip, None);
        let evidence = if whole { there } else { Evidence::Nothing };
        for before in walk(&turns)?.archives {
            let after = match on_restart(&before.state, evidence, noon()) {
                Some(event) => before.apply(&event, noon()).unwrap(),
                None => before,
            };
            let waits = after.state.word().is_unfinished()
                || matches!(after.state, State::Trashed(..) | State::Deleting(..));
            prop_assert_eq!(next_step(&after).is_some(), waits, "{:?}", after.state);
        }
    }
}
