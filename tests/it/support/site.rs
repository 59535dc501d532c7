//! Instances and accounts of a world, at the server and in the configuration alike.

use roma_archived::catalog::ExportRecord;
use roma_archived::engine::Retention;
use roma_archived::settings::{Account, Auth, Export, Instance, SecretPlace, Selection};
use roma_sim::{InstanceSpec, UserSpec, defaults};

use super::world::{Ground, auth, name};

/// An instance of the configuration, with an export `nightly`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) instance: &'static str,
    /// Its account, which has a user of the same name at the server; `ops` is the default user.
    pub(crate) account: &'static str,
    /// Its id at the server.
    pub(crate) server: &'static str,
}

/// Where most tests take place.
pub(crate) const PROD: Site =
    Site { instance: "prod", account: "ops", server: defaults::INSTANCE_ID };

impl Site {
    pub(crate) fn user(&self) -> &'static str {
        if self.account == PROD.account { defaults::USER } else { self.account }
    }

    /// What the server has to know of it, and the file with its token.
    pub(crate) fn populate(&self, ground: &Ground) {
        let mut server = ground.simulator.world();
        if server.app_ids(self.server).is_empty() {
            server.add_instance(InstanceSpec {
                project_id: defaults::PROJECT_ID.to_owned(),
                instance_id: self.server.to_owned(),
                name: self.server.to_owned(),
                apps: defaults::APPS,
                tasks: defaults::TASKS,
            });
        }
        if self.account != PROD.account {
            server.add_user(UserSpec {
                name: self.user().to_owned(),
                domain: defaults::DOMAIN.to_owned(),
                password: defaults::PASSWORD.to_owned(),
                project_name: defaults::PROJECT_NAME.to_owned(),
                project_id: defaults::PROJECT_ID.to_owned(),
            });
            let token = format!("sim-token-{}", self.account);
            server.add_static_token(&token, self.user());
            ground.put_secret(&format!("token-{}", self.account), &token);
        }
    }

    pub(crate) fn account(&self, ground: &Ground) -> Account {
        let token = || SecretPlace::File(ground.path(&format!("token-{}", self.account)));
        let auth = if self.account == PROD.account {
            auth(ground)
        } else {
            Auth::Token { token: token() }
        };
        Account { name: name(self.account), auth }
    }

    pub(crate) fn instance(&self, ground: &Ground) -> Instance {
        let endpoint = ground.setup.endpoint.clone().unwrap_or_else(|| ground.simulator.url());
        Instance {
            name: name(self.instance),
            account: name(self.account),
            endpoint: endpoint.parse().unwrap(),
            project_id: defaults::PROJECT_ID.to_owned(),
            instance_id: self.server.to_owned(),
        }
    }

    pub(crate) fn export(&self, ground: &Ground) -> Export {
        Export {
            name: name("nightly"),
            instance: name(self.instance),
            schedule: ground.setup.schedule.map(|text| text.parse().unwrap()),
            apps: ground.setup.apps.clone(),
            tasks: Selection::All,
            rpo: None,
            policy: ground.setup.policy.clone(),
        }
    }

    pub(crate) fn records(&self, ground: &Ground) -> [ExportRecord; 2] {
        let policy = ground.setup.policy.to_string();
        ["nightly", "watched"].map(|export| ExportRecord {
            instance: name(self.instance),
            name: name(export),
            schedule: ground.setup.schedule.filter(|_| export == "nightly").map(str::to_owned),
            rpo: None,
            next_due: None,
            policy: (policy.clone(), policy.clone()),
        })
    }

    pub(crate) fn retentions(&self, ground: &Ground) -> [Retention; 2] {
        let setup = &ground.setup;
        ["nightly", "watched"].map(|export| Retention {
            instance: name(self.instance),
            export: name(export),
            policy: setup.policy.clone(),
            policy_hash: setup.policy.to_string(),
            zone: jiff::tz::TimeZone::UTC,
            schedule: setup
                .schedule
                .filter(|_| export == "nightly")
                .map(|text| text.parse().unwrap()),
            suspended: setup.suspended.clone(),
        })
    }
}
