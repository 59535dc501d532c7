//! When runs fall due. It opens a run that is due and knows which comes next; it must never open
//! two for one occurrence, nor let the schedule stand still because the clock once ran ahead.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::assignment::Assignment;
use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{NewSnapshot, Origin, UnplannedSnapshot};
use crate::model::{Name, Timestamp};
use crate::schedule::{Due, Schedule, credible_last};

/// When each export falls due next, by its place in the assignment.
#[derive(Debug, Default)]
pub(super) struct DueRuns {
    next: Vec<Option<Run>>,
}

/// An occurrence, and when its run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    starts: Timestamp,
    occurrence: Timestamp,
}

impl Run {
    fn after(last: Timestamp, schedule: &Schedule, zone: &TimeZone) -> Option<Self> {
        let occurrence = schedule.next_after(last, zone)?;
        Some(Self { starts: schedule.starts(occurrence, zone), occurrence })
    }
}

impl DueRuns {
    /// Goes on from the occurrences that are recorded as taken.
    pub(super) async fn load(
        &mut self,
        shell: &Shell,
        assignment: &Assignment,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let recorded = shell.catalog.exports().await?;
        let next = assignment.exports.iter().map(|export| {
            let same = |known: &&crate::catalog::ExportState| {
                known.instance == export.instance && known.name == export.name
            };
            let last = recorded.iter().find(same)?.last_due;
            Run::after(credible_last(last, now), export.schedule.as_ref()?, &assignment.zone)
        });
        self.next = next.collect();
        Ok(())
    }

    /// Opens every run that is due.
    pub(super) async fn open(
        &mut self,
        shell: &Shell,
        assignment: &Assignment,
        now: Timestamp,
    ) -> Result<Vec<UnplannedSnapshot>, EngineError> {
        let mut opened = Vec::new();
        for (export, next) in assignment.exports.iter().zip(&mut self.next) {
            let Some(schedule) = &export.schedule else { continue };
            let Some(first) = next.filter(|run| run.starts <= now) else { continue };
            // Whatever was missed since collapses into the newest occurrence.
            let before = first.occurrence.minus(Duration::from_millis(1));
            let due = schedule.due(before, now, &assignment.zone);
            let due = due.unwrap_or(Due { at: first.occurrence, missed: 0 });
            *next = Run::after(due.at, schedule, &assignment.zone);
            let new = NewSnapshot {
                instance: export.instance.clone(),
                export: export.name.clone(),
                origin: Origin::Schedule,
                taken_at: due.at,
                next_due: next.map(|run| run.starts),
                missed: due.missed,
            };
            let run = shell.catalog.open_snapshot(new, now).await?;
            if run.joined {
                // Known already, or found with whatever else a command has changed.
                continue;
            }
            opened.push(UnplannedSnapshot {
                id: run.id,
                instance: export.instance.clone(),
                export: export.name.clone(),
                taken_at: due.at,
                attempts: 0,
                not_before: now,
            });
        }
        Ok(opened)
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.next.iter().flatten().map(|run| run.starts).min()
    }

    /// The first of all, and which export it is.
    pub(super) fn first_of<'a>(
        &'a self,
        assignment: &'a Assignment,
    ) -> Option<(&'a Timestamp, &'a Name)> {
        let names = assignment.exports.iter().map(|export| &export.name);
        names.zip(&self.next).filter_map(|(name, run)| Some((&run.as_ref()?.starts, name))).min()
    }
}
