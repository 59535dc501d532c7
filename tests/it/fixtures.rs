//! The client reads the samples taken from the vendor's documents. The simulator is held to the
//! same files by tests of its own, and shares no type with the client.

use std::path::Path;

use roma_archived::model::PackageId;
use roma_archived::roma::{ErrorCode, JobStatus, Speaker, error_body, job_report};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("sim/fixtures").join(name)).unwrap()
}

#[test]
fn jobs_of_every_vintage_are_understood() {
    let mut seen = 0;
    for entry in std::fs::read_dir("sim/fixtures").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("job_2") {
            continue;
        }
        seen += 1;
        let report = job_report(&fixture(&name)).unwrap();
        let expected = if name.contains("failed") {
            JobStatus::Failed
        } else if name.contains("finished") {
            JobStatus::Finished
        } else if name.contains("succe") {
            JobStatus::Succeeded
        } else {
            JobStatus::Running
        };
        assert_eq!(report.status, expected, "{name}");
        match expected {
            JobStatus::Succeeded => assert!(report.package.is_some(), "{name}"),
            JobStatus::Finished => assert_eq!(report.package, None, "{name}"),
            JobStatus::Failed => {
                assert_eq!(report.reasons.is_empty(), name.contains("null"), "{name}");
            }
            JobStatus::Running => {}
        }
    }
    assert!(seen >= 6, "{seen} samples");
}

#[test]
fn the_package_of_a_job_is_read_from_both_places() {
    let report = job_report(&fixture("job_2025_succeeded.json")).unwrap();
    assert!(report.package.as_ref().is_some_and(|id: &PackageId| id.as_str().len() > 8));
}

#[test]
fn errors_are_read_padded_and_plain() {
    let code = |name: &str| error_body(&fixture(name)).code;
    let padded = code("error_padded.json").unwrap();
    assert_eq!(padded.speaker, Speaker::Roma);
    let plain = ErrorCode::parse("ROMA.10012").unwrap();
    assert_eq!(code("error_plain.json"), Some(plain));
    assert_eq!(code("archive_bare_2022.json"), None);
}
