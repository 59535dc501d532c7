//! How commands come to the catalog, with the daemon running and without it.

use std::path::Path;

use super::error::CliError;
use crate::catalog::{Access, Catalog};
use crate::clock::Clock;
use crate::service;
use crate::settings::Settings;
use crate::vault::StateLock;

/// For commands that only look.
pub(super) async fn reader(state_dir: &Path) -> Result<Catalog, CliError> {
    Ok(Catalog::open(state_dir, Access::Reader).await?)
}

/// For commands that leave work to the daemon. Without a daemon, what it would do at its start
/// (create the catalog, record the configuration) is done here.
pub(super) async fn writer(settings: &Settings) -> Result<Catalog, CliError> {
    Ok(service::open_catalog(settings, &Clock::System).await?)
}

/// Tells a person when nobody will do what was just asked for.
pub(super) fn mention_missing_daemon(settings: &Settings) {
    if !StateLock::is_held(&settings.state_dir) {
        super::output::note(
            "note: the daemon is not running; it takes over when it starts (`roma-archived run`)",
        );
    }
}
