-- enqueue
-- A running job that was superseded is asked to stop, and loses its key at once.
UPDATE zjobs_jobs SET cancel_requested = 1, live_key = NULL WHERE id = :id AND state = 1
