//! `run`: the daemon in the foreground.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::check_config::unreadable_secrets;
use super::error::CliError;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::exit::Exit;
use crate::service::{self, Options, Rhythm};
use crate::telemetry;
use crate::vault::OsDisk;

/// Changes by commands are taken over within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(loaded: &Loaded, args: &RunArgs) -> Result<Exit, CliError> {
    telemetry::start("info");
    for warning in loaded.warnings.iter().chain(&unreadable_secrets(&loaded.settings)) {
        tracing::warn!(config = %loaded.path.display(), "{warning}");
    }
    let options = Options {
        once: args.once,
        check_interval: CHECK_INTERVAL,
        clock: Clock::System,
        disk: Arc::new(OsDisk),
        rhythm: Rhythm::default(),
    };
    let settings = loaded.settings.clone();
    super::on_many_threads(async {
        let shutdown = CancellationToken::new();
        service::on_signals(shutdown.clone()).map_err(CliError::Runtime)?;
        service::run(settings, options, shutdown).await.map_err(CliError::Service)
    })?;
    Ok(Exit::Ok)
}
