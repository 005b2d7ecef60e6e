-- set_cron_paused
-- A schedule rests or runs.
UPDATE zjobs_crons SET paused = :paused WHERE name = :name
