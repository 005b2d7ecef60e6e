-- prune
-- Whether any job of one final state is past its retention.
SELECT EXISTS (SELECT 1 FROM zjobs_jobs WHERE state IN (2, 4, 5) AND state = :state AND finished_at <= :horizon)
