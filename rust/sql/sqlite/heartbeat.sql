-- heartbeat
-- A node lives on; the grace of one that is leaving stands.
UPDATE zjobs_nodes
SET name = :name, pid = :pid, queues = :queues, beat_at = :now,
    expires_at = iif(standing = 0, max(expires_at, :expires_at), expires_at)
WHERE number = :number
