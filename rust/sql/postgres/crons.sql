-- crons
-- The declared schedules, by name.
SELECT name, expression, timezone, worker, paused, known_since, last_tick FROM zjobs.crons ORDER BY name COLLATE "C"
