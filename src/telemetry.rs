//! Where log lines go; nothing else configures logging.
//!
//! Under systemd they go to the journal with their fields and priorities, elsewhere to standard
//! error as text. `RUST_LOG` filters them, by default `info`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `default` unless `RUST_LOG` says otherwise. A second call changes nothing.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets this when standard error is the journal; text there would all be "info".
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| journal().ok());
    let started = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => registry.with(text()).try_init(),
    };
    // Only a test that starts several services gets here twice.
    drop(started);
}

/// Why the daemon ends, as an error of the journal. Elsewhere the caller prints it.
pub fn last_words(story: &str) {
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        tracing::error!("{story}");
    }
}

fn journal() -> std::io::Result<tracing_journald::Layer> {
    use tracing_journald::{Priority, PriorityMappings};
    // The library's own mapping shows `info` as a bold "notice".
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = tracing_journald::layer()?
        .with_priority_mappings(priorities)
        .with_field_prefix(None)
        .with_syslog_identifier("roma-archived".to_owned());
    Ok(layer)
}

fn text<S>() -> tracing_subscriber::fmt::Layer<
    S,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    fn() -> std::io::Stderr,
>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(std::io::stderr as fn() -> std::io::Stderr)
}
