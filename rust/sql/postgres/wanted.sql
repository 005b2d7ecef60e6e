-- cancel
-- Which of these jobs run and are asked to stop.
SELECT id FROM zjobs.jobs WHERE id = ANY ($1) AND state = 1 AND cancel_requested
