//! What is printed: a table for people, and the same as JSON. Must never hide a bar that was
//! missed.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measure::{Fsyncs, Run, float, median};

/// One program and its runs.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) program: String,
    /// How many archives one run handles.
    pub(crate) archives: u64,
    /// Their bytes as the server has them.
    pub(crate) raw_bytes: u64,
    pub(crate) runs: Vec<Run>,
}

impl Row {
    fn median_of(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.median_of(|run| run.seconds)
    }

    pub(crate) fn seconds_an_archive(&self) -> f64 {
        self.seconds() / float(self.archives)
    }

    /// How many times as fast as another, archive by archive.
    pub(crate) fn speed_against(&self, other: &Row) -> f64 {
        other.seconds_an_archive() / self.seconds_an_archive()
    }

    /// The largest of all runs.
    pub(crate) fn peak_mebibytes(&self) -> f64 {
        let peaks = self.runs.iter().map(|run| run.peak_rss_bytes);
        float(peaks.max().unwrap_or(0)) / float(1 << 20)
    }

    pub(crate) fn fsyncs_an_archive(&self, kind: impl Fn(Fsyncs) -> u64) -> f64 {
        self.median_of(|run| float(kind(run.fsyncs))) / float(self.archives)
    }

    pub(crate) fn stored_bytes(&self) -> f64 {
        self.median_of(|run| run.stored_bytes.map_or(f64::NAN, float))
    }

    pub(crate) fn catalog_bytes_an_archive(&self) -> f64 {
        let bytes = self.median_of(|run| run.catalog_bytes.map_or(f64::NAN, float));
        bytes / float(self.archives)
    }

    fn cells(&self) -> [String; 10] {
        let seconds: Vec<f64> = self.runs.iter().map(|run| run.seconds).collect();
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seconds.iter().copied().fold(0.0, f64::max);
        let each = |figure: f64| short(figure / float(self.archives));
        let stored = self.stored_bytes();
        [
            self.program.clone(),
            self.archives.to_string(),
            format!("{} ({}..{})", short(self.seconds()), short(least), short(most)),
            short(1.0 / self.seconds_an_archive()),
            short(float(self.raw_bytes) / float(1 << 20) / self.seconds()),
            short(self.median_of(|run| run.cpu_seconds)),
            short(self.peak_mebibytes()),
            short(self.median_of(|run| float(run.written_bytes)) / stored),
            each(self.median_of(|run| float(run.fsyncs.commits))),
            each(self.median_of(|run| float(run.fsyncs.all()))),
        ]
    }
}

const HEADS: [&str; 10] = [
    "program",
    "archives",
    "seconds (range)",
    "a second",
    "MiB/s",
    "CPU s",
    "peak MiB",
    "written/stored",
    "commits each",
    "fsyncs each",
];

/// What a figure has to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One bar of the contract.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    pub(crate) measured: f64,
    met: bool,
}

impl Bar {
    pub(crate) fn new(what: &str, bound: Bound, measured: f64) -> Self {
        let met = match bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        };
        Self { what: what.to_owned(), bound, measured, met }
    }

    pub(crate) fn at_least(least: f64, what: &str, measured: f64) -> Self {
        Self::new(what, Bound::AtLeast(least), measured)
    }

    pub(crate) fn at_most(most: f64, what: &str, measured: f64) -> Self {
        Self::new(what, Bound::AtMost(most), measured)
    }
}

/// What a scenario came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) bars: Vec<Bar>,
    /// What else there is to know, a line each.
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// The row of a program.
    pub(crate) fn row(&self, program: &str) -> &Row {
        let found = self.rows.iter().find(|row| row.program == program);
        found.unwrap_or_else(|| panic!("no program {program}"))
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub(crate) fn print(name: &str, what: &str, outcome: &Outcome, judged: bool) {
    println!("\n== {name}: {what}");
    if !outcome.rows.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(HEADS);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.add_rows(outcome.rows.iter().map(Row::cells));
        println!("{table}");
    }
    for note in &outcome.notes {
        println!("   {note}");
    }
    for bar in &outcome.bars {
        let verdict = match (judged, bar.met) {
            (false, _) => "  -   ",
            (true, true) => "met   ",
            (true, false) => "MISSED",
        };
        let bound = match bar.bound {
            Bound::AtLeast(least) => format!(">= {least}"),
            Bound::AtMost(most) => format!("<= {most}"),
        };
        println!("   {verdict}  {bound:<9} measured {:<8} {}", short(bar.measured), bar.what);
    }
}

/// Three digits that matter.
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        _ if figure.is_nan() => "-".to_owned(),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        size if size >= 0.01 => format!("{figure:.3}"),
        _ => format!("{figure:.4}"),
    }
}
