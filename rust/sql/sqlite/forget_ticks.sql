-- prune
-- Ticks that are too old to be asked for again.
DELETE FROM zjobs_ticks WHERE at < :horizon
