//! Two sides compared: by asset first, whole parts together, and nothing hidden.

use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::contents::asset::tests::some_json;
use crate::contents::secret::tests::with_secret;
use crate::contents::values::tests::{MARK, with_mark};

/// Some digest that differs where the text does.
fn bytes(text: &str) -> Bytes {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let sha256 = format!("{:016x}", hasher.finish());
    Bytes { length: text.len() as u64, sha256, packed_because: None }
}

fn document(name: &str, value: &Value) -> Entry {
    let bytes = bytes(&value.to_string());
    Entry { name: name.to_owned(), bytes, document: Some(value.clone()) }
}

fn plain_entry(name: &str, text: &str) -> Entry {
    Entry { name: name.to_owned(), bytes: bytes(text), document: None }
}

fn told(report: &Report) -> Vec<String> {
    let fate_of = |found: &[Difference]| {
        let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        format!(" {}", paths.join(" "))
    };
    let assets = report.assets.iter().map(|AssetChange { asset, fate }| {
        let name = asset.name.as_ref().or(asset.id.as_ref()).unwrap();
        let more = if let Fate::Changed(found) = fate { fate_of(found) } else { String::new() };
        format!("{} {} {name}{more}", fate.word(), asset.kind.word())
    });
    let entries = report.entries.iter().map(|EntryChange { name, fate, .. }| {
        let more = match fate {
            Fate::Changed(EntryDifference::Values(found)) => fate_of(found),
            Fate::Changed(EntryDifference::Bytes(..)) => " bytes".to_owned(),
            _ => String::new(),
        };
        format!("{} {name}{more}", fate.word())
    });
    assets.chain(entries).collect()
}

fn list(applications: &Value) -> Entry {
    document("m.json", &json!({ "apps": applications }))
}

#[test]
fn assets_come_first_and_what_is_left_of_their_documents_after_them() {
    let old = vec![
        list(&json!([
            {"id": 1, "name": "crm", "apis": [{"id": "p", "name": "orders", "timeout": 5}]},
            {"id": 2, "name": "old"},
        ])),
        document("x.json", &json!({"a": {"b": 1}})),
        plain_entry("readme", "one"),
        plain_entry("gone", "x"),
    ];
    let new = vec![
        document(
            "m.json",
            &json!({"version": 2, "apps": [
                {"id": 3, "name": "new"},
                {"id": 1, "name": "crm", "apis": [{"id": "p", "name": "orders", "timeout": 6}]},
            ]}),
        ),
        document("x.json", &json!({"a": {"b": 2}})),
        plain_entry("readme", "two"),
        plain_entry("came", "x"),
    ];
    let report = compare(old, new, false);
    let expected = [
        "added application new",
        "removed application old",
        "changed API orders timeout",
        "added came",
        "removed gone",
        "changed m.json version",
        "changed readme bytes",
        "changed x.json a.b",
    ];
    assert_eq!(told(&report), expected);
    let applications = Count { added: 1, removed: 1, changed: 0, unchanged: 1 };
    assert_eq!(report.counts[&Kind::Application], applications);
    let entries = Count { added: 1, removed: 1, changed: 3, unchanged: 0 };
    assert_eq!(report.entry_count, entries);
}

#[test]
fn an_asset_that_moved_to_another_part_has_not_changed() {
    let file = |id: u32| document(&format!("apps/{id}.json"), &json!({"id": id, "name": "n"}));
    let index = |ids: &[u32]| {
        let ids: Vec<Value> = ids.iter().map(|id| json!({"id": id, "name": "n"})).collect();
        list(&Value::from(ids))
    };
    let old = vec![index(&[1, 2]), file(1), file(2), index(&[3]), file(3)];
    let new = vec![index(&[1]), file(1), index(&[2, 3]), file(2), file(3)];
    let report = compare(old, new, true);
    assert_eq!(told(&report), [""; 0]);
    assert_eq!(report.counts[&Kind::Application].unchanged, 3);
}

#[test]
fn an_asset_may_stand_in_several_places() {
    let side = |listed: u32, own: u32| {
        let file = json!({"id": 1, "name": "crm", "r": own});
        vec![list(&json!([{"id": 1, "name": "crm", "r": listed}])), document("apps/1.json", &file)]
    };
    let both = "changed application crm r in m.json apps[] r in apps/1.json";
    for (old, new, expected) in [
        (side(1, 1), side(1, 2), "changed application crm r"),
        (side(1, 1), side(2, 2), both),
        (side(1, 1), vec![side(1, 1).remove(0)], "changed application crm (place)"),
        (vec![side(1, 1).remove(1)], side(1, 1), "changed application crm (place)"),
    ] {
        assert_eq!(told(&compare(old, new, false))[0], expected);
    }
}

#[test]
fn an_api_that_moved_to_another_application_has_changed() {
    let side = |holder: usize| {
        let api = json!([{"id": "p", "name": "orders"}]);
        let apis = |number| if number == holder { api.clone() } else { json!([]) };
        vec![list(&json!([
            {"id": 1, "name": "crm", "apis": apis(1)},
            {"id": 2, "name": "erp", "apis": apis(2)},
        ]))]
    };
    let report = compare(side(1), side(2), false);
    assert_eq!(told(&report), ["changed API orders (application)"]);
}

/// Applications of these names, each with the API `p` and this limit, or without it.
fn holding(applications: &[(&str, Option<u32>)]) -> Side {
    let one = |(name, limit): &(&str, Option<u32>)| {
        let api = limit.map(|limit| json!({"id": "p", "name": "orders", "limit": limit}));
        let apis: Vec<Value> = api.into_iter().collect();
        json!({"id": format!("{name}-1"), "name": name, "apis": apis})
    };
    vec![list(&applications.iter().map(one).collect())]
}

#[test]
fn an_api_of_several_applications_has_changed_if_one_of_them_has_another() {
    let shown = |old: &[_], new: &[_], all| {
        let report = compare(holding(old), holding(new), all);
        let found = report.assets.iter().flat_map(|change| match &change.fate {
            Fate::Changed(found) => found.clone(),
            _ => Vec::new(),
        });
        let text = |shown: Option<Shown>| shown.map(|s| s.as_value().to_string());
        found.map(|found| (found.path, text(found.old), text(found.new))).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    for all in [false, true] {
        let moved = shown(
            &[("crm", Some(1)), ("shop", Some(1)), ("pay", None)],
            &[("crm", Some(1)), ("shop", None), ("pay", Some(1))],
            all,
        );
        assert_eq!(moved, [("(application)".to_owned(), some("\"shop\""), some("\"pay\""))]);
        let swapped = shown(
            &[("crm", Some(1)), ("shop", Some(2))],
            &[("crm", Some(2)), ("shop", Some(1))],
            all,
        );
        let path = |of| format!("limit in m.json apps[] apis[] of {of}");
        let expected = [(path("crm"), some("1"), some("2")), (path("shop"), some("2"), some("1"))];
        assert_eq!(swapped, expected);
        let less =
            shown(&[("crm", Some(1)), ("shop", Some(1))], &[("crm", Some(1)), ("shop", None)], all);
        let place = some("\"m.json apps[] apis[] of shop\"");
        assert_eq!(less, [("(place)".to_owned(), place, None)]);
    }
}

#[test]
fn an_application_with_a_new_id_still_holds_what_it_held() {
    let side = |id: u32| {
        vec![list(&json!([
            {"id": id, "name": "crm", "apis": [{"id": "p", "name": "orders"}]},
            {"id": id + 1, "name": "erp", "apis": [{"id": "q", "name": "parts"}]},
        ]))]
    };
    assert_eq!(told(&compare(side(1), side(11), false)), [""; 0]);
    let all = ["changed application crm id", "changed application erp id"];
    assert_eq!(told(&compare(side(1), side(11), true)), all);
}

#[test]
fn a_new_id_of_a_single_asset_is_a_change() {
    let side = |id: u32| vec![document("m.json", &json!({"apis": [{"id": id, "name": "orders"}]}))];
    assert_eq!(told(&compare(side(1), side(2), false)), ["changed API orders id"]);
}

#[test]
fn very_many_places_of_one_id_are_compared_in_time() {
    let side = |sign: i64| {
        let apis: Value = (0..60_000).map(|n| json!({"id": 1, "x": sign * (n + 1)})).collect();
        vec![document("m.json", &json!({ "apis": apis }))]
    };
    let report = compare(side(1), side(-1), false);
    assert!(matches!(&report.assets[0].fate, Fate::Changed(found) if found.len() == 60_000));
}

#[test]
fn ids_that_are_all_new_do_not_drown_the_report() {
    let side = |offset: u32, remark: &str| -> Side {
        let one = |id: u32, name: &str| {
            let id = id + offset;
            document(&format!("tasks/{id}.json"), &json!({"task_id": id, "name": name, "r": 1}))
        };
        let changed = json!({"task_id": 3 + offset, "name": "c", "r": remark});
        vec![one(1, "a"), one(2, "b"), document(&format!("tasks/{}.json", 3 + offset), &changed)]
    };
    let report = compare(side(0, "x"), side(10, "y"), false);
    assert_eq!(told(&report), ["changed task c r"]);
    let new_ids = report.aside.iter().filter(|(_, d)| d.aside == Some(Aside::NewId)).count();
    assert_eq!(new_ids, 6, "three ids, and three places that are named after them");
    let all = told(&compare(side(0, "x"), side(10, "x"), true));
    assert_eq!(all[0], "changed task a task_id (place)");
    // One with a new id among others that kept theirs is worth a line.
    let mut new = side(0, "x");
    new[0] = document("tasks/77.json", &json!({"task_id": 77, "name": "a", "r": 1}));
    assert_eq!(told(&compare(side(0, "x"), new, false)), ["changed task a task_id (place)"]);
}

#[test]
fn what_every_export_makes_anew_is_counted_and_can_be_seen() {
    let side = |time: u32| {
        vec![
            document("m.json", &json!({"export_time": time, "job_id": time, "apps": []})),
            document("x.json", &json!([{"id": time, "name": "x"}, {"id": 5 - time, "name": "y"}])),
        ]
    };
    let same = |one: u32, other: u32| vec![side(one)[0].clone(), side(other)[0].clone()];
    let report = compare(same(1, 1), same(2, 2), false);
    assert!(report.is_same());
    assert_eq!(report.aside.len(), 4);
    assert_eq!(report.entry_count.unchanged, 2);
    let report = compare(same(1, 1), same(2, 2), true);
    let expected = ["changed m.json export_time job_id"; 2];
    assert_eq!((told(&report), report.aside.len()), (expected.map(str::to_owned).to_vec(), 0));
}

#[test]
fn a_document_that_was_written_differently_says_the_same() {
    let (old, mut new) = (list(&json!([{"id": 1}])), list(&json!([{"id": 1}])));
    new.bytes = bytes("the same with more blanks");
    let report = compare(vec![old.clone()], vec![new.clone()], false);
    assert!(report.is_same());
    assert_eq!(report.aside[0].1.aside, Some(Aside::Writing));
    assert_eq!(told(&compare(vec![old], vec![new], true)), ["changed m.json (sha256)"]);
}

#[test]
fn an_entry_that_is_a_document_on_one_side_only_is_compared_by_its_bytes() {
    let old = vec![list(&json!([{"id": 1}, {"id": 2}]))];
    let new = vec![plain_entry("m.json", "too large to be looked into")];
    assert_eq!(told(&compare(old, new, false)), ["changed m.json bytes"]);
}

fn some_side() -> impl Strategy<Value = Vec<(String, Value)>> {
    let name =
        prop_oneof![Just("m.json"), Just("apps/1.json"), Just("tasks/t.json"), Just("x.json")];
    prop::collection::vec((name.prop_map(str::to_owned), some_json()), 1..4)
}

fn side(entries: &[(String, Value)]) -> Side {
    entries.iter().map(|(name, value)| document(name, value)).collect()
}

proptest! {
    #[test]
    fn a_side_is_the_same_as_itself_in_any_order(
        entries in some_side(),
        shift in any::<Index>(),
    ) {
        let mut other = entries.clone();
        other.rotate_left(shift.index(entries.len()));
        let report = compare(side(&entries), side(&other), true);
        if entries == other {
            prop_assert_eq!(&report.assets, &vec![]);
            prop_assert_eq!(&report.entries, &vec![]);
        }
        prop_assert!(report.aside.is_empty());
    }

    /// Whatever leaf changes, be it an id, a name or anything else, the report shows it.
    #[test]
    fn a_changed_leaf_is_in_the_report(
        entries in some_side(),
        which in any::<Index>(),
        leaf in any::<Index>(),
    ) {
        let mut other = entries.clone();
        let at = which.index(entries.len());
        let Some(marked) = with_mark(&other[at].1, leaf) else { return Ok(()) };
        other[at].1 = marked;
        let report = compare(side(&entries), side(&other), false);
        let text = format!("{report:?}");
        // What became another thing comes as such, by its name and its digest only.
        let came = report.assets.iter().any(|change| matches!(change.fate, Fate::Added))
            || report.entries.iter().any(|change| matches!(change.fate, Fate::Added));
        let is_told = came || text.contains(&MARK.to_string());
        prop_assert!(is_told, "{} of {:?} {:?}", text, entries, other);
    }

    #[test]
    fn different_sides_never_count_as_the_same(one in some_side(), other in some_side()) {
        let report = compare(side(&one), side(&other), true);
        let sorted = |entries: &[(String, Value)]| {
            let mut texts: Vec<String> =
                entries.iter().map(|(name, value)| format!("{name} {value}")).collect();
            texts.sort();
            texts
        };
        if report.is_same() {
            // The same assets and rests; perhaps in another order.
            let letters = |entries: &[(String, Value)]| {
                let mut letters: Vec<char> = sorted(entries).concat().chars().collect();
                letters.sort_unstable();
                letters
            };
            prop_assert_eq!(letters(&one), letters(&other));
        } else {
            prop_assert_ne!(sorted(&one), sorted(&other));
        }
    }

    #[test]
    fn no_report_holds_a_secret(
        (one, other, old, new) in ("[a-z]{3}[0-9]{9}", "[A-Z]{3}[0-9]{9}").prop_flat_map(|(a, b)| {
            let (old, new) = (with_secret(&a), with_secret(&b));
            (Just(a), Just(b), old, new)
        }),
        around in some_json(),
        all in any::<bool>(),
    ) {
        let wrapped = |value: &Value| {
            let application = json!([{"id": "1", "name": "crm", "conf": value, "more": around}]);
            vec![list(&application), document("x.json", value), document("apps/1.json", value)]
        };
        let text = format!("{:?}", compare(wrapped(&old), wrapped(&new), all));
        prop_assert!(!text.contains(&one) && !text.contains(&other), "{}", text);
    }
}
