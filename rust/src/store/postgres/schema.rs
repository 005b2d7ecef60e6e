//! The tables of a database: what it has, what it lacks, and the way from one to the other.

use postgres_types::Type;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::store::migrate::{Applied, Migration, Step, known, plan, steps};
use crate::store::postgres::address::Address;
use crate::store::postgres::dialect::Dialect;
use crate::store::postgres::seat::{Repeat, Seat};
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::At;
use crate::store::sql::postgres as sql;

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS zjobs.migrations (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL
)";
const LEDGER_IS_THERE: &str = "SELECT 1 FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = $1 AND relname = 'migrations'";
const ENCODING: &str = "SELECT current_setting('server_encoding')";
const APPLIED: &str = "SELECT version, checksum, applied_at FROM zjobs.migrations ORDER BY version";
const RECORD: &str = "INSERT INTO zjobs.migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, now())";

/// Where a store lives, for whoever looks after its tables.
pub(super) struct Home<'a> {
    pub(super) seat: &'a Seat,
    pub(super) address: &'a Address,
    pub(super) dialect: &'a Dialect,
}

impl Home<'_> {
    /// The steps of this version's schema, and which of them the database has.
    pub(super) fn steps(&self) -> Result<Vec<Step>> {
        let applied = self.applied()?;
        plan(&known(sql::MIGRATIONS), &applied, &self.name())?;
        Ok(steps(sql::MIGRATIONS, &applied))
    }

    /// Makes the tables of a new database. One that has some must have them all: changing it is `zjobs migrate`'s.
    pub(super) fn prepare(&self) -> Result<Timestamp> {
        if self.applied()?.is_empty() {
            self.apply()?;
        }
        self.check()
    }

    /// Refuses a database that does not have exactly the tables of this version; says when it got the first of them.
    pub(super) fn check(&self) -> Result<Timestamp> {
        let applied = self.applied()?;
        let known = known(sql::MIGRATIONS);
        if plan(&known, &applied, &self.name())?.is_empty() {
            return Ok(applied.first().map_or(Timestamp::MIN, |first| first.at));
        }
        Err(Error::SchemaMismatch(format!(
            "{} has schema {}, and this version of zjobs needs {}: run `zjobs migrate`",
            self.name(),
            applied.len(),
            known.len()
        )))
    }

    /// Applies what is missing, all of it or nothing. Several at once: one works, the others find nothing to do.
    pub(super) fn apply(&self) -> Result<Vec<Migration>> {
        // A server that does not answer is told of as soon as by any other call; one that works is not given up.
        self.applied()?;
        let applied = self.seat.call_long(Repeat::Safe, &async |session: &Session| {
            session.transact(async |session| self.apply_missing(session).await).await
        })?;
        failpoint::pass(Point::Settled);
        Ok(applied)
    }

    async fn apply_missing(&self, session: &Session) -> Verb<Vec<Migration>> {
        // A number of our own, the first bytes of SHA-256 of "zjobs migrations"; it is freed with the transaction.
        let lock = "SELECT pg_advisory_xact_lock(5201894062218137642)";
        session.script(&format!("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; {lock}")).await?;
        let missing = plan(&known(sql::MIGRATIONS), &self.read(session).await?, &self.name())?;
        if missing.is_empty() {
            return Ok(missing);
        }
        if !self.has_schema(session).await? {
            session.script(&format!("CREATE SCHEMA \"{}\"", self.dialect.schema())).await?;
        }
        failpoint::pass(Point::Locked);
        session.script(&self.dialect.rendered(LEDGER)).await?;
        for step in &missing {
            session.script(&self.dialect.rendered(step.sql)).await?;
            failpoint::pass(Point::Migrated);
            let version = i32::try_from(step.version).unwrap_or(i32::MAX);
            let record = self.dialect.rendered(RECORD);
            let checksum = step.checksum();
            let parameters: [Parameter<'_>; 3] =
                [(&version, Type::INT4), (&step.name, Type::TEXT), (&checksum, Type::TEXT)];
            session.once(&record, &parameters).await?;
        }
        failpoint::pass(Point::Recorded);
        Ok(missing)
    }

    fn applied(&self) -> Result<Vec<Applied>> {
        self.seat.call(Repeat::Safe, &async |session: &Session| {
            self.refuse_bytes(session).await?;
            self.read(session).await
        })
    }

    /// Refuses a database that takes texts for bytes.
    async fn refuse_bytes(&self, session: &Session) -> Verb<()> {
        let found = session.once(ENCODING, &[]).await?;
        if found.first().map(|row| row.try_get(0)).transpose()? != Some("SQL_ASCII") {
            return Ok(());
        }
        Err(Error::SchemaMismatch(format!(
            "{} has the encoding SQL_ASCII, which keeps whatever bytes anybody sends, and jobs need letters: make another \
             database with the encoding UTF8 (createdb --encoding=UTF8 --template=template0), and name that in the URL",
            self.address
        ))
        .into())
    }

    async fn has_schema(&self, session: &Session) -> Verb<bool> {
        let named = self.dialect.schema();
        Ok(!session.once("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[(&named, Type::TEXT)]).await?.is_empty())
    }

    async fn read(&self, session: &Session) -> Verb<Vec<Applied>> {
        // From the rows of the catalog: a lookup by name may be answered from what the session knew before it waited.
        let there = session.once(LEDGER_IS_THERE, &[(&self.dialect.schema(), Type::TEXT)]).await?;
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let applied = |row: &tokio_postgres::Row| {
            let version = u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0);
            Ok(Applied { version, checksum: row.try_get(1)?, at: row.try_get::<_, At>(2)?.0 })
        };
        session.once(&self.dialect.rendered(APPLIED), &[]).await?.iter().map(applied).collect()
    }

    fn name(&self) -> String {
        format!("{} schema {}", self.address, self.dialect.schema())
    }
}
