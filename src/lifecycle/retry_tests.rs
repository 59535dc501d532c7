use super::*;

use proptest::prelude::*;

use crate::lifecycle::samples::{CLASSES, EFFECTS, any_failure, archive, failure, noon, state};
use crate::lifecycle::state::StateWord;
use crate::model::{JobId, Scope};

const HOUR: Duration = Duration::from_hours(1);
const PACE: Pace =
    Pace { poll_interval: Duration::from_secs(2), poll_interval_max: Duration::from_mins(1) };

fn at(word: StateWord, attempts: u32, downloads: u32) -> Archive {
    Archive { attempts, downloads, ..archive(state(word)) }
}

/// Where a failure leaves an archive: the word of the event and the archive after it.
fn outcome(archive: &Archive, failure: Failure) -> Option<(&'static str, Archive)> {
    let event = after_failure(archive, failure, noon())?;
    let next = archive.apply(&event, noon()).unwrap();
    Some((event.word(), next))
}

fn outcome_word(
    word: StateWord,
    attempts: u32,
    class: FailureClass,
    effect: Effect,
) -> &'static str {
    outcome(&at(word, attempts, 1), failure(class, effect)).unwrap().0
}

/// Every class and effect, on an archive that failed seldom, often and very often.
fn all_failures() -> impl Iterator<Item = (u32, u32, FailureClass, Effect)> {
    let counters = [(0, 1), (1, 2), (18, 31), (19, 32), (500, 500)];
    counters.into_iter().flat_map(|(attempts, downloads)| {
        CLASSES.into_iter().flat_map(move |class| {
            EFFECTS.into_iter().map(move |effect| (attempts, downloads, class, effect))
        })
    })
}

#[test]
fn a_failure_is_always_an_event_that_may_happen() {
    let can_fail = |word: StateWord| word.is_unfinished() || word == StateWord::Deleting;
    for word in StateWord::ALL {
        for (attempts, downloads, class, effect) in all_failures() {
            let archive = at(word, attempts, downloads);
            // `outcome` applies the event and would panic if it were refused.
            let failed = outcome(&archive, failure(class, effect));
            assert_eq!(failed.is_some(), can_fail(word), "{word} {class:?} {effect:?}");
        }
    }
}

#[test]
fn an_unanswered_request_is_never_sent_again() {
    for (attempts, downloads, class, effect) in all_failures() {
        let (event, next) =
            outcome(&at(StateWord::Requesting, attempts, downloads), failure(class, effect))
                .unwrap();
        match effect {
            Effect::Unknown => assert_eq!(event, "request_unanswered", "{class:?}"),
            Effect::NotDone => assert_ne!(next.state.word(), StateWord::Lost, "{class:?}"),
        }
        // Before the intent nothing was sent: there is nothing to be in doubt about.
        let (event, _) =
            outcome(&at(StateWord::Scheduled, attempts, downloads), failure(class, effect))
                .unwrap();
        assert_ne!(event, "request_unanswered", "{class:?} {effect:?}");
    }
}

#[test]
fn a_request_is_repeated_refused_or_given_up() {
    use FailureClass as C;
    let cases = [
        (0, C::Transient, "request_postponed"),
        (18, C::Transient, "request_postponed"),
        (19, C::Transient, "request_refused"),
        (19, C::Throttled, "request_refused"),
        (19, C::Unauthorized, "request_refused"),
        (19, C::Local, "request_refused"),
        (0, C::Permanent, "request_refused"),
        (0, C::Gone, "request_refused"),
        (500, C::Busy, "request_postponed"),
    ];
    for (attempts, class, expected) in cases {
        let event = outcome_word(StateWord::Requesting, attempts, class, Effect::NotDone);
        assert_eq!(event, expected, "{attempts} {class:?}");
    }
    let cause = |attempts, class| {
        let archive = at(StateWord::Requesting, attempts, 0);
        match outcome(&archive, failure(class, Effect::NotDone)).unwrap().1.state {
            State::Failed { cause, .. } => cause,
            state => panic!("{state:?}"),
        }
    };
    assert_eq!(cause(0, C::Permanent), FailureCause::Refused);
    assert_eq!(cause(19, C::Transient), FailureCause::AttemptsExhausted);
}

/// ROMA runs one job of a user at a time, so a long wait is ordinary and uses up no attempts.
#[test]
fn waiting_for_ones_turn_is_no_failed_attempt() {
    let mut archive = at(StateWord::Scheduled, 0, 0);
    for _ in 0..1_000 {
        archive = archive.apply(&Event::RequestStarted, noon()).unwrap();
        let (event, next) =
            outcome(&archive, failure(FailureClass::Busy, Effect::NotDone)).unwrap();
        assert_eq!(event, "request_postponed");
        archive = next;
    }
    archive = archive.apply(&Event::RequestStarted, noon()).unwrap();
    let (event, next) =
        outcome(&archive, failure(FailureClass::Transient, Effect::NotDone)).unwrap();
    assert_eq!((event, next.attempts), ("request_postponed", 1));
}

/// Somebody else's job, or one whose answer was lost, may run for as long as ours may.
#[test]
fn an_account_that_stays_busy_is_asked_ever_less_often_and_given_up_after_a_day() {
    let busy = || failure(FailureClass::Busy, Effect::NotDone);
    let mut archive = at(StateWord::Scheduled, 0, 0);
    let (mut now, mut asked, mut longest) = (noon(), 0_u32, Duration::ZERO);
    let end = loop {
        archive = archive.apply(&Event::RequestStarted, now).unwrap();
        assert_eq!(archive.busy_since, (asked > 0).then(noon));
        let event = after_failure(&archive, busy(), now).unwrap();
        archive = archive.apply(&event, now).unwrap();
        asked += 1;
        if archive.state != State::Scheduled {
            break now;
        }
        assert!(archive.last_error.as_ref().unwrap().contains("waits since 2026-11-24T12:00"));
        let pause = archive.not_before.since(now);
        assert!(pause >= longest && pause <= Duration::from_mins(5), "{pause:?}");
        (longest, now) = (pause, archive.not_before);
    };
    let cause = FailureCause::AccountBusy;
    assert_eq!(archive.state, State::Failed { job: None, cause });
    assert_eq!((archive.busy_since, archive.attempts), (None, 1));
    let day = Duration::from_hours(24);
    assert!(end >= noon().plus(day) && end < noon().plus(day + Duration::from_mins(5)));
    assert!((280..400).contains(&asked), "{asked}");
    // By a clock that is doubted nobody has waited for a day.
    let mut archive = at(StateWord::Requesting, 0, 0);
    archive.busy_since = Some(noon());
    let doubtful = Present { now: noon().plus(day * 9), is_doubtful: true };
    let event = after_failure(&archive, busy(), doubtful).unwrap();
    assert_eq!(event.word(), "request_postponed");
}

#[test]
fn a_wait_is_over_when_the_job_starts_and_outlasts_trouble_of_another_kind() {
    let archive = at(StateWord::Requesting, 0, 0);
    let event = after_failure(&archive, failure(FailureClass::Busy, Effect::NotDone), noon());
    let waiting = archive.apply(&event.unwrap(), noon()).unwrap();
    let again = waiting.apply(&Event::RequestStarted, noon()).unwrap();
    let event = after_failure(&again, failure(FailureClass::Transient, Effect::NotDone), noon());
    let troubled = again.apply(&event.unwrap(), noon()).unwrap();
    assert_eq!(troubled.busy_since, Some(noon()));
    assert!(!troubled.last_error.unwrap().contains("waits since"));
    let started = again.apply(&Event::JobAccepted { job: JobId::new("j").unwrap() }, noon());
    assert_eq!(started.unwrap().busy_since, None);
}

#[test]
fn the_reading_of_a_scope_comes_again_as_any_other_attempt_and_ends_some_day() {
    use FailureClass as C;
    let run = SnapshotId(3);
    let pause = |attempts, class| {
        let failure = failure(class, Effect::NotDone);
        planning_retry(run, attempts, &failure, noon()).map(|at| at.since(noon()))
    };
    // What met the pause of its account was no attempt.
    assert!(pause(REQUEST_ATTEMPTS - 1, C::Paused).is_some());
    for class in CLASSES.into_iter().filter(|class| *class != C::Paused) {
        assert_eq!(pause(REQUEST_ATTEMPTS - 1, class), None);
        assert!(pause(REQUEST_ATTEMPTS - 2, class).unwrap() <= RETRY_AFTER_CAP);
    }
    assert_eq!(pause(0, C::Unauthorized), Some(Duration::ZERO));
    assert_eq!(pause(1, C::Unauthorized), Some(UNAUTHORIZED_PAUSE));
    assert_eq!(pause(0, C::Permanent), Some(PERMANENT_PAUSE));
    assert!(pause(0, C::Transient).unwrap() <= BACKOFF_BASE);
    let wish = Failure { retry_after_ms: Some(90_000), ..failure(C::Throttled, Effect::NotDone) };
    assert_eq!(planning_retry(run, 0, &wish, noon()), Some(noon().plus(Duration::from_secs(90))));
}

#[test]
fn a_job_is_given_up_only_when_it_is_gone_or_stays_unreadable() {
    use FailureClass as C;
    for (attempts, downloads, class, effect) in all_failures() {
        let archive = at(StateWord::Running, attempts, downloads);
        let (_, next) = outcome(&archive, failure(class, effect)).unwrap();
        let lost = match next.state {
            State::Lost { cause, .. } => Some(cause),
            _ => None,
        };
        // However often something else failed before, one "unknown" is not enough.
        assert_eq!(lost, None, "{attempts} {class:?}");
    }
    let unknown =
        |archive: &Archive| outcome(archive, failure(C::Gone, Effect::NotDone)).unwrap().1;
    let twice = unknown(&unknown(&at(StateWord::Running, 0, 0)));
    assert_eq!(twice.state.word(), StateWord::Running);
    assert_eq!(unknown(&twice).state.word(), StateWord::Lost);
    // Any other answer in between begins the count anew.
    let (_, recovered) = outcome(&twice, failure(C::Transient, Effect::NotDone)).unwrap();
    assert_eq!(unknown(&recovered).state.word(), StateWord::Running);
    // It takes minutes, not moments, to find that a job has vanished.
    let (_, next) =
        outcome(&at(StateWord::Running, 0, 0), failure(C::Gone, Effect::NotDone)).unwrap();
    assert_eq!(next.not_before.since(noon()), VANISHED_PAUSE);
    // However often ROMA refuses, a person has a week to mend it.
    let week = Duration::from_hours(7 * 24);
    for (age, expected) in
        [(Duration::from_hours(7 * 24 - 1), "poll_postponed"), (week, "package_lost")]
    {
        let archive = at(StateWord::Running, 500, 1);
        let refused = failure(C::Permanent, Effect::NotDone);
        let event = after_failure(&archive, refused, archive.began().plus(age)).unwrap();
        assert_eq!(event.word(), expected);
    }
    // By a clock that may be wrong nothing is too old.
    let archive = at(StateWord::Running, 500, 0);
    let now = archive.began().plus(10 * week);
    let refused = failure(FailureClass::Permanent, Effect::NotDone);
    let event = after_failure(&archive, refused, Present { now, is_doubtful: true }).unwrap();
    assert_eq!(event.word(), "poll_postponed");
}

/// The heart: what certainly did not happen may simply come again; what may have happened needs
/// ROMA's word first; what ROMA says is gone is lost.
#[test]
fn a_failed_get_is_repeated_looked_into_or_lost() {
    for (attempts, downloads, class, effect) in all_failures() {
        let archive = at(StateWord::Downloading, attempts, downloads);
        let (event, next) = outcome(&archive, failure(class, effect)).unwrap();
        let expected = match (class, effect) {
            (FailureClass::Gone, _) => "package_lost",
            (_, Effect::NotDone) => "download_postponed",
            // A person has a week to mend it.
            (FailureClass::Permanent, Effect::Unknown) => "download_interrupted",
            (_, Effect::Unknown) if downloads >= 32 => "package_lost",
            (_, Effect::Unknown) => "download_interrupted",
        };
        assert_eq!(event, expected, "{attempts} {downloads} {class:?} {effect:?}");
        if effect == Effect::Unknown {
            assert_ne!(next.state.word(), StateWord::Ready, "a second GET without a question");
        }
    }
}

#[test]
fn gets_that_never_left_do_not_use_up_those_that_broke_off() {
    let mut archive = at(StateWord::Ready, 0, 0);
    for _ in 0..100 {
        archive = archive.apply(&Event::DownloadStarted, noon()).unwrap();
        archive = outcome(&archive, failure(FailureClass::Transient, Effect::NotDone)).unwrap().1;
    }
    let package = archive.state.package().cloned().unwrap();
    for broken_off in 1.. {
        archive = archive.apply(&Event::DownloadStarted, noon()).unwrap();
        archive = outcome(&archive, failure(FailureClass::Transient, Effect::Unknown)).unwrap().1;
        if archive.state.word() == StateWord::Lost {
            assert_eq!(broken_off, DOWNLOAD_ATTEMPTS);
            break;
        }
        let offered = Event::JobSucceeded { package: package.clone() };
        archive = archive.apply(&offered, noon()).unwrap();
    }
}

/// A gateway that is out of order for hours must not cost a package that ROMA offers all the while.
#[test]
fn a_package_that_is_still_offered_is_not_given_up_within_hours() {
    let mut now = noon();
    let mut archive = at(StateWord::Ready, 0, 0);
    let package = archive.state.package().cloned().unwrap();
    let mut pauses = Vec::new();
    loop {
        archive = archive.apply(&Event::DownloadStarted, now).unwrap();
        let broken = failure(FailureClass::Transient, Effect::Unknown);
        archive = archive.apply(&after_failure(&archive, broken, now).unwrap(), now).unwrap();
        if archive.state.word() == StateWord::Lost {
            break;
        }
        pauses.push(archive.not_before.since(now));
        now = archive.not_before;
        let offered = Event::JobSucceeded { package: package.clone() };
        archive = archive.apply(&offered, now).unwrap();
    }
    assert!(pauses[0] <= Duration::from_secs(1), "{pauses:?}");
    assert!(now.since(noon()) >= 6 * HOUR, "{pauses:?}");
}

/// A package that is larger than allowed waits for a person, who has a week, and is not asked for
/// so often that it moves its size again and again.
#[test]
fn a_package_that_only_a_person_can_let_in_is_not_given_up_by_the_count_of_gets() {
    let mut now = noon();
    let mut archive = at(StateWord::Ready, 0, 0);
    let package = archive.state.package().cloned().unwrap();
    let mut pauses = Vec::new();
    loop {
        archive = archive.apply(&Event::DownloadStarted, now).unwrap();
        let too_large = failure(FailureClass::Permanent, Effect::Unknown);
        archive = archive.apply(&after_failure(&archive, too_large, now).unwrap(), now).unwrap();
        if archive.state.word() == StateWord::Lost {
            break;
        }
        assert_eq!(archive.downloads, 0, "it would use up those that break off by chance");
        pauses.push(archive.not_before.since(now));
        now = archive.not_before;
        let offered = Event::JobSucceeded { package: package.clone() };
        archive = archive.apply(&offered, now).unwrap();
    }
    assert!(now.since(noon()) >= 7 * 24 * HOUR, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause == HOUR), "{pauses:?}");
}

#[test]
fn a_package_on_our_side_is_never_lost_by_a_failure_that_can_pass() {
    use FailureClass as C;
    for (attempts, downloads, class, effect) in all_failures() {
        for (word, postponed) in [
            (StateWord::Ready, "download_postponed"),
            (StateWord::Downloaded, "pack_postponed"),
            (StateWord::Deleting, "deletion_postponed"),
        ] {
            let archive = at(word, attempts, downloads);
            let (event, next) = outcome(&archive, failure(class, effect)).unwrap();
            if (word, class) == (StateWord::Downloaded, C::Gone) {
                assert!(
                    matches!(next.state, State::Lost { cause: LossCause::StagedFileLost, .. }),
                    "{:?}",
                    next.state
                );
            } else if (word, class) == (StateWord::Deleting, C::Permanent) {
                // What lies there is not what was recorded: it stays, for a person to look at.
                assert_eq!((event, next.state.word()), ("file_damaged", StateWord::Damaged));
            } else {
                assert_eq!(event, postponed, "{word} {class:?} {effect:?}");
                assert_eq!(next.state, archive.state);
            }
        }
    }
}

#[test]
fn a_refused_credential_is_renewed_once_and_then_left_alone() {
    let mut archive = at(StateWord::Ready, 0, 0);
    let refused = failure(FailureClass::Unauthorized, Effect::NotDone);
    archive = outcome(&archive, refused.clone()).unwrap().1;
    assert_eq!(archive.not_before, noon(), "the first time with a new token at once");
    for _ in 0..30 {
        archive = outcome(&archive, refused.clone()).unwrap().1;
        // The gateway locks a user or a key for five minutes.
        assert!(archive.not_before > noon().plus(Duration::from_mins(5)));
    }
}

#[test]
fn the_servers_wish_is_honoured_within_reason() {
    let wait = |class, retry_after: Duration| {
        let retry_after_ms = u64::try_from(retry_after.as_millis()).ok();
        let failure = Failure { retry_after_ms, ..failure(class, Effect::NotDone) };
        outcome(&at(StateWord::Ready, 3, 0), failure).unwrap().1.not_before.since(noon())
    };
    let minutes = Duration::from_mins;
    assert_eq!(wait(FailureClass::Throttled, minutes(7)), minutes(7));
    assert_eq!(wait(FailureClass::Throttled, minutes(60 * 24)), HOUR);
    // A wish never makes the daemon more eager than it is on its own account.
    assert_eq!(wait(FailureClass::Permanent, minutes(1)), minutes(15));
    assert_eq!(wait(FailureClass::Busy, Duration::ZERO), Duration::from_secs(10));
}

#[test]
fn jitter_is_full() {
    let ceiling = 256_000;
    let mut buckets = [0_u32; 8];
    for archive in 0..1_000 {
        let wait = u64::try_from(backoff(seed(ArchiveId(archive)), 8).as_millis()).unwrap();
        buckets[usize::try_from(wait * 8 / ceiling).unwrap()] += 1;
    }
    // 125 are expected in each eighth.
    assert!(buckets.iter().all(|count| (80..170).contains(count)), "{buckets:?}");
    // One archive does not draw the same fraction each time either.
    let fractions: std::collections::BTreeSet<u128> = (0..9)
        .map(|attempts| {
            backoff(seed(ArchiveId(7)), attempts).as_millis() * 100 / (1_000 << attempts)
        })
        .collect();
    assert!(fractions.len() > 5, "{fractions:?}");
}

#[test]
fn a_lost_part_is_exported_again_a_limited_number_of_times() {
    let lost = |generation| Archive { generation, ..at(StateWord::Lost, 0, 0) };
    assert_eq!(replacement_generation(&lost(0), 3), Some(1));
    assert_eq!(replacement_generation(&lost(2), 3), Some(3));
    assert_eq!(replacement_generation(&lost(3), 3), None);
    assert_eq!(replacement_generation(&lost(0), 0), None);
    // A job that was started elsewhere: nobody here knows what it exported.
    assert_eq!(replacement_generation(&Archive { scope: None, ..lost(0) }, 3), None);
    let empty = Archive { scope: Some(Scope::default()), ..lost(0) };
    assert_eq!(replacement_generation(&empty, 3), Some(1));
    for word in StateWord::ALL.into_iter().filter(|word| *word != StateWord::Lost) {
        assert_eq!(replacement_generation(&at(word, 0, 0), 3), None, "{word}");
    }
}

#[test]
fn only_the_first_replacement_begins_at_once() {
    let pauses: Vec<u64> = (1..7).map(|n| replacement_pause(n).as_secs() / 60).collect();
    assert_eq!(pauses, [0, 8, 18, 32, 50, 60]);
    assert_eq!(replacement_pause(u32::MAX), HOUR);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_delay_is_bounded(
        id in any::<i64>(),
        attempts in prop_oneof![0_u32..40, any::<u32>()],
        failure in any_failure(),
    ) {
        let wait = delay(seed(ArchiveId(id)), attempts, &failure);
        prop_assert!(wait <= HOUR);
        prop_assert_eq!(wait, delay(seed(ArchiveId(id)), attempts, &failure));
        let wished = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
        prop_assert!(wait >= wished.min(HOUR));
        if failure.class != FailureClass::Unauthorized {
            prop_assert!(wait >= Duration::from_millis(100), "not even a breath");
        }
    }

    #[test]
    fn the_delay_is_stored_with_the_event(failure in any_failure(), downloads in 0_u32..20) {
        for word in StateWord::ALL {
            let archive = at(word, 0, downloads);
            let Some((event, next)) = outcome(&archive, failure.clone()) else { continue };
            let now = noon();
            if event == "download_interrupted" {
                let wait = download_delay(&archive, &failure);
                prop_assert_eq!(next.not_before, now.plus(wait));
            } else if event.ends_with("_postponed") {
                prop_assert_eq!(next.not_before, now.plus(delay(seed(archive.id), 0, &failure)));
            }
            let told = next.last_error.unwrap();
            prop_assert!(told.ends_with(&failure.message), "{told}");
            // Only who waits for another job says since when.
            let waits = event == "request_postponed" && failure.class == FailureClass::Busy;
            prop_assert_eq!(told.len() > failure.message.len(), waits);
        }
    }

    #[test]
    fn backoff_stays_below_its_ceiling(seed in any::<u64>(), attempts in any::<u32>()) {
        let ceiling = 1_u64.checked_shl(attempts).map_or(300, |seconds| seconds.clamp(1, 300));
        let wait = backoff(seed, attempts);
        prop_assert!(wait >= Duration::from_millis(100));
        prop_assert!(wait <= Duration::from_secs(ceiling));
        prop_assert_eq!(wait, backoff(seed, attempts));
    }

    #[test]
    fn polls_slow_down_within_their_bounds(
        id in any::<i64>(),
        polls in any::<u32>(),
        shortest in 10_u64..100_000,
        longest in 10_u64..1_000_000,
    ) {
        let pace = Pace {
            poll_interval: Duration::from_millis(shortest),
            poll_interval_max: Duration::from_millis(longest),
        };
        let wait = poll_delay(ArchiveId(id), polls, pace);
        let least = pace.poll_interval.min(pace.poll_interval_max);
        let share = if polls == 0 { 1 } else { 9 };
        prop_assert!(wait >= least * share / 10, "{wait:?}");
        prop_assert!(wait <= pace.poll_interval_max, "{wait:?}");
        prop_assert_eq!(wait, poll_delay(ArchiveId(id), polls, pace));
        // From 1 to 100,000 in steps of a half takes 29 looks.
        if polls > 30 {
            prop_assert!(wait >= pace.poll_interval_max * 9 / 10);
        }
    }

    #[test]
    fn a_failure_ends_the_doubt(failure in any_failure()) {
        for (word, intent) in [
            (StateWord::Scheduled, Event::RequestStarted),
            (StateWord::Ready, Event::DownloadStarted),
        ] {
            let begun = at(word, 0, 0).apply(&intent, noon()).unwrap();
            let (_, next) = outcome(&begun, failure.clone()).unwrap();
            let doubtful = [StateWord::Requesting, StateWord::Downloading];
            prop_assert!(!doubtful.contains(&next.state.word()));
        }
    }
}

#[test]
fn jobs_that_were_looked_at_together_are_not_again() {
    let pace = Pace { poll_interval: Duration::from_secs(5), ..PACE };
    let mut tenths = [0; 10];
    for id in 1..=1_000 {
        let wait = poll_delay(ArchiveId(id), 0, pace);
        tenths[usize::try_from(wait.as_millis() / 500).unwrap().min(9)] += 1;
    }
    // None is asked about at once again; the others come evenly.
    assert!(
        tenths[0] == 0 && tenths[1..].iter().all(|count| (80..150).contains(count)),
        "{tenths:?}"
    );
}

#[test]
fn a_young_job_is_looked_at_often_and_an_old_one_seldom() {
    let waits: Vec<Duration> = (0..12).map(|polls| poll_delay(ArchiveId(1), polls, PACE)).collect();
    assert!(waits[0] <= Duration::from_secs(2), "{waits:?}");
    // Growth by half outweighs a spread of a tenth, until the ceiling is reached.
    assert!(waits[..9].is_sorted(), "{waits:?}");
    assert!(waits[11] > Duration::from_secs(53), "{waits:?}");
}
