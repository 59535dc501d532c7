//! Downloads: whole, cut, failing at every operation, and found again by the next process.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::model::Timestamp;
use crate::vault::disk::tests::{Bench, Fault, json, mode, random};
use crate::vault::{Chunk, Received, spawn_receiver};

const ID: ArchiveId = ArchiveId(34);

fn content(bytes: &[u8]) -> Content {
    measure(&mut &bytes[..]).unwrap()
}

fn receive(vault: &Vault, bytes: &[u8], piece: usize) -> Result<Staged, VaultError> {
    let mut receiver = vault.receive(ID)?;
    for chunk in bytes.chunks(piece) {
        receiver.write(chunk)?;
    }
    assert_eq!(receiver.bytes(), bytes.len() as u64);
    receiver.finish()
}

#[test]
fn the_operations_of_a_download_have_this_order() {
    let bench = Bench::new();
    receive(&bench.vault, &random(1, 700_000), 16_384).unwrap();
    let golden = "\
create_new staging/a34.part
sync_dir staging
write staging/a34.part
sync staging/a34.part
rename staging/a34.part staging/a34.raw
sync_dir staging";
    assert_eq!(bench.disk.take_log(), golden);
}

/// Of JSON that was taken over from an unfinished transfer it is told what cannot be known.
#[test]
fn json_whose_end_nobody_saw_may_lack_white_space() {
    for (body, flaw) in [(&b"{\"apps\":[1]}"[..], true), (b"PK\x05\x06".as_slice(), false)] {
        let bench = Bench::new();
        let mut body = body.to_vec();
        if !flaw {
            body.resize(22, 0);
        }
        let mut receiver = bench.vault.receive(ID).unwrap();
        receiver.write(&body).unwrap();
        drop(receiver);
        let StagedEvidence::Whole(staged) = bench.vault.inspect_staged(ID).unwrap() else {
            panic!("{body:?}")
        };
        assert_eq!(staged.content, content(&body));
        assert_eq!(staged.flaw.is_some(), flaw, "{staged:?}");
    }
}

/// What a refused write left behind is written over, and not a byte is missing.
#[test]
fn a_full_disk_in_the_middle_of_a_body_is_waited_for() {
    let bytes = random(3, 700_000);
    let fill_and_empty = |patience: Duration| {
        let bench = Bench::new();
        let mut receiver = bench.vault.receive(ID).unwrap();
        receiver.set_patience(patience);
        receiver.write(&bytes[..300_000]).unwrap();
        bench.disk.fail_at(0, Fault::Dead);
        let disk = bench.disk.clone();
        let other = std::thread::spawn(move || {
            std::thread::sleep(4 * LOOK);
            disk.heal()
        });
        let result = receiver.write(&bytes[300_000..]).and_then(|()| receiver.finish());
        assert!(other.join().unwrap(), "the disk was never full");
        result.map(|staged| (staged, fs::read(bench.path("staging/a34.raw")).unwrap()))
    };
    let (staged, found) = fill_and_empty(Duration::from_mins(1)).unwrap();
    assert_eq!((staged.content, found == bytes), (content(&bytes), true));
    assert!(fill_and_empty(2 * LOOK).is_err_and(|error| error.is_out_of_space()));
}

#[test]
fn bytes_arrive_whatever_their_pieces() {
    for length in [0, 1, 7, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 5] {
        for piece in [1000, BUFFER - 1, BUFFER, BUFFER + 1, 10 * BUFFER] {
            let bench = Bench::new();
            let bytes = random(length as u64, length);
            let staged = receive(&bench.vault, &bytes, piece).unwrap();
            assert_eq!(staged.content, content(&bytes));
            assert_eq!(fs::read(bench.path("staging/a34.raw")).unwrap(), bytes);
            assert_eq!(mode(&bench.path("staging/a34.raw")), 0o640);
            let again = bench.vault.inspect_staged(ID).unwrap();
            assert_eq!(again, StagedEvidence::Whole(staged));
        }
    }
}

#[test]
fn formats_show_in_the_first_bytes() {
    for (first, format, cut) in [
        (&b"PK\x03\x04...."[..], Format::Zip, true),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Format::Zip, false),
        (b"PK\x05\x06\0\0\0\0", Format::Zip, true),
        (b"PK", Format::Other, false),
        (b"{\"a\"", Format::Json, true),
        (b" \r\n\t[1", Format::Json, true),
        (b"\xef\xbb\xbf{}", Format::Json, false),
        (b"        ", Format::Other, false),
        (b"<html>", Format::Other, false),
        (b"12", Format::Other, false),
        (b"", Format::Other, false),
    ] {
        assert_eq!(sniff(first), format, "{first:?}");
        let bench = Bench::new();
        let staged = receive(&bench.vault, first, 1).unwrap();
        // What was cut is kept, and is no zip and no JSON.
        let format = if cut { Format::Other } else { format };
        assert_eq!((staged.format, staged.flaw.is_some()), (format, cut), "{first:?}");
        // A restart sees the same.
        assert_eq!(bench.vault.inspect_staged(ID).unwrap(), StagedEvidence::Whole(staged));
    }
}

#[test]
fn a_dropped_receiver_leaves_all_that_came_and_nothing_that_looks_whole() {
    let bench = Bench::new();
    let bytes = random(2, BUFFER + 99);
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(&bytes).unwrap();
    receiver.write(b"and more").unwrap();
    drop(receiver);
    assert!(!bench.path("staging/a34.raw").exists());
    let bytes = bytes.len() as u64 + 8;
    assert_eq!(bench.vault.inspect_staged(ID).unwrap(), StagedEvidence::Partial { bytes });
    // The next attempt begins anew.
    let staged = receive(&bench.vault, b"fresh", 9).unwrap();
    assert_eq!(staged.content, content(b"fresh"));
}

#[test]
fn a_whole_package_is_never_received_again() {
    let bench = Bench::new();
    assert_eq!(bench.vault.inspect_staged(ID).unwrap(), StagedEvidence::Nothing);
    let bytes = json(500);
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(&bytes).unwrap();
    drop(receiver);
    let refused = bench.vault.receive(ID).err().unwrap();
    assert!(matches!(refused, VaultError::AlreadyStaged { .. }));
    bench.disk.take_log();
    let StagedEvidence::Whole(staged) = bench.vault.inspect_staged(ID).unwrap() else { panic!() };
    assert_eq!((staged.content, staged.format), (content(&bytes), Format::Json));
    let golden = "\
sync_file staging/a34.part
rename staging/a34.part staging/a34.raw
sync_dir staging";
    assert_eq!(bench.disk.take_log(), golden);
    let refused = bench.vault.receive(ID).err().unwrap();
    assert!(matches!(refused, VaultError::AlreadyStaged { .. }));
    bench.vault.discard_staged(ID).unwrap();
    bench.vault.receive(ID).unwrap();
}

#[test]
fn every_operation_of_a_download_may_fail() {
    let bytes = json(3 * BUFFER);
    for fault in [Fault::Once, Fault::Dead] {
        for n in 0.. {
            let mut bench = Bench::new();
            bench.disk.fail_at(n, fault);
            let result = receive(&bench.vault, &bytes, 50_000);
            if !bench.disk.heal() {
                assert_eq!(result.unwrap().content, content(&bytes));
                break;
            }
            let error = result.unwrap_err();
            let raw = bench.path("staging/a34.raw");
            assert!(!raw.exists() || fs::read(&raw).unwrap() == bytes, "{n} {fault:?}");
            // What a new process makes of it.
            bench.reopen();
            let staged = match bench.vault.inspect_staged(ID).unwrap() {
                StagedEvidence::Whole(staged) => staged,
                _ => receive(&bench.vault, &bytes, 50_000).unwrap(),
            };
            assert_eq!(staged.content, content(&bytes), "{n} {fault:?} {error}");
            assert_eq!(fs::read(raw).unwrap(), bytes);
            assert!(n < 50, "the download never passes untouched");
        }
    }
}

#[test]
fn every_operation_of_an_adoption_may_fail() {
    let bytes = json(2000);
    for n in 0.. {
        let mut bench = Bench::new();
        bench.put("staging/a34.part", &bytes);
        bench.disk.fail_at(n, Fault::Dead);
        let result = bench.vault.inspect_staged(ID);
        let failed = bench.disk.heal();
        assert_eq!(result.is_err(), failed, "{result:?}");
        bench.reopen();
        let StagedEvidence::Whole(staged) = bench.vault.inspect_staged(ID).unwrap() else {
            panic!("lost at {n}");
        };
        assert_eq!(staged.content, content(&bytes));
        if !failed {
            assert_eq!(n, 3);
            break;
        }
    }
}

#[test]
fn a_receiver_with_a_hole_is_never_finished() {
    let bench = Bench::new();
    let mut receiver = bench.vault.receive(ID).unwrap();
    bench.disk.fail_at(0, Fault::Once);
    let full = receiver.write(&random(1, BUFFER)).unwrap_err();
    assert!(full.is_out_of_space() && !full.is_fatal());
    bench.disk.heal();
    receiver.write(b"small").unwrap();
    let refused = receiver.finish().err().unwrap();
    assert!(matches!(refused, VaultError::Incomplete { .. }), "{refused:?}");
    assert!(!bench.path("staging/a34.raw").exists());
}

#[test]
fn a_failed_sync_is_told_apart() {
    let mut fatal = Vec::new();
    for n in 0..5 {
        let bench = Bench::new();
        bench.disk.fail_at(n, Fault::Once);
        fatal.push(receive(&bench.vault, b"abc", 3).unwrap_err().is_fatal());
    }
    // create_new, sync_dir, write, sync, rename
    assert_eq!(fatal, [false, true, false, true, false]);
}

#[test]
fn staging_is_listed() {
    let bench = Bench::new();
    for name in ["a34.part", "a34.zip", "a7.raw", "a07.raw", "a7.raw.x", "b7.raw", "a-7.raw", "x"] {
        bench.put(&format!("staging/{name}"), b"");
    }
    fs::create_dir(bench.path("staging/a9.raw")).unwrap();
    let contents = bench.vault.list_staged().unwrap();
    let ours = [(7, StagedKind::Raw), (34, StagedKind::Part), (34, StagedKind::Zip)]
        .map(|(id, kind)| StagedFile { id: ArchiveId(id), kind });
    // An id below zero would be ours if we ever gave one.
    let negative = StagedFile { id: ArchiveId(-7), kind: StagedKind::Raw };
    assert_eq!(contents.ours, [&[negative][..], &ours].concat());
    let foreign: Vec<_> = contents.foreign.iter().map(|p| p.file_name().unwrap()).collect();
    assert_eq!(foreign, ["a07.raw", "a7.raw.x", "a9.raw", "b7.raw", "x"]);
    bench.vault.discard_staged(ArchiveId(34)).unwrap();
    bench.vault.discard_staged(ArchiveId(34)).unwrap();
    assert_eq!(bench.vault.list_staged().unwrap().ours.len(), 2);
}

#[tokio::test]
async fn the_thread_finishes_only_when_told_so() {
    let bench = Bench::new();
    let bytes = Bytes::from(random(5, 1_000_000));
    for told in [false, true] {
        let (sender, task) = spawn_receiver(bench.vault.receive(ID).unwrap(), Vec::new(), None, 2);
        for start in (0..bytes.len()).step_by(60_000) {
            let end = bytes.len().min(start + 60_000);
            sender.send(Chunk::Bytes(bytes.slice(start..end))).await.unwrap();
        }
        if told {
            sender.send(Chunk::End(Timestamp::EARLIEST)).await.unwrap();
        }
        drop(sender);
        match task.await.unwrap() {
            Ok(Received::Staged(staged)) => assert!(told && staged.content == content(&bytes)),
            Ok(sealed) => panic!("{sealed:?}"),
            Err(VaultError::CutShort { bytes: came, .. }) => {
                assert!(!told && came == bytes.len() as u64);
                assert!(!bench.path("staging/a34.raw").exists());
                assert_eq!(fs::read(bench.path("staging/a34.part")).unwrap(), bytes);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_sender() {
    let bench = Bench::new();
    let receiver = bench.vault.receive(ID).unwrap();
    bench.disk.fail_at(0, Fault::Dead);
    let (sender, task) = spawn_receiver(receiver, Vec::new(), None, 0);
    let chunk = Bytes::from(vec![0; BUFFER]);
    while sender.send(Chunk::Bytes(chunk.clone())).await.is_ok() {}
    assert!(task.await.unwrap().unwrap_err().is_out_of_space());
    let _still_there: Arc<_> = bench.disk;
}
