//! One session with the server: statements prepared once, transactions, and what a lost one means.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use postgres_types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Row, Statement};

use crate::error::Error;
use crate::failpoint::{Hand, Step, sending};
use crate::store::postgres::dialect::Dialect;
use crate::sync::Arc;

/// An error of a verb: the server's, or one of ours.
#[derive(Debug)]
pub(super) enum Failed {
    Postgres(tokio_postgres::Error),
    Engine(Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

pub(super) type Verb<T> = Result<T, Failed>;

/// A parameter and its type on the wire.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What each statement of ours expects: it sees what was committed before it began, also by those whose locks it waited for.
/// Under a stricter one it would see what was there when its transaction began, or fail because of others.
pub(super) const ISOLATION: &str = "read committed";

/// Whether sessions are our own or lent by a pooler between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is set or prepared in it stays.
    Direct,
    /// A pooler (PgBouncer in transaction mode) may give each transaction another one: nothing may be left in it.
    Pooled,
}

/// What the planner may choose for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plans {
    /// Whatever its statistics say is best.
    Free,
    /// Walks along an index that has the order which is asked for, row by row, and nothing else. Without statistics the
    /// planner takes a table that was just filled for nearly empty, and sorts all that waits for each claim (ADR 0016).
    Ordered,
}

impl Plans {
    const ORDERED: [&str; 5] =
        ["enable_sort", "enable_bitmapscan", "enable_seqscan", "enable_hashjoin", "enable_mergejoin"];

    /// For the start of a session.
    pub(super) fn options(self) -> String {
        match self {
            Self::Free => String::new(),
            // There is only one plan left, so that nobody need look for a better one at each claim.
            Self::Ordered => {
                Self::ORDERED.map(|one| format!(" -c {one}=off")).concat() + " -c plan_cache_mode=force_generic_plan"
            }
        }
    }

    /// For one transaction.
    fn script(self) -> String {
        match self {
            Self::Free => String::new(),
            Self::Ordered => Self::ORDERED.map(|one| format!("; SET LOCAL {one} = off")).concat(),
        }
    }
}

pub(super) struct Session {
    client: Client,
    kind: Kind,
    plans: Plans,
    /// A statement alone is given a transaction of its own: the server's default is a stricter isolation than ours, and a
    /// pooler keeps no setting.
    is_strict: bool,
    dialect: Arc<Dialect>,
    /// By the address of the statement's text in the table of queries.
    prepared: RefCell<HashMap<usize, Statement>>,
    /// A transaction is open: its statements commit nothing.
    within: Cell<bool>,
    /// The last transaction came to no commit.
    undone: Cell<bool>,
}

impl Session {
    /// `isolation` is that of its transactions unless they say another.
    pub(super) fn new(client: Client, kind: Kind, isolation: &str, plans: Plans, dialect: Arc<Dialect>) -> Self {
        Self {
            client,
            kind,
            plans,
            is_strict: isolation != ISOLATION,
            dialect,
            prepared: RefCell::default(),
            within: Cell::new(false),
            undone: Cell::new(false),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The rows that a statement gives.
    pub(super) async fn query(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Verb<Vec<Row>> {
        if self.kind == Kind::Pooled {
            let ask = async |session: &Self| {
                let request = session.client.query_typed(session.dialect.text(sql), parameters);
                Ok(sending(session.commits(sql), request).await?)
            };
            return self.levelled(ask).await;
        }
        let statement = self.prepared(sql, parameters).await?;
        let values: Vec<_> = parameters.iter().map(|(value, _)| *value).collect();
        Ok(sending(self.commits(sql), self.client.query(&statement, &values)).await?)
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Verb<u64> {
        if self.kind == Kind::Pooled {
            let ask = async |session: &Self| {
                let request = session.client.execute_typed(session.dialect.text(sql), parameters);
                Ok(sending(session.commits(sql), request).await?)
            };
            return self.levelled(ask).await;
        }
        let statement = self.prepared(sql, parameters).await?;
        let values: Vec<_> = parameters.iter().map(|(value, _)| *value).collect();
        Ok(sending(self.commits(sql), self.client.execute(&statement, &values)).await?)
    }

    /// Whether a statement changes something and is a transaction by itself.
    fn commits(&self, sql: &str) -> bool {
        cfg!(feature = "failpoints")
            && !self.within.get()
            && ["INSERT INTO", "UPDATE zjobs", "DELETE FROM", "zjobs.enqueue"].iter().any(|verb| sql.contains(verb))
    }

    async fn prepared(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Verb<Statement> {
        let key = sql.as_ptr() as usize;
        if let Some(statement) = self.prepared.borrow().get(&key) {
            return Ok(statement.clone());
        }
        let types: Vec<_> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let statement = self.client.prepare_typed(self.dialect.text(sql), &types).await?;
        self.prepared.borrow_mut().insert(key, statement.clone());
        Ok(statement)
    }

    /// A statement that is not asked for again.
    pub(super) async fn once(&self, text: &str, parameters: &[Parameter<'_>]) -> Verb<Vec<Row>> {
        Ok(self.client.query_typed(text, parameters).await?)
    }

    /// Statements without parameters, one after the other.
    pub(super) async fn script(&self, text: &str) -> Verb<()> {
        Ok(self.client.batch_execute(text).await?)
    }

    /// Runs `body` with the plans of this session, which a pooler forgets between transactions.
    pub(super) async fn planned<T>(&self, body: impl AsyncFnOnce(&Self) -> Verb<T>) -> Verb<T> {
        match self.kind {
            Kind::Direct => body(self).await,
            Kind::Pooled => self.transact(body).await,
        }
    }

    /// Runs one statement under our isolation.
    async fn levelled<T>(&self, ask: impl AsyncFnOnce(&Self) -> Verb<T>) -> Verb<T> {
        if !self.is_strict || self.within.get() {
            return ask(self).await;
        }
        // It is one statement of a verb: what the others did is not undone with it.
        let undone = self.undone.get();
        let done = self.transact(ask).await;
        self.undone.set(undone);
        done
    }

    /// Another verb begins.
    pub(super) fn begin(&self) {
        self.undone.set(false);
    }

    /// Whether the last that was begun since is a transaction that came to no commit: nothing of it was done, whatever was lost.
    pub(super) fn is_undone(&self) -> bool {
        self.undone.get()
    }

    /// Everything or nothing of what `body` does.
    pub(super) async fn transact<T>(&self, body: impl AsyncFnOnce(&Self) -> Verb<T>) -> Verb<T> {
        let plans = if self.kind == Kind::Pooled { self.plans.script() } else { String::new() };
        self.undone.set(true);
        self.script(&format!("BEGIN ISOLATION LEVEL {ISOLATION}{plans}")).await?;
        self.within.set(true);
        let done = match body(self).await {
            Ok(done) => Hand::now().step(Step::Written).map(|()| done).map_err(Failed::from),
            Err(error) => Err(error),
        };
        self.within.set(false);
        match done {
            Ok(done) => {
                self.undone.set(false);
                sending(true, self.script("COMMIT")).await?;
                Ok(done)
            }
            Err(error) => {
                // When even this fails the session is closed, and the error that led here says why.
                drop(self.script("ROLLBACK").await);
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("kind", &self.kind).finish_non_exhaustive()
    }
}
