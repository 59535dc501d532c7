//! Export requests: what they may ask for, and the lock of one job per user.

use std::sync::Arc;

use super::jobs::{Job, JobKind, Order, Outcome};
use super::serve::Call;
use super::users::Caller;
use super::{Item, World};
use crate::content::{AssetScope, Content, ContentSpec};
use crate::knobs::{EmptyLists, LockScope, UnknownIds};
use crate::ledger::ExportRecord;
use crate::prng::hash;
use crate::reply::{Refusal, Reply};
use crate::route::Place;
use crate::wire::{AssetSelection, JobAccepted, JobReason};

impl World {
    pub(super) fn export(
        &mut self,
        call: &Call<'_>,
        caller: &Caller,
        place: &Place,
    ) -> Result<Reply, Refusal> {
        self.instance_of(caller, place)?;
        let (apps, tasks) = self.selection(&call.request.body)?;
        let result = self.try_export(caller, place, &apps, &tasks, call.now_ms);
        let refused = result.as_ref().err().map(|refusal| refusal.code.spelt(&self.knobs));
        let by_lock = result.as_ref().is_err_and(|refusal| *refusal == another_job_runs());
        let record = ExportRecord {
            at_ms: call.now_ms,
            user: caller.user.clone(),
            instance_id: place.instance_id.clone(),
            apps,
            tasks,
            job_id: result.as_ref().ok().cloned(),
            refused,
        };
        self.ledger.export(record, by_lock);
        let job_id = result?;
        let mut reply = Reply::json(200, &JobAccepted { job_id: job_id.clone() });
        reply.started_job = Some(job_id);
        Ok(reply)
    }

    /// The ids that the body asks for.
    fn selection(&self, body: &[u8]) -> Result<(Vec<String>, Vec<String>), Refusal> {
        let bad = |message: &str| Refusal::roma(400, 13000, message);
        if body.is_empty() {
            return Err(Refusal::roma(400, 13001, "The request body is missing."));
        }
        let parsed: AssetSelection =
            serde_json::from_slice(body).map_err(|_| bad("The request body is invalid."))?;
        let is_empty = |list: &Option<Vec<_>>| {
            list.as_ref().is_some_and(|list: &Vec<crate::wire::IdRef>| list.is_empty())
        };
        let some_empty = is_empty(&parsed.apps) || is_empty(&parsed.tasks);
        if some_empty && self.knobs.empty_lists != EmptyLists::Accept {
            return Err(bad("A list is empty."));
        }
        let optional = self.knobs.empty_lists == EmptyLists::Omit;
        let (Some(apps), Some(tasks)) = (
            parsed.apps.or_else(|| optional.then(Vec::new)),
            parsed.tasks.or_else(|| optional.then(Vec::new)),
        ) else {
            return Err(bad("Both apps and tasks are mandatory."));
        };
        let count = apps.len() + tasks.len();
        if count == 0 {
            return Err(bad("Nothing to export."));
        }
        if count > self.knobs.max_export_ids {
            return Err(bad("Too many applications and tasks."));
        }
        let ids = |list: Vec<crate::wire::IdRef>| list.into_iter().map(|item| item.id).collect();
        Ok((ids(apps), ids(tasks)))
    }

    fn try_export(
        &mut self,
        caller: &Caller,
        place: &Place,
        apps: &[String],
        tasks: &[String],
        now_ms: i64,
    ) -> Result<String, Refusal> {
        self.ask_for_lock(&caller.user, &place.instance_id, now_ms)?;
        let reasons = self.unknown_assets(&place.instance_id, apps, tasks);
        let outcome = if reasons.is_empty() || self.knobs.unknown_ids == UnknownIds::Skip {
            let spec = self.knobs.default_content.clone();
            let chosen = Some((apps, tasks));
            Outcome::Package(self.export_content(&place.instance_id, &spec, chosen))
        } else if self.knobs.unknown_ids == UnknownIds::Refuse {
            return Err(Refusal::roma(400, 13000, "Unknown application or task."));
        } else {
            Outcome::Failure(reasons)
        };
        let order = Order {
            kind: JobKind::Export,
            user: caller.user.clone(),
            place: place.clone(),
            outcome,
        };
        Ok(self.start_job(order, now_ms))
    }

    /// Refused while another job runs. That counts as a poll of the other one, so that a job
    /// whose id was lost ends too when jobs end by polls.
    pub(super) fn ask_for_lock(
        &mut self,
        user: &str,
        instance_id: &str,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let scope = self.knobs.lock_scope;
        let blocks = |job: &Job| {
            job.user == user
                && (scope == LockScope::PerUser || job.place.instance_id == instance_id)
        };
        let mut running = self.running.iter();
        let blocking = running.find(|id| self.jobs.get(*id).is_some_and(blocks)).cloned();
        let Some(blocking) = blocking else {
            return Ok(());
        };
        if let Some(job) = self.jobs.get_mut(&blocking) {
            job.note_seen(now_ms);
        }
        Err(another_job_runs())
    }

    fn unknown_assets(
        &self,
        instance_id: &str,
        apps: &[String],
        tasks: &[String],
    ) -> Vec<JobReason> {
        let missing = |wanted: &[String], known: Vec<String>, kind: &str| -> Vec<JobReason> {
            let unknown = wanted.iter().filter(|id| !known.contains(id));
            unknown
                .map(|id| JobReason {
                    resource_type: Some(kind.to_owned()),
                    resource_name: Some(id.clone()),
                    error_code: Some("ROMA.00000101".to_owned()),
                    error_msg: Some(format!("The {kind} does not exist.")),
                })
                .collect()
        };
        let mut reasons = missing(apps, self.app_ids(instance_id), "application");
        reasons.extend(missing(tasks, self.task_ids(instance_id), "task"));
        // The vendor's schema allows ten.
        reasons.truncate(10);
        reasons
    }

    /// The content of an export of these ids, or of all.
    pub(super) fn export_content(
        &mut self,
        instance_id: &str,
        spec: &ContentSpec,
        chosen: Option<(&[String], &[String])>,
    ) -> Arc<Content> {
        let number = self.next_number();
        let content_seed = hash(self.seed, "content", number);
        let mut scope = AssetScope { seed: self.seed, ..AssetScope::default() };
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.exports += 1;
            let pick = |all: &[Item], wanted: Option<&[String]>| -> Vec<Item> {
                let fits = |item: &&Item| wanted.is_none_or(|ids| ids.contains(&item.id));
                all.iter().filter(fits).cloned().collect()
            };
            scope.export_number = instance.exports;
            instance.id.clone_into(&mut scope.instance_id);
            instance.name.clone_into(&mut scope.instance_name);
            scope.apps = pick(&instance.apps, chosen.map(|(apps, _)| apps));
            scope.tasks = pick(&instance.tasks, chosen.map(|(_, tasks)| tasks));
        }
        Arc::new(Content::new(spec, content_seed, scope))
    }
}

fn another_job_runs() -> Refusal {
    Refusal::roma(400, 10012, "An asset management task is running.")
}
