-- What the engine needs for endpoints in other processes.

-- Values under names, replaced when they change, such as the functions that an app has.
CREATE TABLE onward_registrations (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
