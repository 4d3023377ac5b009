//! Whether and how the servers are reached, and which servers they are.

use crate::precheck::facts::{Destination, Pooling, Server, Source};
use crate::precheck::finding::{Finding, Remedy};
use crate::precheck::names::shorten;
use crate::precheck::place::Whose;

/// Whether what is sent can be read on the way.
pub(crate) fn tls(whose: &Whose<'_>, server: &Server) -> Finding {
    if server.link.encrypted {
        return Finding::pass("encrypted");
    }
    if server.link.local {
        return Finding::pass("not encrypted, and does not leave this machine");
    }
    let key = whose.conninfo_key();
    Finding::notice(
        "not encrypted",
        "Whoever is on the way can read every row, and whoever can answer in the server's name can \
         be it.",
    )
    .mend(Remedy::configuration(format!("{key}: add sslmode=verify-full (or sslmode=require)")))
}

/// Whether the server is one that can be used.
pub(crate) fn version(_: &Whose<'_>, server: &Server) -> Finding {
    Finding::pass(format!("PostgreSQL {}", server.capabilities.version()))
}

/// What is told of a server that is too old to be asked anything else.
pub(crate) fn unsupported(whose: &Whose<'_>, version: &str) -> Finding {
    let side = whose.describe();
    Finding::failure(
        format!("the {side} is PostgreSQL {version}, which cannot do logical replication"),
        "pgoutput and publications came with PostgreSQL 10.",
    )
    .code("PGT-0502")
    .mend(Remedy::configuration(format!(
        "{}: name a server of PostgreSQL 10 or newer",
        whose.conninfo_key()
    )))
}

/// Whether the server takes writes.
pub(crate) fn primary(whose: &Whose<'_>, server: &Server) -> Finding {
    if !server.in_recovery {
        return Finding::pass("a primary");
    }
    let key = whose.conninfo_key();
    Finding::failure(
        format!("the {} is a standby", whose.describe()),
        "A publication, and everything else pgtrail makes, needs a server that takes writes.",
    )
    .code("PGT-0502")
    .mend(Remedy::configuration(format!(
        "{key}: name the primary, or add target_session_attrs=primary"
    )))
}

/// Whether a proxy or pooler stands before the server.
pub(crate) fn pooler(whose: &Whose<'_>, server: &Server) -> Finding {
    match server.pooling {
        Pooling::Direct => Finding::pass("none"),
        Pooling::Session => Finding::notice(
            "a proxy or pooler stands before the server and keeps sessions apart",
            "It works while each session keeps its server process; a pooler that is set to share \
             them would break locks and settings in the middle of the work.",
        )
        .mend(direct(whose)),
        Pooling::Transaction => pooled(whose),
    }
}

/// What is told of a server behind a pooler that shares its processes.
pub(crate) fn pooled(whose: &Whose<'_>) -> Finding {
    Finding::failure(
        format!("a pooler stands before the {} and shares server processes", whose.describe()),
        "Session settings, prepared statements, locks and the replication protocol do not survive \
         a change of the server process behind a session.",
    )
    .mend(direct(whose))
}

fn direct(whose: &Whose<'_>) -> Remedy {
    Remedy::configuration(format!(
        "{}: name the server itself, not the pooler (or a database with pool_mode = session)",
        whose.conninfo_key()
    ))
}

/// Whether a replication connection opens.
pub(crate) fn replication_connection(source: &Source) -> Finding {
    match (&source.replication_refused, source.server.may_replicate) {
        (None, _) => Finding::pass("opens"),
        (Some(_), false) => Finding::not_checked("the role may not use replication"),
        (Some(refusal), true) => Finding::failure(
            format!("the source refuses a replication connection: {refusal}"),
            "Changes come by the replication protocol, which pg_hba.conf and poolers treat apart.",
        )
        .mend(
            Remedy::source(
                "select pg_reload_conf()  -- after a line in pg_hba.conf that lets the role into \
                 this database from here",
            )
            .then("or name the server itself where a pooler is in between"),
        ),
    }
}

/// Whether both ends are one database.
pub(crate) fn same_database(source: &Source, destination: &Destination) -> Finding {
    let (from, to) = (&source.server, &destination.server);
    let (Some(one), Some(other)) = (from.system_identifier, to.system_identifier) else {
        return Finding::notice(
            "the destination does not tell which server it is",
            "That it is not the source itself cannot be made sure of.",
        )
        .mend(Remedy::destination(
            &destination.name,
            format!(
                "grant execute on function pg_control_system() to {}",
                pgtrail_postgres::quote::quote_ident(&to.role)
            ),
        ));
    };
    if one == other && from.database == to.database {
        let (name, database) = (&destination.name, &to.database);
        return Finding::failure(
            format!("destination \"{name}\" is the source itself, database \"{database}\""),
            "Every change applied would come back as a new one.",
        )
        .code("PGT-0505")
        .mend(Remedy::configuration(
            "compare source.conninfo and the destination's; PG* variables fill in both",
        ));
    }
    Finding::pass("another database")
}

/// Whether sessions begin in another replication role than usual.
pub(crate) fn replication_role_settings(whose: &Whose<'_>, server: &Server) -> Finding {
    let global = server.setting("session_replication_role").filter(|role| *role != "origin");
    if server.replication_roles.is_empty() && global.is_none() {
        return Finding::pass("every session begins as origin");
    }
    let describe = |setting: &crate::precheck::facts::RoleSetting| match (
        setting.database.as_str(),
        setting.role.as_str(),
    ) {
        ("", role) => format!("role {role}"),
        (database, "") => format!("database {database}"),
        (database, role) => format!("role {role} in database {database}"),
    };
    let mut who: Vec<String> = server.replication_roles.iter().map(describe).collect();
    if who.is_empty() {
        who.push("the server".to_owned());
    }
    let resets = server.replication_roles.iter().map(|setting| {
        let ident = pgtrail_postgres::quote::quote_ident;
        let sql = match (setting.database.as_str(), setting.role.as_str()) {
            ("", role) => format!("alter role {} reset session_replication_role", ident(role)),
            (database, "") => {
                format!("alter database {} reset session_replication_role", ident(database))
            }
            (database, role) => format!(
                "alter role {} in database {} reset session_replication_role",
                ident(role),
                ident(database)
            ),
        };
        whose.remedy(sql)
    });
    Finding::notice(
        format!("session_replication_role is set for {}", shorten(&who)),
        "Their sessions fire no triggers and check no foreign keys. Rows are captured all the same; \
         whatever an application's trigger would have written is not there.",
    )
    .mend_all(resets)
}
