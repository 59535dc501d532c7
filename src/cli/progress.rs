//! A bar for long work. It stands on standard error, only if that is a terminal, and is gone when
//! the work is done: what a program reads never holds a trace of it.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it turns while nothing arrives.
const TICK: Duration = Duration::from_millis(120);

const OF_BYTES: &str = "{spinner} {msg}  {wide_bar:.green}  {binary_bytes} of \
                        {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const OF_WAITING: &str = "{spinner} {msg}  {elapsed}";

/// The bar; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work of `total` bytes, which is `what`.
    pub(super) fn of_bytes(total: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::drawn(ProgressBar::new(total), OF_BYTES, what.into())
    }

    /// Work whose end nobody can foretell.
    pub(super) fn of_waiting(what: impl Into<Cow<'static, str>>) -> Self {
        Self::drawn(ProgressBar::no_length(), OF_WAITING, what.into())
    }

    fn drawn(bar: ProgressBar, form: &str, what: Cow<'static, str>) -> Self {
        // Only a form that cannot be read fails, and a test reads them.
        let style = ProgressStyle::with_template(form);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(what);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    pub(super) fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// How much it will be, known by now.
    pub(super) fn expect(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    /// So much of so much is done.
    pub(super) fn stands(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// `out`, counting what passes.
    pub(super) fn counting<'a>(&self, out: &'a mut dyn Write) -> impl Write + use<'a> {
        self.0.wrap_write(out)
    }

    /// Does something that prints, with the bar out of its way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_can_be_read_and_count() {
        for form in [OF_BYTES, OF_WAITING] {
            ProgressStyle::with_template(form).unwrap();
        }
        let progress = Progress::of_bytes(10, "reading");
        let mut out = Vec::new();
        progress.counting(&mut out).write_all(b"abc").unwrap();
        progress.add(4);
        assert_eq!((out.as_slice(), progress.0.position()), (b"abc".as_slice(), 7));
    }
}
