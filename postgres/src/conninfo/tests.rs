use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// An environment without any variable.
fn bare() -> Environment {
    Environment::of([], Some("os_user"))
}

fn parse(text: &str) -> ConnInfo {
    ConnInfo::parse_with(text, &bare()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> ConninfoError {
    match ConnInfo::parse_with(text, &bare()) {
        Ok(info) => panic!("{text} was taken as {info}"),
        Err(error) => error,
    }
}

fn password(info: &ConnInfo) -> Option<String> {
    match info.password(&info.targets[0]) {
        PasswordLookup::Found(secret) => {
            Some(String::from_utf8(secret.expose().to_vec()).expect("text"))
        }
        PasswordLookup::NotFound => None,
        PasswordLookup::Ignored { .. } => None,
    }
}

/// Host, port, user, database as one line.
fn check(text: &str, expected: &str) {
    assert_eq!(parse(text).to_string(), expected, "{text}");
}

#[test]
fn reads_the_keyword_form() {
    for (text, expected) in [
        ("host=h port=1 user=u dbname=d", "host=h port=1 user=u dbname=d"),
        ("  host = h\tport\n=\n1 user=u  ", "host=h port=1 user=u dbname=u"),
        ("host=h user='a b' dbname='it\\'s'", "host=h port=5432 user=a b dbname=it's"),
        (r"host=h user=a\ b dbname=c\\d", r"host=h port=5432 user=a b dbname=c\d"),
        ("host=h dbname=''", "host=h port=5432 user=os_user dbname=os_user"),
        ("host=h user=first user=second", "host=h port=5432 user=second dbname=second"),
        ("host=a,b port=1,2", "host=a,b port=1,2 user=os_user dbname=os_user"),
        ("host=a,b port=7", "host=a,b port=7,7 user=os_user dbname=os_user"),
        ("hostaddr=10.0.0.9", "host=10.0.0.9 port=5432 user=os_user dbname=os_user"),
        ("host=h port=", "host=h port=5432 user=os_user dbname=os_user"),
    ] {
        check(text, expected);
    }
}

#[test]
fn reads_the_uri_form() {
    for (text, expected) in [
        ("postgresql://u:p@h:1/d", "host=h port=1 user=u dbname=d"),
        ("postgres://h", "host=h port=5432 user=os_user dbname=os_user"),
        ("postgresql://u@h/", "host=h port=5432 user=u dbname=u"),
        ("postgresql://u%40x@h/a%20b", "host=h port=5432 user=u@x dbname=a b"),
        ("postgresql://a:1,b:2/d?user=u", "host=a,b port=1,2 user=u dbname=d"),
        ("postgresql://[::1]:6/d?user=u", "host=::1 port=6 user=u dbname=d"),
        ("postgresql://u@%2Fvar%2Frun/d", "host=/var/run port=5432 user=u dbname=d"),
        ("postgresql://u@h/d?port=9&", "host=h port=9 user=u dbname=d"),
        ("postgresql://u@h?dbname=d", "host=h port=5432 user=u dbname=d"),
    ] {
        check(text, expected);
    }
    let encrypted = parse("postgresql://h/d?ssl=true");
    assert_eq!(encrypted.sslmode(), SslMode::Require);
    assert_eq!(password(&parse("postgresql://u:p%3Aw@h")), Some("p:w".to_owned()));
}

#[test]
fn a_malformed_text_is_refused_with_its_place() {
    for (text, place) in [
        ("host", 4),
        ("host=h password='x", 18),
        ("postgresql://h/d?novalue", 17),
        ("postgresql://h/d?a=b=c", 19),
        ("postgresql://[::1/d", 13),
        ("postgresql://[::1]x/d", 18),
        ("postgresql://u%4@h", 13),
        ("postgresql://u%00@h", 13),
        ("postgresql://u%ff@h", 13),
    ] {
        let error = refused(text);
        assert!(
            matches!(error, ConninfoError::Syntax { offset, .. } if offset == place),
            "{text}: {error:?}"
        );
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_unknown_keyword_is_refused_by_name_with_the_known_ones() {
    for text in ["host=h sslmod=require", "postgresql://h?sslmod=require"] {
        let error = refused(text);
        assert_eq!(error.to_string(), "unknown connection keyword \"sslmod\"");
        assert!(error.hint().expect("a hint").contains("sslmode, sslnegotiation"));
    }
}

#[test]
fn values_out_of_range_are_refused_by_keyword() {
    for (text, wrong) in [
        ("port=0", "port"),
        ("port=65536", "port"),
        ("port=x", "port"),
        ("hostaddr=localhost", "hostaddr"),
        ("sslmode=verify", "sslmode"),
        ("channel_binding=yes", "channel_binding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("target_session_attrs=master", "target_session_attrs"),
        ("require_auth=scram", "require_auth"),
        ("require_auth=!md5,password", "require_auth"),
        ("ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
    ] {
        let error = refused(text);
        assert!(
            matches!(error, ConninfoError::InvalidValue { keyword, .. } if keyword == wrong),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_and_what_asks_for_nothing_is_taken() {
    for text in [
        "gssencmode=require",
        "sslpassword=x",
        "sslcompression=1",
        "sslcrldir=/etc",
        "requirepeer=postgres",
        "load_balance_hosts=random",
        "client_encoding=LATIN1",
        "replication=database",
        "sslcertmode=require",
        "max_protocol_version=3.2",
    ] {
        assert!(matches!(refused(text), ConninfoError::Unsupported { .. }), "{text}");
    }
    for text in [
        "gssencmode=prefer",
        "sslcompression=0",
        "load_balance_hosts=disable",
        "client_encoding=utf-8",
        "krbsrvname=postgres",
        "sslpassword=''",
        "max_protocol_version=latest",
    ] {
        parse(text);
    }
}

#[test]
fn contradictions_name_both_keywords() {
    for text in [
        "sslrootcert=system sslmode=require",
        "sslnegotiation=direct",
        "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
    ] {
        assert!(matches!(refused(text), ConninfoError::Contradiction { .. }), "{text}");
    }
    assert_eq!(parse("sslrootcert=system").sslmode(), SslMode::VerifyFull);
    for text in ["host=a,b,c port=1,2", "host=a,b hostaddr=10.0.0.1"] {
        assert!(matches!(refused(text), ConninfoError::ListLength { .. }), "{text}");
    }
}

#[test]
fn defaults_are_those_of_libpq_but_for_the_time_limit() {
    let info = parse("");
    assert_eq!((info.port(), info.user(), info.dbname()), (5432, "os_user", "os_user"));
    assert_eq!(info.sslmode(), SslMode::Prefer);
    assert_eq!(info.channel_binding, ChannelBinding::Prefer);
    assert_eq!(info.auth_policy, AuthPolicy::Any);
    assert!(info.keepalives.enabled);
    assert!(info.host().starts_with('/'));
    assert_eq!(info.connect_timeout(), Some(DEFAULT_CONNECT_TIMEOUT));
    assert_eq!(parse("connect_timeout=0").connect_timeout(), None);
    assert_eq!(parse("connect_timeout=7").connect_timeout(), Some(Duration::from_secs(7)));
}

#[test]
fn without_any_user_name_one_has_to_be_given() {
    let nobody = Environment::of([], None);
    let error = ConnInfo::parse_with("host=h", &nobody);
    assert!(matches!(error, Err(ConninfoError::NoUser)));
    assert!(ConnInfo::parse_with("host=h user=u", &nobody).is_ok());
}

#[test]
fn variables_fill_in_what_the_text_leaves_out() {
    let environment = Environment::of(
        [("PGHOST", "e"), ("PGPORT", "1"), ("PGUSER", "eu"), ("PGSSLMODE", "require")],
        None,
    );
    let info = ConnInfo::parse_with("user=u", &environment).expect("valid");
    assert_eq!(info.to_string(), "host=e port=1 user=u dbname=u");
    assert_eq!(info.sslmode(), SslMode::Require);

    let wrong = Environment::of([("PGSSLMODE", "on"), ("PGUSER", "u")], None);
    let error = ConnInfo::parse_with("", &wrong).expect_err("refused");
    assert!(error.to_string().contains("environment variable PGSSLMODE"), "{error}");
}

#[test]
fn the_application_name_of_the_string_wins_over_the_programs() {
    let named = parse("application_name=mine").with_application_name("pgtrail");
    assert_eq!(named.application_name(), Some("mine"));
    let unnamed = parse("").with_application_name("pgtrail");
    assert_eq!(unnamed.application_name(), Some("pgtrail"));
    let fallback = parse("fallback_application_name=f").with_application_name("pgtrail");
    assert_eq!(fallback.application_name(), Some("f"));
}

#[test]
fn require_auth_lists_what_is_accepted_or_what_is_not() {
    let only = parse("require_auth=scram-sha-256,none").auth_policy;
    assert!(only.accepts(AuthMethod::ScramSha256) && only.accepts(AuthMethod::None));
    assert!(!only.accepts(AuthMethod::Password) && !only.accepts(AuthMethod::Md5));
    let except = parse("require_auth=!password,!gss").auth_policy;
    assert!(except.accepts(AuthMethod::Md5) && !except.accepts(AuthMethod::Password));
}

#[test]
fn sockets_are_told_from_host_names() {
    let socket = |text: &str| parse(text).targets[0].socket();
    assert_eq!(socket("host=/run port=7"), Some(PathBuf::from("/run/.s.PGSQL.7")));
    assert_eq!(socket("host=@x"), Some(PathBuf::from("@x/.s.PGSQL.5432")));
    assert_eq!(socket("host=localhost"), None);
    assert_eq!(socket("host=/run hostaddr=127.0.0.1"), None);
}

fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let file = directory.path().join(name);
    fs::write(&file, text).expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    file.to_str().expect("utf-8").to_owned()
}

const SERVICES: &str = "# comment\n[other]\nhost=wrong\n\n[orders]\nhost=s\nport=9\n\
                        password=s e c\n user=su\n[orders]\nhost=late\n";

#[test]
fn a_service_stands_between_the_text_and_the_variables() {
    let directory = TempDir::new().expect("directory");
    let file = write(&directory, "services", SERVICES);
    let environment =
        Environment::of([("PGSERVICEFILE", file.as_str()), ("PGHOST", "e"), ("PGPORT", "1")], None);
    let info = ConnInfo::parse_with("service=orders user=u", &environment).expect("valid");
    assert_eq!(info.to_string(), "host=s port=9 user=u dbname=u");
    assert_eq!(password(&info), Some("s e c".to_owned()));
}

#[test]
fn a_service_is_looked_for_at_home_and_then_in_the_system() {
    let (home, system) = (TempDir::new().expect("home"), TempDir::new().expect("system"));
    write(&home, ".pg_service.conf", "[mine]\nhost=home\n");
    write(&system, "pg_service.conf", "[mine]\nhost=system\n[shared]\nhost=system\n");
    let path = |directory: &TempDir| directory.path().to_str().expect("utf-8").to_owned();
    let (home_path, system_path) = (path(&home), path(&system));
    let variables = [("HOME", home_path.as_str()), ("PGSYSCONFDIR", system_path.as_str())];
    let environment = Environment::of(variables, Some("u"));
    for (text, host) in [("service=mine", "home"), ("service=shared", "system")] {
        let info = ConnInfo::parse_with(text, &environment).expect("valid");
        assert_eq!(info.host(), host, "{text}");
    }
}

#[test]
fn a_missing_service_names_the_files_searched() {
    let directory = TempDir::new().expect("directory");
    let file = write(&directory, "services", SERVICES);
    let environment = Environment::of([("PGSERVICEFILE", file.as_str())], Some("u"));
    let error = ConnInfo::parse_with("service=nope", &environment).expect_err("refused");
    assert_eq!(error.to_string(), "definition of service \"nope\" not found");
    assert!(error.hint().expect("a hint").contains(&file));

    let gone = Environment::of([("PGSERVICEFILE", "/nonexistent")], Some("u"));
    let error = ConnInfo::parse_with("service=nope", &gone).expect_err("refused");
    assert!(matches!(error, ConninfoError::File { .. }));
}

#[test]
fn a_malformed_service_file_is_refused_with_its_line() {
    let directory = TempDir::new().expect("directory");
    for (text, expected) in [
        ("[s]\nhost\n", "malformed in line 2"),
        ("[s]\nhots=h\n", "unknown connection keyword \"hots\""),
        ("[s]\nservice=t\n", "keyword \"service\" is not supported"),
    ] {
        let file = write(&directory, "services", text);
        let environment = Environment::of([("PGSERVICEFILE", file.as_str())], Some("u"));
        let error = ConnInfo::parse_with("service=s", &environment).expect_err("refused");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

const PASSWORDS: &str = "# h:5432:d:u:commented\n\
                         h:5432:d:u:plain\r\n\
                         h:*:d:other:a\\:b\\\\c\n\
                         ho\\:st:1:d:u:escaped\n\
                         localhost:5432:d:u:socket\n\
                         *:*:empty:*:\n\
                         *:*:*:last:fallback";

#[test]
fn the_password_file_is_matched_as_libpq_matches_it() {
    let directory = TempDir::new().expect("directory");
    let file = write(&directory, "pgpass", PASSWORDS);
    for (text, expected) in [
        ("host=h dbname=d user=u", Some("plain")),
        ("host=h dbname=d user=other port=7", Some(r"a:b\c")),
        ("host='ho:st' port=1 dbname=d user=u", Some("escaped")),
        ("host=/tmp dbname=d user=u", Some("socket")),
        ("host=/elsewhere dbname=d user=u", None),
        ("host=h dbname=empty user=u", None),
        ("host=anything dbname=x user=last", Some("fallback")),
        ("host=h dbname=d2 user=u", None),
        ("host=h2 dbname=d user=u", None),
        ("host=h dbname=d user=u password=given", Some("given")),
    ] {
        let info = parse(&format!("{text} passfile='{file}'"));
        assert_eq!(password(&info).as_deref(), expected, "{text}");
    }
    let moved = parse(&format!("host=h user=u dbname=x passfile='{file}'")).with_dbname("d");
    assert_eq!(password(&moved).as_deref(), Some("plain"));
}

#[test]
fn a_password_file_open_to_others_is_ignored() {
    let directory = TempDir::new().expect("directory");
    let file = write(&directory, "pgpass", PASSWORDS);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
    let info = parse(&format!("host=h dbname=d user=u passfile='{file}'"));
    let found = info.password(&info.targets[0]);
    assert!(matches!(found, PasswordLookup::Ignored { .. }), "{found:?}");
}

#[test]
fn a_changed_password_file_is_read_again() {
    let directory = TempDir::new().expect("directory");
    let file = write(&directory, "pgpass", "*:*:*:*:old");
    let info = parse(&format!("host=h passfile='{file}'"));
    assert_eq!(password(&info).as_deref(), Some("old"));
    write(&directory, "pgpass", "*:*:*:*:new");
    assert_eq!(password(&info).as_deref(), Some("new"));
}

#[test]
fn the_password_is_shown_nowhere() {
    const CANARY: &str = "s3cr3t-canary";
    let info = parse(&format!("host=h password={CANARY}"));
    assert!(!format!("{info} {info:?} {info:#?}").contains(CANARY));
    for text in [
        format!("host=h password=x {CANARY} user=u"),
        format!("host=h password='{CANARY}"),
        format!("postgresql://u:{CANARY}%zz@h"),
        format!("sslpassword={CANARY}"),
    ] {
        let error = refused(&text);
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn certificate_files_default_to_the_home_directory() {
    let environment = Environment::of([("HOME", "/home/x")], Some("u"));
    let tls = ConnInfo::parse_with("", &environment).expect("valid").tls;
    let in_home = |name: &str| Path::new("/home/x/.postgresql").join(name);
    assert_eq!(tls.root, RootCertificates::File(in_home("root.crt")));
    let client = tls.certificate.expect("a default");
    assert_eq!(client.certificate.path, in_home("postgresql.crt"));
    assert!(!client.certificate.required);
    assert_eq!(client.key, in_home("postgresql.key"));
    let without = ConnInfo::parse_with("sslcertmode=disable", &environment).expect("valid");
    assert_eq!(without.tls.certificate, None);
    assert_eq!(parse("").tls.root, RootCertificates::Nowhere);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = ConnInfo::parse_with(&text, &bare());
    }

    #[test]
    fn no_uri_makes_it_panic(text in "postgres(ql)?://[a-z@:/?%&=,0-9\\[\\]é]*") {
        let _ = ConnInfo::parse_with(&text, &bare());
    }

    #[test]
    fn quoted_values_come_back(value in "[^\0]+") {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let info = parse(&format!("host=h user='{quoted}'"));
        prop_assert_eq!(info.user(), value);
    }

    #[test]
    fn percent_encoded_values_come_back(value in ".+") {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if !value.contains('\0') {
            let info = parse(&format!("postgresql://{encoded}@h"));
            prop_assert_eq!(info.user(), value);
        }
    }
}
