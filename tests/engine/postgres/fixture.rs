//! A store in a schema of its own, whose clock moves only when told to.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};
use zjobs_engine::clock::{Clock, System};
use zjobs_engine::store::Store;
use zjobs_engine::store::postgres::{PostgresConfig, PostgresStore};
use zjobs_engine::sync::{AtomicU64, Ordering};

use crate::conformance::fixture::Fixture;

/// The server of the tests, which `make test` starts.
pub fn url() -> String {
    let set = std::env::var("ZJOBS_TEST_DATABASE_URL");
    set.expect("ZJOBS_TEST_DATABASE_URL names a server: run this by `python tests/postgres_server.py cargo test`")
}

/// A session beside the store's.
pub struct Beside {
    runtime: Runtime,
    client: Client,
}

impl Beside {
    pub fn new() -> Self {
        Self::at(&url())
    }

    pub fn at(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(async move { drop(connection.await) });
        Self { runtime, client }
    }

    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    pub fn texts(&self, sql: &str) -> Vec<String> {
        let found = self.runtime.block_on(self.client.query(sql, &[])).unwrap();
        found.iter().map(|row| row.get(0)).collect()
    }

    pub fn prepare(&self, sql: &str) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        self.runtime.block_on(self.client.prepare(sql))
    }
}

/// A name that no other test has, nor one of a process before that was killed and left its tables.
pub fn fresh_schema() -> String {
    static BEGAN: LazyLock<i64> = LazyLock::new(|| System.now().micros());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}_{}_{}", std::process::id(), *BEGAN, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn config(schema: &str) -> PostgresConfig {
    PostgresConfig { schema: schema.to_owned(), ..PostgresConfig::new(url(), fastrand::Rng::with_seed(1)) }
}

pub struct Postgres {
    config: PostgresConfig,
    pub store: PostgresStore,
    pub schema: String,
    pub beside: Beside,
}

impl Postgres {
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    /// Somebody's rule: what fulfils the condition ends in an error with that code.
    pub fn add_rule(&self, condition: &str, code: &str) {
        let Self { schema, beside, .. } = self;
        beside.run(&format!(
            "CREATE FUNCTION {schema}.rule() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF {condition} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF;
               RETURN new;
             END $$;
             CREATE TRIGGER rule BEFORE UPDATE ON {schema}.jobs FOR EACH ROW EXECUTE FUNCTION {schema}.rule()"
        ));
    }

    pub fn with(set: impl FnOnce(PostgresConfig) -> PostgresConfig) -> Self {
        let schema = fresh_schema();
        let beside = Beside::new();
        let config = set(config(&schema));
        let store = PostgresStore::open(config.clone()).unwrap();
        beside.run(&format!(
            "CREATE TABLE {schema}.test_clock AS SELECT timestamptz '2026-01-01 00:00:00Z' AS at;
             CREATE OR REPLACE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
             BEGIN ATOMIC SELECT at FROM {schema}.test_clock; END;
             CREATE OR REPLACE FUNCTION {schema}.heard_since(listened interval) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
             RETURN timestamptz '-infinity'"
        ));
        Self { config, store, schema, beside }
    }

    /// The sessions that there were end, and others begin.
    pub fn reopen(&mut self) {
        self.store = PostgresStore::open(self.config.clone()).unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.beside.run(&format!("SET client_min_messages = error; DROP SCHEMA {} CASCADE", self.schema));
    }
}

impl Fixture for Postgres {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn advance(&self, by: Duration) {
        self.step_wall(i64::try_from(by.as_micros()).unwrap());
    }

    fn step_wall(&self, micros: i64) {
        self.beside.run(&format!("UPDATE {}.test_clock SET at = at + interval '{micros} microseconds'", self.schema));
    }
}

/// Another user of the same store, who looks at its jobs under a condition.
pub struct Watched<'a> {
    on: &'a Postgres,
    pub store: PostgresStore,
}

impl<'a> Watched<'a> {
    /// `condition` is SQL; `current_query()` tells the statements apart.
    pub fn by(on: &'a Postgres, condition: &str) -> Self {
        let Postgres { schema, beside, .. } = on;
        beside.run(&format!(
            "CREATE ROLE {schema} LOGIN;
             GRANT ALL ON SCHEMA {schema} TO {schema};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {schema};
             CREATE POLICY watched ON {schema}.jobs USING ({condition});
             ALTER TABLE {schema}.jobs ENABLE ROW LEVEL SECURITY"
        ));
        let config = PostgresConfig { url: url().replace("postgres@", &format!("{schema}@")), ..config(schema) };
        Self { on, store: PostgresStore::open(config).unwrap() }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let Postgres { schema, beside, .. } = self.on;
        beside.run(&format!("DROP OWNED BY {schema}; DROP ROLE {schema}"));
    }
}
