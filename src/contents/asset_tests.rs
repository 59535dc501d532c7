//! Which assets are found in documents of different makes.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn found(entry: &str, document: Value) -> Vec<String> {
    let mut found: Vec<String> = take_apart(entry, document)
        .assets
        .into_iter()
        .map(|occurrence| {
            let asset = occurrence.asset;
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let kind = asset.kind.word();
            format!("{kind} {} {} {}", text(asset.id), text(asset.name), text(asset.of))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn assets_are_found_by_list_type_file_or_id() {
    for (entry, document, expected) in [
        ("m.json", json!({"apps": [{"id": "1", "name": "crm"}]}), "application 1 crm -"),
        ("m.json", json!({"appInfos": [{"app_id": 7}]}), "application 7 - -"),
        ("m.json", json!({"app": {"id": "1", "name": "crm"}}), "application 1 crm -"),
        ("m.json", json!({"applications": {"x": {"name": "crm"}}}), "application - crm -"),
        ("m.json", json!({"a": {"b": [{"tasks": [{"task_id": "t"}]}]}}), "task t - -"),
        ("m.json", json!({"records": [{"type": "API", "id": "9"}]}), "API 9 - -"),
        ("m.json", json!({"resource_type": "application", "name": "crm"}), "application - crm -"),
        ("apps/1.json", json!({"id": "1", "name": "crm"}), "application 1 crm -"),
        ("x/task-5.json", json!({"id": "5"}), "task 5 - -"),
        ("APIs.json", json!([{"apiName": "orders"}]), "API - orders -"),
        ("whatever", json!({"task_id": "5", "app_id": "1"}), "task 5 - -"),
        ("whatever", json!({"api_id": "5", "app_id": "1"}), "API 5 - -"),
    ] {
        assert_eq!(found(entry, document.clone()), [expected], "{entry} {document}");
    }
}

#[test]
fn what_only_resembles_an_asset_is_left_alone() {
    for (entry, document) in [
        ("m.json", json!({"apps": ["1", "2"], "tasks": []})),
        ("m.json", json!({"apps": [{"remark": "neither id nor name"}]})),
        ("m.json", json!({"authorized_apis": [{"id": "1"}], "app_id": "1"})),
        ("apps/crm/backend.json", json!({"id": "1", "name": "back"})),
        ("m.json", json!({"credentials": {"apps": [{"id": "1"}]}})),
        ("m.json", json!({"apps": [{"id": ""}]})),
    ] {
        assert_eq!(found(entry, document.clone()), [""; 0], "{entry} {document}");
        assert_eq!(take_apart(entry, document.clone()).rest, Some(document));
    }
}

#[test]
fn an_application_gives_up_what_it_holds_and_a_task_does_not() {
    let document = json!({"apps": [{
        "id": "1", "name": "crm",
        "apis": [{"name": "orders", "apis": [{"id": "in an API"}], "refs": [{"type": "api"}]}],
        "tasks": [{"task_id": "t", "tasks": [{"id": "in a task"}]}],
        "apps": [{"id": "authorised"}],
    }]});
    let expected = ["API - orders crm", "application 1 crm -", "task t - crm"];
    assert_eq!(found("m.json", document.clone()), expected);
    let pieces = take_apart("m.json", document);
    let application = pieces.assets.iter().find(|a| a.asset.kind == Kind::Application).unwrap();
    let left = json!({
        "id": "1", "name": "crm", "apis": [], "tasks": [], "apps": [{"id": "authorised"}]
    });
    assert_eq!((&application.body, application.place.as_str()), (&left, "m.json apps[]"));
    let api = pieces.assets.iter().find(|a| a.asset.kind == Kind::Api).unwrap();
    assert_eq!(api.place, "m.json apps[] apis[]");
    assert_eq!(pieces.rest, Some(json!({"apps": []})));
}

#[test]
fn a_list_of_applications_is_no_application() {
    let document = json!({"id": "e1", "name": "export", "apps": [{"id": "1"}]});
    assert_eq!(found("apps.json", document), ["application 1 - -"]);
}

pub(in crate::contents) fn some_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("apps"),
        Just("apis"),
        Just("tasks"),
        Just("id"),
        Just("name"),
        Just("task_id"),
        Just("type"),
        Just("x"),
        Just("list"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..40_u64).prop_map(Value::from),
        prop_oneof![Just("API"), Just("app"), Just("a"), Just("b"), Just("")].prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Every text and number of a value, in order.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, into)),
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, into)),
        Value::Null => {}
        other => into.push(other.to_string()),
    }
}

proptest! {
    /// Taking apart loses no leaf and makes none.
    #[test]
    fn the_pieces_are_the_document(document in some_json(), folder in "(apps|x)") {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        leaves(&document, &mut whole);
        let pieces = take_apart(&format!("{folder}/1.json"), document);
        pieces.assets.iter().for_each(|occurrence| leaves(&occurrence.body, &mut parts));
        pieces.rest.iter().for_each(|rest| leaves(rest, &mut parts));
        whole.sort();
        parts.sort();
        prop_assert_eq!(whole, parts);
    }
}
