-- Numbers kept in columns: see src/row.rs. Times are microseconds since the Unix epoch.

CREATE TABLE onward_endpoints (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Small rows: requests, journals and responses are in onward_entries, so an update moves few bytes.
CREATE TABLE onward_runs (
    key         INTEGER PRIMARY KEY,  -- ascending, so the rows of live runs lie together
    run_id      BLOB NOT NULL,
    status      INTEGER NOT NULL,     -- 0 running, 1 suspended, 2 completed, 3 failed, 4 cancelled
    lane        INTEGER,              -- -1 running, endpoint while suspended and due some time, 0 ended; else NULL
    due_at      INTEGER,              -- when the lane looks at it: its due time, or when its retention ends
    endpoint    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    timeout_at  INTEGER,
    retention   INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    node        INTEGER,
    parent_run  BLOB,
    parent_step BLOB,
    key_digest  BLOB
) STRICT;
CREATE UNIQUE INDEX onward_runs_run_id ON onward_runs (run_id);
CREATE INDEX onward_runs_lane ON onward_runs (lane, due_at) WHERE lane IS NOT NULL;
-- For lists by status; running runs are a lane, and nearly every other run is completed.
CREATE INDEX onward_runs_listed ON onward_runs (status, run_id) WHERE status <> 0 AND status <> 2;

-- In the order in which they were written, whatever runs they belong to: a commit fills the last pages instead of
-- touching one for each run. The index that finds a run's rows is small, so its hot pages are few.
CREATE TABLE onward_entries (
    id    INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,  -- key of the run * 2^20 + slot; slot 0: request; n + 1: entry n; 2^20 - 1: outcome
    data  BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX onward_entries_place ON onward_entries (place);

-- What runs stream, in pieces as they were written.
CREATE TABLE onward_frames (
    id    INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,  -- key of the run * 2^20 + place of the first frame
    count INTEGER NOT NULL,
    data  BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX onward_frames_place ON onward_frames (place);

-- Runs that are gone but for rows of their entries: those go little by little.
CREATE TABLE onward_remains (
    key INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE onward_keys (
    digest      BLOB PRIMARY KEY,
    run         INTEGER NOT NULL,
    fingerprint BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE onward_event_waiters (
    run     INTEGER NOT NULL,
    step    BLOB NOT NULL,
    name    TEXT NOT NULL,
    path    TEXT NOT NULL,     -- '' where no field is compared
    digest  INTEGER NOT NULL,  -- of the text that the field must have
    matcher BLOB NOT NULL,
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX onward_event_waiters_name ON onward_event_waiters (name, path, digest);

CREATE TABLE onward_signal_waiters (
    name TEXT PRIMARY KEY,
    run  INTEGER NOT NULL,
    step BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX onward_signal_waiters_run ON onward_signal_waiters (run, step);

CREATE TABLE onward_deliveries (
    id   INTEGER PRIMARY KEY,  -- in the order in which they came
    run  INTEGER NOT NULL,
    step BLOB NOT NULL,
    at   INTEGER NOT NULL,
    fact BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX onward_deliveries_run ON onward_deliveries (run, step);

CREATE TABLE onward_events (
    received_at INTEGER PRIMARY KEY,  -- strictly increasing: equal times are moved apart
    id          TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    ts          INTEGER NOT NULL,
    data        BLOB NOT NULL
) STRICT;
CREATE INDEX onward_events_name ON onward_events (name);

CREATE TABLE onward_settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE onward_nodes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    joined_at INTEGER NOT NULL
) STRICT;
