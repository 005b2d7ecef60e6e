-- cancel
-- Running jobs are asked to stop; the move follows with their ack.
UPDATE zjobs.jobs SET cancel_requested = true WHERE id = ANY ($1) AND state = 1
