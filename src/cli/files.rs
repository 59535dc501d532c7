//! Files that a command makes for somebody: each appears whole and durable under its name, and in
//! nobody else's place unless that is wished.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::CliError;

/// Where a file of this name lies.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Something has the name already.
pub(super) fn is_there(path: &Path) -> CliError {
    let why = "it exists already; --force replaces it";
    failed(path)(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

/// Why a file cannot be written.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |source| CliError::Write { path: path.clone(), source }
}

/// Makes a file durable, then gives it its name, and makes that durable too.
pub(super) fn put_in_place(
    temporary: NamedTempFile,
    path: &Path,
    force: bool,
) -> Result<(), CliError> {
    temporary.as_file().sync_all().map_err(failed(path))?;
    let placed = if force { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    placed.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => is_there(path),
        _ => failed(path)(error.error),
    })?;
    sync_folder(path)
}

/// Makes durable which names there are beside this one.
pub(super) fn sync_folder(path: &Path) -> Result<(), CliError> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed(path))
}
