//! Migrations: ordered, forward only, each known by its checksum.
//!
//! What a store has is compared with what this version knows; [`plan`] says what is missing, or why the two cannot work
//! together. Applying is the store's: each step in a transaction of its own together with its row.

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// One step that this version knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: u32,
    /// What it is about.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of the statements, in hex: a step that was edited after it was applied is found out.
    pub fn checksum(&self) -> String {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digest = Sha256::digest(self.sql.as_bytes());
        digest.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
    }
}

/// One step that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: u32,
    /// The checksum that it had.
    pub checksum: String,
    /// When it was applied, on the store's clock.
    pub at: Timestamp,
}

/// The steps of a dialect, numbered.
pub fn known(steps: &'static [(&'static str, &'static str)]) -> Vec<Migration> {
    let numbered = (1..).zip(steps);
    numbered.map(|(version, (name, sql))| Migration { version, name, sql }).collect()
}

/// One step of a schema and whether a database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub migration: Migration,
    /// When it was applied; `None`: not yet.
    pub applied_at: Option<Timestamp>,
}

/// All steps of a dialect, and when a database got each of them.
pub fn steps(dialect: &'static [(&'static str, &'static str)], applied: &[Applied]) -> Vec<Step> {
    let at = |migration: &Migration| applied.iter().find(|one| one.version == migration.version).map(|one| one.at);
    known(dialect).into_iter().map(|migration| Step { applied_at: at(&migration), migration }).collect()
}

/// What is missing in a store that has `applied`. `place` names it in errors.
pub fn plan(known: &[Migration], applied: &[Applied], place: &str) -> Result<Vec<Migration>> {
    for one in applied {
        let Some(step) = known.iter().find(|step| step.version == one.version) else {
            let newest = known.last().map_or(0, |step| step.version);
            return Err(Error::SchemaMismatch(format!(
                "{place} has schema {}, and this version of zjobs knows up to {newest}: upgrade zjobs here, or use the \
                 version that wrote it; nothing was changed",
                one.version
            )));
        };
        if step.checksum() != one.checksum {
            return Err(Error::SchemaMismatch(format!(
                "step {} ({}) of the schema of {place} is not the one that this version of zjobs knows: it was made by \
                 a changed copy of zjobs; nothing was changed",
                one.version, step.name
            )));
        }
    }
    Ok(known.iter().filter(|step| applied.iter().all(|one| one.version != step.version)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Migration> {
        known(&[("a", "CREATE TABLE a (x)"), ("b", "CREATE TABLE b (x)")])
    }

    fn applied(step: &Migration) -> Applied {
        Applied { version: step.version, checksum: step.checksum(), at: Timestamp(1) }
    }

    #[test]
    fn what_is_missing_is_planned_in_order() {
        let steps = steps();
        assert_eq!(plan(&steps, &[], "f").unwrap(), steps);
        assert_eq!(plan(&steps, &[applied(&steps[0])], "f").unwrap(), &steps[1..]);
        assert!(plan(&steps, &[applied(&steps[0]), applied(&steps[1])], "f").unwrap().is_empty());
    }

    #[test]
    fn a_newer_schema_and_an_edited_step_are_refused() {
        let steps = steps();
        let newer = Applied { version: 3, ..applied(&steps[0]) };
        let text = plan(&steps, &[newer], "jobs.db").unwrap_err().to_string();
        assert!(text.contains("jobs.db has schema 3") && text.contains("up to 2"), "{text}");
        let edited = Applied { checksum: "0".repeat(64), ..applied(&steps[0]) };
        assert!(matches!(plan(&steps, &[edited], "f"), Err(Error::SchemaMismatch(_))));
    }
}
