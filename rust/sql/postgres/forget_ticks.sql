-- prune
-- Ticks that are too old to be asked for again.
DELETE FROM zjobs.ticks WHERE at < zjobs.now() - $1::interval
