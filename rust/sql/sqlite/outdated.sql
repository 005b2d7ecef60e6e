-- prune
-- Whether any tick or any node that is gone is too old to be asked for again.
SELECT EXISTS (SELECT 1 FROM zjobs_nodes WHERE standing = 4 AND beat_at < :horizon)
    OR EXISTS (
        SELECT 1 FROM zjobs_crons AS cron WHERE (SELECT min(at) FROM zjobs_ticks WHERE name = cron.name) < :horizon
    )
