-- now
-- The clock of the store.
SELECT zjobs.now()
