-- The public views: the contract with everybody who reads the catalog (docs/schema.md).
-- Times are RFC 3339 UTC text of fixed width, sizes are bytes. Adding a column is a minor change;
-- removing or changing one raises schema_info.version.

CREATE VIEW archives AS
SELECT
    id,
    snapshot_id,
    export,
    instance,
    part,
    job_id,
    package_id,
    state,
    strftime('%Y-%m-%dT%H:%M:%fZ', scheduled_at_ms / 1000.0, 'unixepoch') AS scheduled_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', ready_at_ms / 1000.0, 'unixepoch') AS ready_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', downloaded_at_ms / 1000.0, 'unixepoch') AS downloaded_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', stored_at_ms / 1000.0, 'unixepoch') AS stored_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', verified_at_ms / 1000.0, 'unixepoch') AS verified_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', deleted_at_ms / 1000.0, 'unixepoch') AS deleted_at,
    raw_bytes,
    nullif(lower(hex(raw_sha256)), '') AS raw_sha256,
    stored_bytes,
    nullif(lower(hex(stored_sha256)), '') AS stored_sha256,
    format,
    method,
    path,
    attempts,
    CASE WHEN at_rest = 0 AND state NOT IN ('requesting', 'downloading')
        THEN strftime('%Y-%m-%dT%H:%M:%fZ', not_before_ms / 1000.0, 'unixepoch')
    END AS next_attempt_at,
    last_error,
    replaces,
    -- Of those that share a file it counts as the one's that stored it or else, once that one has
    -- it no longer, as the first's that still has it.
    CASE WHEN a.original IS NOT NULL AND a.state IN ('stored', 'trashed') THEN nullif(
        coalesce(
            (
                SELECT o.id FROM internal_archive AS o
                WHERE o.id = a.original AND o.state IN ('stored', 'trashed')
            ),
            (
                SELECT h.id FROM internal_archive AS h
                WHERE h.original = a.original AND h.state IN ('stored', 'trashed')
                ORDER BY h.stored_at_ms, h.id LIMIT 1
            )
        ),
        a.id
    ) END AS same_as,
    strftime('%Y-%m-%dT%H:%M:%fZ', acknowledged_at_ms / 1000.0, 'unixepoch') AS acknowledged_at,
    deletion_reason AS deleted_because
FROM internal_archive AS a;

CREATE VIEW snapshots AS
SELECT
    s.id,
    s.export,
    s.instance,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.taken_at_ms / 1000.0, 'unixepoch') AS taken_at,
    s.state,
    s.parts,
    s.parts_stored,
    s.assets,
    s.assets_missing,
    s.raw_bytes,
    s.stored_bytes,
    EXISTS (
        SELECT 1 FROM internal_pin AS p
        WHERE p.snapshot_id = s.id
          AND (p.until_ms IS NULL OR p.until_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    ) AS pinned,
    s.kept_because,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.expected_delete_at_ms / 1000.0, 'unixepoch')
        AS expected_delete_at
FROM internal_snapshot AS s;

CREATE VIEW exports AS
SELECT
    name,
    instance,
    schedule,
    strftime('%Y-%m-%dT%H:%M:%fZ', next_due_at_ms / 1000.0, 'unixepoch') AS next_due_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', last_complete_at_ms / 1000.0, 'unixepoch') AS last_complete_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', last_failure_at_ms / 1000.0, 'unixepoch') AS last_failure_at,
    last_error,
    rpo_ms / 1000 AS rpo_seconds,
    CASE
        WHEN rpo_ms IS NULL THEN NULL
        ELSE last_complete_at_ms IS NOT NULL
            AND CAST(strftime('%s', 'now') AS INTEGER) * 1000 - last_complete_at_ms <= rpo_ms
    END AS rpo_met
FROM (
    SELECT
        e.*,
        (
            SELECT max(s.taken_at_ms) FROM internal_snapshot AS s
            WHERE s.instance = e.instance AND s.export = e.name AND s.state = 'complete'
        ) AS last_complete_at_ms
    FROM internal_export AS e
    WHERE e.configured = 1
);

CREATE VIEW events AS
SELECT
    seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
    archive_id,
    snapshot_id,
    event,
    from_state,
    to_state,
    detail
FROM internal_event;

CREATE VIEW pins AS
SELECT
    snapshot_id,
    name,
    reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', pinned_at_ms / 1000.0, 'unixepoch') AS pinned_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', until_ms / 1000.0, 'unixepoch') AS until,
    pinned_by
FROM internal_pin;

CREATE VIEW schema_info AS
SELECT
    1 AS version,
    (SELECT value FROM internal_meta WHERE key = 'created_at') AS created_at,
    (SELECT value FROM internal_meta WHERE key = 'app_version') AS app_version;
