//! All that a log holds, as text: two logs with the same text are the same for an applier.

use std::fmt::Write as _;
use std::path::Path;

use pgtrail_log::{Body, Error, LogFollower};

/// Reads everything: the base rows, then every record of every transaction.
///
/// # Errors
/// When the log cannot be read to its end.
pub(crate) fn read(dir: &Path) -> Result<String, Error> {
    let scratch = tempfile::tempdir_in(pgtrail_tests::scratch::root()).expect("scratch");
    let follower = LogFollower::open(dir, scratch.path())?;
    let mut text = String::new();
    let mut bases = follower.bases()?;
    bases.sort_by_key(|base| base.id);
    writeln!(text, "{:?}", follower.schema()?).expect("text");
    writeln!(text, "{:?}", follower.initial_set()?).expect("text");
    for base in &bases {
        writeln!(text, "{base:?}").expect("text");
        for n in 0..base.blocks {
            let block = follower.base_block(base, n)?;
            writeln!(text, "{} {:?}", block.row_count, block.rows).expect("text");
        }
    }
    let mut cursor = follower.cursor_from_first()?;
    while let Some(block) = cursor.next_block()? {
        for transaction in block.transactions() {
            let transaction = transaction?;
            writeln!(text, "{:?} {:?}", transaction.position, transaction.header).expect("text");
            match &transaction.body {
                Body::Inline(records) => {
                    for record in records.clone() {
                        writeln!(text, "{:?}", record?).expect("text");
                    }
                }
                Body::Pending(reference) => {
                    for n in 0..reference.chunks {
                        for record in follower.pending_chunk(reference, n)? {
                            writeln!(text, "{record:?}").expect("text");
                        }
                    }
                }
            }
        }
    }
    Ok(text)
}
