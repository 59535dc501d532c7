//! `ls`: what is inside packages, entry by entry, and which assets were recognised in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::LsArgs;
use super::error::CliError;
use super::inside::{
    Held, MAX_DOCUMENT, Read, TOO_MUCH, hold, looks_like_json, may_be_json, mention_flaw, read,
};
use super::{open, output};
use crate::config::Loaded;
use crate::contents::{self, Asset, Identity, Kind};
use crate::exit::Exit;
use crate::lifecycle::Archive;
use crate::vault::{Inside, PackageEntry};

/// What documents may have altogether before assets are no longer looked for: they are read one
/// after the other, so that this is a matter of time and not of memory.
const BUDGET: u64 = 1 << 30;

pub(super) async fn run(loaded: &Loaded, args: &LsArgs) -> Result<Exit, CliError> {
    let catalog = open::reader(&loaded.settings.state_dir).await?;
    let held = hold(&catalog, &loaded.settings, args.id).await?;
    let listing = look(&held)?;
    if args.json {
        output::json(listing.to_json())?;
    } else {
        listing.print(held.archives.len() > 1)?;
    }
    Ok(Exit::Ok)
}

/// Everything that is found out.
#[derive(Default)]
struct Listing {
    packages: Vec<Package>,
    assets: BTreeMap<(Kind, Identity), Asset>,
    /// Entries that may hold more assets, and why nobody looked.
    unseen: Vec<(Archive, String, String)>,
}

struct Package {
    archive: Archive,
    entries: Vec<PackageEntry>,
    flaw: Option<String>,
}

fn look(held: &Held) -> Result<Listing, CliError> {
    let mut listing = Listing::default();
    let mut budget = BUDGET;
    for archive in &held.archives {
        let mut inside = held.open(archive)?;
        mention_flaw(archive, &inside);
        listing.find_assets(archive, &mut inside, &mut budget)?;
        listing.packages.push(Package {
            archive: archive.clone(),
            entries: inside.entries().to_vec(),
            flaw: inside.flaw().map(str::to_owned),
        });
    }
    Ok(listing)
}

impl Listing {
    fn find_assets(
        &mut self,
        archive: &Archive,
        inside: &mut Inside,
        budget: &mut u64,
    ) -> Result<(), CliError> {
        for number in 0..inside.entries().len() {
            let PackageEntry { name, bytes, .. } = inside.entries()[number].clone();
            // Unpacking what cannot be a document would take time and say nothing.
            if !may_be_json(&name) {
                continue;
            }
            if bytes > MAX_DOCUMENT {
                if looks_like_json(&name) {
                    self.unseen.push((archive.clone(), name, TOO_MUCH.to_owned()));
                }
                continue;
            }
            let why = match read(inside, number, budget)? {
                Read::Document(document, _) => {
                    for found in contents::take_apart(&name, document).assets {
                        self.add(found.asset);
                    }
                    continue;
                }
                Read::Bytes(_) if !looks_like_json(&name) => continue,
                Read::Bytes(_) => TOO_MUCH.to_owned(),
                Read::Sealed(error) => error.to_string(),
            };
            self.unseen.push((archive.clone(), name, why));
        }
        Ok(())
    }

    /// An asset stands in several places; one of them may know its name.
    fn add(&mut self, asset: Asset) {
        let known = self
            .assets
            .entry((asset.kind, asset.identity.clone()))
            .or_insert_with(|| Asset { name: None, of: None, ..asset.clone() });
        known.name = known.name.take().or(asset.name);
        known.of = known.of.take().or(asset.of);
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Asset> {
        self.assets.values().filter(move |asset| asset.kind == kind)
    }

    /// All names, in order; how many have it behind a name that comes more than once.
    fn names(&self, kind: Kind) -> String {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for asset in self.of_kind(kind) {
            let name = asset.name.as_ref().or(asset.id.as_ref());
            let name = output::printable(&contents::scrub(name.map_or("", String::as_str)));
            *names.entry(name).or_default() += 1;
        }
        let told = names.into_iter().map(|(name, count)| match count {
            1 => name,
            count => format!("{name} ({count})"),
        });
        told.collect::<Vec<_>>().join(", ")
    }

    fn print(&self, has_parts: bool) -> Result<(), CliError> {
        let mut headings = vec!["entry", "size", "packed", "modified", "crc32", "kind"];
        if has_parts {
            headings.insert(0, "archive");
        }
        let mut table = output::table(&headings);
        for package in &self.packages {
            for entry in &package.entries {
                let mut row = vec![
                    output::printable(&entry.name),
                    output::size(entry.bytes),
                    entry.packed_bytes.map_or_else(String::new, output::size),
                    entry.modified.clone().unwrap_or_default(),
                    entry.crc32.map_or_else(String::new, |crc| format!("{crc:08x}")),
                    entry.kind.word().to_owned(),
                ];
                if has_parts {
                    row.insert(0, package.archive.id.to_string());
                }
                table.add_row(row);
            }
        }
        output::print(&table)?;
        self.print_assets()
    }

    fn print_assets(&self) -> Result<(), CliError> {
        output::line("")?;
        if self.assets.is_empty() {
            output::line("no assets were recognised in it")?;
        }
        for kind in Kind::ALL {
            let names = self.names(kind);
            match self.of_kind(kind).count() {
                0 => {}
                1 => output::line(&format!("1 {}: {names}", kind.word()))?,
                count => output::paragraph(&format!("{count} {}: {names}", kind.plural()))?,
            }
        }
        for (archive, name, why) in &self.unseen {
            let name = output::printable(name);
            output::note(&format!("note: not looked into: {name} of {}: {why}", archive.id));
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let assets: Vec<Value> = self
            .assets
            .values()
            .map(|asset| {
                json!({
                    "kind": asset.kind,
                    "id": asset.id,
                    "name": asset.name.as_deref().map(contents::scrub),
                    "application": asset.of.as_deref().map(contents::scrub),
                })
            })
            .collect();
        let unseen: Vec<Value> = self
            .unseen
            .iter()
            .map(|(archive, name, why)| {
                json!({ "archive_id": archive.id, "entry": name, "reason": why })
            })
            .collect();
        json!({
            "packages": self.packages.iter().map(Package::to_json).collect::<Vec<_>>(),
            "assets": assets,
            "counts": {
                "applications": self.of_kind(Kind::Application).count(),
                "apis": self.of_kind(Kind::Api).count(),
                "tasks": self.of_kind(Kind::Task).count(),
            },
            "not_looked_into": unseen,
        })
    }
}

impl Package {
    fn to_json(&self) -> Value {
        let entries: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name,
                    "bytes": entry.bytes,
                    "packed_bytes": entry.packed_bytes,
                    "modified": entry.modified,
                    "crc32": entry.crc32.map(|crc| format!("{crc:08x}")),
                    "method": entry.method,
                    "kind": entry.kind.word(),
                })
            })
            .collect();
        json!({
            "archive_id": self.archive.id,
            "part": self.archive.part,
            "entries": entries,
            "flaw": self.flaw,
        })
    }
}
