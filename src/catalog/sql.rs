//! Every SQL text of the program. `tests/it/schema.rs` prepares each against a fresh catalog.

pub(super) const SELECT_COPIED: &str = "\
SELECT (SELECT count(*) FROM internal_snapshot) AS snapshots,
    (SELECT count(*) FROM internal_archive) AS archives,
    (SELECT coalesce(max(seq), 0) FROM internal_event) AS seq,
    (SELECT at_ms FROM internal_event ORDER BY seq DESC LIMIT 1) AS at_ms";

pub(super) const SELECT_ARCHIVE: &str = "SELECT * FROM internal_archive WHERE id = ?";

/// In steps of so many numbers, so that no page costs more the more was deleted.
pub(super) const SELECT_HOLDING_PAGE: &str = "\
SELECT * FROM internal_archive
WHERE id > ?1 AND id <= ?1 + ?2 AND state IN ('stored', 'trashed', 'damaged') ORDER BY id";

pub(super) const SELECT_LAST_ARCHIVE: &str = "SELECT coalesce(max(id), 0) FROM internal_archive";

pub(super) const SELECT_PACKING: &str = "SELECT * FROM internal_archive WHERE state = 'downloaded'";

pub(super) const SELECT_UNCLAIMED: &str = "\
SELECT p.value FROM json_each(?1) AS p WHERE NOT EXISTS (
    SELECT 1 FROM internal_archive AS a WHERE a.path = p.value AND a.state <> 'deleted')";

pub(super) const SELECT_TO_VERIFY: &str = "\
SELECT * FROM internal_archive INDEXED BY internal_archive_by_verification
WHERE state = 'stored' AND (verified_at_ms, id) > (?1, ?2) AND verified_at_ms <= ?3
ORDER BY verified_at_ms, id LIMIT 256";

pub(super) const SELECT_LAST_VERIFIED: &str = "\
SELECT verified_at_ms, stored_bytes
FROM internal_archive INDEXED BY internal_archive_by_verification
WHERE state = 'stored' AND verified_at_ms > ?1 AND verified_at_ms <> stored_at_ms
ORDER BY verified_at_ms DESC LIMIT 1";

/// The newest stored package of a part that contains the same.
pub(super) const SELECT_ALIKE: &str = "\
SELECT * FROM internal_archive INDEXED BY internal_archive_by_content
WHERE content_sha256 = ?1 AND state = 'stored' AND instance = ?2 AND export = ?3 AND part = ?4
ORDER BY id DESC LIMIT 1";

/// As whose the shared file counts that this archive stored; see the view `archives`.
pub(super) const SELECT_HOLDER: &str = "\
SELECT coalesce(
    (SELECT id FROM internal_archive WHERE id = ?1 AND state IN ('stored', 'trashed')),
    (SELECT id FROM internal_archive INDEXED BY internal_archive_sharing
     WHERE original = ?1 AND state IN ('stored', 'trashed') ORDER BY stored_at_ms, id LIMIT 1))";

/// All that have the file that this archive stored.
pub(super) const SELECT_SHARING: &str = "\
SELECT * FROM internal_archive WHERE id = ?1 AND state IN ('stored', 'trashed')
UNION ALL
SELECT * FROM internal_archive WHERE original = ?1 AND state IN ('stored', 'trashed')";

pub(super) const SELECT_OPENED_AT: &str =
    "SELECT min(at_ms) FROM internal_event WHERE archive_id = ?";

/// A page of them: as rows they take many times the room that they take as archives.
pub(super) const SELECT_ACTIVE: &str = "\
SELECT * FROM internal_archive
WHERE at_rest = 0 AND (not_before_ms, id) > (?1, ?2) ORDER BY not_before_ms, id LIMIT 256";

pub(super) const SELECT_ARCHIVES_OF_SNAPSHOT: &str =
    "SELECT * FROM internal_archive WHERE snapshot_id = ? ORDER BY part, id";

pub(super) const INSERT_ARCHIVE: &str = "\
INSERT INTO internal_archive (
    id, snapshot_id, instance, export, part, generation, replaces, scope, revision, attempts,
    downloads, at_rest, scheduled_at_ms, not_before_ms, state)
VALUES (?10, ?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, ?8, ?9, 'scheduled')";

/// A change and its event: one way to the thread of the database instead of two.
pub(super) const UPDATE_ARCHIVE: &str = "\
UPDATE internal_archive SET
    revision = ?3, attempts = ?4, downloads = ?5, at_rest = ?6, not_before_ms = ?7, state = ?8,
    cause = ?9, job_id = ?10, package_id = ?11, raw_bytes = ?12, raw_sha256 = ?13,
    stored_bytes = ?14, stored_sha256 = ?15, format = ?16, method = ?17, path = ?18,
    deletion_reason = ?19, deletion_policy = ?20, accepted_at_ms = ?21, ready_at_ms = ?22,
    downloaded_at_ms = ?23, stored_at_ms = ?24, verified_at_ms = ?25, deleted_at_ms = ?26,
    last_error = ?27, unknown_polls = ?28, inode = ?29, busy_since_ms = ?30,
    content_sha256 = ?31, original = ?32, acknowledged_at_ms = ?33
WHERE id = ?1 AND revision = ?2;
INSERT INTO internal_event (at_ms, archive_id, snapshot_id, event, from_state, to_state, detail)
VALUES (?34, ?35, ?36, ?37, ?38, ?39, ?40)";

pub(super) const SELECT_CLAIMANT: &str = "\
SELECT id FROM internal_archive
WHERE instance = ? AND package_id = ? AND id <> ? AND state <> 'lost'";

/// The newest: those before it were taken for lost.
pub(super) const SELECT_BY_JOB: &str = "\
SELECT * FROM internal_archive WHERE instance = ? AND job_id = ? ORDER BY id DESC LIMIT 1";

pub(super) const SELECT_IS_REPLACED: &str = "\
SELECT EXISTS (SELECT 1 FROM internal_archive WHERE replaces = ?)";

pub(super) const INSERT_EVENT: &str = "\
INSERT INTO internal_event (at_ms, archive_id, snapshot_id, event, from_state, to_state, detail)
VALUES (?, ?, ?, ?, ?, ?, ?)";

/// The last that happened to each account, where that was a pause.
pub(super) const SELECT_PAUSED_ACCOUNTS: &str = "\
SELECT detail FROM internal_event WHERE event = 'account_paused' AND seq IN (
    SELECT max(seq) FROM internal_event
    WHERE archive_id IS NULL AND snapshot_id IS NULL
      AND event IN ('account_paused', 'account_resumed')
    GROUP BY json_extract(detail, '$.account'))";

pub(super) const SELECT_LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM internal_event";

pub(super) const SELECT_LATEST_EVENT_TIME: &str = "SELECT max(at_ms) FROM (\
SELECT at_ms FROM internal_event ORDER BY seq DESC LIMIT 100)";

pub(super) const SELECT_CHANGED_ARCHIVES: &str = "\
SELECT * FROM internal_archive WHERE id IN (
    SELECT archive_id FROM internal_event WHERE seq > ? AND archive_id IS NOT NULL)";

pub(super) const INSERT_SNAPSHOT: &str = "\
INSERT INTO internal_snapshot (instance, export, origin, taken_at_ms, state, not_before_ms)
VALUES (?, ?, ?, ?, 'open', ?)";

pub(super) const INSERT_REBUILT_SNAPSHOT: &str = "\
INSERT INTO internal_snapshot (
    id, instance, export, origin, taken_at_ms, state, not_before_ms, parts)
VALUES (?, ?, ?, ?, ?, 'open', ?, ?)";

/// The digest is that of no policy: the first one that is recorded counts as changed.
pub(super) const UPSERT_REBUILT_EXPORT: &str = "\
INSERT INTO internal_export (
    instance, name, configured, first_seen_at_ms, last_due_at_ms, policy_hash)
VALUES (?1, ?2, 0, ?3, ?4, 'rebuilt')
ON CONFLICT (instance, name) DO UPDATE SET last_due_at_ms = max(last_due_at_ms, ?4)";

pub(super) const RAISE_SEQUENCE: &str =
    "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";

pub(super) const BEGIN_SEQUENCE: &str = "\
INSERT INTO sqlite_sequence (name, seq)
SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)";

pub(super) const SELECT_OPEN_RUNS: &str = "\
SELECT id, parts IS NOT NULL AS is_planned FROM internal_snapshot
WHERE instance = ? AND export = ? AND state = 'open' ORDER BY id";

pub(super) const SELECT_PARTS: &str = "\
SELECT part, state, coalesce(raw_bytes, 0) AS raw_bytes,
    CASE WHEN same_as IS NULL THEN coalesce(stored_bytes, 0) ELSE 0 END AS stored_bytes
FROM archives WHERE snapshot_id = ?";

pub(super) const SELECT_SNAPSHOT: &str = "SELECT * FROM internal_snapshot WHERE id = ?";

pub(super) const SELECT_SNAPSHOT_PARTS: &str = "SELECT parts FROM internal_snapshot WHERE id = ?";

pub(super) const SELECT_UNPLANNED: &str =
    "SELECT * FROM internal_snapshot WHERE parts IS NULL ORDER BY not_before_ms, id";

/// The scopes of the newest run that has parts; of a part that was exported again, the last one.
pub(super) const SELECT_LAST_PARTS: &str = "\
SELECT scope FROM internal_archive AS a
WHERE snapshot_id = (
    SELECT max(id) FROM internal_snapshot WHERE instance = ?1 AND export = ?2 AND parts > 0)
  AND id = (SELECT max(id) FROM internal_archive AS b
            WHERE b.snapshot_id = a.snapshot_id AND b.part = a.part)
  AND scope IS NOT NULL
ORDER BY part";

pub(super) const UPDATE_SNAPSHOT_SUMMARY: &str = "\
UPDATE internal_snapshot SET
    kept_because = CASE WHEN state = ?2 THEN kept_because END,
    expected_delete_at_ms =
        CASE WHEN state = ?2 OR ?2 IN ('trashed', 'deleted') THEN expected_delete_at_ms END,
    state = ?2, parts_stored = ?3, raw_bytes = ?4, stored_bytes = ?5 WHERE id = ?1";

pub(super) const UPDATE_SNAPSHOT_PARTS: &str = "\
UPDATE internal_snapshot SET parts = ?2, assets = ?3, attempts = 0, last_error = NULL
WHERE id = ?1 AND parts IS NULL";

pub(super) const ADD_TO_SNAPSHOT_ASSETS: &str =
    "UPDATE internal_snapshot SET assets = assets + ?2 WHERE id = ?1";

pub(super) const ADD_TO_SNAPSHOT_MISSING: &str =
    "UPDATE internal_snapshot SET assets_missing = assets_missing + ?2 WHERE id = ?1";

pub(super) const TAKE_FROM_SNAPSHOT_PARTS: &str =
    "UPDATE internal_snapshot SET parts = parts - 1 WHERE id = ?1 AND parts > 0";

pub(super) const UPDATE_SNAPSHOT_POSTPONED: &str = "\
UPDATE internal_snapshot SET attempts = attempts + ?4, not_before_ms = ?2, last_error = ?3
WHERE id = ?1 AND parts IS NULL";

pub(super) const UPDATE_SNAPSHOT_UNPLANNABLE: &str = "\
UPDATE internal_snapshot SET parts = 0, last_error = ?2 WHERE id = ?1 AND parts IS NULL";

pub(super) const UPDATE_SNAPSHOT_VERDICT: &str = "\
UPDATE internal_snapshot SET kept_because = ?2, expected_delete_at_ms = ?3 WHERE id = ?1";

pub(super) const SELECT_SNAPSHOT_FACTS: &str = "\
SELECT id, taken_at_ms, state, raw_bytes, stored_bytes, kept_because, expected_delete_at_ms
FROM internal_snapshot
WHERE instance = ?1 AND export = ?2 AND state IN ('complete', 'incomplete') AND parts_stored > 0";

/// Pins that hold at a moment, those that hold longest first.
pub(super) const SELECT_PINS: &str = "\
SELECT snapshot_id, name, until_ms FROM internal_pin
WHERE until_ms IS NULL OR until_ms > ?1
ORDER BY until_ms IS NOT NULL, until_ms DESC, name";

pub(super) const SELECT_PIN: &str =
    "SELECT reason, until_ms, pinned_by FROM internal_pin WHERE snapshot_id = ? AND name = ?";

pub(super) const SELECT_PIN_NAMES: &str =
    "SELECT name FROM internal_pin WHERE snapshot_id = ? ORDER BY name";

/// The pin that holds a snapshot longest at a moment.
pub(super) const SELECT_HOLD: &str = "\
SELECT name, reason, until_ms, pinned_by FROM internal_pin
WHERE snapshot_id = ?1 AND (until_ms IS NULL OR until_ms > ?2)
ORDER BY until_ms IS NOT NULL, until_ms DESC, name LIMIT 1";

/// Whether the newest good snapshot of its export is newer than this one; no row: there is none.
/// One that is dated in the future counts for nothing.
pub(super) const SELECT_HAS_SUCCESSOR: &str = "\
SELECT (newest.taken_at_ms, newest.id) > (own.taken_at_ms, own.id)
FROM internal_snapshot AS own CROSS JOIN internal_snapshot AS newest
WHERE own.id = ?1 AND newest.instance = own.instance AND newest.export = own.export
  AND newest.state = 'complete' AND newest.taken_at_ms <= ?2
ORDER BY newest.taken_at_ms DESC, newest.id DESC LIMIT 1";

pub(super) const UPSERT_PIN: &str = "\
INSERT INTO internal_pin (snapshot_id, name, reason, pinned_at_ms, until_ms, pinned_by)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (snapshot_id, name) DO UPDATE SET
    reason = ?3, pinned_at_ms = ?4, until_ms = ?5, pinned_by = ?6";

pub(super) const DELETE_PIN: &str = "DELETE FROM internal_pin WHERE snapshot_id = ? AND name = ?";

pub(super) const UPSERT_EXPORT: &str = "\
INSERT INTO internal_export (
    instance, name, configured, schedule, rpo_ms, first_seen_at_ms, last_due_at_ms, next_due_at_ms)
VALUES (?1, ?2, 1, ?3, ?4, ?5, ?5, ?6)
ON CONFLICT (instance, name) DO UPDATE SET
    configured = 1, schedule = ?3, rpo_ms = ?4, next_due_at_ms = ?6";

pub(super) const UNCONFIGURE_EXPORTS: &str = "UPDATE internal_export SET configured = 0";

pub(super) const SELECT_EXPORTS: &str = "SELECT * FROM internal_export WHERE configured = 1";

pub(super) const UPDATE_EXPORT_DUE: &str = "\
UPDATE internal_export SET last_due_at_ms = ?3, next_due_at_ms = ?4
WHERE instance = ?1 AND name = ?2";

pub(super) const UPDATE_EXPORT_FAILURE: &str = "\
UPDATE internal_export SET last_failure_at_ms = ?3, last_error = ?4
WHERE instance = ?1 AND name = ?2";

pub(super) const UPDATE_EXPORT_POLICY: &str = "\
UPDATE internal_export SET
    policy_changed_at_ms = CASE WHEN policy_hash IS NULL THEN NULL ELSE ?5 END,
    policy = ?3, policy_hash = ?4
WHERE instance = ?1 AND name = ?2 AND policy_hash IS NOT ?4";

pub(super) const INSERT_META: &str =
    "INSERT INTO internal_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING";

pub(super) const UPSERT_META: &str = "\
INSERT INTO internal_meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value";

pub(super) const SELECT_RECENT_SIZES: &str = "\
SELECT raw_bytes FROM internal_archive
WHERE instance = ? AND raw_bytes IS NOT NULL ORDER BY id DESC LIMIT ?";

/// A loss is settled when what replaces it, or replaces that, was stored, or when somebody saw it.
/// The joins are in this order because there are few losses and many archives.
pub(super) const SELECT_UNSETTLED_LOSSES: &str = "\
WITH RECURSIVE heir (lost, id) AS (
    SELECT id, id FROM archives WHERE state = 'lost'
    UNION ALL
    SELECT heir.lost, archives.id FROM heir CROSS JOIN archives ON archives.replaces = heir.id)
SELECT * FROM archives WHERE state = 'lost' AND id NOT IN (
    SELECT heir.lost FROM heir CROSS JOIN archives ON archives.id = heir.id
    WHERE archives.state IN ('stored', 'trashed', 'deleting', 'deleted')
       OR archives.acknowledged_at IS NOT NULL)
ORDER BY id";

pub(super) const SELECT_UNSETTLED_DAMAGE: &str = "\
SELECT * FROM archives WHERE state = 'damaged' AND acknowledged_at IS NULL ORDER BY id";

pub(super) const SELECT_EXPORT_FACTS: &str = "\
SELECT e.instance, e.name, e.rpo_ms, e.next_due_at_ms, e.last_failure_at_ms, s.taken_at_ms,
    (SELECT max(a.stored_at_ms) FROM internal_archive AS a
     WHERE a.snapshot_id = s.id) AS completed_at_ms,
    (SELECT count(*) FROM internal_snapshot AS w
     WHERE w.instance = e.instance AND w.export = e.name AND w.state = 'open'
       AND w.parts IS NULL) AS runs_waiting
FROM internal_export AS e LEFT JOIN internal_snapshot AS s ON s.id = (
    SELECT n.id FROM internal_snapshot AS n
    WHERE n.instance = e.instance AND n.export = e.name AND n.state = 'complete'
    ORDER BY n.taken_at_ms DESC, n.id DESC LIMIT 1)
WHERE e.configured = 1 ORDER BY e.instance, e.name";

pub(super) const SELECT_TALLY: &str = "SELECT * FROM internal_tally WHERE kind = ?";

pub(super) const SELECT_EVENTS_AFTER: &str = "\
SELECT e.*, s.instance, s.export
FROM internal_event AS e LEFT JOIN internal_snapshot AS s ON s.id = e.snapshot_id
WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2";

/// What the webhook may have to be told of.
pub(super) const SELECT_ALARMS_AFTER: &str = "\
SELECT e.*, s.instance, s.export
FROM internal_event AS e LEFT JOIN internal_snapshot AS s ON s.id = e.snapshot_id
WHERE e.seq > ?1 AND (
    (e.to_state IN ('lost', 'damaged') AND e.from_state <> e.to_state)
    OR e.event IN ('objective_missed', 'objective_met'))
ORDER BY e.seq LIMIT ?2";

/// The last that was said of each objective, where that was bad.
pub(super) const SELECT_MISSED_OBJECTIVES: &str = "\
SELECT json_extract(detail, '$.instance') AS instance, json_extract(detail, '$.export') AS export
FROM internal_event WHERE event = 'objective_missed' AND seq IN (
    SELECT max(seq) FROM internal_event
    WHERE archive_id IS NULL AND snapshot_id IS NULL
      AND event IN ('objective_missed', 'objective_met')
    GROUP BY json_extract(detail, '$.instance'), json_extract(detail, '$.export'))";

pub(super) const SELECT_META: &str = "SELECT value FROM internal_meta WHERE key = ?";
