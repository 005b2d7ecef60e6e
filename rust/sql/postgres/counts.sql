-- count
-- How many jobs each queue has in each state.
SELECT queue, state, count(*) FROM zjobs.jobs WHERE $1::text IS NULL OR queue = $1 GROUP BY queue, state
