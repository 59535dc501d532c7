//! Tests of `wire`: the simulator reads and writes the vendor's samples without loss.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn round_trip<T: DeserializeOwned + Serialize>(name: &str) {
    let text = fixture(name);
    let value: Value = serde_json::from_str(&text).unwrap();
    let typed: T = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), value, "{name}");
}

#[test]
fn every_sample_survives_reading_and_writing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.as_str() {
            "export_response.json" => round_trip::<JobAccepted>(&name),
            "archive_bare_2022.json" => round_trip::<BareArchiveRef>(&name),
            "keystone_error.json" => round_trip::<KeystoneError>(&name),
            "token_request.json" => round_trip::<TokenRequest>(&name),
            "token_response.json" => round_trip::<TokenAnswer>(&name),
            "project_list.json" => round_trip::<ProjectList>(&name),
            "instance_list.json" => round_trip::<InstanceList>(&name),
            // Requests and their signatures; `auth` is held to them.
            "signing_vectors.json" => {}
            "app_list.json" => round_trip::<AppList>(&name),
            "task_list.json" => round_trip::<TaskList>(&name),
            _ if name.starts_with("export_request") => round_trip::<AssetSelection>(&name),
            _ if name.starts_with("job_") => round_trip::<AssetJob>(&name),
            _ if name.starts_with("error_") => round_trip::<ErrorEnvelope>(&name),
            _ => panic!("a sample without a type: {name}"),
        }
    }
}

#[test]
fn an_error_with_its_code_is_no_bare_reference() {
    let text = fixture("error_plain.json");
    assert!(serde_json::from_str::<BareArchiveRef>(&text).is_err());
}
