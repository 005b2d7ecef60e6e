//! The statements with the schema that a store lives in.
//!
//! The files of SQL name the tables `zjobs.<table>`. In another schema that word is another one; a session setting would
//! not do, since a pooler may lend each transaction another session.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::store::sql::postgres as sql;

/// The schema that the files name.
pub const SCHEMA: &str = "zjobs";

const LONGEST: usize = 48;

#[derive(Debug)]
pub(super) struct Dialect {
    schema: String,
    /// By the address of the text in the table of queries; empty where the texts are good as they are.
    texts: HashMap<usize, String>,
}

impl Dialect {
    pub(super) fn new(schema: &str) -> Result<Self> {
        check(schema)?;
        let texts = if schema == SCHEMA {
            HashMap::new()
        } else {
            sql::ALL.iter().map(|(_, text)| (text.as_ptr() as usize, named(text, schema))).collect()
        };
        Ok(Self { schema: schema.to_owned(), texts })
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    pub(super) fn text(&self, sql: &'static str) -> &str {
        self.texts.get(&(sql.as_ptr() as usize)).map_or(sql, String::as_str)
    }

    /// Any other text of ours, such as a step of the schema.
    pub(super) fn rendered(&self, sql: &str) -> String {
        named(sql, &self.schema)
    }

    /// What processes of this schema listen to.
    pub(super) fn channel(&self) -> String {
        format!("{SCHEMA}_{}", self.schema)
    }
}

fn named(text: &str, schema: &str) -> String {
    if schema == SCHEMA { text.to_owned() } else { text.replace("zjobs.", &format!("\"{schema}\".")) }
}

fn check(schema: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit();
    if schema.len() <= LONGEST && schema.starts_with(first) && schema.chars().all(rest) && !schema.starts_with("pg_") {
        return Ok(());
    }
    Err(Error::invalid(
        "schema",
        format!("must be 1 to {LONGEST} of a-z, 0-9 and _, must not begin with a digit or pg_"),
        schema,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_the_schema_of_the_store() {
        let plain = Dialect::new(SCHEMA).unwrap();
        assert_eq!(plain.text(sql::claim), sql::claim);
        let other = Dialect::new("user").unwrap();
        assert!(other.text(sql::claim).contains("FROM \"user\".nodes") && !other.text(sql::claim).contains("zjobs."));
        assert_eq!(other.channel(), "zjobs_user");
    }

    #[test]
    fn a_schema_that_would_have_to_be_escaped_is_refused() {
        for schema in ["", "Jobs", "1jobs", "my jobs", "a\"b", "a.b", "pg_jobs", &"a".repeat(49), "jöbs"] {
            assert!(matches!(Dialect::new(schema), Err(Error::Invalid { .. })), "{schema}");
        }
    }
}
