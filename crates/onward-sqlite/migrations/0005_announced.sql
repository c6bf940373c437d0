-- The node that announced a value, which goes when the node is gone; NULL where the value stays.
ALTER TABLE onward_registrations ADD COLUMN node INTEGER;
