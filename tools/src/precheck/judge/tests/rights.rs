use pgtrail_postgres::Capabilities;

use super::super::rights;
use super::{check, destination_with, remedy, server_with, source_with};
use crate::precheck::finding::Outcome::{Failure, Notice, Pass, Warning};
use crate::precheck::place::Whose;
use crate::precheck::sample::{config, config_with, server, source, table};

#[test]
fn rights_at_the_source() {
    let right = rights::replication_right(&source_with(|s| s.server.may_replicate = false));
    check(&right, Failure, "\"app\" may not use replication");
    assert!(right.remedies.iter().all(|remedy| !remedy.fixable), "an attribute is no grant");
    let nothing = source_with(|s| {
        s.server.may_create = false;
        let held = s.privileges.get_mut(&100).expect("t");
        (held.may_select, held.uses_schema, held.owns) = (false, false, false);
        held.owner = "boss".to_owned();
    });
    let found = rights::source_privileges(&nothing);
    check(
        &found,
        Failure,
        "create objects in the source database, nor select on 1 table: public.t",
    );
    remedy(&found, "grant create on database \"d\" to \"app\"");
    remedy(&found, "grant usage on schema \"public\" to \"app\"");
    remedy(&found, "grant select on \"public\".\"t\" to \"app\"");
    assert!(found.remedies.iter().all(|remedy| remedy.fixable));
    let owner = rights::source_ownership(&config(), &nothing);
    check(&owner, Failure, "does not own 1 table: public.t");
    remedy(&owner, "grant \"boss\" to \"app\"");
    let given = source_with(|s| {
        s.is_publication_given = true;
        s.server.may_use_own_schema = true;
        s.server.may_create = false;
        s.privileges.get_mut(&100).expect("t").owns = false;
    });
    check(&rights::source_privileges(&given), Pass, "");
    check(&rights::source_ownership(&config(), &given), Pass, "the publication is there");
    check(&rights::publication(&config(), &source()), Notice, "list the tables");
    check(&rights::publication(&config(), &given), Pass, "");
    let selected = config_with("objects.tables = [\"public.t\"]");
    check(&rights::publication(&selected, &source()), Pass, "lists 1 table");
}

#[test]
fn rights_at_a_destination() {
    let nothing = destination_with(|d| {
        d.server.may_create = false;
        d.privileges.get_mut(&200).expect("t").may_truncate = false;
    });
    let found = rights::destination_privileges(&config(), &source(), &nothing);
    check(&found, Failure, "make or use schema pgtrail, nor select, insert");
    remedy(&found, "create schema pgtrail authorization \"app\"");
    let foreign = destination_with(|d| d.server.has_own_schema = true);
    let found = rights::destination_privileges(&config(), &source(), &foreign);
    check(&found, Failure, "schema pgtrail");
    remedy(&found, "grant create, usage on schema pgtrail");

    let origin = destination_with(|d| d.server.may_be_replica = false);
    check(&rights::replica_role(&source(), &origin), Notice, "no trigger or cascade");
    let cascading = destination_with(|d| {
        d.server.may_be_replica = false;
        d.cascades = vec![("public".to_owned(), "t".to_owned(), "fk".to_owned())];
    });
    let found = rights::replica_role(&source(), &cascading);
    check(&found, Warning, "foreign key fk cascades");
    remedy(&found, "grant set on parameter session_replication_role");
    let old = destination_with(|d| {
        d.server.may_be_replica = false;
        d.server.capabilities = Capabilities::of(14_00_00);
    });
    remedy(&rights::replica_role(&source(), &old), "superuser");
}

#[test]
fn rights_that_are_too_many_and_policies() {
    let there = Whose::Destination("default");
    let superuser = server_with(|s| s.is_superuser = true);
    check(&rights::excess_privileges(&there, &superuser), Notice, "superuser");
    let more = server_with(|s| (s.may_create_roles, s.bypasses_row_security) = (true, true));
    check(&rights::excess_privileges(&Whose::Source, &more), Notice, "createrole, bypassrls");
    let hidden = table(1, "t");
    let found = rights::row_security(&there, &server(), &[&hidden]);
    check(&found, Failure, "on 1 table: public.t");
    remedy(&found, "alter role \"app\" bypassrls");
    let found = rights::ddl_capture(&config(), &source());
    check(&found, Notice, "could not make the event triggers");
}
