//! Tests of `content`.

use std::io::Cursor;

use super::*;
use crate::prng::hex_id;

fn scope(export_number: u64) -> AssetScope {
    let items = |word: &str, count: u64| {
        (0..count)
            .map(|number| Item { id: hex_id(1, word, number), name: format!("{word}-{number}") })
            .collect()
    };
    AssetScope {
        instance_id: "i".to_owned(),
        instance_name: "prod".to_owned(),
        apps: items("app", 12),
        tasks: items("task", 30),
        export_number,
        stamp: None,
        seed: 7,
    }
}

fn content(spec: &ContentSpec, export_number: u64) -> Arc<Content> {
    Arc::new(Content::new(spec, 99, scope(export_number)))
}

fn read(content: &Arc<Content>, max: usize) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut reader = ContentReader::new(Arc::clone(content));
    while let Some(piece) = reader.next(max) {
        assert!(!piece.is_empty() && piece.len() <= max);
        whole.extend_from_slice(piece);
    }
    whole
}

#[test]
fn every_kind_is_deterministic_has_its_length_and_its_digest_at_any_piece_size() {
    let kinds = [
        ContentSpec::Assets,
        ContentSpec::Steady { changes_every: 2 },
        ContentSpec::Random { bytes: 700_003 },
        ContentSpec::Random { bytes: 0 },
        ContentSpec::Json { bytes: 700_003 },
        ContentSpec::Json { bytes: 90 },
        ContentSpec::Json { bytes: 3 },
        ContentSpec::Zip { bytes: 50_000 },
        ContentSpec::Raw(vec![0, 255, 1]),
    ];
    for kind in kinds {
        let streamed = content(&kind, 3);
        let whole = read(&streamed, 1_000);
        assert_eq!(length(&whole), streamed.bytes(), "{kind:?}");
        assert_eq!(sha256_hex(&whole), streamed.sha256(), "{kind:?}");
        let prepared = content(&kind, 3);
        prepared.prepare();
        assert!(read(&prepared, PIECE * 3) == whole, "{kind:?}");
    }
}

#[test]
fn json_content_is_json_and_compressible() {
    for bytes in [1, 3, 44, 48, 49, 60, 500, 1_000, 100_000] {
        let text = read(&content(&ContentSpec::Json { bytes }, 0), 777);
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&text);
        assert!(parsed.is_ok(), "{bytes}: {}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn zip_content_opens() {
    let whole = read(&content(&ContentSpec::Zip { bytes: 50_000 }, 0), PIECE);
    let mut zip = zip::ZipArchive::new(Cursor::new(whole)).unwrap();
    assert_eq!(zip.by_index(0).unwrap().size(), 50_000);
}

fn entries(content: &Arc<Content>) -> Vec<(String, String)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(read(content, PIECE))).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut file = zip.by_index(index).unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            (file.name().unwrap().into_owned(), text)
        })
        .collect()
}

#[test]
fn steady_content_differs_in_its_bytes_always_and_in_its_entries_seldom() {
    let of = |changes_every, number| content(&ContentSpec::Steady { changes_every }, number);
    for number in 1..40 {
        let (one, other) = (of(5, number), of(5, number + 1));
        assert_ne!(one.sha256(), other.sha256(), "{number}");
        let same = entries(&one) == entries(&other);
        assert_eq!(same, (number + 1) % 5 != 0, "{number}");
        assert_eq!(entries(&of(0, number)), entries(&of(0, number + 1)), "{number}");
        assert_ne!(of(0, number).sha256(), of(0, number + 1).sha256(), "{number}");
    }
}

#[test]
fn asset_content_opens_and_hardly_differs_from_the_export_before() {
    let before = entries(&content(&ContentSpec::Assets, 4));
    let after = entries(&content(&ContentSpec::Assets, 5));
    assert_eq!(before.len(), 1 + 12 + 30);
    let lines = |all: &[(String, String)]| -> Vec<String> {
        all.iter()
            .flat_map(|(name, text)| text.lines().map(move |line| format!("{name}:{line}")))
            .collect()
    };
    let (before, after) = (lines(&before), lines(&after));
    let changed = before.iter().zip(&after).filter(|(one, other)| one != other).count();
    assert!(changed > 0);
    assert!(changed * 100 < after.len() * 10, "{changed} of {}", after.len());
}

#[test]
fn a_spec_reads_from_json() {
    let read = |text: &str| serde_json::from_str::<ContentSpec>(text).unwrap();
    assert_eq!(read("\"assets\""), ContentSpec::Assets);
    let steady = ContentSpec::Steady { changes_every: 5 };
    assert_eq!(read("{\"steady\":{\"changes_every\":5}}"), steady);
    assert_eq!(read("{\"random\":{\"bytes\":5}}"), ContentSpec::Random { bytes: 5 });
    assert_eq!(read("{\"raw\":\"text\"}"), ContentSpec::Raw(b"text".to_vec()));
    assert_eq!(read("{\"raw\":[80,75]}"), ContentSpec::Raw(b"PK".to_vec()));
}
