-- delete_cron
-- Forget a schedule.
DELETE FROM zjobs_crons WHERE name = :name
