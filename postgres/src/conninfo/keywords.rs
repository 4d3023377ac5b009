//! The keywords a connection string may have, and the environment variables that stand for them.

/// A libpq keyword.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    /// The environment variable read when neither connection string nor service file has it.
    pub(super) variable: Option<&'static str>,
}

const fn keyword(name: &'static str, variable: &'static str) -> Keyword {
    Keyword { name, variable: Some(variable) }
}

const fn without_variable(name: &'static str) -> Keyword {
    Keyword { name, variable: None }
}

/// Everything libpq 18 knows, except what only other kinds of build have.
pub(super) const KEYWORDS: &[Keyword] = &[
    keyword("host", "PGHOST"),
    keyword("hostaddr", "PGHOSTADDR"),
    keyword("port", "PGPORT"),
    keyword("dbname", "PGDATABASE"),
    keyword("user", "PGUSER"),
    keyword("password", "PGPASSWORD"),
    keyword("passfile", "PGPASSFILE"),
    keyword("service", "PGSERVICE"),
    keyword("servicefile", "PGSERVICEFILE"),
    keyword("sslmode", "PGSSLMODE"),
    keyword("sslnegotiation", "PGSSLNEGOTIATION"),
    keyword("sslrootcert", "PGSSLROOTCERT"),
    keyword("sslcert", "PGSSLCERT"),
    keyword("sslkey", "PGSSLKEY"),
    without_variable("sslpassword"),
    keyword("sslcertmode", "PGSSLCERTMODE"),
    keyword("sslcrl", "PGSSLCRL"),
    keyword("sslcrldir", "PGSSLCRLDIR"),
    keyword("sslsni", "PGSSLSNI"),
    keyword("sslcompression", "PGSSLCOMPRESSION"),
    keyword("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    keyword("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    without_variable("sslkeylogfile"),
    keyword("channel_binding", "PGCHANNELBINDING"),
    keyword("require_auth", "PGREQUIREAUTH"),
    keyword("requirepeer", "PGREQUIREPEER"),
    without_variable("scram_client_key"),
    without_variable("scram_server_key"),
    keyword("connect_timeout", "PGCONNECT_TIMEOUT"),
    keyword("application_name", "PGAPPNAME"),
    without_variable("fallback_application_name"),
    keyword("client_encoding", "PGCLIENTENCODING"),
    keyword("options", "PGOPTIONS"),
    without_variable("keepalives"),
    without_variable("keepalives_idle"),
    without_variable("keepalives_interval"),
    without_variable("keepalives_count"),
    without_variable("tcp_user_timeout"),
    keyword("target_session_attrs", "PGTARGETSESSIONATTRS"),
    keyword("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    keyword("gssencmode", "PGGSSENCMODE"),
    keyword("krbsrvname", "PGKRBSRVNAME"),
    keyword("gsslib", "PGGSSLIB"),
    keyword("gssdelegation", "PGGSSDELEGATION"),
    keyword("min_protocol_version", "PGMINPROTOCOLVERSION"),
    keyword("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    without_variable("replication"),
];

/// The keyword of that name.
pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// All names, for the answer to an unknown one.
pub(super) fn names() -> String {
    KEYWORDS.iter().map(|keyword| keyword.name).collect::<Vec<_>>().join(", ")
}
