//! Every difference is found, named by its place, and shown without secrets.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;
use crate::contents::asset::tests::some_json;
use crate::contents::secret::tests::with_secret;

fn lines(old: &Value, new: &Value) -> Vec<String> {
    let shown = |value: &Option<Shown>| {
        value.as_ref().map_or_else(|| "-".to_owned(), |value| value.as_value().to_string())
    };
    differences(old, new, Within::Asset)
        .iter()
        .map(|found| {
            let aside = found.aside.map_or_else(String::new, |aside| format!(" ({aside:?})"));
            format!("{}: {} -> {}{aside}", found.path, shown(&found.old), shown(&found.new))
        })
        .collect()
}

#[test]
fn differences_are_named_by_their_place() {
    for (old, new, expected) in [
        (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), vec!["a.b: 1 -> 2"]),
        (json!({"a": 1}), json!({"b": null}), vec!["a: 1 -> -", "b: - -> null"]),
        (json!({"a": [1]}), json!({"a": {}}), vec!["a: [1] -> {}"]),
        (json!({"a.b": {"": 1}}), json!({"a.b": {"": 2}}), vec![r#"["a.b"][""]: 1 -> 2"#]),
        (json!([1]), json!([1.0]), vec!["[0]: 1 -> 1.0"]),
        (json!([]), json!({}), vec![".: [] -> {}"]),
        // By position, where nothing else tells elements apart.
        (json!([1, 2, 3]), json!([1, 9, 2, 3]), vec!["[1]: - -> 9"]),
        (json!([1, 2, 3]), json!([2, 3]), vec!["[0]: 1 -> -"]),
        (
            json!(["a", "b", "c"]),
            json!(["a", "x", "y", "c"]),
            vec![r#"[1]: "b" -> "x""#, r#"[2]: - -> "y""#],
        ),
        // By id, by name, by name although the id is another.
        (
            json!([{"id": 1, "v": 1}, {"id": 2}]),
            json!([{"id": 1, "v": 2}, {"id": 3}]),
            vec!["[id=1].v: 1 -> 2", r#"[id=2]: {"id":2} -> -"#, r#"[id=3]: - -> {"id":3}"#],
        ),
        (
            json!([{"name": "a b", "v": 1}]),
            json!([{"name": "a b", "v": 2}, {"name": "c"}]),
            vec![r#"[name="a b"].v: 1 -> 2"#, r#"[name=c]: - -> {"name":"c"}"#],
        ),
        (
            json!([{"id": 1, "name": "a"}]),
            json!([{"id": 2, "name": "a"}]),
            vec!["[id=1].id: 1 -> 2"],
        ),
        (
            json!([{"id": 1}, {"id": 2}, {"id": 3}]),
            json!([{"id": 3}, {"id": 1}]),
            vec![r#"[id=2]: {"id":2} -> -"#, r#"[]: ["1","2","3"] -> ["3","1"]"#],
        ),
        // Two of one name: by position.
        (
            json!([{"id": 1, "v": 1}, {"id": 1, "v": 2}]),
            json!([{"id": 1, "v": 1}]),
            vec![r#"[1]: {"id":1,"v":2} -> -"#],
        ),
        // Texts that are JSON.
        (
            json!({"c": "{\"a\":1,\"b\":2}"}),
            json!({"c": "{\"a\":1,\"b\":3}"}),
            vec!["c(json).b: 2 -> 3"],
        ),
        (
            json!({"c": "{\"a\":1}"}),
            json!({"c": "{ \"a\": 1 }"}),
            vec![r#"c(json): {"a":1} -> {"a":1} (Writing)"#],
        ),
        (
            json!({"exportTime": 1, "job_id": 1}),
            json!({"exportTime": 2, "job_id": 2}),
            vec!["exportTime: 1 -> 2", "job_id: 1 -> 2"],
        ),
        (
            json!({"export_time": {"a": 1}}),
            json!({"export_time": {"a": 2}}),
            vec!["export_time.a: 1 -> 2"],
        ),
    ] {
        assert_eq!(lines(&old, &new), expected, "{old} {new}");
        assert_eq!(lines(&old, &old), [""; 0]);
    }
}

#[test]
fn that_a_secret_changed_is_said_and_nothing_else() {
    for (old, new, expected) in [
        (json!({"password": "a"}), json!({"password": "b"}), r#"password: "***" -> "***""#),
        (json!({"password": ""}), json!({"password": "b"}), r#"password: "" -> "***""#),
        (json!({"token": {"x": 1}}), json!({"token": {"x": 2}}), r#"token: "***" -> "***""#),
        (json!({}), json!({"sk": "b"}), r#"sk: - -> "***""#),
        (
            json!({"name": "limit", "value": "5"}),
            json!({"name": "password", "value": "x"}),
            r#"name: "limit" -> "password""#,
        ),
    ] {
        assert_eq!(lines(&old, &new)[0], expected, "{old} {new}");
    }
    // What is a secret before or after is one in both.
    let old = json!({"name": "limit", "value": "five"});
    let new = json!({"name": "password", "value": "x"});
    assert_eq!(lines(&old, &new)[1], r#"value: "***" -> "***""#);
}

#[test]
fn no_path_and_no_element_behind_an_option_shows_a_secret() {
    let side = |secret: &str| {
        json!({"list": [
            {"id": "token", "name": secret, "x": secret},
            {"id": "b", "name": "plain", "x": secret.len()},
        ], "argv": ["run", "--password", secret]})
    };
    let text = lines(&side("GEHEIM1"), &side("GEHEIM22")).join("\n");
    assert!(!text.contains("GEHEIM") && text.contains("argv[2]: \"***\" -> \"***\""), "{text}");
    // An API may be called so without hiding all that changes in it.
    let api = |timeout: u32| json!({"name": "get-token", "timeout": timeout, "value": "x"});
    assert_eq!(lines(&api(1), &api(2)), ["timeout: 1 -> 2"]);
}

#[test]
fn long_arrays_without_a_common_id_are_compared_in_time() {
    let elements = |offset: usize| -> Value {
        (0..20_000).map(|n| json!({"id": n + offset, "name": format!("n{}", n + offset)})).collect()
    };
    assert_eq!(differences(&elements(0), &elements(20_000), Within::Asset).len(), 40_000);
}

#[test]
fn what_looks_like_the_time_of_the_export_counts_inside_an_asset() {
    let schedule = |time: &str| json!({"schedule": {"export_time": time}});
    let aside = |within| differences(&schedule("02:00"), &schedule("05:00"), within)[0].aside;
    assert_eq!(aside(Within::Asset), None);
    assert_eq!(aside(Within::Document), Some(Aside::Anew));
}

#[test]
fn the_order_of_steps_counts() {
    let steps = |ids: [&str; 2]| json!({"steps": ids.map(|id| json!({"id": id}))});
    for within in [Within::Asset, Within::Document] {
        let found = differences(&steps(["del", "copy"]), &steps(["copy", "del"]), within);
        assert_eq!((found[0].path.as_str(), found[0].aside), ("steps[]", None));
    }
}

#[test]
fn a_path_is_never_longer_than_one_can_read() {
    let deep =
        |leaf: u32| (0..60).fold(json!(leaf), |v, _| json!({"k".repeat(1000): v, "\u{e9}": 1}));
    let found = differences(&deep(1), &deep(2), Within::Asset);
    assert!(found[0].path.len() < 800, "{}", found[0].path);
    let list = |from: u32| -> Value { (from..from + 3000).map(Value::from).collect() };
    let long = "k".repeat(1_000_000);
    let found =
        differences(&json!({long.clone(): list(0)}), &json!({long: list(5)}), Within::Asset);
    assert!(found.len() >= 5 && found.iter().all(|found| found.path.len() < 200));
}

pub(in crate::contents) const MARK: u64 = 999_983;

fn count_leaves(value: &Value) -> usize {
    match value {
        Value::Array(elements) => elements.iter().map(count_leaves).sum(),
        Value::Object(fields) => fields.values().map(count_leaves).sum(),
        _ => 1,
    }
}

/// Puts the mark in the place of the leaf with this number.
pub(in crate::contents) fn with_mark(value: &Value, which: Index) -> Option<Value> {
    fn put(value: &mut Value, left: &mut usize) {
        match value {
            Value::Array(elements) => elements.iter_mut().for_each(|element| put(element, left)),
            Value::Object(fields) => fields.values_mut().for_each(|value| put(value, left)),
            leaf => {
                if *left == 0 {
                    *leaf = MARK.into();
                }
                *left = left.wrapping_sub(1);
            }
        }
    }
    let count = count_leaves(value);
    let mut left = (count > 0).then(|| which.index(count))?;
    let mut marked = value.clone();
    put(&mut marked, &mut left);
    Some(marked)
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(value in some_json()) {
        prop_assert_eq!(differences(&value, &value, Within::Asset), vec![]);
    }

    #[test]
    fn what_differs_is_found(old in some_json(), new in some_json()) {
        let found = differences(&old, &new, Within::Document);
        prop_assert_eq!(found.is_empty(), old == new, "{} {}", old, new);
        // Backwards as many, and none of them less.
        let back = differences(&new, &old, Within::Document);
        prop_assert_eq!(found.len(), back.len(), "{} {}", old, new);
    }

    #[test]
    fn a_changed_leaf_is_shown(old in some_json(), which in any::<Index>()) {
        let Some(new) = with_mark(&old, which) else { return Ok(()) };
        let found = differences(&old, &new, Within::Asset);
        let mark = MARK.to_string();
        let is_shown = found.iter().filter_map(|found| found.new.as_ref()).any(|new| {
            new.as_value().to_string().contains(&mark)
        });
        prop_assert!(is_shown, "{:?} of {} {}", found, old, new);
    }

    /// The order of elements that have an id changes nothing but the order.
    #[test]
    fn the_order_of_elements_with_ids_is_none_of_their_differences(
        values in prop::collection::btree_map(0..50_u32, some_json(), 1..6)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>()),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let array = |values: &[(u32, Value)]| -> Value {
            values.iter().map(|(id, value)| json!({"id": id, "v": value})).collect()
        };
        let mut other = values.clone();
        other.rotate_left(shuffled.index(values.len()));
        let found = differences(&array(&values), &array(&other), Within::Asset);
        prop_assert!(found.iter().all(|found| found.path == "[]"), "{:?}", found);
        prop_assert_eq!(found.is_empty(), values == other);
        let lists = |list: Value| json!({"tags": list.clone(), "steps": list});
        let (old, new) = (lists(array(&values)), lists(array(&other)));
        for found in differences(&old, &new, Within::Document) {
            prop_assert_eq!(found.aside.is_some(), found.path == "tags[]");
        }
    }

    #[test]
    fn no_difference_shows_a_secret(
        (one, other, old, new) in ("[a-z]{3}[0-9]{9}", "[A-Z]{3}[0-9]{9}").prop_flat_map(|(a, b)| {
            let (old, new) = (with_secret(&a), with_secret(&b));
            (Just(a), Just(b), old, new)
        }),
        around in some_json(),
    ) {
        for (old, new) in [(&old, &new), (&old, &around), (&around, &new)] {
            let text = format!("{:?}", differences(old, new, Within::Document));
            prop_assert!(!text.contains(&one) && !text.contains(&other), "{}", text);
        }
    }
}
