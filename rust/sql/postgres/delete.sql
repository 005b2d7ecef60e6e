-- delete
-- Jobs go, unless they run.
DELETE FROM zjobs.jobs WHERE id = ANY ($1) AND state <> 1
