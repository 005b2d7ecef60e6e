//! What the fuzz targets see of rows in SQLite.

use crate::job::{Job, NodeId};
use crate::store::sqlite::rows;

/// A row of the columns [`rows::COLUMNS`] as a job, with the small number of its node.
pub fn job(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Job, Option<i64>)> {
    rows::job(row)
}

/// A node's id as it is stored.
pub fn node_text(node: NodeId) -> String {
    rows::node_text(node)
}

/// A stored node's id.
pub fn node_of(text: &str) -> NodeId {
    rows::node_of(text)
}
