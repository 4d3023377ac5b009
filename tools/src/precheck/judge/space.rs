//! Room on disks.

use crate::config::Config;
use crate::config::units::show_size;
use crate::precheck::facts::{Destination, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::standing::Standing;

fn is_copied(config: &Config, source: &Source) -> bool {
    config.copies() && source.standing != Ok(Standing::Complete)
}

/// Room for the copy at the destination.
pub(crate) fn destination_disk(
    config: &Config,
    source: &Source,
    destination: &Destination,
) -> Finding {
    const WHY: &str = "The copy takes about as much as the tables and indexes take at the source, \
                       and its WAL for a while; a full disk stops the destination.";
    if !is_copied(config, source) {
        return Finding::pass("nothing is copied");
    }
    let Some(sizes) = source.sizes else {
        return Finding::not_checked("a table of the source is locked");
    };
    let needed = sizes.tables.saturating_add(sizes.indexes);
    let key = match destination.name.as_str() {
        "default" => "destination.disk_free".to_owned(),
        name => format!("destination.{name}.disk_free"),
    };
    let Some(free) = destination.disk_free else {
        return Finding::notice(
            format!("about {} needed; free space is not known", show_size(needed)),
            WHY,
        )
        .mend(Remedy::configuration(format!("{key} = \"…GB\"")));
    };
    if needed < free {
        return Finding::pass(format!(
            "about {} needed, {} free",
            show_size(needed),
            show_size(free)
        ));
    }
    Finding::warning(
        format!("about {} needed, only {} free", show_size(needed), show_size(free)),
        WHY,
    )
    .mend(Remedy::configuration(format!("{key} = \"…GB\", once there is more")))
}

/// Room for the copy and the changes in the log.
pub(crate) fn log_disk(config: &Config, source: &Source) -> Finding {
    const WHY: &str = "The log holds the copied rows (compressed) until every destination has them, \
                       and every change since. Below log.min_free the reader stops reading, and \
                       the source keeps its WAL.";
    let dir = config.log.dir.display();
    let Some(free) = source.log_free else {
        return Finding::notice(format!("free space at {dir} is not known"), WHY);
    };
    let copied = match (is_copied(config, source), source.sizes) {
        (true, Some(sizes)) => sizes.tables,
        _ => 0,
    };
    let needed = copied.saturating_add(config.log.min_free);
    let text = format!(
        "{} free at {dir}, up to {} for the copy, {} kept free",
        show_size(free),
        show_size(copied),
        show_size(config.log.min_free)
    );
    if free >= needed {
        return Finding::pass(text);
    }
    Finding::warning(text, WHY)
        .mend(Remedy::configuration("log.dir: a directory on a larger disk"))
        .mend(Remedy::configuration("log.min_free: less, if that disk serves nothing else"))
}
