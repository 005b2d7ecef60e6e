-- delete_cron
-- Forget the ticks of a schedule.
DELETE FROM zjobs_ticks WHERE name = :name
