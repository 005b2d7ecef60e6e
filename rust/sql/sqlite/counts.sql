-- count
-- How many jobs each queue has in each state; each part reads one index.
SELECT queue, 0, count(*) FROM zjobs_jobs WHERE state = 0 GROUP BY queue
UNION ALL
SELECT queue, 1, count(*) FROM zjobs_jobs WHERE state = 1 GROUP BY queue
UNION ALL
SELECT queue, state, count(*) FROM zjobs_jobs WHERE state IN (3, 6) GROUP BY queue, state
UNION ALL
SELECT queue, state, count(*) FROM zjobs_jobs WHERE state IN (2, 4, 5) GROUP BY queue, state
