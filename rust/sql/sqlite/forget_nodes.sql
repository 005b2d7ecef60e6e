-- prune
-- Nodes that are gone so long that their incarnation cannot come back.
DELETE FROM zjobs_nodes WHERE standing = 4 AND beat_at < :horizon
