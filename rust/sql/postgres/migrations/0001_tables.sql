-- 0001 tables
-- All that a database of jobs has in the beginning. Lengths of time are nanoseconds.
-- Each partial index follows one part of a job's life, so that no row is in more than one of them beside its keys.

CREATE FUNCTION zjobs.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN statement_timestamp();

COMMENT ON FUNCTION zjobs.now() IS 'The clock of the store: what is due, expired and old is so by this.';

CREATE FUNCTION zjobs.heard_since(listened interval) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN greatest(pg_postmaster_start_time(), zjobs.now() - listened);

COMMENT ON FUNCTION zjobs.heard_since IS
    'Since when nodes could say that they live, and somebody heard it who has listened for so long; NULL is all the time.';

CREATE FUNCTION zjobs.stamped(error text) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
RETURN error::jsonb || jsonb_build_object('at', (extract(epoch FROM zjobs.now()) * 1000000)::bigint);

COMMENT ON FUNCTION zjobs.stamped IS 'An entry of jobs.errors with its time: microseconds since 1970.';

CREATE TABLE zjobs.jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scheduled_at timestamptz NOT NULL,
    inserted_at timestamptz NOT NULL,
    attempted_at timestamptz,
    finished_at timestamptz,
    timeout bigint,
    -- Who runs it: zjobs.nodes.number.
    node bigint CHECK ((node IS NOT NULL) = (state = 1)),
    priority integer NOT NULL,
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt BETWEEN 0 AND max_attempts),
    max_attempts integer NOT NULL CHECK (max_attempts >= 1),
    -- How often it has been claimed: the number that every write about a running job must name.
    lease integer NOT NULL DEFAULT 0 CHECK (lease >= 0),
    -- 0 available, 1 executing, 2 completed, 3 retryable, 4 discarded, 5 cancelled, 6 scheduled.
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 6),
    crashes smallint NOT NULL DEFAULT 0 CHECK (crashes >= 0),
    -- Its latest lease was ended by an ack.
    acked boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    queue text NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    worker text NOT NULL CHECK (length(worker) BETWEEN 1 AND 255),
    -- What it was enqueued with, and the same while no newer job has taken it over and the job is live.
    unique_key text,
    live_key text,
    args json NOT NULL,
    tags text[],
    meta json,
    errors jsonb CHECK (jsonb_typeof(errors) = 'array'),
    result json,
    progress json
) WITH (
    fillfactor = 85,
    -- A queue turns its rows over all day: dead ones are cleaned up by their number, not by their share of a large table.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX jobs_claim ON zjobs.jobs (queue, priority, scheduled_at, id) WHERE state = 0;
CREATE INDEX jobs_due ON zjobs.jobs (scheduled_at, id) WHERE state IN (3, 6);
CREATE INDEX jobs_held ON zjobs.jobs (node) WHERE state = 1;
CREATE INDEX jobs_final ON zjobs.jobs (state, finished_at) WHERE state IN (2, 4, 5);
CREATE UNIQUE INDEX jobs_live_key ON zjobs.jobs (live_key) WHERE live_key IS NOT NULL;

CREATE TABLE zjobs.nodes (
    -- The small number that rows of jobs name; never used twice.
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The incarnation.
    id uuid NOT NULL UNIQUE,
    -- 0 alive, 1 leaving, 2 dead, 3 dead after a departure, 4 gone.
    standing smallint NOT NULL CHECK (standing BETWEEN 0 AND 4),
    name text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    queues json NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE zjobs.queues (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    paused boolean NOT NULL DEFAULT false,
    concurrency integer
);

CREATE TABLE zjobs.crons (
    name text PRIMARY KEY,
    expression text NOT NULL,
    timezone text NOT NULL,
    worker text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    known_since timestamptz NOT NULL,
    last_tick timestamptz
);

CREATE TABLE zjobs.ticks (
    name text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (name, at)
);

-- What any language may call, in whatever transaction it is in.
CREATE FUNCTION zjobs.enqueue(
    worker text,
    args json DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    max_attempts integer DEFAULT 20,
    scheduled_at timestamptz DEFAULT NULL,
    delay interval DEFAULT NULL,
    timeout_seconds double precision DEFAULT 300,
    unique_key text DEFAULT NULL,
    replaces boolean DEFAULT false,
    tags text[] DEFAULT NULL,
    meta json DEFAULT NULL,
    OUT id bigint,
    OUT conflict boolean
) LANGUAGE plpgsql AS $body$
#variable_conflict use_column
DECLARE
    now timestamptz := zjobs.now();
    due timestamptz := coalesce(enqueue.scheduled_at, now + coalesce(enqueue.delay, interval '0'));
    holder bigint;
BEGIN
    conflict := false;
    LOOP
        IF enqueue.unique_key IS NOT NULL THEN
            -- Whoever waits begins after this transaction, and sees what it did. Of one that runs the end is not held up.
            SELECT job.id INTO holder FROM zjobs.jobs AS job
            WHERE job.live_key = enqueue.unique_key AND (enqueue.replaces OR job.state <> 1)
            FOR UPDATE;
            IF holder IS NULL AND NOT enqueue.replaces THEN
                SELECT job.id INTO holder FROM zjobs.jobs AS job WHERE job.live_key = enqueue.unique_key;
            END IF;
            IF holder IS NOT NULL AND NOT enqueue.replaces THEN
                enqueue.id := holder;
                conflict := true;
                EXIT;
            END IF;
            -- A waiting job ends; a running one is asked to stop, and loses its key at once.
            UPDATE zjobs.jobs AS job
            SET state = CASE WHEN job.state = 1 THEN 1 ELSE 5 END,
                finished_at = CASE WHEN job.state = 1 THEN NULL ELSE now END,
                cancel_requested = job.cancel_requested OR job.state = 1,
                live_key = NULL
            WHERE job.id = holder;
        END IF;
        INSERT INTO zjobs.jobs AS job
            (state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout, unique_key, live_key,
            tags, meta)
        VALUES
            (CASE WHEN due > now THEN 6 ELSE 0 END, enqueue.queue, enqueue.worker, enqueue.args, enqueue.priority,
            enqueue.max_attempts, due, now, round(enqueue.timeout_seconds * 1000000000), enqueue.unique_key,
            enqueue.unique_key, enqueue.tags, enqueue.meta)
        ON CONFLICT (live_key) WHERE live_key IS NOT NULL DO NOTHING
        RETURNING job.id INTO enqueue.id;
        EXIT WHEN enqueue.id IS NOT NULL;
        -- Somebody took the key since.
    END LOOP;
END
$body$;

COMMENT ON FUNCTION zjobs.enqueue IS
    'Inserts one job in the transaction of the caller. id: the job, or the one that has the unique key (conflict).';

CREATE FUNCTION zjobs.enqueue_many(jobs json) RETURNS TABLE (id bigint, conflict boolean) LANGUAGE plpgsql AS $body$
DECLARE
    job json;
    made record;
BEGIN
    FOR job IN SELECT value FROM json_array_elements(enqueue_many.jobs) LOOP
        made := zjobs.enqueue(
            worker => job ->> 'worker',
            args => coalesce(job -> 'args', '{}'),
            queue => coalesce(job ->> 'queue', 'default'),
            priority => coalesce((job ->> 'priority')::integer, 0),
            max_attempts => coalesce((job ->> 'max_attempts')::integer, 20),
            scheduled_at => (job ->> 'scheduled_at')::timestamptz,
            delay => make_interval(secs => (job ->> 'delay_seconds')::double precision),
            timeout_seconds => CASE
                WHEN job -> 'timeout_seconds' IS NULL THEN 300 ELSE (job ->> 'timeout_seconds')::double precision
            END,
            unique_key => job ->> 'unique_key',
            replaces => coalesce((job ->> 'replaces')::boolean, false),
            tags => CASE
                WHEN json_typeof(job -> 'tags') = 'array' THEN ARRAY(SELECT json_array_elements_text(job -> 'tags'))
            END,
            meta => CASE WHEN json_typeof(job -> 'meta') = 'object' THEN job -> 'meta' END
        );
        id := made.id;
        conflict := made.conflict;
        RETURN NEXT;
    END LOOP;
END
$body$;

COMMENT ON FUNCTION zjobs.enqueue_many IS
    'Inserts the jobs of a JSON list of objects with the arguments of enqueue by name, delay in seconds. In their order.';
