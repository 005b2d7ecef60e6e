-- ack
-- Why an ack did not fit.
SELECT state, lease, node, acked, cancel_requested FROM zjobs_jobs WHERE id = :id
