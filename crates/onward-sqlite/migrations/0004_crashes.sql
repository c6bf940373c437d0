-- Runs whose process died while it executed them: written as the next process joins, and never by a run that is well.
CREATE TABLE onward_crashes (
    run     INTEGER PRIMARY KEY,
    next    INTEGER NOT NULL,  -- the place of the journal's next entry then
    count   INTEGER NOT NULL,  -- how many crashes count at that place
    last_at INTEGER NOT NULL,
    node    INTEGER NOT NULL   -- that died last; 0 where that was taken back
) STRICT;
