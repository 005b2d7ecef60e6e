-- heartbeat
-- A node lives on; the grace of one that is leaving stands.
UPDATE zjobs.nodes
SET name = $2, pid = $3, queues = $5::json, beat_at = zjobs.now(),
    expires_at = CASE WHEN standing = 0 THEN greatest(expires_at, zjobs.now() + $4::interval) ELSE expires_at END
WHERE id = $1 AND standing IN (0, 1)
RETURNING number
