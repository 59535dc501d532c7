//! The two sides of a comparison in their pieces, and which piece of one belongs to which of the
//! other. Nothing may be left out: a piece is in a pair, or gone, or came.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

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
    /// The application that it stands in, ...
    pub(super) holder: Option<Identity>,
    /// ... and what that is called.
    pub(super) of: Option<String>,
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

    fn add(&mut self, Occurrence { asset, place, holder, body }: Occurrence) {
        let key = (asset.kind, asset.identity.clone());
        let known = self.assets.entry(key).or_insert_with(|| Known {
            asset: Asset { name: None, of: None, ..asset.clone() },
            places: Vec::new(),
        });
        // An asset stands in several places, not each of which knows all of it.
        known.asset.name = known.asset.name.take().or(asset.name);
        known.asset.of = known.asset.of.take().or_else(|| asset.of.clone());
        known.places.push(Place { name: place, holder, of: asset.of, body });
    }
}

/// What belongs together, and what is left of each side.
pub(super) struct Paired<T> {
    pub(super) pairs: Vec<(T, T)>,
    pub(super) gone: Vec<T>,
    pub(super) came: Vec<T>,
}

/// Something that can be the same as another in several senses, of which each is a number.
pub(super) trait Piece {
    /// How many senses there are; in the last one all are the same.
    const COUNT: usize;
    fn is_same(&self, other: &Self, sense: usize) -> bool;
    /// Equal for all that are the same in this sense.
    fn hash(&self, sense: usize, hasher: &mut impl Hasher);
}

impl Piece for Place {
    const COUNT: usize = Self::SENSES.len();

    fn is_same(&self, other: &Self, sense: usize) -> bool {
        let [name, holder, body] = Self::SENSES[sense];
        (!name || self.name == other.name)
            && (!holder || self.holder == other.holder)
            && (!body || self.body == other.body)
    }

    fn hash(&self, sense: usize, hasher: &mut impl Hasher) {
        let [name, holder, body] = Self::SENSES[sense];
        name.then_some(&self.name).hash(hasher);
        holder.then_some(&self.holder).hash(hasher);
        body.then_some(&self.body).hash(hasher);
    }
}

impl Place {
    /// Which of name, holder and body have to be the same. The same place comes before the same
    /// content: what moved is then told as little as possible.
    const SENSES: [[bool; 3]; 7] = [
        [true, true, true],
        [true, true, false],
        [true, false, true],
        [false, true, true],
        [true, false, false],
        [false, false, true],
        [false, false, false],
    ];
}

impl Piece for Rest {
    const COUNT: usize = 2;

    fn is_same(&self, other: &Self, sense: usize) -> bool {
        let has_same_bytes = || self.document.is_some() || self.bytes == other.bytes;
        sense > 0 || (self.document == other.document && has_same_bytes())
    }

    fn hash(&self, sense: usize, hasher: &mut impl Hasher) {
        if sense == 0 {
            self.document.hash(hasher);
            self.document.is_none().then_some(&self.bytes).hash(hasher);
        }
    }
}

/// Pairs what is the same, each piece once, in order; sense by sense, the strictest first.
pub(super) fn pair<T: Piece>(old: Vec<T>, new: Vec<T>) -> Paired<T> {
    let mut paired = Paired { pairs: Vec::new(), gone: old, came: new };
    (0..T::COUNT).for_each(|sense| paired.pair(sense));
    paired
}

impl<T: Piece> Paired<T> {
    /// Pairs more of what is left. By hash: there may be a hundred thousand of each.
    fn pair(&mut self, sense: usize) {
        let hash = |piece: &T| {
            let mut hasher = DefaultHasher::new();
            piece.hash(sense, &mut hasher);
            hasher.finish()
        };
        let mut by_hash: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for (at, is) in self.came.iter().enumerate() {
            by_hash.entry(hash(is)).or_default().push_back(at);
        }
        let mut came: Vec<Option<T>> =
            std::mem::take(&mut self.came).into_iter().map(Some).collect();
        for was in std::mem::take(&mut self.gone) {
            let found = by_hash.get_mut(&hash(&was)).and_then(|places| {
                let fits = |at: &usize| came[*at].as_ref().is_some_and(|is| was.is_same(is, sense));
                let number = places.iter().position(fits)?;
                came[places.remove(number)?].take()
            });
            match found {
                Some(is) => self.pairs.push((was, is)),
                None => self.gone.push(was),
            }
        }
        self.came = came.into_iter().flatten().collect();
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
