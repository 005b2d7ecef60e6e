-- tick
-- Whether a schedule rests, and its latest tick; nobody else ticks it until the transaction ends.
SELECT paused, last_tick, coalesce($2 < zjobs.now() - $3::interval AND $2 <= last_tick, false)
FROM zjobs.crons WHERE name = $1
FOR UPDATE
