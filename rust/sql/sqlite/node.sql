-- heartbeat
-- What a node may do.
SELECT number, standing, expires_at FROM zjobs_nodes WHERE id = :id
