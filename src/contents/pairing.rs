//! The two sides of a comparison in their pieces, and which piece of one belongs to which of the
//! other. Nothing may be left out: a piece is in a pair, or gone, or came.

use std::collections::BTreeMap;

use serde_json::Value;

use super::asset::{Asset, Identity, Kind, Occurrence, take_apart};
use super::report::{Bytes, Entry, Side};

/// A side in its pieces.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) assets: BTreeMap<(Kind, Identity), Known>,
    /// What is left of entries, by their names.
    pub(super) rests: BTreeMap<String, Vec<Rest>>,
}

/// An asset with all its places.
pub(super) struct Known {
    pub(super) asset: Asset,
    pub(super) places: Vec<Place>,
}

/// One place of an asset, and what stands there.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) body: Value,
}

/// What is left of an entry without the assets in it.
pub(super) struct Rest {
    pub(super) bytes: Bytes,
    /// Nothing, if the entry is not looked into.
    pub(super) document: Option<Value>,
}

impl Taken {
    pub(super) fn apart(side: Side) -> Self {
        let mut taken = Self::default();
        for Entry { name, bytes, document } in side {
            let Some(document) = document else {
                taken.rests.entry(name).or_default().push(Rest { bytes, document: None });
                continue;
            };
            let pieces = take_apart(&name, document);
            pieces.assets.into_iter().for_each(|occurrence| taken.add(occurrence));
            if let rest @ Some(_) = pieces.rest {
                taken.rests.entry(name).or_default().push(Rest { bytes, document: rest });
            }
        }
        taken
    }

    fn add(&mut self, Occurrence { asset, place, body }: Occurrence) {
        let key = (asset.kind, asset.identity.clone());
        let known = self.assets.entry(key).or_insert_with(|| Known {
            asset: Asset { name: None, of: None, ..asset.clone() },
            places: Vec::new(),
        });
        // An asset stands in several places, not each of which knows all of it.
        known.asset.name = known.asset.name.take().or(asset.name);
        known.asset.of = known.asset.of.take().or(asset.of);
        known.places.push(Place { name: place, body });
    }
}

/// What belongs together, and what is left of each side.
pub(super) struct Paired<T> {
    pub(super) pairs: Vec<(T, T)>,
    pub(super) gone: Vec<T>,
    pub(super) came: Vec<T>,
}

/// Pairs what is the same in this sense, each piece once, in order.
pub(super) fn pair<T>(old: Vec<T>, new: Vec<T>, same: impl Fn(&T, &T) -> bool) -> Paired<T> {
    Paired { pairs: Vec::new(), gone: old, came: new }.and_then(same)
}

impl<T> Paired<T> {
    /// Pairs more of what is left.
    pub(super) fn and_then(mut self, same: impl Fn(&T, &T) -> bool) -> Self {
        for was in std::mem::take(&mut self.gone) {
            match self.came.iter().position(|is| same(&was, is)) {
                Some(at) => {
                    let is = self.came.remove(at);
                    self.pairs.push((was, is));
                }
                None => self.gone.push(was),
            }
        }
        self
    }

    /// Pairs what is left in its order.
    pub(super) fn rest(self) -> Self {
        self.and_then(|_, _| true)
    }
}

/// Pairs assets that have the same name, if no other of their kind has it: in the same application
/// first, then in whichever.
pub(super) fn pair_by_name(old: Vec<Known>, new: Vec<Known>) -> Paired<Known> {
    type Key = (Kind, Option<Option<String>>, String);
    let within = |known: &Known| -> Option<Key> {
        let asset = &known.asset;
        Some((asset.kind, Some(asset.of.clone()), asset.name.clone()?))
    };
    let anywhere = |known: &Known| Some((known.asset.kind, None, known.asset.name.clone()?));
    let mut paired = Paired { pairs: Vec::new(), gone: old, came: new };
    for key in [&within as &dyn Fn(&Known) -> Option<Key>, &anywhere] {
        let mut news: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (at, known) in paired.came.iter().enumerate() {
            if let Some(key) = key(known) {
                news.entry(key).or_default().push(at);
            }
        }
        let mut olds: BTreeMap<Key, usize> = BTreeMap::new();
        for known in &paired.gone {
            if let Some(key) = key(known) {
                *olds.entry(key).or_default() += 1;
            }
        }
        let mut came: Vec<Option<Known>> =
            std::mem::take(&mut paired.came).into_iter().map(Some).collect();
        for was in std::mem::take(&mut paired.gone) {
            let found = key(&was).filter(|key| olds.get(key) == Some(&1));
            let found = found.and_then(|key| match news.get(&key)?.as_slice() {
                [one] => came.get_mut(*one)?.take(),
                _ => None,
            });
            match found {
                Some(is) => paired.pairs.push((was, is)),
                None => paired.gone.push(was),
            }
        }
        paired.came = came.into_iter().flatten().collect();
    }
    paired
}
