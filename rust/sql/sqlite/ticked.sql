-- tick
-- The latest tick of a schedule.
UPDATE zjobs_crons SET last_tick = max(coalesce(last_tick, :at), :at) WHERE name = :name
