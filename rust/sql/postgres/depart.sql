-- depart
-- A node ends; what it still runs may be rescued when its grace is over.
UPDATE zjobs.nodes SET standing = 1, expires_at = zjobs.now() + $2::interval WHERE id = $1 AND standing IN (0, 1)
