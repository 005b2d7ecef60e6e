-- depart
-- A node ends; what it still runs may be rescued when its grace is over.
UPDATE zjobs_nodes SET standing = 1, expires_at = :expires_at WHERE number = :number
