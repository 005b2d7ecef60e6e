//! Databases that are set up in another way than they come.

use std::thread;
use std::time::Duration;

use zjobs_engine::Error;
use zjobs_engine::job::NodeId;
use zjobs_engine::store::postgres::{PostgresConfig, PostgresStore};
use zjobs_engine::store::{Acked, Store};
use zjobs_engine::unique::UniqueStrategy;

use crate::conformance::fixture::{Fixture, done, new_job, unique_job};
use crate::postgres::fixture::{Beside, fresh_schema, url};

/// What only one of those who make tables has.
const MIGRATES: &str = "5201894062218137642";

/// A database that is gone afterwards.
struct Database {
    name: String,
    url: String,
    beside: Beside,
}

impl Database {
    fn new(options: &str) -> Self {
        let (beside, name) = (Beside::new(), fresh_schema());
        beside.run(&format!("CREATE DATABASE {name} {options}"));
        let url = format!("{}/{name}", url().rsplit_once('/').unwrap().0);
        Self { name, url, beside }
    }

    fn config(&self) -> PostgresConfig {
        PostgresConfig::new(&self.url, fastrand::Rng::with_seed(1))
    }

    /// A session in it.
    fn inside(&self) -> Beside {
        Beside::at(&self.url)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.beside.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

struct Started(PostgresStore);

impl Fixture for Started {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn advance(&self, _: Duration) {
        unreachable!("its clock is the server's");
    }

    fn step_wall(&self, _: i64) {
        unreachable!("its clock is the server's");
    }
}

/// Starts so many at once: each has come as far as it can while another makes the tables.
fn start(on: &Database, count: usize) -> Vec<Started> {
    let gate = on.inside();
    gate.run(&format!("SELECT pg_advisory_lock({MIGRATES})"));
    let wait = format!(
        "SELECT 'yes' FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'advisory' HAVING count(*) = {count}",
        on.name
    );
    thread::scope(|scope| {
        let starts: Vec<_> = (0..count).map(|_| scope.spawn(|| PostgresStore::open(on.config()))).collect();
        while on.beside.texts(&wait).is_empty() {
            thread::yield_now();
        }
        gate.run(&format!("SELECT pg_advisory_unlock({MIGRATES})"));
        starts.into_iter().map(|one| Started(one.join().unwrap().unwrap())).collect()
    })
}

#[test]
fn first_starts_at_once_and_jobs_do_not_mind_a_stricter_isolation_of_the_database() {
    for level in ["serializable", "repeatable read"] {
        let on = Database::new("");
        on.beside.run(&format!("ALTER DATABASE {} SET default_transaction_isolation = '{level}'", on.name));
        let stores = start(&on, 4);
        let inside = on.inside();
        inside.run(
            "CREATE TABLE seen (verb text, level text);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.seen VALUES (TG_OP, current_setting('transaction_isolation'));
                 RETURN NULL;
             END $$;
             CREATE TRIGGER see AFTER INSERT OR UPDATE ON zjobs.jobs FOR EACH ROW EXECUTE FUNCTION see()",
        );
        thread::scope(|scope| {
            for (number, store) in (1..).zip(&stores) {
                scope.spawn(move || work(store, NodeId(number)));
            }
        });
        let seen = inside.texts("SELECT DISTINCT verb || ': ' || level FROM seen ORDER BY 1");
        assert_eq!(seen, ["INSERT: read committed", "UPDATE: read committed"], "{level}");
    }
}

/// Enqueues and runs jobs beside others.
fn work(store: &Started, node: NodeId) {
    let on: &dyn Fixture = store;
    on.beat(node, &[]);
    for _ in 0..20 {
        on.enqueue(unique_job("k", UniqueStrategy::IgnoreNew));
        store.0.enqueue(vec![new_job(); 3]).unwrap();
        for job in on.claim(node, 4) {
            assert_eq!(on.ack(node, &job, done()), Acked::Stored);
        }
    }
}

#[test]
fn tables_that_take_longer_to_make_than_a_call_may_take_are_made() {
    let on = Database::new("");
    on.inside().run(
        "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); END';
         CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION slow()",
    );
    let config = PostgresConfig { patience: Duration::from_secs(1), ..on.config() };
    assert_eq!(PostgresStore::migrate(config.clone()).unwrap().len(), 1);
    assert!(PostgresStore::open(config).is_ok());
}

#[test]
fn a_database_that_takes_texts_for_bytes_is_refused_with_the_way_out() {
    let on = Database::new("ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
    let tries = [
        PostgresStore::open(on.config()).map(drop),
        PostgresStore::open(PostgresConfig { create: false, ..on.config() }).map(drop),
        PostgresStore::migrate(on.config()).map(drop),
        PostgresStore::steps(on.config()).map(drop),
    ];
    for refused in tries {
        let Err(Error::SchemaMismatch(told)) = refused else { panic!("{refused:?}") };
        assert!(told.contains("SQL_ASCII") && told.contains("createdb --encoding=UTF8"), "{told}");
    }
    assert!(on.inside().texts("SELECT nspname::text FROM pg_namespace WHERE nspname = 'zjobs'").is_empty());
}
