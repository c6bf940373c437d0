-- Runs whose node died while it held them: written as another takes over, and never by a run that is well. Every statement
-- may be run twice.
CREATE TABLE IF NOT EXISTS onward_crashes (
    run_id  UUID PRIMARY KEY,
    next    INT8 NOT NULL,   -- the place of the journal's next entry then
    nodes   INT8[] NOT NULL, -- that died and count at that place
    last_at INT8 NOT NULL
);

-- Nodes that were taken for dead and whose process lives: their crashes do not count.
CREATE TABLE IF NOT EXISTS onward_lives (
    node INT8 PRIMARY KEY,
    at   INT8 NOT NULL
);
