//! What the fuzz targets see of rows in PostgreSQL, and of addresses.

use std::time::Duration;

use tokio_postgres::Row;

use crate::error::Result;
use crate::job::Job;
use crate::store::postgres::address::{Address, Environment};
use crate::store::postgres::dialect::Dialect;
use crate::store::postgres::rows;
use crate::store::postgres::session::Failed;

/// A row of the columns [`rows::COLUMNS`] as a job, or why it is none.
pub fn job(row: &Row) -> Result<Job, String> {
    rows::job(row).map_err(|failed| match failed {
        Failed::Postgres(error) => error.to_string(),
        Failed::Engine(error) => error.to_string(),
    })
}

/// How a URL is shown, twice: as text and for debugging.
pub fn address(url: &str, environment: Environment<'_>) -> Result<(String, String)> {
    let address = Address::parse(url, Duration::from_secs(15), environment)?;
    Ok((address.to_string(), format!("{address:?}")))
}

/// A statement in the schema of that name, and the channel that its processes listen to.
pub fn rendered(schema: &str, sql: &str) -> Result<(String, String)> {
    let dialect = Dialect::new(schema)?;
    Ok((dialect.rendered(sql), dialect.channel()))
}
