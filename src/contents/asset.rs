//! Which assets a JSON document holds: applications, APIs and tasks.
//!
//! How ROMA lays out a package is published nowhere (contract 3), so this is a reading of what any
//! such layout has to have, and everything that it does not recognise stays where it was, to be
//! looked at as plain JSON. Assumed is only this:
//! - an asset is an object that has an id or a name of its own;
//! - it stands in a list, or as the only one, under a name such as `apps`, `api_list` or
//!   `fdiTasks`; or its `type` says what it is; or its file or folder does (`apps/7.json`); or it
//!   is a whole document with an id such as `task_id`;
//! - an application may hold APIs and tasks, and nothing else holds any.
//!
//! Nothing is lost: what is taken out of a document and what is left of it are together the
//! document, but for the order of the assets in their lists.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::secret::{is_secret, words};

/// What an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An integration application, which holds the others.
    Application,
    /// An API.
    Api,
    /// A data integration task.
    Task,
}

impl Kind {
    /// In the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::Application, Self::Api, Self::Task];

    /// One of them.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Api => "API",
            Self::Task => "task",
        }
    }

    /// Several of them.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Application => "applications",
            Self::Api => "APIs",
            Self::Task => "tasks",
        }
    }

    /// By what it is called in a name, a list's name or a `type`.
    pub(super) fn called(name: &str) -> Option<Self> {
        // `api_list`, `appInfos`: what is said of them all.
        const OF_LISTS: [&str; 7] = ["list", "lists", "info", "infos", "item", "items", "assets"];
        let mut words = words(name);
        while words.len() > 1 && words.last().is_some_and(|w| OF_LISTS.contains(&w.as_str())) {
            words.pop();
        }
        match words.concat().as_str() {
            "app"
            | "apps"
            | "application"
            | "applications"
            | "integrationapp"
            | "integrationapps"
            | "integrationapplication"
            | "integrationapplications" => Some(Self::Application),
            "api" | "apis" => Some(Self::Api),
            "task"
            | "tasks"
            | "fditask"
            | "fditasks"
            | "compositetask"
            | "compositetasks"
            | "dataintegrationtask"
            | "dataintegrationtasks" => Some(Self::Task),
            _ => None,
        }
    }

    /// Names of the fields that may hold its id, the likeliest first.
    pub(super) const fn id_fields(self) -> [&'static str; 3] {
        match self {
            Self::Application => ["id", "appid", "applicationid"],
            Self::Api => ["id", "apiid", "uuid"],
            Self::Task => ["id", "taskid", "uuid"],
        }
    }

    const fn name_fields(self) -> [&'static str; 3] {
        match self {
            Self::Application => ["name", "appname", "applicationname"],
            Self::Api => ["name", "apiname", "title"],
            Self::Task => ["name", "taskname", "title"],
        }
    }

    const fn may_hold(self, other: Self) -> bool {
        matches!((self, other), (Self::Application, Self::Api | Self::Task))
    }
}

/// By what an asset is known again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Its id.
    Id(String),
    /// Its name, where it has no id, and that of the application around it.
    Name(Option<String>, String),
}

/// Who an asset is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// What it is.
    pub kind: Kind,
    /// By what it is known again.
    pub identity: Identity,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Name, or else id, of the application that holds it.
    pub of: Option<String>,
}

/// One place in a package where an asset stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// Whose place.
    pub asset: Asset,
    /// Which place: the entry, and the lists that lead there. Positions do not count.
    pub place: String,
    /// The application that it stands in.
    pub holder: Option<Identity>,
    /// What stands there, without the assets in it.
    pub body: Value,
}

/// The name of a place, without what would make a hundred thousand places of a megabyte each.
fn place_name(name: String) -> String {
    const LONGEST: usize = 400;
    if name.len() <= LONGEST {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let digest = digest.iter().take(8).fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
    let start: String = name.chars().take(LONGEST / 4).collect();
    format!("{start}…{digest:016x}")
}

/// A document in its pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pieces {
    /// The assets in it.
    pub assets: Vec<Occurrence>,
    /// What is left; nothing, if all of it is an asset.
    pub rest: Option<Value>,
}

/// Takes the assets out of the document that an entry of this name is.
pub fn take_apart(entry: &str, mut document: Value) -> Pieces {
    let mut pieces = Pieces::default();
    if let Some(asset) = asset_of_document(entry, &document) {
        pieces.take(asset, None, place_name(entry.to_owned()), document);
        return pieces;
    }
    let hint = hint_of_path(entry).filter(|_| document.is_array());
    pieces.search(&mut document, hint, None, &place_name(entry.to_owned()));
    pieces.rest = Some(document);
    pieces
}

/// The asset that the whole document is.
fn asset_of_document(entry: &str, document: &Value) -> Option<Asset> {
    let fields = document.as_object()?;
    let by_own_id = || {
        let has = |kind: Kind| kind.id_fields().iter().skip(1).any(|f| field(fields, f).is_some());
        // An API names its application too, so that comes last.
        [Kind::Task, Kind::Api].into_iter().find(|kind| has(*kind))
    };
    let kind = typed(fields).or_else(|| hint_of_path(entry)).or_else(by_own_id)?;
    // `apps.json` with a list of them is no application.
    let is_list = fields.iter().any(|(name, value)| {
        value.is_array() && Kind::called(name).is_some_and(|held| !kind.may_hold(held))
    });
    if is_list { None } else { asset(kind, fields, None) }
}

/// What the folder or the file says: `apps/7.json`, `task-7.json`, `apis.json`.
fn hint_of_path(entry: &str) -> Option<Kind> {
    let mut path = entry.rsplit(['/', '\\']);
    let file = path.next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let first = words(stem).into_iter().next();
    Kind::called(stem).or_else(|| Kind::called(path.next()?)).or_else(|| Kind::called(&first?))
}

/// What its `type` says.
fn typed(fields: &Map<String, Value>) -> Option<Kind> {
    ["type", "resourcetype", "assettype", "kind"]
        .into_iter()
        .find_map(|name| Kind::called(field(fields, name)?.as_str()?))
}

/// A field, however its name is written.
fn field<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).or_else(|| {
        fields.iter().find(|(other, _)| words(other).concat() == name).map(|(_, value)| value)
    })
}

/// A text or a whole number: what an id or a name can be.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn asset(kind: Kind, fields: &Map<String, Value>, holder: Option<&Asset>) -> Option<Asset> {
    let first = |names: [&str; 3]| names.into_iter().find_map(|n| scalar(field(fields, n)?));
    let (id, name) = (first(kind.id_fields()), first(kind.name_fields()));
    let of = holder.and_then(|holder| holder.name.clone().or_else(|| holder.id.clone()));
    let identity = match (&id, &name) {
        (Some(id), _) => Identity::Id(id.clone()),
        (None, Some(name)) => Identity::Name(of.clone(), name.clone()),
        (None, None) => return None,
    };
    Some(Asset { kind, identity, id, name, of })
}

impl Pieces {
    /// Puts an asset aside, and before it those that it holds.
    fn take(&mut self, asset: Asset, holder: Option<&Asset>, place: String, mut body: Value) {
        self.search(&mut body, None, Some(&asset), &place);
        let holder = holder.map(|holder| holder.identity.clone());
        self.assets.push(Occurrence { asset, place, holder, body });
    }

    /// Takes the assets out of a value. `hint` is what its elements are, `holder` the asset that
    /// the value is a part of.
    fn search(&mut self, value: &mut Value, hint: Option<Kind>, holder: Option<&Asset>, at: &str) {
        match value {
            Value::Array(elements) => {
                let place = format!("{at}[]");
                for mut element in std::mem::take(elements) {
                    let found = element.as_object().and_then(|fields| {
                        // Inside an asset a `type` may as well be that of a reference.
                        let kind = hint.or_else(|| typed(fields).filter(|_| holder.is_none()))?;
                        asset(kind, fields, holder)
                    });
                    if let Some(asset) = found {
                        self.take(asset, holder, place.clone(), element);
                    } else {
                        self.search(&mut element, None, holder, &place);
                        elements.push(element);
                    }
                }
            }
            Value::Object(fields) => {
                let names: Vec<String> =
                    fields.keys().filter(|name| !is_secret(name)).cloned().collect();
                for name in names {
                    self.search_field(fields, &name, holder, at);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn search_field(
        &mut self,
        fields: &mut Map<String, Value>,
        name: &str,
        holder: Option<&Asset>,
        at: &str,
    ) {
        let Some(value) = fields.get_mut(name) else { return };
        let place = place_name(format!("{at} {name}"));
        let may = |kind: &Kind| holder.is_none_or(|holder| holder.kind.may_hold(*kind));
        let hint = Kind::called(name).filter(may);
        let only = value.as_object().and_then(|object| asset(hint?, object, holder));
        match (only, hint) {
            (Some(asset), _) => {
                let body = value.take();
                self.take(asset, holder, place, body);
            }
            (None, Some(kind)) if value.is_object() => self.search_map(value, kind, holder, &place),
            _ => self.search(value, hint, holder, &place),
        }
    }

    /// Assets in an object, each under its id or its name: `{"7": {"name": "crm"}}`.
    fn search_map(&mut self, value: &mut Value, kind: Kind, holder: Option<&Asset>, at: &str) {
        let Value::Object(fields) = value else { return };
        let is_map = fields.values().all(|value| {
            value.as_object().is_some_and(|object| asset(kind, object, holder).is_some())
        });
        if !is_map {
            return self.search(value, None, holder, at);
        }
        for (name, body) in std::mem::take(fields) {
            if let Some(asset) = body.as_object().and_then(|o| asset(kind, o, holder)) {
                self.take(asset, holder, place_name(format!("{at} {name}")), body);
            }
        }
    }
}

#[cfg(test)]
#[path = "asset_tests.rs"]
pub(super) mod tests;
