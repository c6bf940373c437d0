-- Times are microseconds since the Unix epoch; 2^63 - 1 is never. Every statement may be run twice.
--
-- What is written once stays as it is (runs, entries, frames, ended): it is never updated, so nothing of it is
-- rewritten, and its indexes have no dead ends. What changes hands (leases, suspended) is in small tables with a row
-- for each live run. A run is in exactly one of onward_leases, onward_suspended and onward_ended.

-- A node has a row for each of those that lock it at once: two that share a lock cost the database more than one that
-- has it alone. The first row has the lease; who takes over removes all.
CREATE TABLE IF NOT EXISTS onward_nodes (
    id          INT8 NOT NULL,
    part        INT8 NOT NULL,  -- 0: lease, and transactions of their own; then one for each who sends groups
    joined_at   INT8 NOT NULL,
    lease_until INT8 NOT NULL,
    PRIMARY KEY (id, part)
);

-- An endpoint, or one version of it; the id is a digest of both, so nobody has to hand out numbers.
CREATE TABLE IF NOT EXISTS onward_endpoints (
    id      INT8 PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT
);

CREATE TABLE IF NOT EXISTS onward_runs (
    run_id      UUID PRIMARY KEY,
    endpoint    INT8 NOT NULL,  -- with the version that the run was started with
    lane        INT8 NOT NULL,  -- who may claim it: the endpoint in any version, or in its own
    pinned      BOOL NOT NULL,
    created_at  INT8 NOT NULL,
    timeout_at  INT8,
    retention   INT8 NOT NULL,
    parent_run  UUID,
    parent_step BYTEA,
    key_digest  BYTEA,
    request     BYTEA NOT NULL
);

-- Runs that a node holds.
CREATE TABLE IF NOT EXISTS onward_leases (
    run_id  UUID PRIMARY KEY,
    node    INT8 NOT NULL,
    fence   INT8 NOT NULL,
    pending INT8 NOT NULL  -- deliveries that it has not taken
);
CREATE INDEX IF NOT EXISTS onward_leases_nudged ON onward_leases (node) WHERE pending > 0;

-- Runs that nobody holds.
CREATE TABLE IF NOT EXISTS onward_suspended (
    run_id  UUID PRIMARY KEY,
    lane    INT8 NOT NULL,
    due_at  INT8 NOT NULL,
    fence   INT8 NOT NULL,
    pending INT8 NOT NULL
);
CREATE INDEX IF NOT EXISTS onward_suspended_due ON onward_suspended (lane, due_at);

CREATE TABLE IF NOT EXISTS onward_ended (
    run_id      UUID PRIMARY KEY,
    status      INT8 NOT NULL,
    finished_at INT8 NOT NULL,
    sweep_at    INT8 NOT NULL,
    fence       INT8 NOT NULL,
    outcome     BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS onward_ended_sweep ON onward_ended (sweep_at);
-- For lists by status; nearly every run is completed.
CREATE INDEX IF NOT EXISTS onward_ended_listed ON onward_ended (status, run_id) WHERE status <> 2;

CREATE TABLE IF NOT EXISTS onward_entries (
    run_id UUID NOT NULL,
    seq    INT8 NOT NULL,
    data   BYTEA NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- What runs stream, in pieces as they were written.
CREATE TABLE IF NOT EXISTS onward_frames (
    run_id UUID NOT NULL,
    place  INT8 NOT NULL,
    count  INT8 NOT NULL,
    data   BYTEA NOT NULL,
    PRIMARY KEY (run_id, place)
);

CREATE TABLE IF NOT EXISTS onward_keys (
    digest      BYTEA PRIMARY KEY,
    run_id      UUID NOT NULL,
    fingerprint BYTEA NOT NULL
);

CREATE TABLE IF NOT EXISTS onward_event_waiters (
    run_id  UUID NOT NULL,
    step    BYTEA NOT NULL,
    name    TEXT NOT NULL,
    path    TEXT NOT NULL,  -- '' where no field is compared
    digest  INT8 NOT NULL,  -- of the text that the field must have
    matcher BYTEA NOT NULL,
    PRIMARY KEY (run_id, step)
);
CREATE INDEX IF NOT EXISTS onward_event_waiters_name ON onward_event_waiters (name, path, digest);

CREATE TABLE IF NOT EXISTS onward_signal_waiters (
    name   TEXT PRIMARY KEY,
    run_id UUID NOT NULL,
    step   BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS onward_signal_waiters_run ON onward_signal_waiters (run_id);

CREATE TABLE IF NOT EXISTS onward_deliveries (
    run_id UUID NOT NULL,
    step   BYTEA NOT NULL,
    place  INT8 NOT NULL,  -- in the order in which they came to the run
    at     INT8 NOT NULL,
    fact   BYTEA NOT NULL,
    PRIMARY KEY (run_id, step)
);

-- One row for each name of events: who accepts an event, or looks for earlier ones, does so one after the other.
CREATE TABLE IF NOT EXISTS onward_event_names (
    name             TEXT PRIMARY KEY,
    last_received_at INT8 NOT NULL
);

CREATE TABLE IF NOT EXISTS onward_events (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    received_at INT8 NOT NULL,  -- strictly increasing for each name
    ts          INT8 NOT NULL,
    data        BYTEA NOT NULL,
    more        BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS onward_events_name ON onward_events (name, received_at);

CREATE TABLE IF NOT EXISTS onward_settings (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE IF NOT EXISTS onward_registrations (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);
