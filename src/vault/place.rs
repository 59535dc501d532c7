//! The path of a stored file, taken apart again: what it says even of a file whose manifest speaks
//! of another archive, because both share it.
//!
//! It must never accept a path that [`Vault::relative_path`] would not give. Pure: nothing is
//! looked at.

use super::Vault;
use crate::model::{Name, SnapshotId, Timestamp};

/// What the path of a stored file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The configured instance.
    pub instance: Name,
    /// The configured export.
    pub export: Name,
    /// When its run fell due, without the fraction of the second.
    pub taken_at: Timestamp,
    /// The run.
    pub snapshot: SnapshotId,
    /// 1 for the first part of the snapshot.
    pub part: u32,
}

impl Place {
    /// Takes a path relative to `vault/` apart; `None`: this program gives no such name.
    pub fn parse(relative: &str) -> Option<Self> {
        let parts: Vec<&str> = relative.split('/').collect();
        let [instance, export, _, _, name] = parts.try_into().ok()?;
        let (time, numbers) = name.strip_suffix(".zip")?.split_once("-s")?;
        let (snapshot, part) = numbers.split_once('-')?;
        let place = Self {
            instance: instance.parse().ok()?,
            export: export.parse().ok()?,
            taken_at: moment(time)?,
            snapshot: SnapshotId(snapshot.parse().ok().filter(|number| *number > 0)?),
            part: part.parse().ok().filter(|number| *number > 0)?,
        };
        (place.path() == relative).then_some(place)
    }

    /// The path again.
    pub fn path(&self) -> String {
        let Self { instance, export, taken_at, snapshot, part } = self;
        Vault::relative_path(instance, export, *taken_at, *snapshot, *part)
    }
}

/// `20261124T052200Z`.
fn moment(compact: &str) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| compact.get(from..to);
    let date = [digits(0, 4)?, digits(4, 6)?, digits(6, 8)?].join("-");
    let time = [digits(9, 11)?, digits(11, 13)?, digits(13, 15)?].join(":");
    format!("{date}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_not_ours_are_none() {
        let good = "prod/nightly/2026/11/20261124T020000Z-s12-3.zip";
        let place = Place::parse(good).unwrap();
        assert_eq!((place.snapshot, place.part), (SnapshotId(12), 3));
        assert_eq!(place.taken_at.to_string(), "2026-11-24T02:00:00.000Z");
        for bad in [
            "",
            "20261124T020000Z-s12-3.zip",
            "prod/nightly/2026/12/20261124T020000Z-s12-3.zip",
            "prod/nightly/2026/11/20261124T020000Z-s012-3.zip",
            "prod/nightly/2026/11/20261124T020000Z-s+12-3.zip",
            "prod/nightly/2026/11/20261124T020000Z-s0-3.zip",
            "prod/nightly/2026/11/20261124T020000Z-s12-0.zip",
            "prod/nightly/2026/11/20261124T020000Z-s12-3.zip.bak",
            "prod/nightly/2026/11/20261324T020000Z-s12-3.zip",
            "prod/nightly/2026/11/2026112\u{e4}T20000Z-s12-3.zip",
            "pr od/nightly/2026/11/20261124T020000Z-s12-3.zip",
            "prod/nightly/2026/11/x/20261124T020000Z-s12-3.zip",
            "/prod/nightly/2026/11/20261124T020000Z-s12-3.zip",
        ] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_path_of_ours_is_taken_apart(
            seconds in 0_i64..253_402_300_800, snapshot in 1_i64.., part in 1_u32..,
        ) {
            let place = Place {
                instance: "prod".parse().unwrap(),
                export: "nightly-s1-2.x".parse().unwrap(),
                taken_at: Timestamp::from_millis(seconds * 1_000),
                snapshot: SnapshotId(snapshot),
                part,
            };
            prop_assert_eq!(Place::parse(&place.path()), Some(place));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,80}") {
            if let Some(place) = Place::parse(&text) {
                prop_assert_eq!(place.path(), text);
            }
        }
    }
}
