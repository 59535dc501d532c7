//! How a run's scope is divided into jobs. It starts from the parts of the run before, so that
//! successive snapshots can be compared part by part; it must never leave an asset out, put one in
//! two jobs, or need more jobs than there have to be.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::Scope;

/// A job takes at most this many applications and tasks together (contract 1).
pub const MOST_ASSETS: usize = 100;

/// Divides `scope` into as few parts as there can be. An asset stays in the part where it was in
/// `previous`, whose order is that of its parts; new ones take the room that is free, applications
/// first, in the order of their ids. A part is given up only if that saves a job: the smallest, and
/// the last one takes its place.
pub fn partition(scope: Scope, previous: &[Scope]) -> Vec<Scope> {
    let mut new =
        Pool { apps: scope.apps.into_iter().collect(), tasks: scope.tasks.into_iter().collect() };
    let mut parts: Vec<Scope> = previous.iter().map(|part| new.take_known(part)).collect();
    while let Some(smallest) = superfluous(&parts, new.len()) {
        let part = parts.swap_remove(smallest);
        new.apps.extend(part.apps);
        new.tasks.extend(part.tasks);
    }
    for part in &mut parts {
        new.fill(part);
    }
    while new.len() > 0 {
        let mut part = Scope::default();
        new.fill(&mut part);
        parts.push(part);
    }
    parts
}

/// The part to be given up: there are more parts than all assets need, or one holds too many.
fn superfluous(parts: &[Scope], new: usize) -> Option<usize> {
    let too_large = parts.iter().position(|part| part.len() > MOST_ASSETS);
    let assets = new + parts.iter().map(Scope::len).sum::<usize>();
    let too_many = parts.len() > assets.div_ceil(MOST_ASSETS);
    let smallest = || (0..parts.len()).min_by_key(|place| (parts[*place].len(), Reverse(*place)));
    too_large.or_else(|| if too_many { smallest() } else { None })
}

/// Assets that are in no part yet.
struct Pool {
    apps: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

impl Pool {
    fn len(&self) -> usize {
        self.apps.len() + self.tasks.len()
    }

    /// What is left of a part of the run before.
    fn take_known(&mut self, part: &Scope) -> Scope {
        let take = |pool: &mut BTreeSet<String>, ids: &[String]| {
            ids.iter().filter_map(|id| pool.take(id)).collect()
        };
        let apps = take(&mut self.apps, &part.apps);
        Scope { apps, tasks: take(&mut self.tasks, &part.tasks), ..part.clone() }
    }

    fn fill(&mut self, part: &mut Scope) {
        while part.len() < MOST_ASSETS
            && let Some(id) = self.apps.pop_first()
        {
            part.apps.push(id);
        }
        while part.len() < MOST_ASSETS
            && let Some(id) = self.tasks.pop_first()
        {
            part.tasks.push(id);
        }
        part.apps.sort_unstable();
        part.tasks.sort_unstable();
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
