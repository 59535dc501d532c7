//! One event on its way into the catalog and, once committed, into the log: the log says what the
//! `events` view says, once, where it became true.

use serde_json::Value;

use crate::lifecycle::{Archive, Event, Notice, SnapshotEvent, SnapshotState, StateWord};
use crate::model::{ArchiveId, SnapshotId, Timestamp};

/// A row of `internal_event`.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) archive: Option<ArchiveId>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) event: String,
    pub(super) from_state: Option<&'static str>,
    pub(super) to_state: Option<&'static str>,
    pub(super) detail: Value,
    export: Option<String>,
    job: Option<String>,
}

impl Line {
    pub(super) fn of_archive(
        archive: &Archive,
        from: Option<StateWord>,
        event: &Event,
        at: Timestamp,
    ) -> Self {
        Self {
            from_state: from.map(StateWord::as_str),
            job: archive.state.job().map(ToString::to_string),
            ..Self::about(archive, event.word(), detail(event), at)
        }
    }

    pub(super) fn opened(archive: &Archive, detail: Value, at: Timestamp) -> Self {
        Self::about(archive, "archive_opened", detail, at)
    }

    fn about(archive: &Archive, event: &str, detail: Value, at: Timestamp) -> Self {
        Self {
            at,
            archive: Some(archive.id),
            snapshot: Some(archive.snapshot),
            event: event.to_owned(),
            from_state: None,
            to_state: Some(archive.state.word().as_str()),
            detail,
            export: Some(archive.export.to_string()),
            job: None,
        }
    }

    pub(super) fn of_snapshot(
        snapshot: SnapshotId,
        export: &impl ToString,
        event: &SnapshotEvent,
        (from, to): (Option<SnapshotState>, Option<SnapshotState>),
        at: Timestamp,
    ) -> Self {
        Self {
            at,
            archive: None,
            snapshot: Some(snapshot),
            event: event.word().to_owned(),
            from_state: from.map(SnapshotState::as_str),
            to_state: to.or(from).map(SnapshotState::as_str),
            detail: detail(event),
            export: Some(export.to_string()),
            job: None,
        }
    }

    /// The state followed from the parts.
    pub(super) fn snapshot_changed(
        snapshot: SnapshotId,
        export: &impl ToString,
        (from, to): (SnapshotState, SnapshotState),
        at: Timestamp,
    ) -> Self {
        Self {
            at,
            archive: None,
            snapshot: Some(snapshot),
            event: format!("snapshot_{to}"),
            from_state: Some(from.as_str()),
            to_state: Some(to.as_str()),
            detail: Value::Object(serde_json::Map::new()),
            export: Some(export.to_string()),
            job: None,
        }
    }

    /// It concerns the daemon as a whole, or an export at large.
    pub(super) fn of_daemon(notice: &Notice, at: Timestamp) -> Self {
        let detail = detail(notice);
        let export = detail.get("export").and_then(Value::as_str).map(ToOwned::to_owned);
        Self {
            at,
            archive: None,
            snapshot: None,
            event: notice.word().to_owned(),
            from_state: None,
            to_state: None,
            detail,
            export,
            job: None,
        }
    }

    /// Whether this is how an export fails: what its `last_failure_at` counts.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.to_state, Some("failed" | "lost" | "damaged"))
            && self.from_state != self.to_state
    }

    /// What a person reads where the fields are not shown: who, what, and why it went wrong.
    fn sentence(&self) -> String {
        let event = self.event.replace('_', " ");
        let instance = self.detail.get("instance").and_then(Value::as_str);
        let account = self.detail.get("account").and_then(Value::as_str);
        let path = self.detail.get("path").and_then(Value::as_str);
        let what = match (self.archive, self.snapshot, instance.or(account).or(path)) {
            (Some(archive), ..) => format!("{archive} {event}"),
            (None, Some(snapshot), _) => format!("{snapshot} {event}"),
            (None, None, Some(instance)) => match &self.export {
                Some(export) => format!("{export} of {instance}: {event}"),
                None => format!("{instance}: {event}"),
            },
            (None, None, None) => event,
        };
        let why = ["/failure/message", "/message", "/reasons", "/deletion/reason", "/reason"]
            .iter()
            .find_map(|place| self.detail.pointer(place)?.as_str());
        match why {
            Some(why) => format!("{what}: {why}"),
            None => what,
        }
    }

    /// Writes the line to the log. Called only after the commit.
    pub(super) fn log(&self) {
        let archive = self.archive.map(|id| id.to_string());
        let archive = archive.as_deref();
        let snapshot = self.snapshot.map(|id| id.to_string());
        let detail = match &self.detail {
            Value::Object(fields) if fields.is_empty() => None,
            detail => Some(detail.to_string()),
        };
        let detail = detail.as_deref();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    archive.id = archive,
                    snapshot.id = snapshot.as_deref(),
                    export.name = self.export.as_deref(),
                    job.id = self.job.as_deref(),
                    event = %self.event,
                    state = self.to_state,
                    detail,
                    "{}",
                    self.sentence()
                )
            };
        }
        if self.is_failure() || self.event == "planning_failed" || self.event == "objective_missed"
        {
            line!(error);
        } else if self.event.ends_with("_postponed")
            || self.event == "download_interrupted"
            || self.event == "snapshot_incomplete"
            || self.event == "coverage_reduced"
            || self.event == "scope_vanished"
            || self.event == "instance_paused"
            || self.event == "account_paused"
            || self.event == "clock_doubted"
            || self.event == "space_short"
            || self.event == "file_quarantined"
        {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

/// An event's fields, without its word, which has a column of its own.
fn detail(event: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("event");
    } else {
        value = Value::Object(serde_json::Map::new());
    }
    value
}
