-- delete
-- A job goes, unless it runs.
DELETE FROM zjobs_jobs WHERE id = :id AND state <> 1
