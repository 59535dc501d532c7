//! What the engine knows and the catalog does not, for the metrics. It only tells; nothing here
//! changes what the engine does.

use std::collections::BTreeSet;

use super::Engine;
use crate::health::{AccountSigns, InstanceSigns, Signs};

impl Engine {
    /// The signs of life at this moment.
    pub fn signs(&self) -> Signs {
        let now = self.shell.clock.now();
        let instances = {
            let breakers = self.shell.breakers();
            let paused = breakers.paused(now);
            let sign = |name| InstanceSigns {
                is_paused: paused.contains(&name),
                clock_offset_ms: self.shell.roma.clock_offset(name).map(|offset| offset.millis),
                name: name.clone(),
            };
            let mut instances: Vec<_> = self.assignment.accounts.keys().map(sign).collect();
            instances.sort_by(|one, other| one.name.cmp(&other.name));
            instances
        };
        let accounts = self.shell.accounts();
        let paused = accounts.paused(now);
        let used: BTreeSet<_> = self.assignment.accounts.values().collect();
        let sign = |name| AccountSigns {
            is_paused: paused.contains(&name),
            credential_ends: self.shell.roma.credential_end(name),
            name: name.clone(),
        };
        Signs {
            instances,
            accounts: used.into_iter().map(sign).collect(),
            free_bytes: self.space.free_bytes(),
            wanted_bytes: self.shell.limits.min_free_bytes,
        }
    }
}
