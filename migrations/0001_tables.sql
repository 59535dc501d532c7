-- Internal tables. They may change with any version: read the views (0002_views.sql) instead.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z and end in _ms, sizes are bytes and end in
-- _bytes, digests are 32 bytes. Rows are never removed: a deleted archive stays as a tombstone.

PRAGMA application_id = 0x524F4D41; -- 'ROMA'
PRAGMA user_version = 1;

CREATE TABLE internal_meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row an export that was ever configured, plus `watched` of each instance.
CREATE TABLE internal_export (
    instance             TEXT NOT NULL,
    name                 TEXT NOT NULL,
    configured           INTEGER NOT NULL CHECK (configured IN (0, 1)),
    schedule             TEXT,
    rpo_ms               INTEGER,
    first_seen_at_ms     INTEGER NOT NULL,
    last_due_at_ms       INTEGER NOT NULL, -- occurrences up to here are taken or passed over
    next_due_at_ms       INTEGER,
    last_failure_at_ms   INTEGER,
    last_error           TEXT,
    policy               TEXT,             -- the effective policy in words
    policy_hash          TEXT,
    policy_changed_at_ms INTEGER,          -- NULL while it is the first one
    PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;

-- One run of an export. The state, the counts and the sizes follow from its archives and are
-- written in the transaction that changes one of them.
CREATE TABLE internal_snapshot (
    id                    INTEGER PRIMARY KEY AUTOINCREMENT,
    instance              TEXT NOT NULL,
    export                TEXT NOT NULL,
    origin                TEXT NOT NULL CHECK (origin IN ('schedule', 'command', 'watch', 'rebuild')),
    taken_at_ms           INTEGER NOT NULL,
    state                 TEXT NOT NULL
        CHECK (state IN ('open', 'complete', 'incomplete', 'trashed', 'deleted')),
    parts                 INTEGER CHECK (parts >= 0), -- NULL until the scope is known
    parts_stored          INTEGER NOT NULL DEFAULT 0,
    assets                INTEGER CHECK (assets >= 0), -- asked for; NULL until the scope is known
    assets_missing        INTEGER NOT NULL DEFAULT 0,  -- of these, not there or not shown
    raw_bytes             INTEGER NOT NULL DEFAULT 0,
    stored_bytes          INTEGER NOT NULL DEFAULT 0,
    attempts              INTEGER NOT NULL DEFAULT 0, -- of the planning
    not_before_ms         INTEGER NOT NULL,
    last_error            TEXT,
    kept_because          TEXT,
    expected_delete_at_ms INTEGER,
    FOREIGN KEY (instance, export) REFERENCES internal_export (instance, name)
) STRICT;
CREATE INDEX internal_snapshot_by_export
    ON internal_snapshot (instance, export, state, taken_at_ms);
CREATE INDEX internal_snapshot_unplanned ON internal_snapshot (not_before_ms) WHERE parts IS NULL;

-- One row a package: what is known of it from the moment it falls due until for ever.
CREATE TABLE internal_archive (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    snapshot_id       INTEGER NOT NULL REFERENCES internal_snapshot (id),
    instance          TEXT NOT NULL,
    export            TEXT NOT NULL,
    part              INTEGER NOT NULL CHECK (part >= 1),
    generation        INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    replaces          INTEGER UNIQUE REFERENCES internal_archive (id),
    scope             TEXT, -- JSON {"apps":[..],"tasks":[..]}; NULL for a job started elsewhere
    revision          INTEGER NOT NULL,
    attempts          INTEGER NOT NULL,
    unknown_polls     INTEGER NOT NULL DEFAULT 0, -- in a row
    downloads         INTEGER NOT NULL,
    busy_since_ms     INTEGER, -- another asset job of the account keeps this one waiting
    at_rest           INTEGER NOT NULL CHECK (at_rest IN (0, 1)),
    scheduled_at_ms   INTEGER NOT NULL,
    not_before_ms     INTEGER NOT NULL,
    state             TEXT NOT NULL CHECK (state IN (
        'scheduled', 'requesting', 'running', 'ready', 'downloading', 'downloaded', 'stored',
        'trashed', 'deleting', 'deleted', 'damaged', 'failed', 'lost')),
    cause             TEXT,
    job_id            TEXT,
    package_id        TEXT,
    raw_bytes         INTEGER CHECK (raw_bytes >= 0),
    raw_sha256        BLOB CHECK (length(raw_sha256) = 32),
    stored_bytes      INTEGER CHECK (stored_bytes >= 0),
    stored_sha256     BLOB CHECK (length(stored_sha256) = 32),
    format            TEXT CHECK (format IN ('zip', 'json', 'other')),
    method            TEXT CHECK (method IN ('deflate', 'store')),
    path              TEXT UNIQUE,
    inode             INTEGER, -- of that file when it was stored, as SQLite can hold it
    content_sha256    BLOB CHECK (length(content_sha256) = 32), -- of what the package contains
    original          INTEGER REFERENCES internal_archive (id), -- that stored the shared file
    deletion_reason   TEXT,
    deletion_policy   TEXT,
    accepted_at_ms    INTEGER,
    ready_at_ms       INTEGER,
    downloaded_at_ms  INTEGER,
    stored_at_ms      INTEGER,
    verified_at_ms    INTEGER,
    deleted_at_ms     INTEGER,
    acknowledged_at_ms INTEGER, -- somebody saw that it is lost or damaged
    last_error        TEXT,
    -- What belongs to a state, said a second time (the first is the type in the program).
    CHECK (state NOT IN ('running', 'ready', 'downloading', 'downloaded', 'stored', 'trashed',
                         'deleting', 'deleted', 'damaged') OR job_id IS NOT NULL),
    CHECK (state NOT IN ('ready', 'downloading', 'downloaded', 'stored', 'trashed', 'deleting',
                         'deleted', 'damaged') OR package_id IS NOT NULL),
    CHECK (state NOT IN ('downloaded', 'stored', 'trashed', 'deleting', 'deleted', 'damaged')
           OR (raw_bytes IS NOT NULL AND raw_sha256 IS NOT NULL AND format IS NOT NULL)),
    CHECK (state NOT IN ('stored', 'trashed', 'deleting', 'deleted', 'damaged')
           OR (stored_bytes IS NOT NULL AND stored_sha256 IS NOT NULL AND method IS NOT NULL
               AND path IS NOT NULL)),
    CHECK ((state IN ('trashed', 'deleting', 'deleted')) = (deletion_reason IS NOT NULL)),
    CHECK ((state IN ('failed', 'lost')) = (cause IS NOT NULL)),
    CHECK (acknowledged_at_ms IS NULL OR state IN ('lost', 'damaged'))
) STRICT;
-- The two promises about identity: a job and a package belong to one archive, for ever, unless it
-- was taken for lost.
CREATE UNIQUE INDEX internal_archive_job
    ON internal_archive (instance, job_id) WHERE job_id IS NOT NULL AND state <> 'lost';
CREATE UNIQUE INDEX internal_archive_package
    ON internal_archive (instance, package_id)
    WHERE package_id IS NOT NULL AND state <> 'lost';
CREATE INDEX internal_archive_by_job ON internal_archive (instance, job_id)
    WHERE job_id IS NOT NULL;
CREATE INDEX internal_archive_by_snapshot ON internal_archive (snapshot_id, part);
CREATE INDEX internal_archive_by_state ON internal_archive (state);
CREATE INDEX internal_archive_by_verification
    ON internal_archive (verified_at_ms) WHERE state = 'stored';
-- Who has a file that holds such content; who shares the file of whom, the first of them first.
CREATE INDEX internal_archive_by_content ON internal_archive (content_sha256)
    WHERE state = 'stored' AND content_sha256 IS NOT NULL;
CREATE INDEX internal_archive_sharing ON internal_archive (original, stored_at_ms)
    WHERE state IN ('stored', 'trashed') AND original IS NOT NULL;
CREATE INDEX internal_archive_active ON internal_archive (not_before_ms) WHERE at_rest = 0;

-- What happened, recorded once, in the transaction that made it true.
CREATE TABLE internal_event (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    archive_id  INTEGER REFERENCES internal_archive (id),
    snapshot_id INTEGER REFERENCES internal_snapshot (id),
    event       TEXT NOT NULL,
    from_state  TEXT,
    to_state    TEXT,
    detail      TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;
CREATE INDEX internal_event_by_archive
    ON internal_event (archive_id) WHERE archive_id IS NOT NULL;
CREATE INDEX internal_event_by_snapshot
    ON internal_event (snapshot_id) WHERE snapshot_id IS NOT NULL;

-- What happened to the daemon as a whole: few rows, asked for by their word.
CREATE INDEX internal_event_of_daemon
    ON internal_event (event) WHERE archive_id IS NULL AND snapshot_id IS NULL;

-- A named hold on a snapshot: retention never deletes what is pinned.
CREATE TABLE internal_pin (
    snapshot_id  INTEGER NOT NULL REFERENCES internal_snapshot (id),
    name         TEXT NOT NULL,
    reason       TEXT NOT NULL,
    pinned_at_ms INTEGER NOT NULL,
    until_ms     INTEGER,
    pinned_by    TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, name)
) STRICT, WITHOUT ROWID;

-- How much there is of each kind and state, so that nobody has to count the history for it. Kept by
-- the triggers below, whoever writes.
CREATE TABLE internal_tally (
    kind         TEXT NOT NULL CHECK (kind IN ('archive', 'snapshot')),
    instance     TEXT NOT NULL,
    export       TEXT NOT NULL,
    state        TEXT NOT NULL,
    count        INTEGER NOT NULL, -- unchecked: a count must not stop what it counts
    raw_bytes    INTEGER NOT NULL, -- of snapshots only
    stored_bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, instance, export, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER internal_archive_counted AFTER INSERT ON internal_archive BEGIN
    INSERT INTO internal_tally VALUES ('archive', new.instance, new.export, new.state, 1, 0, 0)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER internal_archive_recounted AFTER UPDATE OF state ON internal_archive
WHEN old.state <> new.state BEGIN
    UPDATE internal_tally SET count = count - 1
    WHERE kind = 'archive' AND instance = old.instance AND export = old.export
      AND state = old.state;
    INSERT INTO internal_tally VALUES ('archive', new.instance, new.export, new.state, 1, 0, 0)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER internal_snapshot_counted AFTER INSERT ON internal_snapshot BEGIN
    INSERT INTO internal_tally VALUES ('snapshot', new.instance, new.export, new.state, 1,
        new.raw_bytes, new.stored_bytes)
    ON CONFLICT DO UPDATE SET count = count + 1, raw_bytes = raw_bytes + excluded.raw_bytes,
        stored_bytes = stored_bytes + excluded.stored_bytes;
END;

CREATE TRIGGER internal_snapshot_recounted
AFTER UPDATE OF state, raw_bytes, stored_bytes ON internal_snapshot
WHEN old.state <> new.state OR old.raw_bytes <> new.raw_bytes
    OR old.stored_bytes <> new.stored_bytes BEGIN
    UPDATE internal_tally SET count = count - 1, raw_bytes = raw_bytes - old.raw_bytes,
        stored_bytes = stored_bytes - old.stored_bytes
    WHERE kind = 'snapshot' AND instance = old.instance AND export = old.export
      AND state = old.state;
    INSERT INTO internal_tally VALUES ('snapshot', new.instance, new.export, new.state, 1,
        new.raw_bytes, new.stored_bytes)
    ON CONFLICT DO UPDATE SET count = count + 1, raw_bytes = raw_bytes + excluded.raw_bytes,
        stored_bytes = stored_bytes + excluded.stored_bytes;
END;
