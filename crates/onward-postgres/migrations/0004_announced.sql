-- The node that announced a value, which goes when the node is gone; NULL where the value stays. Every statement may be run
-- twice.
ALTER TABLE onward_registrations ADD COLUMN IF NOT EXISTS node INT8;
-- Addresses of engines, whose value is the number of their node, were registered for good until now.
UPDATE onward_registrations SET node = CAST(convert_from(value, 'UTF8') AS INT8)
    WHERE node IS NULL AND name LIKE 'engine:%' AND length(value) BETWEEN 1 AND 19
    AND encode(value, 'escape') ~ '^[0-9]+$';
CREATE INDEX IF NOT EXISTS onward_registrations_node ON onward_registrations (node) WHERE node IS NOT NULL;
