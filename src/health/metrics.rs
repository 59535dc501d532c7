//! The metrics there are: names, labels, and what they say. `docs/monitoring.md` lists the same.
//!
//! Labels are names of the configuration and words of the program, so that there are never more
//! series than the configuration has exports. Never a label from what a server sent.

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Up and down.
    Gauge,
    /// Only up, from 0 at the start of the process.
    Counter,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, which ends in its unit.
    pub name: &'static str,
    /// How its values move.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const EXPORT: &[&str] = &["roma_instance", "export"];

macro_rules! metrics {
    ($($name:ident: $kind:ident $labels:expr, $text:literal, $help:literal;)*) => {
        $(pub(super) const $name: Metric = Metric {
            name: concat!("roma_archived_", $text),
            kind: Kind::$kind,
            labels: $labels,
            help: $help,
        };)*

        /// All of them, in the order of the file.
        pub const METRICS: &[Metric] = &[$($name),*];
    };
}

metrics! {
    BUILD: Gauge &["version"], "build_info", "Always 1; the label is the version that runs.";
    STARTED: Gauge &[], "start_time_seconds", "When the process started, Unix time.";
    WRITTEN: Gauge &[], "last_write_timestamp_seconds",
        "When this file was written; it stands still if the work loop does.";
    WELL: Gauge &[], "well",
        "1 if no loss is unsettled, no file damaged, no objective missed: what `status` says.";
    OBJECTIVE: Gauge EXPORT, "export_objective_seconds",
        "The objective (rpo): a complete snapshot no older than this.";
    MET: Gauge EXPORT, "export_objective_met", "1 if the objective is met, 0 if it is missed.";
    NEWEST: Gauge EXPORT, "export_newest_snapshot_timestamp_seconds",
        "When the newest complete, verified snapshot was taken, Unix time.";
    SUCCESS: Gauge EXPORT, "export_last_success_timestamp_seconds",
        "When the newest complete snapshot became complete, Unix time.";
    FAILURE: Gauge EXPORT, "export_last_failure_timestamp_seconds",
        "When a part last became failed, lost or damaged, or a run came to nothing, Unix time.";
    DUE: Gauge EXPORT, "export_next_due_timestamp_seconds",
        "When the next scheduled run starts, Unix time.";
    RUNS: Gauge EXPORT, "export_runs_waiting",
        "Runs whose scope is not read yet: ROMA cannot be asked, or another run comes first.";
    MISSED_RUNS: Counter EXPORT, "runs_missed_total",
        "Scheduled or requested runs that were missed and are made up for by another one.";
    ARCHIVES: Gauge &["roma_instance", "export", "state"], "archives", "Archives in each state.";
    SNAPSHOTS: Gauge &["roma_instance", "export", "state"], "snapshots", "Snapshots in each state.";
    STORED_BYTES: Gauge EXPORT, "stored_bytes",
        "Files in the vault outside the trash, shared ones once.";
    TRASH_BYTES: Gauge EXPORT, "trash_bytes", "Files in the trash, shared ones once.";
    UNSETTLED: Gauge EXPORT, "losses_unsettled",
        "Losses that are neither made good nor acknowledged.";
    DAMAGED: Gauge EXPORT, "damaged_unacknowledged",
        "Damaged files that nobody has acknowledged.";
    REQUESTS: Counter EXPORT, "requests_total", "Attempts to start a job at ROMA.";
    TRANSFERS: Counter EXPORT, "transfers_total", "Attempts to download a package.";
    DOWNLOADS: Counter EXPORT, "downloads_total", "Packages that arrived whole.";
    DOWNLOADED: Counter EXPORT, "downloaded_bytes_total", "Bytes of packages that arrived whole.";
    STORED: Counter EXPORT, "archives_stored_total",
        "Times that an archive became stored, verified.";
    LOSSES: Counter EXPORT, "losses_total", "Times that an archive became lost.";
    DAMAGES: Counter EXPORT, "damages_total", "Times that an archive became damaged.";
    FAILURES: Counter EXPORT, "failures_total",
        "Archives that failed, and runs that came to nothing.";
    DELETED: Counter EXPORT, "archives_deleted_total",
        "Archives whose file retention has removed.";
    FAILED: Counter &["roma_instance", "class"], "failed_attempts_total",
        "Attempts of any kind that failed, by the class of the failure.";
    INSTANCE_PAUSED: Gauge &["roma_instance"], "instance_paused",
        "1 while nothing is sent to the instance because calls failed in a row.";
    ACCOUNT_PAUSED: Gauge &["account"], "account_paused",
        "1 while nothing is sent for the account: a rejected credential, or too many calls.";
    CREDENTIAL: Gauge &["account"], "credential_expiry_timestamp_seconds",
        "When the token or the keys at hand end, Unix time; they are renewed when they are needed.";
    OFFSET: Gauge &["roma_instance"], "clock_offset_seconds",
        "How far the clock of the instance is ahead of this machine's.";
    FREE: Gauge &[], "disk_free_bytes", "Left on the disk of the state directory.";
    WANTED: Gauge &[], "disk_wanted_bytes",
        "limits.min_free_space: no download begins with less left than this.";
    CATALOG: Gauge &[], "catalog_bytes", "Size of catalog.db.";
    LOG: Gauge &[], "catalog_wal_bytes", "Size of catalog.db-wal.";
    CATALOG_WAITS: Gauge &[], "catalog_waiting",
        "1 while the work loop stands still until the catalog finds room or its lock.";
    QUARANTINE: Gauge &[], "quarantine_files",
        "Files and folders in quarantine/, for a person to look at.";
    NOTIFIED: Counter &["channel", "result"], "notifications_total",
        "Pings and webhook messages, by what came of the attempt.";
    PENDING: Gauge &[], "webhook_pending", "Events that the webhook has not been told of yet.";
}
