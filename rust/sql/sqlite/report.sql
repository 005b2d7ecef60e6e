-- report
-- Keep the progress of a running job, guarded by its lease.
UPDATE zjobs_jobs SET progress = :progress WHERE id = :id AND lease = :lease AND node = :node AND state = 1
