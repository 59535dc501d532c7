//! Packing: what comes out, in which order it is made, and what a failure leaves.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::model::Method;
use crate::settings::PackMethod;
use crate::vault::disk::tests::{Bench, Fault, json, mode, random};
use crate::vault::manifest::tests::manifest_of;
use crate::vault::meter::BUFFER;
use crate::vault::{Disk, DiskFile, OsDisk, StagedEvidence};

const ID: ArchiveId = ArchiveId(34);
const PATH: &str = "prod/nightly/2026/11/20261124T020000Z-s12-1.zip";

fn pack_options(method: PackMethod) -> Pack {
    Pack { method, ..Pack::default() }
}

/// Downloads `bytes` and says how to pack them.
fn stage(bench: &Bench, bytes: &[u8], method: PackMethod) -> PackJob {
    let mut receiver = bench.vault.receive(ID).unwrap();
    receiver.write(bytes).unwrap();
    let staged = receiver.finish().unwrap();
    bench.disk.take_log();
    PackJob {
        id: ID,
        raw: staged.content,
        format: staged.format,
        path: PATH.to_owned(),
        manifest: manifest_of(staged.content, staged.format),
        options: pack_options(method),
    }
}

fn extracted(bench: &Bench, file: &StoredFile, raw: Content) -> Vec<u8> {
    let mut out = Vec::new();
    bench.vault.extract(file, raw, &mut out).unwrap();
    out
}

fn small_zip() -> Vec<u8> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file("a.json", SimpleFileOptions::default()).unwrap();
    zip.write_all(&json(5000)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn every_format_and_method_comes_back_byte_for_byte() {
    let packages = [
        Vec::new(),
        b"x".to_vec(),
        b"<html>not a package</html>".to_vec(),
        small_zip(),
        json(5 << 20),
        random(1, 5 << 20),
    ];
    for bytes in packages {
        for method in [PackMethod::Auto, PackMethod::Deflate, PackMethod::Store] {
            let bench = Bench::new();
            let job = stage(&bench, &bytes, method);
            let file = bench.vault.pack(&job).unwrap();
            assert_eq!(extracted(&bench, &file, job.raw), bytes);
            bench.vault.check(&file, job.raw).unwrap();
            let described = bench.vault.describe(&file.path).unwrap();
            assert_eq!(described, (job.manifest.clone(), file.clone()));
            assert_eq!(file.format, job.format);
            let path = bench.vault.stored_path(&file);
            assert_eq!(path, bench.path("vault").join(PATH));
            let on_disk = fs::read(&path).unwrap();
            assert_eq!(measure(&mut &on_disk[..]).unwrap(), file.content);
            assert!(file.content.bytes <= job.raw.bytes * 1001 / 1000 + 1200);
            // The package stays until the caller has recorded the file.
            assert_eq!(fs::read(bench.path("staging/a34.raw")).unwrap(), bytes);
            assert!(!bench.path("staging/a34.zip").exists());
        }
    }
}

#[test]
fn auto_deflates_only_what_shrinks() {
    let zip_with_directory = {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        for n in 0..3000 {
            let name = format!("a/rather/long/and/regular/name/that/shrinks/well/{n:08}");
            let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            zip.start_file(name, stored).unwrap();
            zip.write_all(&random(n, 1000)).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let shrinking_end = [random(2, 1 << 20), json(100_000)].concat();
    let half = [random(3, 600_000), json(600_000)].concat();
    for (bytes, method) in [
        (Vec::new(), Method::Store),
        (random(1, 1000), Method::Store),
        (random(1, 1 << 20), Method::Store),
        (random(1, 20 << 20), Method::Store),
        (shrinking_end, Method::Store),
        (json(1000), Method::Deflate),
        (json(1 << 20), Method::Deflate),
        (zip_with_directory, Method::Deflate),
        (half, Method::Deflate),
    ] {
        let bench = Bench::new();
        let job = stage(&bench, &bytes, PackMethod::Auto);
        assert_eq!(bench.vault.pack(&job).unwrap().method, method, "{} bytes", bytes.len());
    }
}

#[test]
fn no_level_lets_a_package_grow() {
    let bytes = random(8, 1 << 20);
    for level in [1, 2, 6, 9, 10, u32::MAX] {
        let bench = Bench::new();
        let mut job = stage(&bench, &bytes, PackMethod::Deflate);
        job.options.level = level.try_into().unwrap();
        let file = bench.vault.pack(&job).unwrap();
        assert_eq!(file.method, Method::Deflate);
        assert!(
            file.content.bytes <= job.raw.bytes * 1001 / 1000 + 1200,
            "{level}: {:?}",
            file.content
        );
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for bytes in [json(700_000), random(7, 300_000), Vec::new()] {
        let files = [0, 1].map(|_| {
            let bench = Bench::new();
            let file = bench.vault.pack(&stage(&bench, &bytes, PackMethod::Auto)).unwrap();
            fs::read(bench.vault.stored_path(&file)).unwrap()
        });
        assert!(files[0] == files[1]);
    }
}

#[test]
fn the_zip_is_as_plain_as_can_be() {
    let bench = Bench::new();
    let job = stage(&bench, &json(300_000), PackMethod::Auto);
    let file = bench.vault.pack(&job).unwrap();
    let bytes = fs::read(bench.vault.stored_path(&file)).unwrap();
    // First thing in the file: a stored manifest, without flags, extra fields or descriptor.
    assert_eq!(bytes[..10], *b"PK\x03\x04\x0a\0\0\0\0\0");
    assert_eq!(bytes[26..30], [13, 0, 0, 0]);
    assert!(bytes[43..].starts_with(b"{\n  \"schema_version\": 1,"));
    let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
    archive.validate_header_consistency().unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["manifest.json", "package.json"]);
    for index in 0..2 {
        let entry = archive.by_index(index).unwrap();
        assert_eq!(entry.unix_mode(), Some(0o100_640));
        assert_eq!(entry.last_modified().unwrap().to_string(), "2026-11-24 02:01:06");
        assert_eq!(entry.extra_data().unwrap_or_default(), b"");
        assert!(entry.version_needed() <= 20);
    }
}

#[test]
fn files_and_folders_have_their_modes() {
    let bench = Bench::new();
    let file = bench.vault.pack(&stage(&bench, b"{}", PackMethod::Auto)).unwrap();
    let path = bench.vault.stored_path(&file);
    assert_eq!(mode(&path), 0o640);
    let folders = path.ancestors().skip(1).take_while(|f| *f != bench.dir.path());
    assert_eq!(folders.map(mode).collect::<Vec<_>>(), [0o750; 5]);
}

#[test]
fn the_operations_of_packing_have_this_order() {
    let bench = Bench::new();
    let mut job = stage(&bench, &json(2 << 20), PackMethod::Auto);
    bench.vault.pack(&job).unwrap();
    let golden = "\
remove staging/a34.zip
create_new staging/a34.zip
write staging/a34.zip
sync staging/a34.zip
create_dir vault/prod
sync_dir vault
create_dir vault/prod/nightly
sync_dir vault/prod
create_dir vault/prod/nightly/2026
sync_dir vault/prod/nightly
create_dir vault/prod/nightly/2026/11
sync_dir vault/prod/nightly/2026
rename staging/a34.zip vault/prod/nightly/2026/11/20261124T020000Z-s12-1.zip
sync_dir vault/prod/nightly/2026/11";
    assert_eq!(bench.disk.take_log(), golden);
    // Folders that are known to be durable cost nothing.
    job.path = PATH.replace("-1.zip", "-2.zip");
    bench.vault.pack(&job).unwrap();
    let golden = "\
remove staging/a34.zip
create_new staging/a34.zip
write staging/a34.zip
sync staging/a34.zip
rename staging/a34.zip vault/prod/nightly/2026/11/20261124T020000Z-s12-2.zip
sync_dir vault/prod/nightly/2026/11";
    assert_eq!(bench.disk.take_log(), golden);
}

#[test]
fn a_file_packed_before_is_adopted() {
    let mut bench = Bench::new();
    let job = stage(&bench, &json(1000), PackMethod::Auto);
    let first = bench.vault.pack(&job).unwrap();
    bench.reopen();
    assert_eq!(bench.vault.pack(&job).unwrap(), first);
    let log = bench.disk.take_log();
    assert!(log.ends_with("sync_dir vault/prod/nightly/2026/11\nremove staging/a34.zip"), "{log}");
    assert!(bench.vault.list_staged().unwrap().ours.len() == 1, "only the package");
    assert_eq!(fs::read_dir(bench.path("quarantine")).unwrap().count(), 0);
}

#[test]
fn a_foreign_file_in_the_way_is_kept_in_quarantine() {
    let bench = Bench::new();
    let job = stage(&bench, &json(1000), PackMethod::Auto);
    bench.put(&format!("vault/{PATH}"), b"foreign");
    let file = bench.vault.pack(&job).unwrap();
    bench.vault.check(&file, job.raw).unwrap();
    let kept = bench.path("quarantine/unexpected-20261124T020000Z-s12-1.zip");
    assert_eq!(fs::read(kept).unwrap(), b"foreign");
    // As long as ours, yet different.
    let path = bench.vault.stored_path(&file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, bytes).unwrap();
    bench.vault.pack(&job).unwrap();
    bench.vault.check(&file, job.raw).unwrap();
    assert_eq!(fs::read_dir(bench.path("quarantine")).unwrap().count(), 2);
}

#[test]
fn a_package_that_is_gone_or_changed_is_not_packed() {
    let bytes = json(300_000);
    let bench = Bench::new();
    let job = stage(&bench, &bytes, PackMethod::Auto);
    let raw = bench.path("staging/a34.raw");
    let mut changed = bytes.clone();
    changed[200_000] ^= 1;
    for wrong in [&changed[..], &bytes[..299_999], &[], &[&bytes[..], b" "].concat()] {
        fs::write(&raw, wrong).unwrap();
        let error = bench.vault.pack(&job).unwrap_err();
        assert!(matches!(error, VaultError::StagedChanged { .. }), "{error:?}");
        assert!(!bench.path("vault").join(PATH).exists());
        assert!(!bench.path("staging/a34.zip").exists());
        assert_eq!(fs::read(&raw).unwrap(), wrong);
    }
    fs::remove_file(&raw).unwrap();
    let error = bench.vault.pack(&job).unwrap_err();
    assert!(matches!(error, VaultError::StagedGone { .. }), "{error:?}");
    fs::write(&raw, &bytes).unwrap();
    bench.vault.pack(&job).unwrap();
}

#[test]
fn a_job_that_contradicts_itself_or_leads_astray_is_refused() {
    let bench = Bench::new();
    let job = stage(&bench, b"{}", PackMethod::Auto);
    for path in ["", "../x.zip", "/x.zip", "a/../../x.zip"] {
        let job = PackJob { path: path.to_owned(), ..job.clone() };
        let error = bench.vault.pack(&job).unwrap_err();
        assert!(matches!(error, VaultError::UnsafePath { .. }), "{error:?}");
    }
    let mut other = job.clone();
    other.manifest.raw_bytes += 1;
    let error = bench.vault.pack(&other).unwrap_err();
    assert!(matches!(error, VaultError::ManifestDiffers { .. }), "{error:?}");
    assert_eq!(bench.disk.take_log(), "");
}

#[test]
fn every_operation_of_packing_may_fail() {
    let bytes = random(4, 2 * BUFFER + 100);
    // Into an empty vault, over a foreign file, and over our own file after a crash.
    for scene in 0..3 {
        for fault in [Fault::Once, Fault::Dead] {
            for n in 0.. {
                let mut bench = Bench::new();
                let job = stage(&bench, &bytes, PackMethod::Store);
                match scene {
                    0 => {}
                    1 => bench.put(&format!("vault/{PATH}"), b"foreign"),
                    _ => drop(bench.vault.pack(&job).unwrap()),
                }
                bench.disk.fail_at(n, fault);
                let result = bench.vault.pack(&job);
                let failed = bench.disk.heal();
                let context = format!("scene {scene}, {fault:?} at {n}: {result:?}");
                assert!(failed || result.is_ok(), "{context}");
                let raw = fs::read(bench.path("staging/a34.raw")).unwrap();
                assert!(raw == bytes, "{context}");
                // What a new process makes of it.
                bench.reopen();
                let evidence = bench.vault.inspect_staged(ID).unwrap();
                assert!(matches!(evidence, StagedEvidence::Whole(s) if s.content == job.raw));
                let file = bench.vault.pack(&job).unwrap();
                bench.vault.check(&file, job.raw).unwrap();
                let quarantined = fs::read_dir(bench.path("quarantine")).unwrap().count();
                assert_eq!(quarantined, usize::from(scene == 1), "{context}");
                assert_eq!(bench.vault.list_staged().unwrap().ours.len(), 1, "{context}");
                if !failed {
                    break;
                }
                assert!(n < 50, "packing never passes untouched");
            }
        }
    }
}

#[test]
fn a_failed_pack_gives_its_space_back_and_says_so() {
    let bench = Bench::new();
    let job = stage(&bench, &random(9, 4 * BUFFER), PackMethod::Auto);
    bench.disk.fail_at(4, Fault::Once);
    let error = bench.vault.pack(&job).unwrap_err();
    assert!(error.is_out_of_space() && !error.is_fatal(), "{error:?}");
    assert!(!bench.path("staging/a34.zip").exists());
}

#[test]
fn a_copy_that_went_wrong_never_reaches_the_vault() {
    /// Flips a bit of what is written.
    #[derive(Debug)]
    struct Lying;
    struct LyingFile(Box<dyn DiskFile>);
    impl Write for LyingFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.get_mut(5000) {
                *byte ^= 1;
            }
            self.0.write(&bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    impl Seek for LyingFile {
        fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
            self.0.seek(position)
        }
    }
    impl DiskFile for LyingFile {
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync()
        }
    }
    impl Disk for Lying {
        fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(LyingFile(OsDisk.create_new(path)?)))
        }
        fn sync_file(&self, path: &Path) -> Result<(), crate::vault::SyncFileError> {
            OsDisk.sync_file(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            OsDisk.rename(from, to)
        }
        fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
            OsDisk.link(file, name)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            OsDisk.sync_dir(dir)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            OsDisk.remove(path)
        }
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            OsDisk.create_dir(path)
        }
        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            OsDisk.free_bytes(dir)
        }
    }
    for method in [PackMethod::Store, PackMethod::Deflate] {
        let bench = Bench::new();
        let job = stage(&bench, &json(300_000), method);
        let lying = Vault::open(bench.dir.path(), std::sync::Arc::new(Lying)).unwrap();
        let error = lying.pack(&job).unwrap_err();
        assert!(matches!(error, VaultError::CopyDiffers { .. }), "{error:?}");
        assert!(!bench.path("vault").join(PATH).exists());
        bench.vault.pack(&job).unwrap();
    }
}
