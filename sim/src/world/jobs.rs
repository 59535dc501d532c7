//! Asset jobs: how one starts, runs, ends and is told about. One at a time per user.

use std::sync::Arc;

use serde_json::{Value, json};

use super::serve::Call;
use super::users::Caller;
use super::{CreatedJob, InstanceSpec, JobSpec, JobState, World};
use crate::calendar::iso_seconds;
use crate::content::Content;
use crate::defaults;
use crate::fault::Fault;
use crate::knobs::{ArchiveIdPlace, ReasonForm, ReasonKey, SpentJob, TimeForm, Vintage};
use crate::ledger::JobInterval;
use crate::prng::hex_id;
use crate::reply::{Refusal, Reply};
use crate::route::Place;
use crate::wire::{AssetJob, Entities, JobReason};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    Export,
    Import,
}

impl JobKind {
    fn word(self) -> &'static str {
        match self {
            JobKind::Export => "exportAsset",
            JobKind::Import => "importAsset",
        }
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Running,
    /// With the index of the package, if it has one.
    Succeeded(Option<usize>),
    Failed(Vec<JobReason>),
}

/// What a job will come to when its time is up.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Package(Arc<Content>),
    Nothing,
    Failure(Vec<JobReason>),
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    id: String,
    kind: JobKind,
    pub(super) user: String,
    pub(super) place: Place,
    started_ms: i64,
    /// It runs at least until then.
    ends_ms: i64,
    /// It is found running at least so often.
    polls_left: u32,
    /// When it was last found running.
    seen_ms: i64,
    /// When it really ended.
    ended_ms: i64,
    outcome: Outcome,
    phase: Phase,
    pub(super) stuck: bool,
    lost: bool,
    /// The id its package has or will have.
    package_id: String,
    /// The id it tells, which a fault may have made another's.
    offered_id: String,
}

impl Job {
    /// It was found running, or not, by someone who can tell.
    pub(super) fn note_seen(&mut self, now_ms: i64) {
        self.polls_left = self.polls_left.saturating_sub(1);
        self.seen_ms = now_ms;
    }
}

/// What a job looks like from outside.
enum Look {
    Running,
    Success { id: bool },
    Finished,
    Failed(Vec<JobReason>),
}

/// Who wants a job, and where.
pub(super) struct Order {
    pub(super) kind: JobKind,
    pub(super) user: String,
    pub(super) place: Place,
    pub(super) outcome: Outcome,
}

fn unknown_job() -> Refusal {
    Refusal::roma(404, 101, "The job does not exist.")
}

impl World {
    /// Creates a job as someone else would in the console. It does not ask for the lock of one
    /// job per user, but holds it while it runs. An unknown instance is created, empty.
    pub fn create_job(&mut self, instance_id: &str, spec: JobSpec, now_ms: i64) -> CreatedJob {
        self.settle(now_ms);
        if !self.instances.contains_key(instance_id) {
            self.add_instance(InstanceSpec {
                project_id: defaults::PROJECT_ID.to_owned(),
                instance_id: instance_id.to_owned(),
                name: instance_id.to_owned(),
                apps: 0,
                tasks: 0,
            });
        }
        let project_id = self
            .instances
            .get(instance_id)
            .map(|instance| instance.project_id.clone())
            .unwrap_or_default();
        let content = self.export_content(instance_id, &spec.content, None);
        let order = Order {
            kind: JobKind::Export,
            user: spec.user.unwrap_or_else(|| defaults::USER.to_owned()),
            place: Place { project_id, instance_id: instance_id.to_owned() },
            outcome: match spec.state {
                JobState::Failed => Outcome::Failure(vec![sample_reason()]),
                JobState::Running | JobState::Ready | JobState::Finished => {
                    Outcome::Package(content)
                }
            },
        };
        let job_id = self.start_job(order, now_ms);
        if spec.state == JobState::Running {
            return CreatedJob { job_id, package_id: None };
        }
        self.end_job(&job_id, now_ms);
        let package = self.jobs.get(&job_id).and_then(|job| match job.phase {
            Phase::Succeeded(package) => package.map(|index| (index, job.package_id.clone())),
            Phase::Running | Phase::Failed(_) => None,
        });
        if let (JobState::Finished, Some((index, _))) = (spec.state, &package) {
            self.consume(*index, now_ms);
        }
        CreatedJob { job_id, package_id: package.map(|(_, id)| id) }
    }

    pub(super) fn start_job(&mut self, order: Order, now_ms: i64) -> String {
        let number = self.next_number();
        let id = hex_id(self.seed, "job", number);
        let package_id = hex_id(self.seed, "package", number);
        self.ledger.job_started(JobInterval {
            user: order.user.clone(),
            instance_id: order.place.instance_id.clone(),
            job_id: id.clone(),
            kind: order.kind.word().to_owned(),
            started_ms: now_ms,
            ended_ms: None,
        });
        let job = Job {
            id: id.clone(),
            kind: order.kind,
            user: order.user,
            place: order.place,
            started_ms: now_ms,
            ends_ms: now_ms.saturating_add(self.knobs.job_duration_ms),
            polls_left: self.knobs.polls_until_done,
            seen_ms: now_ms,
            ended_ms: now_ms,
            outcome: order.outcome,
            phase: Phase::Running,
            stuck: false,
            lost: false,
            offered_id: package_id.clone(),
            package_id,
        };
        self.jobs.insert(id.clone(), job);
        self.running.push(id.clone());
        id
    }

    /// Ends every job whose time is up.
    pub(super) fn settle(&mut self, now_ms: i64) {
        let due: Vec<(String, i64)> = self
            .running
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .filter(|job| !job.stuck && job.polls_left == 0 && job.ends_ms <= now_ms)
            .map(|job| (job.id.clone(), job.ends_ms.max(job.seen_ms)))
            .collect();
        for (id, ended_ms) in due {
            self.end_job(&id, ended_ms);
        }
    }

    /// The job comes to its outcome now, unless it has before.
    pub(super) fn end_job(&mut self, job_id: &str, ended_ms: i64) {
        self.running.retain(|id| id != job_id);
        self.ledger.job_ended(job_id, ended_ms);
        let Some(job) = self.jobs.get_mut(job_id) else {
            return;
        };
        if !matches!(job.phase, Phase::Running) {
            return;
        }
        job.ended_ms = ended_ms;
        job.stuck = false;
        let job = job.clone();
        let phase = match job.outcome {
            Outcome::Failure(reasons) => Phase::Failed(reasons),
            Outcome::Nothing => Phase::Succeeded(None),
            Outcome::Package(content) => {
                let index = self.add_package(
                    &job.id,
                    &job.package_id,
                    &job.user,
                    &job.place,
                    content,
                    ended_ms,
                );
                Phase::Succeeded(Some(index))
            }
        };
        if let Some(job) = self.jobs.get_mut(job_id) {
            job.phase = phase;
        }
    }

    /// Lets a fault change the job for good. Comes before the answer is made.
    pub(super) fn bend_job(&mut self, job_id: &str, fault: &Fault, now_ms: i64) {
        let Some(job) = self.jobs.get_mut(job_id) else {
            return;
        };
        match fault {
            Fault::StuckRunning => job.stuck = true,
            Fault::SamePackageIdAsOtherJob { package_id } => {
                package_id.clone_into(&mut job.offered_id);
            }
            Fault::LoseJob => {
                job.lost = true;
                self.running.retain(|id| id != job_id);
                self.ledger.job_ended(job_id, now_ms);
            }
            Fault::FailedWithReasons { reasons } => {
                job.phase = Phase::Failed(reasons.clone());
                job.ended_ms = now_ms;
                self.end_job(job_id, now_ms);
            }
            Fault::OddPackageId { id } => {
                id.clone_into(&mut job.package_id);
                id.clone_into(&mut job.offered_id);
                if let Phase::Succeeded(Some(index)) = job.phase {
                    self.ledger.rename_package(index, id);
                }
            }
            _ => {}
        }
    }

    pub(super) fn job_answer(
        &mut self,
        call: &Call<'_>,
        caller: &Caller,
        place: &Place,
        job_id: &str,
    ) -> Result<Reply, Refusal> {
        self.instance_of(caller, place)?;
        let job = self.jobs.get(job_id);
        let job = job.filter(|job| !job.lost && job.place == *place).ok_or_else(unknown_job)?;
        let look = self.look(job, call.now_ms).ok_or_else(unknown_job)?;
        let answer = self.describe(job, look, call.now_ms);
        if let Some(job) = self.jobs.get_mut(job_id) {
            job.note_seen(call.now_ms);
        }
        Ok(Reply::json(200, &answer))
    }

    /// None: as if there had never been such a job.
    fn look(&self, job: &Job, now_ms: i64) -> Option<Look> {
        if job.stuck {
            return Some(Look::Running);
        }
        let package = match &job.phase {
            Phase::Running => return Some(Look::Running),
            Phase::Failed(reasons) => return Some(Look::Failed(reasons.clone())),
            Phase::Succeeded(None) => return Some(Look::Success { id: false }),
            Phase::Succeeded(Some(index)) => self.packages.get(*index)?,
        };
        let spent = if package.is_consumed() {
            self.knobs.consumed_job()
        } else if package.is_gone(&self.knobs, now_ms) {
            self.knobs.expired_job()
        } else {
            SpentJob::KeepsId
        };
        match spent {
            SpentJob::KeepsId => Some(Look::Success { id: true }),
            SpentJob::SuccessWithoutId => Some(Look::Success { id: false }),
            SpentJob::FinishedWithoutId => Some(Look::Finished),
            SpentJob::Failed => Some(Look::Failed(vec![sample_reason()])),
            SpentJob::NotFound => None,
        }
    }

    fn describe(&self, job: &Job, look: Look, now_ms: i64) -> AssetJob {
        let knobs = &self.knobs;
        let running = matches!(look, Look::Running);
        let shows_id = match look {
            Look::Success { id } => id,
            Look::Running => knobs.id_while_running && job.kind == JobKind::Export,
            Look::Finished | Look::Failed(_) => false,
        };
        let id = shows_id.then(|| job.offered_id.clone());
        let mut answer = AssetJob {
            id: job.id.clone(),
            kind: Some(job.kind.word().to_owned()),
            status: word(knobs.vintage, &look).to_owned(),
            progress_percent: Some(self.progress(job, &look, now_ms)),
            begin_time: Some(self.time(job.started_ms)),
            end_time: (!running).then(|| self.time(job.ended_ms)),
            ..AssetJob::default()
        };
        if knobs.archive_id_place != ArchiveIdPlace::Top && id.is_some() {
            answer.entities = Some(Entities { archive_id: id.clone() });
        }
        if knobs.archive_id_place != ArchiveIdPlace::Entities {
            answer.archive_id = id;
        }
        if let Look::Failed(reasons) = look {
            let list = match knobs.reason_form {
                ReasonForm::Array => json!(reasons),
                ReasonForm::Object => json!(reasons.first()),
                ReasonForm::Null => Value::Null,
            };
            match knobs.reason_key() {
                ReasonKey::Reason => answer.reason = Some(list),
                ReasonKey::Reasons => answer.reasons = Some(list),
            }
        }
        answer
    }

    fn time(&self, at_ms: i64) -> Value {
        match self.knobs.time_form() {
            TimeForm::Text => json!(iso_seconds(at_ms)),
            TimeForm::Milliseconds => json!(at_ms),
            TimeForm::Seconds => json!(at_ms.div_euclid(1_000)),
        }
    }

    fn progress(&self, job: &Job, look: &Look, now_ms: i64) -> Value {
        let scale = self.knobs.progress_scale;
        if !matches!(look, Look::Running) {
            return json!(scale);
        }
        let small = |value: i64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        let whole = small(job.ends_ms - job.started_ms).max(1.0);
        let done = (small((now_ms - job.started_ms).max(0)) / whole).min(0.99);
        json!((done * 100.0).round() / 100.0 * f64::from(scale))
    }
}

fn sample_reason() -> JobReason {
    JobReason {
        resource_type: Some("application".to_owned()),
        resource_name: Some("app-000".to_owned()),
        error_code: Some("ROMA.00000101".to_owned()),
        error_msg: Some("could not read the application".to_owned()),
    }
}

fn word(vintage: Vintage, look: &Look) -> &'static str {
    let new = vintage == Vintage::V2025;
    match look {
        Look::Running if new => "RUNNING",
        Look::Running => "Running",
        Look::Success { .. } if new => "SUCCEEDED",
        Look::Success { .. } => "Success",
        Look::Finished if new => "FINISHED",
        Look::Finished => "Finished",
        Look::Failed(_) if new => "FAILED",
        Look::Failed(_) => "Failed",
    }
}
