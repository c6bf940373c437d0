-- Runs that are gone, of whose entries and frames some are left to remove. Every statement may be run twice.
CREATE TABLE IF NOT EXISTS onward_remains (
    run_id UUID PRIMARY KEY
);
