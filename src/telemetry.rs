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
    // Text there would all be "info".
    let journal = if stderr_is_the_journal() { journal().ok() } else { None };
    let started = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => registry.with(text()).try_init(),
    };
    // Only a test that starts several services gets here twice.
    drop(started);
}

/// Whether standard error is the journal: systemd says which file that would be, and whoever was
/// started from there may have a terminal by now.
pub fn stderr_is_the_journal() -> bool {
    let Some(told) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| told.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// Text for standard error, each line of it marked as an error where that is the journal
/// (sd-daemon(3)); elsewhere as it is.
pub fn as_error(text: &str) -> String {
    if stderr_is_the_journal() { marked(text) } else { text.to_owned() }
}

fn marked(text: &str) -> String {
    text.lines().map(|line| format!("<3>{line}")).collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_of_an_error_bears_its_priority() {
        assert_eq!(super::marked("error: two\n  a\n  b"), "<3>error: two\n<3>  a\n<3>  b");
    }

    #[test]
    fn what_is_not_the_journal_gets_no_marks() {
        assert_eq!(super::as_error("error: x"), "error: x");
    }
}
