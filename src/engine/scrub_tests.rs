use proptest::prelude::*;

use super::*;
use crate::lifecycle::{Holding, Milestones, Offer, State};
use crate::model::{
    Content, Format, JobId, Method, PackageId, Sha256Digest, SnapshotId, StoredFile,
};

fn at(hours: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_hours(hours))
}

fn archive(id: i64, bytes: u64) -> Archive {
    let sha256 = Sha256Digest([0; 32]);
    let file = StoredFile {
        path: format!("{id}.zip"),
        content: Content { bytes, sha256 },
        format: Format::Zip,
        method: Method::Store,
        inode: None,
    };
    let offer =
        Offer { job: JobId::new("job").unwrap(), package: PackageId::new("package").unwrap() };
    Archive {
        id: ArchiveId(id),
        snapshot: SnapshotId(1),
        instance: "prod".parse().unwrap(),
        export: "nightly".parse().unwrap(),
        part: 1,
        generation: 0,
        replaces: None,
        scope: None,
        scheduled_at: at(0),
        revision: 0,
        attempts: 0,
        unknown_polls: 0,
        downloads: 1,
        busy_since: None,
        not_before: at(0),
        state: State::Stored(Holding {
            offer,
            raw: Content { bytes, sha256 },
            file,
            content_sha256: None,
            original: None,
        }),
        milestones: Milestones { verified_at: Some(at(0)), ..Milestones::default() },
        last_error: None,
    }
}

fn turn(bytes: u64) -> Turn {
    Turn { after: Some((at(0), ArchiveId(1))), bytes, not_before: None }
}

const VERIFY: Verify = Verify { every: DAY, daily_bytes: 24_000 };

#[test]
fn a_day_has_its_share_and_no_more() {
    let mut scrub = Scrub::new(VERIFY, at(0));
    assert!(scrub.is_due(at(0), false));
    scrub.finished(&turn(1_000), at(0));
    assert_eq!(scrub.next(at(0)), Some(at(1)));
    assert!(!scrub.is_due(at(0), false) && scrub.is_due(at(1), false));
    // Three days' worth in one file.
    scrub.finished(&turn(72_000), at(1));
    assert_eq!(scrub.next(at(1)), Some(at(73)));
    // Tiny ones: no more than one turn a minute.
    scrub.finished(&turn(1), at(73));
    assert_eq!(scrub.next(at(73)), Some(at(73).plus(SHORTEST_PAUSE)));
}

#[test]
fn packages_that_come_in_go_first_for_an_hour() {
    let scrub = Scrub::new(VERIFY, at(5));
    assert!(!scrub.is_due(at(5), true));
    assert_eq!(scrub.next(at(5)), Some(at(6)));
    assert!(scrub.is_due(at(6), true));
}

#[test]
fn without_a_budget_nothing_is_read() {
    let scrub = Scrub::new(Verify { daily_bytes: 0, ..VERIFY }, at(0));
    assert!(!scrub.is_due(at(99), false));
    assert_eq!(scrub.next(at(0)), None);
}

#[test]
fn a_round_that_is_over_begins_again_later() {
    let mut scrub = Scrub::new(VERIFY, at(0));
    scrub.finished(&turn(0), at(0));
    assert_eq!(scrub.after, (at(0), ArchiveId(1)));
    scrub.finished(&Turn::default(), at(1));
    assert_eq!((scrub.after, scrub.next), (START, at(2)));
    // What a dead process has read counts.
    let waits = Turn { not_before: Some(at(9)), ..Turn::default() };
    scrub.finished(&waits, at(1));
    assert_eq!(scrub.next, at(9));
    scrub.clock_went_back(at(1));
    assert_eq!(scrub.next, at(2));
}

proptest! {
    /// A portion is the first of those that are due: at least one, and no more than its share
    /// unless the first alone is more.
    #[test]
    fn a_portion_is_what_fits(sizes in prop::collection::vec(0_u64..3_000, 1..50)) {
        let daily = 1_440_000; // a thousand a minute
        let due: Vec<Archive> = (1..).zip(&sizes).map(|(id, bytes)| archive(id, *bytes)).collect();
        let taken = portion(due.clone(), daily);
        prop_assert!(!taken.is_empty());
        prop_assert_eq!(&taken[..], &due[..taken.len()]);
        let bytes: u64 = taken.iter().map(length).sum();
        prop_assert!(taken.len() == 1 || bytes <= 1_000, "{bytes}");
        if let Some(next) = due.get(taken.len()) {
            prop_assert!(bytes + length(next) > 1_000);
        }
    }

    /// Over any stretch of days, no more is read than those days allow, plus one portion.
    #[test]
    fn the_budget_holds(sizes in prop::collection::vec(1_u64..40_000, 1..100)) {
        let mut scrub = Scrub::new(VERIFY, at(0));
        let mut now = at(0);
        let mut read = 0_u64;
        for bytes in &sizes {
            let days = now.since(at(0)).as_secs_f64() / DAY.as_secs_f64();
            let allowed = days * 24_000.0 + 1.0;
            prop_assert!(f64::from(u32::try_from(read).unwrap()) <= allowed, "{read} {allowed}");
            read += bytes;
            scrub.finished(&turn(*bytes), now);
            now = scrub.next;
        }
    }

    #[test]
    fn no_size_overflows(bytes in any::<u64>(), daily in any::<u64>()) {
        prop_assert!(pause(bytes, daily) >= SHORTEST_PAUSE);
    }
}
