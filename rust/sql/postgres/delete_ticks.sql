-- delete_cron
-- Forget the ticks of a schedule.
DELETE FROM zjobs.ticks WHERE name = $1
