//! The text of replication commands.
//!
//! Their grammar is not SQL's: identifiers and literals know doubled quotes and nothing else.

use std::fmt::Write;

use pgtrail_log::Lsn;
use pgtrail_postgres::Capabilities;
use pgtrail_postgres::quote::{ident_list, quote_ident};

/// What pgoutput is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartOptions {
    /// Version of its protocol: [`Capabilities::pgoutput_protocol`].
    pub protocol: u8,
    /// The publications whose tables are wanted.
    pub publications: Vec<String>,
    /// Datums in binary where their type can.
    pub binary: bool,
    /// Large transactions as they run.
    pub streaming: bool,
    /// Logical messages too.
    pub messages: bool,
}

pub(super) fn create_slot(name: &str, failover: bool, capabilities: &Capabilities) -> String {
    let slot = quote_ident(name);
    let options = match (capabilities.slot_option_list, failover && capabilities.failover_slots) {
        (false, _) => "EXPORT_SNAPSHOT",
        (true, false) => "(SNAPSHOT 'export')",
        (true, true) => "(SNAPSHOT 'export', FAILOVER true)",
    };
    format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput {options}")
}

pub(super) fn drop_slot(name: &str, wait: bool) -> String {
    let wait = if wait { " WAIT" } else { "" };
    format!("DROP_REPLICATION_SLOT {}{wait}", quote_ident(name))
}

pub(super) fn start(slot: &str, from: Lsn, options: &StartOptions) -> String {
    let slot = quote_ident(slot);
    let publications = ident_list(options.publications.iter().map(String::as_str));
    let mut command = format!(
        "START_REPLICATION SLOT {slot} LOGICAL {from} \
         (proto_version '{}', publication_names {}",
        options.protocol,
        literal(&publications)
    );
    // Options are left out, not switched off: older servers do not know them at all.
    for (wanted, option) in [
        (options.binary, "binary 'true'"),
        (options.streaming, "streaming 'on'"),
        (options.messages, "messages 'true'"),
    ] {
        if wanted {
            // Writing to a String cannot fail.
            let _ = write!(command, ", {option}");
        }
    }
    command.push(')');
    command
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_made_in_each_servers_own_grammar() {
        for (version, failover, expected) in [
            (100_000, true, "EXPORT_SNAPSHOT"),
            (140_000, false, "EXPORT_SNAPSHOT"),
            (150_000, true, "(SNAPSHOT 'export')"),
            (170_000, false, "(SNAPSHOT 'export')"),
            (170_000, true, "(SNAPSHOT 'export', FAILOVER true)"),
        ] {
            let command = create_slot("s", failover, &Capabilities::of(version));
            assert_eq!(
                command,
                format!("CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput {expected}")
            );
        }
        assert_eq!(drop_slot("s", true), "DROP_REPLICATION_SLOT \"s\" WAIT");
        assert_eq!(drop_slot("s", false), "DROP_REPLICATION_SLOT \"s\"");
    }

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let mut options = StartOptions {
            protocol: 1,
            publications: vec!["p".to_owned()],
            binary: false,
            streaming: false,
            messages: false,
        };
        assert_eq!(
            start("s", Lsn::new(0x16_0000_00AB), &options),
            "START_REPLICATION SLOT \"s\" LOGICAL 16/AB (proto_version '1', publication_names '\"p\"')"
        );
        options = StartOptions {
            protocol: 4,
            publications: vec!["it's".to_owned(), "a\"b".to_owned()],
            binary: true,
            streaming: true,
            messages: true,
        };
        assert_eq!(
            start("s", Lsn::INVALID, &options),
            "START_REPLICATION SLOT \"s\" LOGICAL 0/0 (proto_version '4', \
             publication_names '\"it''s\", \"a\"\"b\"', \
             binary 'true', streaming 'on', messages 'true')"
        );
    }
}
