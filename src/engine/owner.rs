//! Whose file is it? For a file of the vault that no archive claims: its manifest names one, and an
//! older catalog may know that archive as one that is still on its way, or as lost.
//!
//! It must never give a file to an archive that has one, or whose job made another package, or that
//! a running step may be changing. A decision only: nothing happens here.

use super::failure::EngineError;
use super::keeper::Keeper;
use crate::lifecycle::{Archive, Found, State};
use crate::vault::Manifest;

/// To whom a file belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// To this archive.
    Archive(Box<Archive>),
    /// That cannot be told yet: one that it may belong to is under way.
    Busy,
    /// To no archive of this catalog.
    Nobody,
}

/// Archives that a file may belong to.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// Those of the part that the manifest names; empty unless the archive that it names is one of
    /// them and was there before the file. A catalog that was restored gives numbers anew.
    pub(super) of_part: Vec<Archive>,
    /// The newest of the job: `watch --again` may have begun another snapshot.
    pub(super) of_job: Option<Archive>,
}

/// Decides by what is known. `at_start`: no step is running.
pub(super) fn owner(found: &Found, manifest: &Manifest, kin: &Kin, at_start: bool) -> Owner {
    let mut all: Vec<&Archive> = kin.of_part.iter().collect();
    let of_job = kin.of_job.as_ref().filter(|a| !all.iter().any(|other| other.id == a.id));
    all.extend(of_job);
    let fits = |archive: &&Archive| {
        let in_part = kin.of_part.iter().any(|a| a.id == archive.id);
        let is_named = in_part && archive.id == manifest.archive_id;
        found.fits(&archive.state)
            && match &archive.state {
                // It, or what was to replace it, has not begun anything yet.
                State::Scheduled => in_part,
                State::Requesting => at_start && is_named,
                State::Downloading(_) | State::Downloaded { .. } => at_start,
                State::Lost { job: None, .. } => is_named,
                _ => true,
            }
    };
    if all.iter().any(|archive| archive.state.word().is_unfinished() && !fits(archive)) {
        return Owner::Busy;
    }
    let Some(owner) = all.iter().filter(|a| fits(a)).max_by_key(|a| a.id) else {
        return Owner::Nobody;
    };
    // A job belongs to one archive that is not lost, and a part has one file.
    let taken = |other: &&Archive| {
        other.id != owner.id
            && (other.state.holding().is_some()
                || (other.state.job() == Some(&found.job)
                    && !matches!(other.state, State::Lost { .. })))
    };
    if all.iter().any(taken) { Owner::Nobody } else { Owner::Archive(Box::new((*owner).clone())) }
}

impl Keeper {
    /// Asks the catalog to whom a file belongs that was read to its end.
    pub(super) async fn owner(
        &self,
        found: &Found,
        manifest: &Manifest,
        at_start: bool,
    ) -> Result<Owner, EngineError> {
        let catalog = &self.catalog;
        let opened = catalog.opened_at(manifest.archive_id).await?;
        let of_part = if opened.is_some_and(|at| at <= manifest.downloaded_at) {
            let all = catalog.archives_of(manifest.snapshot_id).await?;
            let part: Vec<Archive> = all.into_iter().filter(|a| is_part(a, manifest)).collect();
            if part.iter().any(|a| a.id == manifest.archive_id) { part } else { Vec::new() }
        } else {
            Vec::new()
        };
        let of_job = catalog.of_job(&manifest.instance, &manifest.job_id).await?;
        let owner = owner(found, manifest, &Kin { of_part, of_job }, at_start);
        if let Owner::Archive(archive) = &owner {
            let claimed =
                catalog.claimant(&manifest.instance, &manifest.package_id, archive.id).await?;
            if claimed.is_some() {
                return Ok(Owner::Nobody);
            }
        }
        Ok(owner)
    }
}

fn is_part(archive: &Archive, manifest: &Manifest) -> bool {
    archive.part == manifest.part
        && archive.instance == manifest.instance
        && archive.export == manifest.export
        && archive.scheduled_at == manifest.scheduled_at
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
