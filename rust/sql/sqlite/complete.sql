-- ack: executing -> completed
-- End one attempt in the transaction of the handler, guarded by its lease.
UPDATE zjobs_jobs
SET state = 2, node = NULL, acked = 1, finished_at = :now, live_key = NULL, result = coalesce(:result, result)
WHERE id = :id AND lease = :lease AND state = 1 AND cancel_requested = 0
    AND node = (SELECT number FROM zjobs_nodes WHERE zjobs_nodes.id = :node AND standing IN (0, 1))
RETURNING id
