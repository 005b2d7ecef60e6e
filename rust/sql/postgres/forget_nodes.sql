-- prune
-- Nodes that are gone so long that their incarnation cannot come back.
DELETE FROM zjobs.nodes WHERE standing = 4 AND beat_at < zjobs.now() - $1::interval
