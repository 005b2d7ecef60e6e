-- claim, heartbeat
-- What a node may do.
SELECT number, standing = 0 AND expires_at >= zjobs.now() FROM zjobs.nodes WHERE id = $1
