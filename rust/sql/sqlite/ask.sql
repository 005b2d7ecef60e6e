-- cancel
-- A running job is asked to stop; the move follows with its ack.
UPDATE zjobs_jobs SET cancel_requested = 1 WHERE id = :id AND state = 1
