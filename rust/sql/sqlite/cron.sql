-- tick
-- Whether a schedule rests, and its latest tick.
SELECT paused, last_tick FROM zjobs_crons WHERE name = :name
