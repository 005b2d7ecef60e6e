//! What the fuzz targets see of the walks over JSON.

use crate::error::Result;

/// The short walk: yes only to plain JSON.
pub fn is_plain(text: &[u8]) -> bool {
    super::quick::is_plain(text)
}

/// The walk that knows all of JSON.
pub fn thorough(text: &[u8]) -> Result<()> {
    super::thorough("args", text)
}
