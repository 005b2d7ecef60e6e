-- Where the migrations lead; written by the test that compares it.

crons.name text NOT NULL
crons.expression text NOT NULL
crons.timezone text NOT NULL
crons.worker text NOT NULL
crons.paused boolean NOT NULL DEFAULT false
crons.known_since timestamp with time zone NOT NULL
crons.last_tick timestamp with time zone
jobs.id bigint NOT NULL
jobs.scheduled_at timestamp with time zone NOT NULL
jobs.inserted_at timestamp with time zone NOT NULL
jobs.attempted_at timestamp with time zone
jobs.finished_at timestamp with time zone
jobs.timeout bigint
jobs.node bigint
jobs.priority integer NOT NULL
jobs.attempt integer NOT NULL DEFAULT 0
jobs.max_attempts integer NOT NULL
jobs.lease integer NOT NULL DEFAULT 0
jobs.state smallint NOT NULL
jobs.crashes smallint NOT NULL DEFAULT 0
jobs.acked boolean NOT NULL DEFAULT false
jobs.cancel_requested boolean NOT NULL DEFAULT false
jobs.queue text NOT NULL
jobs.worker text NOT NULL
jobs.unique_key text
jobs.live_key text
jobs.args json NOT NULL
jobs.tags ARRAY
jobs.meta json
jobs.errors jsonb
jobs.result json
jobs.progress json
migrations.version integer NOT NULL
migrations.name text NOT NULL
migrations.checksum text NOT NULL
migrations.applied_at timestamp with time zone NOT NULL
nodes.number bigint NOT NULL
nodes.id uuid NOT NULL
nodes.standing smallint NOT NULL
nodes.name text NOT NULL
nodes.pid integer NOT NULL
nodes.started_at timestamp with time zone NOT NULL
nodes.beat_at timestamp with time zone NOT NULL
nodes.expires_at timestamp with time zone NOT NULL
nodes.queues json NOT NULL
queues.name text NOT NULL
queues.paused boolean NOT NULL DEFAULT false
queues.concurrency integer
ticks.name text NOT NULL
ticks.at timestamp with time zone NOT NULL

zjobs.crons crons_pkey: PRIMARY KEY (name)
zjobs.jobs jobs_check1: CHECK (((attempt >= 0) AND (attempt <= max_attempts)))
zjobs.jobs jobs_check: CHECK (((node IS NOT NULL) = (state = 1)))
zjobs.jobs jobs_crashes_check: CHECK ((crashes >= 0))
zjobs.jobs jobs_errors_check: CHECK ((jsonb_typeof(errors) = 'array'::text))
zjobs.jobs jobs_lease_check: CHECK ((lease >= 0))
zjobs.jobs jobs_max_attempts_check: CHECK ((max_attempts >= 1))
zjobs.jobs jobs_pkey: PRIMARY KEY (id)
zjobs.jobs jobs_queue_check: CHECK (((length(queue) >= 1) AND (length(queue) <= 64)))
zjobs.jobs jobs_state_check: CHECK (((state >= 0) AND (state <= 6)))
zjobs.jobs jobs_worker_check: CHECK (((length(worker) >= 1) AND (length(worker) <= 255)))
zjobs.migrations migrations_pkey: PRIMARY KEY (version)
zjobs.nodes nodes_id_key: UNIQUE (id)
zjobs.nodes nodes_pkey: PRIMARY KEY (number)
zjobs.nodes nodes_standing_check: CHECK (((standing >= 0) AND (standing <= 4)))
zjobs.queues queues_name_check: CHECK (((length(name) >= 1) AND (length(name) <= 64)))
zjobs.queues queues_pkey: PRIMARY KEY (name)
zjobs.ticks ticks_pkey: PRIMARY KEY (name, at)

CREATE INDEX jobs_claim ON zjobs.jobs USING btree (queue, priority, scheduled_at, id) WHERE (state = 0)
CREATE INDEX jobs_due ON zjobs.jobs USING btree (scheduled_at, id) WHERE (state = ANY (ARRAY[3, 6]))
CREATE INDEX jobs_final ON zjobs.jobs USING btree (state, finished_at) WHERE (state = ANY (ARRAY[2, 4, 5]))
CREATE INDEX jobs_held ON zjobs.jobs USING btree (node) WHERE (state = 1)
CREATE UNIQUE INDEX crons_pkey ON zjobs.crons USING btree (name)
CREATE UNIQUE INDEX jobs_live_key ON zjobs.jobs USING btree (live_key) WHERE (live_key IS NOT NULL)
CREATE UNIQUE INDEX jobs_pkey ON zjobs.jobs USING btree (id)
CREATE UNIQUE INDEX migrations_pkey ON zjobs.migrations USING btree (version)
CREATE UNIQUE INDEX nodes_id_key ON zjobs.nodes USING btree (id)
CREATE UNIQUE INDEX nodes_pkey ON zjobs.nodes USING btree (number)
CREATE UNIQUE INDEX queues_pkey ON zjobs.queues USING btree (name)
CREATE UNIQUE INDEX ticks_pkey ON zjobs.ticks USING btree (name, at)

CREATE OR REPLACE FUNCTION zjobs.enqueue(worker text, args json DEFAULT '{}'::json, queue text DEFAULT 'default'::text, priority integer DEFAULT 0, max_attempts integer DEFAULT 20, scheduled_at timestamp with time zone DEFAULT NULL::timestamp with time zone, delay interval DEFAULT NULL::interval, timeout_seconds double precision DEFAULT 300, unique_key text DEFAULT NULL::text, replaces boolean DEFAULT false, tags text[] DEFAULT NULL::text[], meta json DEFAULT NULL::json, OUT id bigint, OUT conflict boolean)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
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
$function$

CREATE OR REPLACE FUNCTION zjobs.enqueue_many(jobs json)
 RETURNS TABLE(id bigint, conflict boolean)
 LANGUAGE plpgsql
AS $function$
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
$function$

CREATE OR REPLACE FUNCTION zjobs.heard_since(listened interval)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN GREATEST(pg_postmaster_start_time(), (zjobs.now() - listened))

CREATE OR REPLACE FUNCTION zjobs.now()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN statement_timestamp()

CREATE OR REPLACE FUNCTION zjobs.stamped(error text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN ((error)::jsonb || jsonb_build_object('at', ((EXTRACT(epoch FROM zjobs.now()) * (1000000)::numeric))::bigint))


jobs: fillfactor=85, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=10000, autovacuum_analyze_scale_factor=0.1, autovacuum_vacuum_cost_delay=0
nodes: fillfactor=50
