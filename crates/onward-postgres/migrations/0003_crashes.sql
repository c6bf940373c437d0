-- Runs whose node died while it held them: written as another takes over, and never by a run that is well. Every statement
-- may be run twice.
CREATE TABLE IF NOT EXISTS onward_crashes (
    run_id  UUID PRIMARY KEY,
    next    INT8 NOT NULL,  -- the place of the journal's next entry then
    count   INT8 NOT NULL,  -- how many crashes count at that place
    last_at INT8 NOT NULL,
    node    INT8 NOT NULL   -- that died last; 0 where that was taken back
);
CREATE INDEX IF NOT EXISTS onward_crashes_node ON onward_crashes (node) WHERE node <> 0;
