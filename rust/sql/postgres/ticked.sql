-- tick
-- The latest tick of a schedule.
UPDATE zjobs.crons SET last_tick = greatest(last_tick, $2) WHERE name = $1
