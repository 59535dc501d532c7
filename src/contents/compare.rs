//! How two sets of packages differ: assets first, then what is left of their entries.
//!
//! A side is all parts of a snapshot together, so that an asset which moved from one part to
//! another has not changed. Assets are matched by id, and those left over by name; entries by
//! name. An entry that one side could not be looked into as a document is compared by its digest
//! on both. Whatever differs is in the report, or counted there as put aside.

use std::collections::{BTreeMap, BTreeSet};

use super::asset::{Identity, Kind};
use super::pairing::{Known, Place, Rest, Taken, pair, pair_by_name};
use super::report::{
    AssetChange, Bytes, Count, Entry, EntryChange, EntryDifference, Fate, Report, Side,
};
use super::secret::{Shown, scrub, words};
use super::values::{Aside, Difference, Within, differences};

/// Compares two sides. `all` leaves nothing out.
pub fn compare(old: Side, new: Side, all: bool) -> Report {
    let (mut old, mut new) = (old, new);
    let opaque: BTreeSet<String> = old
        .iter()
        .chain(&new)
        .filter(|entry| entry.document.is_none())
        .map(|entry| entry.name.clone())
        .collect();
    for entry in old.iter_mut().chain(&mut new) {
        if opaque.contains(&entry.name) {
            entry.document = None;
        }
    }
    let mut report = Report::default();
    let rewritten = rewritten(&old, &new);
    let (old, new) = (Taken::apart(old), Taken::apart(new));
    report.compare_assets(old.assets, new.assets);
    report.compare_entries(old.rests, new.rests);
    if all {
        report.tell_rewritten(rewritten);
    } else {
        report.put_aside();
        report.aside.extend(rewritten.into_iter().map(|change| (change.0, change.1)));
    }
    report.count();
    report
}

/// Documents that say the same in other bytes.
fn rewritten(old: &Side, new: &Side) -> Vec<(String, Difference, Bytes)> {
    let documents = |side: &Side| -> BTreeMap<String, Vec<usize>> {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, entry) in side.iter().enumerate().filter(|(_, e)| e.document.is_some()) {
            by_name.entry(entry.name.clone()).or_default().push(at);
        }
        by_name
    };
    let news = documents(new);
    let mut found = Vec::new();
    for (name, olds) in documents(old) {
        for (one, other) in olds.iter().zip(news.get(&name).into_iter().flatten()) {
            let (one, other) = (&old[*one], &new[*other]);
            if one.document == other.document && one.bytes != other.bytes {
                let digest = |entry: &Entry| Some(Shown::of(&entry.bytes.sha256.as_str().into()));
                let difference = Difference {
                    path: "(sha256)".to_owned(),
                    old: digest(one),
                    new: digest(other),
                    aside: Some(Aside::Writing),
                };
                found.push((name.clone(), difference, other.bytes.clone()));
            }
        }
    }
    found
}

impl Report {
    fn compare_assets(
        &mut self,
        old: BTreeMap<(Kind, Identity), Known>,
        mut new: BTreeMap<(Kind, Identity), Known>,
    ) {
        let (mut gone, mut pairs) = (Vec::new(), Vec::new());
        let mut stayed = BTreeSet::new();
        for (key, known) in old {
            match new.remove(&key) {
                Some(now) => {
                    stayed.insert(key.0);
                    pairs.push((known, now));
                }
                None => gone.push(known),
            }
        }
        let left = pair_by_name(gone, new.into_values().collect());
        // If several have new ids and none has kept its own, ids are nothing to know an asset by.
        // One alone is another asset of that name, as far as anybody can tell.
        let mut renumbered: BTreeMap<Kind, usize> = BTreeMap::new();
        for (was, now) in &left.pairs {
            let has_new_id = was.asset.id.is_some() && now.asset.id.is_some();
            *renumbered.entry(was.asset.kind).or_default() += usize::from(has_new_id);
        }
        renumbered.retain(|kind, count| *count > 1 && !stayed.contains(kind));
        pairs.extend(left.pairs);
        // Whatever an application is known by now, it is the same holder.
        let holders: BTreeMap<Identity, Identity> = pairs
            .iter()
            .filter(|(was, _)| was.asset.kind == Kind::Application)
            .map(|(was, now)| (was.asset.identity.clone(), now.asset.identity.clone()))
            .collect();
        for (mut was, now) in pairs {
            for holder in was.places.iter_mut().filter_map(|place| place.holder.as_mut()) {
                if let Some(now) = holders.get(holder) {
                    holder.clone_from(now);
                }
            }
            let ids_are_new = renumbered.contains_key(&was.asset.kind);
            self.compare_asset(was, now, ids_are_new);
        }
        let change = |known: Known, fate| AssetChange { asset: known.asset, fate };
        self.assets.extend(left.gone.into_iter().map(|known| change(known, Fate::Removed)));
        self.assets.extend(left.came.into_iter().map(|known| change(known, Fate::Added)));
    }

    fn compare_asset(&mut self, was: Known, now: Known, ids_are_new: bool) {
        let mut found = Vec::new();
        let kind = now.asset.kind;
        let new_ids = NewIds { kind, old: was.asset.id, new: now.asset.id.clone() };
        // One that had no id before, or has none now, is another matter.
        let new_ids = Some(new_ids)
            .filter(|ids| ids_are_new && ids.old.is_some() && ids.new.is_some())
            .filter(|ids| ids.old != ids.new);
        compare_places(was.places, now.places, new_ids.as_ref(), &mut found);
        let count = self.counts.entry(kind).or_default();
        if found.is_empty() {
            count.unchanged += 1;
        } else {
            self.assets.push(AssetChange { asset: now.asset, fate: Fate::Changed(found) });
        }
    }

    fn compare_entries(
        &mut self,
        old: BTreeMap<String, Vec<Rest>>,
        mut new: BTreeMap<String, Vec<Rest>>,
    ) {
        let mut changes = Vec::new();
        for (name, olds) in old {
            let news = new.remove(&name).unwrap_or_default();
            let paired = pair(olds, news);
            for (was, now) in paired.pairs {
                let difference = match (was.document, now.document) {
                    (Some(old), Some(new)) => {
                        let found = differences(&old, &new, Within::Document);
                        if found.is_empty() {
                            self.entry_count.unchanged += 1;
                            continue;
                        }
                        EntryDifference::Values(found)
                    }
                    _ if was.bytes == now.bytes => {
                        self.entry_count.unchanged += 1;
                        continue;
                    }
                    _ => EntryDifference::Bytes(was.bytes, now.bytes.clone()),
                };
                let (name, fate) = (name.clone(), Fate::Changed(difference));
                changes.push(EntryChange { name, bytes: now.bytes, fate });
            }
            let change =
                |rest: Rest, fate| EntryChange { name: name.clone(), bytes: rest.bytes, fate };
            changes.extend(paired.gone.into_iter().map(|rest| change(rest, Fate::Removed)));
            changes.extend(paired.came.into_iter().map(|rest| change(rest, Fate::Added)));
        }
        for (name, rests) in new {
            changes.extend(rests.into_iter().map(|rest| EntryChange {
                name: name.clone(),
                bytes: rest.bytes,
                fate: Fate::Added,
            }));
        }
        changes.sort_by(|one, other| one.name.cmp(&other.name));
        self.entries = changes;
    }

    /// Takes out what may as well be left out.
    fn put_aside(&mut self) {
        let mut aside = Vec::new();
        let mut take = |place: &str, found: &mut Vec<Difference>| {
            let (out, stay) = std::mem::take(found).into_iter().partition(|d| d.aside.is_some());
            *found = stay;
            let out: Vec<Difference> = out;
            aside.extend(out.into_iter().map(|difference| (place.to_owned(), difference)));
            found.is_empty()
        };
        let counts = &mut self.counts;
        self.assets.retain_mut(|AssetChange { asset, fate }| {
            let Fate::Changed(found) = fate else { return true };
            let name = asset.name.as_ref().or(asset.id.as_ref()).map_or("", String::as_str);
            let is_same = take(&format!("{} {name}", asset.kind.word()), found);
            if is_same {
                counts.entry(asset.kind).or_default().unchanged += 1;
            }
            !is_same
        });
        let entry_count = &mut self.entry_count;
        self.entries.retain_mut(|EntryChange { name, fate, .. }| {
            let Fate::Changed(EntryDifference::Values(found)) = fate else { return true };
            let is_same = take(name, found);
            entry_count.unchanged += usize::from(is_same);
            !is_same
        });
        self.aside = aside;
    }

    fn tell_rewritten(&mut self, rewritten: Vec<(String, Difference, Bytes)>) {
        self.entries.extend(rewritten.into_iter().map(|(name, difference, bytes)| {
            let fate = Fate::Changed(EntryDifference::Values(vec![difference]));
            EntryChange { name, bytes, fate }
        }));
        self.entries.sort_by(|one, other| one.name.cmp(&other.name));
    }

    fn count(&mut self) {
        fn add<T>(count: &mut Count, fate: &Fate<T>) {
            match fate {
                Fate::Added => count.added += 1,
                Fate::Removed => count.removed += 1,
                Fate::Changed(_) => count.changed += 1,
            }
        }
        self.assets.sort_by(|one, other| {
            let key = |change: &AssetChange| (change.asset.kind, change.asset.name.clone());
            key(one).cmp(&key(other))
        });
        for change in &self.assets {
            add(self.counts.entry(change.asset.kind).or_default(), &change.fate);
        }
        for change in &self.entries {
            add(&mut self.entry_count, &change.fate);
        }
    }
}

/// The path of a difference that is one of the place itself.
const PLACE: &str = "(place)";
/// And of one of the application that an asset stands in.
const HOLDER: &str = "(application)";

fn plain(path: &str, old: Option<Shown>, new: Option<Shown>) -> Difference {
    Difference { path: path.to_owned(), old, new, aside: None }
}

/// An asset whose id means nothing.
struct NewIds {
    kind: Kind,
    old: Option<String>,
    new: Option<String>,
}

impl NewIds {
    /// Marks a difference that is only one of the id.
    fn mark(&self, difference: &mut Difference) {
        let is_id = if difference.path == PLACE {
            let without = |shown: &Option<Shown>, id: &Option<String>| {
                Some(shown.as_ref()?.as_value().as_str()?.replace(id.as_deref()?, ""))
            };
            let was = without(&difference.old, &self.old);
            was.is_some() && was == without(&difference.new, &self.new)
        } else {
            let name = words(&difference.path).concat();
            !difference.path.contains(['.', '[']) && self.kind.id_fields().contains(&name.as_str())
        };
        if is_id {
            difference.aside = difference.aside.or(Some(Aside::NewId));
        }
    }
}

fn compare_places(
    old: Vec<Place>,
    new: Vec<Place>,
    new_ids: Option<&NewIds>,
    found: &mut Vec<Difference>,
) {
    let paired = pair(old, new);
    let show = |text: String| Some(Shown::of(&text.into()));
    let several = paired.pairs.iter().filter(|(was, is)| was.body != is.body).count() > 1;
    for (was, is) in paired.pairs {
        let start = found.len();
        found.extend(differences(&was.body, &is.body, Within::Asset));
        if was.holder != is.holder {
            let [old, new] = holders(&was, &is).map(|of| of.and_then(show));
            found.push(plain(HOLDER, old, new));
        }
        if was.name != is.name {
            found.push(plain(PLACE, show(was.name), show(is.name.clone())));
        }
        for difference in &mut found[start..] {
            if let Some(ids) = new_ids {
                ids.mark(difference);
            }
            // It differs in several places: which of them is meant.
            if several && ![PLACE, HOLDER].contains(&difference.path.as_str()) {
                difference.path = format!("{} in {}", difference.path, scrub(&where_is(&is)));
            }
        }
    }
    found.extend(paired.gone.iter().map(|place| plain(PLACE, show(where_is(place)), None)));
    found.extend(paired.came.iter().map(|place| plain(PLACE, None, show(where_is(place)))));
}

/// A place with the application around it.
fn where_is(Place { name, of, .. }: &Place) -> String {
    of.as_ref().map_or_else(|| name.clone(), |of| format!("{name} of {of}"))
}

/// What two applications are called; by their ids, if they have one name.
fn holders(was: &Place, is: &Place) -> [Option<String>; 2] {
    if was.of != is.of {
        return [was.of.clone(), is.of.clone()];
    }
    [was, is].map(|place| {
        place.holder.as_ref().map(|holder| match holder {
            Identity::Id(id) => format!("id {id}"),
            Identity::Name(_, name) => name.clone(),
        })
    })
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
