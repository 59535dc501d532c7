//! What runs beside the loop, and what it brings back.

use std::collections::HashMap;

use super::failure::EngineError;
use super::planning::Planned;
use super::scrub::Turn;
use super::step::Outcome;
use crate::lifecycle::{Archive, Step};
use crate::model::{ArchiveId, Name, SnapshotId};

/// What a finished task brings.
#[derive(Debug)]
pub(super) enum Finished {
    Step(Result<Outcome, EngineError>),
    Planning(Result<Planned, EngineError>),
    Sweep(Result<Vec<Archive>, EngineError>),
    Reconcile(Result<Vec<Archive>, EngineError>),
    Scrub(Result<Turn, EngineError>),
}

/// What a task is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Step(Step, ArchiveId, Name),
    /// A run, its instance and its export.
    Planning(SnapshotId, Name, Name),
    Sweep(usize),
    Reconcile,
    Scrub,
}

impl Task {
    /// The archive that it took out of the agenda.
    pub(super) const fn archive(&self) -> Option<ArchiveId> {
        match self {
            Self::Step(_, id, _) => Some(*id),
            Self::Planning(..) | Self::Sweep(_) | Self::Reconcile | Self::Scrub => None,
        }
    }

    /// Whether it makes room.
    pub(super) const fn removes(&self) -> bool {
        matches!(self, Self::Step(Step::Purge | Step::Delete, ..))
    }

    /// The instance that it calls.
    pub(super) const fn calls(&self) -> Option<&Name> {
        match self {
            Self::Step(Step::Request | Step::Poll | Step::Download, _, instance)
            | Self::Planning(_, instance, _) => Some(instance),
            Self::Step(Step::Pack | Step::Purge | Step::Delete, ..)
            | Self::Sweep(_)
            | Self::Reconcile
            | Self::Scrub => None,
        }
    }
}

/// The tasks that run at this moment.
#[derive(Debug, Default)]
pub(super) struct Running {
    tasks: HashMap<tokio::task::Id, Task>,
}

impl Running {
    pub(super) fn add(&mut self, id: tokio::task::Id, task: Task) {
        self.tasks.insert(id, task);
    }

    pub(super) fn remove(&mut self, id: tokio::task::Id) -> Option<Task> {
        self.tasks.remove(&id)
    }

    pub(super) fn count(&self, which: impl Fn(&Task) -> bool) -> usize {
        self.tasks.values().filter(|task| which(task)).count()
    }

    /// Whether `instance` may take one more of the `free` slots for such calls, and how many it
    /// has: whoever has the fewest comes first. As long as others have none, some slots stay free
    /// for them, at most half of all: an instance that answers slowly must not hold up the rest.
    pub(super) fn share(
        &self,
        which: impl Fn(&Task) -> bool,
        instance: &Name,
        (free, limit): (usize, usize),
        instances: usize,
    ) -> Option<usize> {
        let mut each: HashMap<&Name, usize> = HashMap::new();
        let such = self.tasks.values().filter(|task| which(task));
        for name in such.filter_map(Task::calls) {
            *each.entry(name).or_default() += 1;
        }
        let own = each.get(instance).copied().unwrap_or(0);
        let without = instances.saturating_sub(each.len()).min(limit / 2);
        (own == 0 || free > without).then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts as many downloads of `instance` as it may have.
    fn fill(running: &mut Running, instance: &str, limit: usize, instances: usize) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let name: Name = instance.parse().unwrap();
        let mut started = 0;
        loop {
            let free = limit - running.tasks.len();
            let share = running.share(|_| true, &name, (free, limit), instances);
            if free == 0 || share.is_none() {
                return started;
            }
            let task = Task::Step(Step::Download, ArchiveId(1), name.clone());
            running.add(runtime.spawn(async {}).id(), task);
            started += 1;
        }
    }

    #[test]
    fn a_slow_instance_leaves_slots_for_the_others() {
        for (instances, limit, most) in [(1, 8, 8), (2, 8, 7), (3, 8, 6), (20, 8, 4), (2, 1, 1)] {
            let mut running = Running::default();
            assert_eq!(fill(&mut running, "slow", limit, instances), most, "{instances} {limit}");
        }
        let mut running = Running::default();
        fill(&mut running, "slow", 8, 3);
        assert_eq!(fill(&mut running, "second", 8, 3), 1);
        assert_eq!(fill(&mut running, "third", 8, 3), 1);
    }
}
