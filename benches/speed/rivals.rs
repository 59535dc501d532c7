//! The programs that the daemon is held against. What they leave is checked as well: a rival that
//! fails fast is no rival.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roma_sim::defaults;
use sha2::{Digest, Sha256};

use crate::Bench;
use crate::daemon::{check_rows, open};
use crate::measure::Run;
use crate::server::{Package, Server, lines};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/serial.sh");

/// Where curl puts what it fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nowhere: what the server can do.
    Null,
    /// A file for each package.
    Files,
    /// The same, and each file made durable by `sync FILE` at the end.
    SyncedFiles,
}

/// One `curl` that fetches all packages over one connection.
pub(crate) fn curl(bench: &Bench, server: &Server, target: Target) -> Run {
    let folder = bench.folder("curl");
    let list = folder.path().join("list");
    let mut text = format!("header = \"X-Auth-Token: {}\"\n", defaults::TOKEN);
    for package in &server.packages {
        let url = format!("{}/archives/{}", server.assets(), package.id);
        let output = match target {
            Target::Null => PathBuf::from("/dev/null"),
            Target::Files | Target::SyncedFiles => file_of(folder.path(), package),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "url = \"{url}\"\noutput = \"{}\"\n", output.display());
    }
    std::fs::write(&list, text).unwrap();
    let mut command = bench.meter.command("sh");
    let script = match target {
        Target::SyncedFiles => r#"curl -fsS -K "$0" && sync "$1"/*.bin"#,
        Target::Null | Target::Files => r#"exec curl -fsS -K "$0""#,
    };
    command.arg("-c").arg(script).arg(&list).arg(folder.path());
    let mut run = bench.meter.run(command, Duration::ZERO);
    if target != Target::Null {
        check_files(folder.path(), &server.packages);
        run.stored_bytes = Some(server.raw_bytes());
    }
    run
}

/// One `curl` process a package, one after the other.
pub(crate) fn curl_each(bench: &Bench, server: &Server, packages: &[Package]) -> Run {
    let folder = bench.folder("curl-each");
    let list = folder.path().join("list");
    std::fs::write(&list, lines(packages, |package| &package.id)).unwrap();
    let mut command = bench.meter.command("sh");
    let script = r#"while read -r id; do
        curl -fsS -H "$1" -o "$2/$id.bin" "$0/archives/$id" || exit 1; done"#;
    let header = format!("X-Auth-Token: {}", defaults::TOKEN);
    command.arg("-c").arg(script).arg(server.assets()).arg(header).arg(folder.path());
    command.stdin(File::open(&list).unwrap());
    let run = bench.meter.run(command, Duration::ZERO);
    check_files(folder.path(), packages);
    run
}

/// The serial script.
pub(crate) fn script(bench: &Bench, server: &Server, packages: &[Package], slow: Duration) -> Run {
    let folder = bench.folder("script");
    let (list, vault) = (folder.path().join("list"), folder.path().join("vault"));
    std::fs::write(&list, lines(packages, |package| &package.job_id)).unwrap();
    let mut command = bench.meter.command(SCRIPT);
    command.arg(server.assets()).arg(defaults::TOKEN).arg(&vault);
    command.stdin(File::open(&list).unwrap());
    let mut run = bench.meter.run(command, slow);
    let mut database = open(bench, &vault.join("archives.db"));
    check_rows(bench, &mut database, "SELECT job_id, sha256 FROM archive", packages);
    run.stored_bytes = Some(bytes_of_zips(&vault));
    run
}

fn bytes_of_zips(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let zips = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "zip"));
    zips.map(|entry| entry.metadata().unwrap().len()).sum()
}

fn file_of(folder: &Path, package: &Package) -> PathBuf {
    folder.join(format!("{}.bin", package.id))
}

fn check_files(folder: &Path, packages: &[Package]) {
    for package in packages {
        let path = file_of(folder, package);
        let mut hasher = Sha256::new();
        std::io::copy(&mut File::open(&path).unwrap(), &mut Hashing(&mut hasher)).unwrap();
        let is_right = hex(&hasher.finalize()) == package.sha256;
        assert!(
            is_right,
            "{} is not what the server sent: the round does not count",
            path.display()
        );
    }
}

struct Hashing<'h>(&'h mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
