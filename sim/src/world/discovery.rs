//! What there is: lists of instances, applications and tasks, page by page.

use super::users::Caller;
use super::{Item, World};
use crate::calendar::iso_seconds;
use crate::fault::{Endpoint, ListMove};
use crate::http::Request;
use crate::prng::{hex_id, uuid};
use crate::reply::{Refusal, Reply};
use crate::route::Place;
use crate::wire::{AppEntry, AppList, InstanceEntry, InstanceList, TaskEntry, TaskList};

/// 2026-01-01: the assets of the simulator were last touched then.
const TOUCHED_MS: i64 = 1_767_225_600_000;
const DEFAULT_LIMIT: usize = 10;
const LIMIT: usize = 999;
const INSTANCE_LIMIT: usize = 100;

/// The part of a list that the query asks for. A wrong limit is cut, a negative offset is zero.
fn page<'a, T>(request: &Request, most: usize, all: &'a [T]) -> &'a [T] {
    let number = |key: &str| request.query(key).and_then(|text| text.parse::<i64>().ok());
    let offset = number("offset").map_or(0, |value| usize::try_from(value).unwrap_or(0));
    let limit = number("limit").map_or(DEFAULT_LIMIT, |value| usize::try_from(value).unwrap_or(0));
    let rest = all.get(offset..).unwrap_or_default();
    &rest[..rest.len().min(limit).min(most)]
}

impl World {
    /// Changes the list of applications or of tasks of an instance; any other endpoint has none.
    pub fn move_list(&mut self, instance_id: &str, endpoint: Endpoint, what: ListMove) {
        let number = self.next_number();
        let word = format!("{instance_id}/new");
        let Some(instance) = self.instances.get_mut(instance_id) else { return };
        let (list, id) = match endpoint {
            Endpoint::Apps => (&mut instance.apps, uuid(self.seed, &word, number)),
            Endpoint::Tasks => (&mut instance.tasks, hex_id(self.seed, &word, number)),
            _ => return,
        };
        match what {
            ListMove::Gone(place) if place < list.len() => drop(list.remove(place)),
            ListMove::Favourite(place) if place < list.len() => {
                list[..=place].rotate_right(1);
            }
            ListMove::New(place) => {
                let item = Item { id, name: format!("new-{number}") };
                list.insert(place.min(list.len()), item);
            }
            ListMove::Gone(_) | ListMove::Favourite(_) => {}
        }
    }

    /// The instance, if the caller may see it.
    pub(super) fn instance_of(
        &self,
        caller: &Caller,
        place: &Place,
    ) -> Result<&super::Instance, Refusal> {
        self.allow(caller, &place.project_id)?;
        let found = self.instances.get(&place.instance_id);
        found
            .filter(|instance| instance.project_id == place.project_id)
            .ok_or_else(|| Refusal::roma(404, 14002, "The instance does not exist."))
    }

    pub(super) fn list_instances(
        &self,
        request: &Request,
        caller: &Caller,
        project_id: &str,
    ) -> Result<Reply, Refusal> {
        self.allow(caller, project_id)?;
        let all: Vec<_> = self
            .instances
            .values()
            .filter(|instance| instance.project_id == project_id)
            .map(|instance| InstanceEntry {
                id: instance.id.clone(),
                name: instance.name.clone(),
                status: "RUNNING".to_owned(),
            })
            .collect();
        let part = page(request, INSTANCE_LIMIT, &all);
        Ok(Reply::json(
            200,
            &InstanceList { total: all.len(), size: part.len(), instances: part.to_vec() },
        ))
    }

    pub(super) fn list_apps(
        &self,
        request: &Request,
        caller: &Caller,
        place: &Place,
    ) -> Result<Reply, Refusal> {
        let instance = self.instance_of(caller, place)?;
        let part = page(request, LIMIT, &instance.apps);
        let entries = part.iter().map(|app| AppEntry {
            id: app.id.clone(),
            name: app.name.clone(),
            update_time: iso_seconds(TOUCHED_MS),
        });
        Ok(Reply::json(
            200,
            &AppList { total: instance.apps.len(), size: part.len(), apps: entries.collect() },
        ))
    }

    pub(super) fn list_tasks(
        &self,
        request: &Request,
        caller: &Caller,
        place: &Place,
    ) -> Result<Reply, Refusal> {
        let instance = self.instance_of(caller, place)?;
        let part = page(request, LIMIT, &instance.tasks);
        let app = |index: usize| {
            let apps = &instance.apps;
            let app = apps.get(index % apps.len().max(1));
            app.map(|app| app.id.clone()).unwrap_or_default()
        };
        let entries = part.iter().enumerate().map(|(index, task)| TaskEntry {
            task_id: task.id.clone(),
            task_name: task.name.clone(),
            source_app_id: app(index),
            target_app_id: app(index + 1),
            last_modified_time: iso_seconds(TOUCHED_MS),
            ext_type: if index % 7 == 6 { "1" } else { "0" }.to_owned(),
        });
        Ok(Reply::json(
            200,
            &TaskList {
                total: instance.tasks.len(),
                size: part.len(),
                entities: entries.collect(),
            },
        ))
    }
}
