-- delete_cron
-- Forget a schedule.
DELETE FROM zjobs.crons WHERE name = $1
