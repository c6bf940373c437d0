-- What the engine needs for endpoints in other processes.

-- Values under names, replaced when they change, such as the functions that an app has.
CREATE TABLE onward_registrations (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Further members of an event, as a JSON object; empty where there are none.
ALTER TABLE onward_events ADD COLUMN more BLOB NOT NULL DEFAULT x'';
