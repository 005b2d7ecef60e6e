-- cancel: scheduled, available, retryable -> cancelled
-- A waiting job ends.
UPDATE zjobs_jobs SET state = 5, finished_at = :now, live_key = NULL WHERE id = :id AND state IN (0, 3, 6)
