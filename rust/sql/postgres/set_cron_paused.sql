-- set_cron_paused
-- A schedule rests or runs.
UPDATE zjobs.crons SET paused = $2 WHERE name = $1
