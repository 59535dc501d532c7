//! How large the last packages of each instance were: what the next download may need room for.
//!
//! In memory, so that no download asks the catalog's history for it; the catalog has the same and
//! is asked once for each instance. It only remembers; a crash means nothing here.

use std::collections::{HashMap, VecDeque};

use super::failure::EngineError;
use super::shell::Shell;
use crate::catalog::RECENT;
use crate::model::Name;

/// The last packages of each instance.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sizes: HashMap<Name, VecDeque<u64>>,
}

impl Recent {
    /// A package has come.
    pub(super) fn came(&mut self, instance: &Name, bytes: u64) {
        // Before anybody has asked, the catalog tells of it.
        if let Some(sizes) = self.sizes.get_mut(instance) {
            sizes.push_back(bytes);
            if sizes.len() > RECENT as usize {
                sizes.pop_front();
            }
        }
    }

    fn largest(&self, instance: &Name) -> Option<u64> {
        Some(self.sizes.get(instance)?.iter().copied().max().unwrap_or(0))
    }
}

impl Shell {
    /// Size of the largest of an instance's last packages, in bytes.
    pub(super) async fn largest_recent(&self, instance: &Name) -> Result<u64, EngineError> {
        if let Some(largest) = self.recent().largest(instance) {
            return Ok(largest);
        }
        let sizes = self.catalog.recent_sizes(instance).await?;
        let mut recent = self.recent();
        recent.sizes.insert(instance.clone(), sizes.into());
        Ok(recent.largest(instance).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_last_hundred_counts() {
        let instance: Name = "prod".parse().unwrap();
        let mut recent = Recent::default();
        recent.came(&instance, 7);
        assert_eq!(recent.largest(&instance), None, "the catalog knows it");
        recent.sizes.insert(instance.clone(), VecDeque::from([7]));
        recent.came(&instance, 900);
        (0..99).for_each(|_| recent.came(&instance, 5));
        assert_eq!(recent.largest(&instance), Some(900));
        recent.came(&instance, 6);
        assert_eq!(recent.largest(&instance), Some(6));
    }
}
