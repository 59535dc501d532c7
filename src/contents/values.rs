//! How two values differ, place by place.
//!
//! Elements of arrays are matched by an id, else by a name, else by their position. Every
//! difference is in the answer: what every export makes anew outside of assets (`export_time` and
//! the like), and another order of lists that are sets, is marked, and whoever asks decides whether
//! to see it. Inside an asset order counts: steps are done one after the other.
//! Secrets are compared and never shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::asset::{Kind, scalar};
use super::secret::{Shown, is_behind_option, is_hidden_field, is_hidden_of_asset, scrub, words};

/// By what elements of an array are known again, the likeliest first.
const ELEMENT_IDS: [&str; 5] = ["id", "uuid", "api_id", "task_id", "app_id"];
const ELEMENT_NAMES: [&str; 6] = ["name", "key", "api_name", "task_name", "app_name", "title"];
/// Names of what every export makes anew outside of assets, written together. In an asset they mean
/// something else: the `export_time` of its schedule.
const ANEW: [&str; 18] = [
    "exporttime",
    "exportedat",
    "exportdate",
    "exporttimestamp",
    "exportid",
    "exportjobid",
    "exportnumber",
    "exportbegintime",
    "exportendtime",
    "export",
    "jobid",
    "archiveid",
    "requestid",
    "traceid",
    "generatedat",
    "generatetime",
    "packagetime",
    "timestamp",
];
/// Names of lists outside of assets whose order says nothing, besides those of assets. Everywhere
/// else it may be the order in which something is done.
const SETS: [&str; 8] =
    ["files", "entries", "resources", "dependencies", "users", "roles", "members", "tags"];
/// A longer part of a path is shown in part, ...
const LONG_NAME: usize = 160;
/// ... and so is a longer path.
const LONG_PATH: usize = 600;
/// Texts that are JSON themselves are looked into so deep.
const MAX_NESTING: u32 = 4;

/// Why a difference may as well be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aside {
    /// Every export makes it anew.
    Anew,
    /// The same elements in another order.
    Order,
    /// The same values, written differently.
    Writing,
    /// All assets of the kind have new ids.
    NewId,
}

/// One place where two values differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The place: `backend.urls[2].host`, `params[name=page]`.
    pub path: String,
    /// What was there; nothing, if it was added.
    pub old: Option<Shown>,
    /// What is there; nothing, if it was removed.
    pub new: Option<Shown>,
    /// Why it may as well be left out.
    pub aside: Option<Aside>,
}

/// Whether the values are all of an asset, or something around assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// In an asset.
    Asset,
    /// Outside of assets.
    Document,
}

/// All places where two values differ, in order.
pub fn differences(old: &Value, new: &Value, within: Within) -> Vec<Difference> {
    let mut walk = Walk { within, found: Vec::new(), nesting: MAX_NESTING };
    walk.values(&Path::default(), old, new);
    walk.found
}

/// A place, and whether it is one that every export makes anew.
#[derive(Clone, Debug, Default)]
struct Path {
    text: String,
    aside: Option<Aside>,
    /// Whether it is a list whose order says nothing.
    is_set: bool,
}

impl Path {
    fn below(&self, text: String) -> Self {
        Self { text: shortened(text, LONG_PATH), aside: self.aside, is_set: false }
    }
}

/// Keeps both ends of a text that is longer than this.
fn shortened(text: String, longest: usize) -> String {
    if text.len() <= longest {
        return text;
    }
    let start = text.floor_char_boundary(longest / 2);
    let end = text.ceil_char_boundary(text.len() - longest / 2);
    format!("{}…{}", &text[..start], &text[end..])
}

struct Walk {
    within: Within,
    found: Vec<Difference>,
    nesting: u32,
}

impl Walk {
    fn values(&mut self, path: &Path, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.objects(path, old, new),
            (Value::Array(old), Value::Array(new)) => self.arrays(path, old, new),
            (Value::String(one), Value::String(other)) => {
                if !self.texts(path, one, other) {
                    self.note(path, Some(Shown::of(old)), Some(Shown::of(new)));
                }
            }
            _ => self.note(path, Some(Shown::of(old)), Some(Shown::of(new))),
        }
    }

    fn note(&mut self, path: &Path, old: Option<Shown>, new: Option<Shown>) {
        let text = if path.text.is_empty() { ".".to_owned() } else { path.text.clone() };
        self.found.push(Difference { path: text, old, new, aside: path.aside });
    }

    /// Looks into texts that are JSON themselves. Says whether that is what they are.
    fn texts(&mut self, path: &Path, old: &str, new: &str) -> bool {
        let Some(nesting) = self.nesting.checked_sub(1) else { return false };
        let parsed = |text: &str| super::json::parse(text.as_bytes());
        let (Some(old), Some(new)) = (parsed(old), parsed(new)) else { return false };
        let before = self.found.len();
        let below = path.below(format!("{}(json)", path.text));
        self.nesting = nesting;
        self.values(&below, &old, &new);
        self.nesting += 1;
        if self.found.len() == before {
            let path = Path { aside: path.aside.or(Some(Aside::Writing)), ..below };
            self.note(&path, Some(Shown::of(&old)), Some(Shown::of(&new)));
        }
        true
    }

    fn objects(&mut self, path: &Path, old: &Map<String, Value>, new: &Map<String, Value>) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let below = self.field(path, name, [old.get(name), new.get(name)]);
            // What one of the two takes for a secret is none to be shown of the other.
            let is_asset = path.text.is_empty() && self.within == Within::Asset;
            let is_one = if is_asset { is_hidden_of_asset } else { is_hidden_field };
            let is_hidden = is_one(old, name) || is_one(new, name);
            let show = |value: &Value| {
                if is_hidden { Shown::of_secret(value) } else { Shown::of(value) }
            };
            match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) if !is_hidden => self.values(&below, old, new),
                (old, new) if old != new => self.note(&below, old.map(show), new.map(show)),
                _ => {}
            }
        }
    }

    fn field(&self, path: &Path, name: &str, values: [Option<&Value>; 2]) -> Path {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@' | '…');
        let shown = shortened(scrub(name), LONG_NAME);
        let text = if name.is_empty() || !name.chars().all(plain) {
            format!("{}[{}]", path.text, Value::from(shown))
        } else if path.text.is_empty() {
            shown
        } else {
            format!("{}.{shown}", path.text)
        };
        let together = words(name).concat();
        let is_outside = self.within == Within::Document;
        let sounds_anew = is_outside && ANEW.contains(&together.as_str());
        let is_set =
            is_outside && (SETS.contains(&together.as_str()) || Kind::called(name).is_some());
        // A time or a number; whatever holds more is looked into.
        let is_plain = |value: &Value| !value.is_object() && !value.is_array();
        let is_anew = sounds_anew && values.into_iter().flatten().all(is_plain);
        let aside = path.aside.or(is_anew.then_some(Aside::Anew));
        Path { aside, is_set, ..path.below(text) }
    }

    fn arrays(&mut self, path: &Path, old: &[Value], new: &[Value]) {
        match Labels::of(old, new) {
            Some(labels) => self.labelled(path, &labels, old, new),
            None => self.positioned(path, old, new),
        }
    }

    fn labelled(&mut self, path: &Path, labels: &Labels, old: &[Value], new: &[Value]) {
        let olds = labels.index(old);
        let mut news = labels.index(new);
        let mut order = Vec::new();
        let mut gone = Vec::new();
        for (label, at) in &olds {
            match news.remove(label) {
                Some(found) => {
                    order.push((*at, found));
                    let below = path.below(labels.path(path, label));
                    self.values(&below, &old[*at], &new[found]);
                }
                None => gone.push((label.clone(), *at)),
            }
        }
        // One that lost its id and kept its name is still the same.
        let new_names = unique_names(new);
        let names: BTreeMap<usize, String> =
            unique_names(old).into_iter().map(|(name, at)| (at, name)).collect();
        gone.retain(|(label, at)| {
            let found = names.get(at).and_then(|name| new_names.get(name));
            let Some(found) = found else { return true };
            if news.remove(&labels.of_element(&new[*found])).is_none() {
                return true;
            }
            order.push((*at, *found));
            let below = path.below(labels.path(path, label));
            self.values(&below, &old[*at], &new[*found]);
            false
        });
        for (label, at) in gone {
            let below = path.below(labels.path(path, &label));
            self.note(&below, Some(Shown::of(&old[at])), None);
        }
        for (label, at) in news {
            let below = path.below(labels.path(path, &label));
            self.note(&below, None, Some(Shown::of(&new[at])));
        }
        order.sort_unstable();
        if !order.is_sorted_by_key(|(_, found)| *found) {
            let text = format!("{}[]", path.text);
            let aside = path.aside.or(path.is_set.then_some(Aside::Order));
            let path = Path { aside, ..path.below(text) };
            self.note(
                &path,
                Some(Shown::of(&labels.list(old))),
                Some(Shown::of(&labels.list(new))),
            );
        }
    }

    /// What both begin and end with is the same; what lies between is compared one by one.
    fn positioned(&mut self, path: &Path, old: &[Value], new: &[Value]) {
        let (whole_old, whole_new) = (old, new);
        let before = old.iter().zip(new).take_while(|(one, other)| one == other).count();
        let (old_rest, new_rest) = (&old[before..], &new[before..]);
        let after = old_rest
            .iter()
            .rev()
            .zip(new_rest.iter().rev())
            .take_while(|(one, other)| one == other)
            .count();
        let old = &old_rest[..old_rest.len() - after];
        let new = &new_rest[..new_rest.len() - after];
        for number in 0..old.len().max(new.len()) {
            let at = before + number;
            let below = path.below(format!("{}[{at}]", path.text));
            let is_hidden = is_behind_option(whole_old, at) || is_behind_option(whole_new, at);
            match (old.get(number), new.get(number)) {
                (old, new) if is_hidden => {
                    if old != new {
                        let show = |value: Option<&Value>| value.map(Shown::of_secret);
                        self.note(&below, show(old), show(new));
                    }
                }
                (Some(old), Some(new)) => self.values(&below, old, new),
                (old, new) => self.note(&below, old.map(Shown::of), new.map(Shown::of)),
            }
        }
    }
}

/// The elements whose name no other element of the array has, by their names.
fn unique_names(elements: &[Value]) -> BTreeMap<String, usize> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, element) in elements.iter().enumerate() {
        if let Some(name) = ELEMENT_NAMES.into_iter().find_map(|field| label(element, field)) {
            by_name.entry(name).or_default().push(at);
        }
    }
    let only = |(name, places): (String, Vec<usize>)| match places.as_slice() {
        [one] => Some((name, *one)),
        _ => None,
    };
    by_name.into_iter().filter_map(only).collect()
}

/// The field by which the elements of two arrays are matched.
struct Labels(&'static str);

impl Labels {
    /// A field that every element has, and no two of one array have the same.
    fn of(old: &[Value], new: &[Value]) -> Option<Self> {
        if old.is_empty() && new.is_empty() {
            return None;
        }
        let is_unique = |elements: &[Value], field: &str| {
            let labels: Option<BTreeSet<String>> =
                elements.iter().map(|element| label(element, field)).collect();
            labels.is_some_and(|labels| labels.len() == elements.len())
        };
        let fits = |field: &&str| is_unique(old, field) && is_unique(new, field);
        ELEMENT_IDS.into_iter().chain(ELEMENT_NAMES).find(fits).map(Self)
    }

    fn index(&self, elements: &[Value]) -> BTreeMap<String, usize> {
        let labelled = elements.iter().enumerate();
        labelled.filter_map(|(at, element)| Some((label(element, self.0)?, at))).collect()
    }

    fn of_element(&self, element: &Value) -> String {
        label(element, self.0).unwrap_or_default()
    }

    fn list(&self, elements: &[Value]) -> Value {
        elements.iter().filter_map(|element| label(element, self.0)).map(Value::from).collect()
    }

    fn path(&self, path: &Path, label: &str) -> String {
        let shown = shortened(scrub(label), LONG_NAME);
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '…');
        let shown =
            if shown.chars().all(is_plain) { shown } else { Value::from(shown).to_string() };
        format!("{}[{}={shown}]", path.text, self.0)
    }
}

fn label(element: &Value, field: &str) -> Option<String> {
    let fields = element.as_object()?;
    // It would stand in the path.
    scalar(fields.get(field)?).filter(|_| !is_hidden_field(fields, field))
}

#[cfg(test)]
#[path = "values_tests.rs"]
pub(super) mod tests;
