-- Endpoints in versions. A run names the row that says all of it, so rows of runs stay as small as they were.

CREATE TABLE onward_endpoints_3 (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,     -- '' where the handler has none
    pinned  INTEGER NOT NULL,  -- whether its runs are for that version alone
    lane    INTEGER NOT NULL,  -- of its suspended runs: its own if pinned, else that of (name, '', 0)
    UNIQUE (name, version, pinned)
) STRICT;
INSERT INTO onward_endpoints_3 (id, name, version, pinned, lane) SELECT id, name, '', 0, id FROM onward_endpoints;
DROP TABLE onward_endpoints;
ALTER TABLE onward_endpoints_3 RENAME TO onward_endpoints;
