-- Where the migrations lead; written by the test that compares it.

CREATE TABLE zjobs_crons (
    name TEXT PRIMARY KEY,
    expression TEXT NOT NULL,
    timezone TEXT NOT NULL,
    worker TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    known_since INTEGER NOT NULL,
    last_tick INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE zjobs_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 6),
    queue TEXT NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    worker TEXT NOT NULL CHECK (length(worker) BETWEEN 1 AND 255),
    args TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN -2147483648 AND 2147483647),
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt BETWEEN 0 AND max_attempts),
    max_attempts INTEGER NOT NULL CHECK (max_attempts BETWEEN 1 AND 4294967295),
    -- How often it has been claimed: the number that every write about a running job must name.
    lease INTEGER NOT NULL DEFAULT 0 CHECK (lease BETWEEN 0 AND 4294967295),
    -- Who runs it: zjobs_nodes.number.
    node INTEGER CHECK ((node IS NOT NULL) = (state = 1)),
    scheduled_at INTEGER NOT NULL,
    inserted_at INTEGER NOT NULL,
    attempted_at INTEGER,
    finished_at INTEGER,
    timeout INTEGER,
    -- 1: its latest lease was ended by an ack.
    acked INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    -- What it was enqueued with, and the same while no newer job has taken it over and the job is live.
    unique_key TEXT,
    live_key TEXT,
    tags TEXT,
    meta TEXT,
    errors TEXT,
    result TEXT,
    progress TEXT
) STRICT;

CREATE INDEX zjobs_jobs_claim ON zjobs_jobs (queue, priority, scheduled_at) WHERE state = 0;

CREATE INDEX zjobs_jobs_due ON zjobs_jobs (scheduled_at, state, queue) WHERE state IN (3, 6);

CREATE INDEX zjobs_jobs_final ON zjobs_jobs (state, finished_at, queue) WHERE state IN (2, 4, 5);

CREATE INDEX zjobs_jobs_held ON zjobs_jobs (node, queue) WHERE state = 1;

CREATE UNIQUE INDEX zjobs_jobs_live_key ON zjobs_jobs (live_key) WHERE live_key IS NOT NULL;

CREATE TABLE zjobs_nodes (
    -- The small number that rows of jobs name; never used twice.
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The incarnation: 32 hex digits.
    id TEXT NOT NULL UNIQUE,
    -- 0 alive, 1 leaving, 2 dead, 3 dead after a departure, 4 gone.
    standing INTEGER NOT NULL CHECK (standing BETWEEN 0 AND 4),
    name TEXT NOT NULL,
    pid INTEGER NOT NULL,
    -- Which process it lives in, by the name of its lock file.
    process TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    beat_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    queues TEXT NOT NULL
) STRICT;

CREATE TABLE zjobs_queues (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    paused INTEGER NOT NULL DEFAULT 0,
    concurrency INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE zjobs_ticks (
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (name, at)
) STRICT, WITHOUT ROWID;
