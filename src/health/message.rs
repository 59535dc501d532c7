//! What the webhook is told: one message for each loss, each damaged file, and each objective that
//! is missed or met again.

use serde::Serialize;

use super::counters::Occurrence;
use crate::model::Timestamp;

/// Of the form that `docs/monitoring.md` describes; it changes only with this number.
const SCHEMA_VERSION: u32 = 1;

/// The body of one POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the fields are named as the receiver sees them")]
pub struct Message {
    schema_version: u32,
    /// The number of the event, by which a receiver tells a message that comes twice.
    seq: i64,
    /// `loss`, `damage`, `objective_missed`, `objective_met` or `summary`.
    event: &'static str,
    /// When it happened.
    at: String,
    instance: Option<String>,
    export: Option<String>,
    archive_id: Option<i64>,
    snapshot_id: Option<i64>,
    /// Why, as the catalog has it.
    message: String,
    /// All of it in one line, which chats show.
    text: String,
}

impl Message {
    /// The number of the event, the last one of those that are summed up.
    pub const fn seq(&self) -> i64 {
        self.seq
    }

    /// What happened to one archive or export; `None` for events that nobody is told of.
    fn of(event: &Occurrence) -> Option<Self> {
        let (word, what) = if event.becomes("lost") {
            ("loss", "loss")
        } else if event.becomes("damaged") {
            ("damage", "damage")
        } else if event.event == "objective_missed" {
            ("objective_missed", "objective missed")
        } else if event.event == "objective_met" {
            ("objective_met", "objective met again")
        } else {
            return None;
        };
        let named = |key: &str| event.text(key).map(ToOwned::to_owned);
        let (instance, export) = match &event.of {
            Some((instance, export)) => (Some(instance.to_string()), Some(export.to_string())),
            None => (named("/instance"), named("/export")),
        };
        let message = event.text("/message").or_else(|| event.text("/failure/message"));
        let message = message.unwrap_or(what).to_owned();
        let archive = event.archive.map_or(String::new(), |id| format!(" of {id}"));
        let whose = match (&instance, &export) {
            (Some(instance), Some(export)) => format!(", {export} of {instance}"),
            _ => String::new(),
        };
        Some(Self {
            schema_version: SCHEMA_VERSION,
            seq: event.seq,
            event: word,
            at: event.at.to_string(),
            instance,
            export,
            archive_id: event.archive.map(|id| id.0),
            snapshot_id: event.snapshot.map(|id| id.0),
            text: format!("roma-archived: {what}{archive}{whose}: {message}"),
            message,
        })
    }

    /// Many at once, or such as are old.
    fn summary(all: &[Self], now: Timestamp) -> Option<Self> {
        let (first, last) = (all.first()?, all.last()?);
        let count = |word: &str| all.iter().filter(|message| message.event == word).count();
        let message = format!(
            "{} losses, {} damaged files, {} objectives missed and {} met again from {} to {}; \
             `roma-archived status` and the view `events` have the details",
            count("loss"),
            count("damage"),
            count("objective_missed"),
            count("objective_met"),
            first.at,
            last.at,
        );
        Some(Self {
            schema_version: SCHEMA_VERSION,
            seq: last.seq,
            event: "summary",
            at: now.to_string(),
            instance: None,
            export: None,
            archive_id: None,
            snapshot_id: None,
            text: format!("roma-archived: {message}"),
            message,
        })
    }
}

/// So many messages are sent one by one; more are summed up.
const MOST: usize = 20;
/// What is older is summed up.
const OLDEST: std::time::Duration = std::time::Duration::from_hours(24);

/// What is to be sent for these events, in their order. Those that could not be delivered for long,
/// and a flood, become one message.
pub fn messages(events: &[Occurrence], now: Timestamp) -> Vec<Message> {
    let all: Vec<(Timestamp, Message)> =
        events.iter().filter_map(|event| Some((event.at, Message::of(event)?))).collect();
    let old = all.iter().take_while(|(at, _)| now.since(*at) > OLDEST).count();
    let old = if all.len() - old > MOST { all.len() } else { old };
    let mut all: Vec<Message> = all.into_iter().map(|(_, message)| message).collect();
    let rest = all.split_off(old);
    let old = match all.len() {
        0 | 1 => all,
        _ => Message::summary(&all, now).into_iter().collect(),
    };
    old.into_iter().chain(rest).collect()
}
