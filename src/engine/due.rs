//! When runs fall due. It opens a run that is due and knows which comes next; it must never open
//! two for one occurrence, nor let the schedule stand still because the clock once ran ahead.

use std::time::Duration;

use super::assignment::Assignment;
use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::{NewSnapshot, Origin, UnplannedSnapshot};
use crate::model::{Name, Timestamp};
use crate::schedule::credible_last;

/// When each export falls due next, by its place in the assignment.
#[derive(Debug, Default)]
pub(super) struct DueRuns {
    next: Vec<Option<Timestamp>>,
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
            export.schedule.as_ref()?.next_after(credible_last(last, now), &assignment.zone)
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
            let Some(first) = next.filter(|due| *due <= now) else { continue };
            // Whatever was missed since collapses into the newest occurrence.
            let before = first.minus(Duration::from_millis(1));
            let taken_at = schedule.due(before, now, &assignment.zone).unwrap_or(first);
            *next = schedule.next_after(taken_at, &assignment.zone);
            let new = NewSnapshot {
                instance: export.instance.clone(),
                export: export.name.clone(),
                origin: Origin::Schedule,
                taken_at,
                next_due: *next,
            };
            let id = shell.catalog.open_snapshot(new, now).await?;
            opened.push(UnplannedSnapshot {
                id,
                instance: export.instance.clone(),
                export: export.name.clone(),
                taken_at,
                attempts: 0,
                not_before: now,
            });
        }
        Ok(opened)
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.next.iter().flatten().min().copied()
    }

    /// The first of all, and which export it is.
    pub(super) fn first_of<'a>(
        &'a self,
        assignment: &'a Assignment,
    ) -> Option<(&'a Timestamp, &'a Name)> {
        let names = assignment.exports.iter().map(|export| &export.name);
        names.zip(&self.next).filter_map(|(name, due)| Some((due.as_ref()?, name))).min()
    }
}
