//! Connection strings, as libpq reads them.
//!
//! One string serves SQL sessions and the replication link. It may be in keyword form or a URI, and
//! what it leaves out comes, in this order, from its service, the `PG*` variables, the password
//! file, and libpq's defaults. The invariant: every setting is honoured or refused by name; none is
//! dropped. An unknown keyword is refused with the list of known ones, and no password is ever part
//! of a message, of `Debug` or of `Display`.
//!
//! Two defaults are not libpq's: connecting takes at most [`DEFAULT_CONNECT_TIMEOUT`] unless
//! `connect_timeout` says otherwise, and the client encoding is always UTF-8.

mod environment;
mod error;
mod keywords;
mod passfile;
mod service;
mod text;
mod uri;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use environment::Environment;
pub use error::ConninfoError;
pub use passfile::PasswordLookup;

use crate::Error;

/// How long one address may take to accept, encrypt and authenticate when `connect_timeout` is not
/// given. libpq waits for ever, which for a process nobody watches is a hang; 0 asks for that.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

const DEFAULT_PORT: u16 = 5432;

/// Where servers put their socket: Debian's place, then upstream's.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A password. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps these bytes to itself.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes, for the server.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only when the server will not have it otherwise.
    Allow,
    /// Encrypted when the server can.
    Prefer,
    /// Encrypted; the server's certificate is verified only if a root certificate is at hand.
    Require,
    /// Encrypted, and the certificate is signed by the root certificate.
    VerifyCa,
    /// The same, and it is the named host's.
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootCertificates {
    /// Those the operating system trusts.
    System,
    /// Those in a file. libpq's default file may be missing when nothing has to be verified.
    File(PathBuf),
    /// No file is named and there is no home directory to look in.
    Nowhere,
}

/// A TLS protocol version as the keywords name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Everything that decides how a connection is encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    pub(crate) mode: SslMode,
    /// The handshake begins at once, without asking the server first.
    pub(crate) direct: bool,
    pub(crate) root: RootCertificates,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) crl: Option<OptionalFile>,
    /// The host's name is sent in the clear, for proxies that route by it.
    pub(crate) sni: bool,
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
}

/// `sslcert` and `sslkey`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: OptionalFile,
    pub(crate) key: PathBuf,
}

/// A file that must be there only if it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OptionalFile {
    pub(crate) path: PathBuf,
    pub(crate) required: bool,
}

/// `channel_binding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelBinding {
    /// Not used.
    Disable,
    /// Used when both sides can.
    Prefer,
    /// The connection fails without.
    Require,
}

/// `target_session_attrs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetSession {
    /// Any server will do.
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that takes none.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// One that is, if there is any.
    PreferStandby,
}

/// How the server may ask for proof of identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMethod {
    /// It asks for none (trust, peer, a certificate).
    None,
    /// The password itself.
    Password,
    /// Its MD5 hash.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    ScramSha256,
}

impl AuthMethod {
    /// As `require_auth` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Password => "password",
            AuthMethod::Md5 => "md5",
            AuthMethod::ScramSha256 => "scram-sha-256",
        }
    }
}

/// `require_auth`: the methods that are accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AuthPolicy {
    Any,
    Only(Vec<AuthMethod>),
    Except(Vec<AuthMethod>),
}

impl AuthPolicy {
    pub(crate) fn accepts(&self, method: AuthMethod) -> bool {
        match self {
            AuthPolicy::Any => true,
            AuthPolicy::Only(methods) => methods.contains(&method),
            AuthPolicy::Except(methods) => !methods.contains(&method),
        }
    }
}

/// Keepalive settings of a TCP connection; unset ones are the operating system's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keepalives {
    pub(crate) enabled: bool,
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
    pub(crate) user_timeout: Option<Duration>,
}

/// One server that may be tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// A name, an address, or a socket's directory; empty when only `hostaddr` is given.
    pub(crate) host: String,
    /// Spares looking the name up.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Target {
    /// The Unix socket to connect to, if this is one.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let is_socket = self.host.starts_with(['/', '@']) && self.address.is_none();
        is_socket.then(|| PathBuf::from(format!("{}/.s.PGSQL.{}", self.host, self.port)))
    }

    /// The host as given, or its address.
    fn name(&self) -> String {
        match self.address {
            Some(address) if self.host.is_empty() => address.to_string(),
            _ => self.host.clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.name(), self.port)
    }
}

/// A connection string with everything filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnInfo {
    targets: Vec<Target>,
    user: String,
    dbname: String,
    password: Option<Secret>,
    passfile: Option<PathBuf>,
    application_name: Option<String>,
    options: Option<String>,
    connect_timeout: Option<Duration>,
    target_session: TargetSession,
    pub(crate) keepalives: Keepalives,
    pub(crate) tls: TlsSettings,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) auth_policy: AuthPolicy,
}

impl ConnInfo {
    /// Reads a connection string, completed from this process's environment.
    ///
    /// # Errors
    /// When it, or a service or variable it draws on, cannot be used.
    pub fn parse(text: &str) -> Result<ConnInfo, Error> {
        Ok(ConnInfo::parse_with(text, &Environment::current())?)
    }

    /// Reads a connection string, completed from the given environment.
    ///
    /// # Errors
    /// When it, or a service or variable it draws on, cannot be used.
    pub fn parse_with(text: &str, environment: &Environment) -> Result<ConnInfo, ConninfoError> {
        let settings = Settings::collect(text, environment)?;
        settings.refuse_what_is_not_supported()?;
        settings.conninfo(environment)
    }

    /// The first host: a name, an address, or a socket's directory.
    pub fn host(&self) -> &str {
        self.targets.first().map_or("", |target| &target.host)
    }

    /// The first host's port.
    pub fn port(&self) -> u16 {
        self.targets.first().map_or(DEFAULT_PORT, |target| target.port)
    }

    /// The role to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database to connect to.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// What `pg_stat_activity` will show.
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// `options`: command line options for the server's session.
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// How the connection is encrypted.
    pub fn sslmode(&self) -> SslMode {
        self.tls.mode
    }

    /// How long one address may take; nothing means as long as it likes.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// Which kind of server will do.
    pub fn target_session(&self) -> TargetSession {
        self.target_session
    }

    /// The servers to try, in this order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The same, for another database.
    #[must_use]
    pub fn with_dbname(mut self, dbname: &str) -> ConnInfo {
        dbname.clone_into(&mut self.dbname);
        self
    }

    /// The same, as another role. A password given for the first one is not taken along: the
    /// password file may have one.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> ConnInfo {
        if self.user != user {
            self.password = None;
            user.clone_into(&mut self.user);
        }
        self
    }

    /// The same, with this application name unless the string or `PGAPPNAME` gives one.
    #[must_use]
    pub fn with_application_name(mut self, name: &str) -> ConnInfo {
        self.application_name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The password for one of the servers: the one given, else the password file's as it is now.
    pub(crate) fn password(&self, target: &Target) -> PasswordLookup {
        if let Some(password) = &self.password {
            return PasswordLookup::Found(password.clone());
        }
        let Some(passfile) = &self.passfile else { return PasswordLookup::NotFound };
        let name = target.name();
        let is_default_socket = SOCKET_DIRECTORIES.contains(&name.as_str());
        let host = if is_default_socket { "localhost" } else { &name };
        let (dbname, user) = (&self.dbname, &self.user);
        passfile::find(passfile, passfile::Login { host, port: target.port, dbname, user })
    }
}

impl fmt::Display for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |part: fn(&Target) -> String| {
            self.targets.iter().map(part).collect::<Vec<_>>().join(",")
        };
        let hosts = list(Target::name);
        let ports = list(|target| target.port.to_string());
        write!(f, "host={hosts} port={ports} user={} dbname={}", self.user, self.dbname)
    }
}

/// Where a setting was given, for messages.
#[derive(Clone, Debug)]
enum Origin {
    Text,
    Service(PathBuf),
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Text => f.write_str("in the connection string"),
            Origin::Service(file) => write!(f, "in service file {}", file.display()),
            Origin::Variable(name) => write!(f, "in environment variable {name}"),
        }
    }
}

/// What was given, by keyword.
struct Settings(HashMap<&'static str, (String, Origin)>);

impl Settings {
    fn collect(text: &str, environment: &Environment) -> Result<Settings, ConninfoError> {
        let mut settings = Settings(HashMap::new());
        let pairs = if uri::is_uri(text) { uri::parse(text)? } else { text::parse(text)? };
        for (name, value) in pairs {
            let keyword = keywords::find(&name).ok_or(ConninfoError::UnknownKeyword { name })?.name;
            settings.0.insert(keyword, (value, Origin::Text));
        }
        settings.add_service(environment)?;
        for keyword in keywords::KEYWORDS {
            let Some(variable) = keyword.variable else { continue };
            if let Some(value) = environment.variable(variable) {
                settings.add(keyword.name, value.to_owned(), Origin::Variable(variable));
            }
        }
        if environment.variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            settings.add("sslmode", "require".to_owned(), Origin::Variable("PGREQUIRESSL"));
        }
        Ok(settings)
    }

    fn add_service(&mut self, environment: &Environment) -> Result<(), ConninfoError> {
        let given = |name: &str, variable: &str| {
            let given = self.0.get(name).map(|(value, _)| value.as_str());
            given.or_else(|| environment.variable(variable)).filter(|value| !value.is_empty())
        };
        let Some(service) = given("service", "PGSERVICE") else { return Ok(()) };
        let service = service::find(service, given("servicefile", "PGSERVICEFILE"), environment)?;
        for (name, value) in service.pairs {
            if let Some(keyword) = keywords::find(&name) {
                self.add(keyword.name, value, Origin::Service(service.file.clone()));
            }
        }
        Ok(())
    }

    /// Takes the value unless an earlier place gave one.
    fn add(&mut self, keyword: &'static str, value: String, origin: Origin) {
        self.0.entry(keyword).or_insert((value, origin));
    }

    /// The value, if one was given that is not empty: libpq takes an empty one as not given.
    fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn origin(&self, keyword: &str) -> String {
        self.0.get(keyword).map(|(_, origin)| origin.to_string()).unwrap_or_default()
    }

    fn invalid(&self, keyword: &'static str, expected: &'static str) -> ConninfoError {
        ConninfoError::InvalidValue {
            keyword,
            value: self.get(keyword).unwrap_or_default().to_owned(),
            expected,
            origin: self.origin(keyword),
        }
    }

    /// Keywords that libpq would act on and we cannot, unless they ask for what happens anyway.
    fn refuse_what_is_not_supported(&self) -> Result<(), ConninfoError> {
        const ONLY_WITH_LIBPQ: &str = "Leave it out.";
        let refused: &[(&'static str, &[&str], &'static str)] = &[
            ("sslpassword", &[], "Use a client key that is not encrypted."),
            ("sslcertmode", &["disable", "allow"], "Use \"disable\" or \"allow\"."),
            ("sslcrldir", &[], "Put the revocation lists into one file and name it by \"sslcrl\"."),
            ("sslcompression", &["0"], "TLS compression is insecure; leave it out."),
            ("sslkeylogfile", &[], ONLY_WITH_LIBPQ),
            ("requirepeer", &[], "Use a socket directory that only the server's owner can write."),
            ("scram_client_key", &[], "Give the password instead."),
            ("scram_server_key", &[], "Give the password instead."),
            ("load_balance_hosts", &["disable"], "Hosts are tried in their order."),
            ("gssencmode", &["disable", "prefer"], "GSSAPI is not built in; use TLS."),
            ("gssdelegation", &["0"], "GSSAPI is not built in."),
            ("min_protocol_version", &["3.0"], "Only protocol 3.0 is spoken."),
            ("max_protocol_version", &["3.0", "latest"], "Only protocol 3.0 is spoken."),
            ("replication", &[], "Whether a connection is for replication is not a setting."),
        ];
        for (keyword, harmless, instead) in refused {
            if self.get(keyword).is_some_and(|value| !harmless.contains(&value)) {
                let origin = self.origin(keyword);
                return Err(ConninfoError::Unsupported { keyword, instead, origin });
            }
        }
        let encoding = self.get("client_encoding").unwrap_or("UTF8").to_ascii_uppercase();
        if !matches!(encoding.as_str(), "UTF8" | "UTF-8" | "UNICODE" | "AUTO") {
            let instead = "Sessions always use UTF8; leave it out.";
            let origin = self.origin("client_encoding");
            return Err(ConninfoError::Unsupported { keyword: "client_encoding", instead, origin });
        }
        Ok(())
    }

    fn conninfo(&self, environment: &Environment) -> Result<ConnInfo, ConninfoError> {
        let user =
            self.get("user").or(environment.os_user()).ok_or(ConninfoError::NoUser)?.to_owned();
        let tls = self.tls(environment)?;
        Ok(ConnInfo {
            targets: self.targets()?,
            dbname: self.get("dbname").unwrap_or(&user).to_owned(),
            user,
            password: self.get("password").map(Secret::new),
            passfile: match self.get("passfile") {
                Some(file) => Some(PathBuf::from(file)),
                None => environment.in_home(".pgpass"),
            },
            application_name: self
                .get("application_name")
                .or(self.get("fallback_application_name"))
                .map(str::to_owned),
            options: self.get("options").map(str::to_owned),
            connect_timeout: self.connect_timeout()?,
            target_session: self.choice("target_session_attrs", "any", TARGET_SESSIONS)?,
            keepalives: self.keepalives()?,
            tls,
            channel_binding: self.choice("channel_binding", "prefer", CHANNEL_BINDINGS)?,
            auth_policy: self.auth_policy()?,
        })
    }

    /// One of a keyword's fixed values.
    fn choice<T: Copy>(
        &self,
        keyword: &'static str,
        default: &str,
        (choices, expected): Choices<T>,
    ) -> Result<T, ConninfoError> {
        let value = self.get(keyword).unwrap_or(default);
        let found = choices.iter().find(|(name, _)| *name == value);
        found.map(|(_, choice)| *choice).ok_or_else(|| self.invalid(keyword, expected))
    }

    fn number(&self, keyword: &'static str) -> Result<Option<i32>, ConninfoError> {
        let parse =
            |value: &str| value.trim().parse().map_err(|_| self.invalid(keyword, "a whole number"));
        self.get(keyword).map(parse).transpose()
    }

    /// A number that means "the default" when it is not positive.
    fn positive(&self, keyword: &'static str) -> Result<Option<u32>, ConninfoError> {
        let number = self.number(keyword)?.unwrap_or(0);
        Ok(u32::try_from(number).ok().filter(|number| *number > 0))
    }

    fn seconds(&self, keyword: &'static str) -> Result<Option<Duration>, ConninfoError> {
        Ok(self.positive(keyword)?.map(|seconds| Duration::from_secs(seconds.into())))
    }

    fn connect_timeout(&self) -> Result<Option<Duration>, ConninfoError> {
        match self.get("connect_timeout") {
            Some(_) => self.seconds("connect_timeout"),
            None => Ok(Some(DEFAULT_CONNECT_TIMEOUT)),
        }
    }

    fn keepalives(&self) -> Result<Keepalives, ConninfoError> {
        let user_timeout = self.positive("tcp_user_timeout")?;
        Ok(Keepalives {
            enabled: self.number("keepalives")?.unwrap_or(1) != 0,
            idle: self.seconds("keepalives_idle")?,
            interval: self.seconds("keepalives_interval")?,
            count: self.positive("keepalives_count")?,
            user_timeout: user_timeout.map(|millis| Duration::from_millis(millis.into())),
        })
    }

    fn targets(&self) -> Result<Vec<Target>, ConninfoError> {
        let list = |keyword| -> Option<Vec<&str>> {
            self.get(keyword).map(|value| value.split(',').map(str::trim).collect())
        };
        let (hosts, addresses) = (list("host"), list("hostaddr"));
        let count = addresses.as_ref().or(hosts.as_ref()).map_or(1, Vec::len);
        let check = |keyword, found: usize| match found == count {
            true => Ok(()),
            false => Err(ConninfoError::ListLength { keyword, found, hosts: count }),
        };
        if let Some(hosts) = &hosts {
            check("host", hosts.len())?;
        }
        let ports = list("port").unwrap_or_else(|| vec![""]);
        if ports.len() != 1 {
            check("port", ports.len())?;
        }

        (0..count)
            .map(|index| {
                let address = entry(addresses.as_deref(), index).map(str::parse).transpose();
                let address =
                    address.map_err(|_| self.invalid("hostaddr", "numeric IP addresses"))?;
                let host = match entry(hosts.as_deref(), index) {
                    Some(host) => host.to_owned(),
                    None if address.is_some() => String::new(),
                    None => default_socket_directory(),
                };
                let port = ports.get(index).or(ports.first()).copied().unwrap_or_default();
                Ok(Target { host, address, port: self.port(port)? })
            })
            .collect()
    }

    fn port(&self, text: &str) -> Result<u16, ConninfoError> {
        if text.is_empty() {
            return Ok(DEFAULT_PORT);
        }
        let port = text.parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| self.invalid("port", "port numbers from 1 to 65535"))
    }

    fn tls(&self, environment: &Environment) -> Result<TlsSettings, ConninfoError> {
        let system_roots = self.get("sslrootcert") == Some("system");
        let default_mode = if system_roots { "verify-full" } else { "prefer" };
        let mode = self.choice("sslmode", default_mode, SSL_MODES)?;
        if system_roots && mode != SslMode::VerifyFull {
            return Err(ConninfoError::Contradiction {
                first: "sslrootcert",
                second: "sslmode",
                reason: "With sslrootcert=system anybody can have a certificate: \
                         use sslmode=verify-full.",
            });
        }
        let direct = self.choice("sslnegotiation", "postgres", NEGOTIATIONS)?;
        if direct && mode < SslMode::Require {
            return Err(ConninfoError::Contradiction {
                first: "sslnegotiation",
                second: "sslmode",
                reason: "With sslnegotiation=direct use sslmode=require or stronger.",
            });
        }
        let min_version = self.choice("ssl_min_protocol_version", "TLSv1.2", MIN_VERSIONS)?;
        let max_version = self.choice("ssl_max_protocol_version", "TLSv1.3", MAX_VERSIONS)?;
        if min_version > max_version {
            return Err(ConninfoError::Contradiction {
                first: "ssl_min_protocol_version",
                second: "ssl_max_protocol_version",
                reason: "The minimum is above the maximum.",
            });
        }
        let root = match self.get("sslrootcert") {
            Some("system") => RootCertificates::System,
            Some(file) => RootCertificates::File(PathBuf::from(file)),
            None => environment
                .in_home(".postgresql/root.crt")
                .map_or(RootCertificates::Nowhere, RootCertificates::File),
        };
        let sni = self.number("sslsni")?.unwrap_or(1) != 0;
        Ok(TlsSettings {
            mode,
            direct,
            root,
            certificate: self.client_certificate(environment),
            crl: self.file("sslcrl", ".postgresql/root.crl", environment),
            sni,
            min_version,
            max_version,
        })
    }

    fn client_certificate(&self, environment: &Environment) -> Option<ClientCertificate> {
        if self.get("sslcertmode") == Some("disable") {
            return None;
        }
        let certificate = self.file("sslcert", ".postgresql/postgresql.crt", environment)?;
        let key = self.file("sslkey", ".postgresql/postgresql.key", environment)?.path;
        Some(ClientCertificate { certificate, key })
    }

    /// The file a keyword names, else the default one, which need not be there.
    fn file(
        &self,
        keyword: &str,
        default: &str,
        environment: &Environment,
    ) -> Option<OptionalFile> {
        match self.get(keyword) {
            Some(file) => Some(OptionalFile { path: PathBuf::from(file), required: true }),
            None => environment.in_home(default).map(|path| OptionalFile { path, required: false }),
        }
    }

    fn auth_policy(&self) -> Result<AuthPolicy, ConninfoError> {
        const EXPECTED: &str = "a list of password, md5, scram-sha-256 and none, \
                                or such a list with \"!\" before each";
        let Some(list) = self.get("require_auth") else { return Ok(AuthPolicy::Any) };
        let entries: Vec<&str> = list.split(',').map(str::trim).collect();
        let negated = entries.iter().all(|entry| entry.starts_with('!'));
        let mut methods = Vec::new();
        for entry in entries {
            let name = if negated { entry.trim_start_matches('!') } else { entry };
            match AUTH_METHODS.iter().find(|method| method.name() == name) {
                Some(method) => methods.push(*method),
                // Methods that are not built in are never used: excluding them changes nothing.
                None if matches!(name, "gss" | "sspi" | "oauth") => {}
                None => return Err(self.invalid("require_auth", EXPECTED)),
            }
        }
        Ok(if negated { AuthPolicy::Except(methods) } else { AuthPolicy::Only(methods) })
    }
}

/// A keyword's values with their meanings, and how to list them to a person.
type Choices<T> = (&'static [(&'static str, T)], &'static str);

const SSL_MODES: Choices<SslMode> = (
    &[
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ],
    "disable, allow, prefer, require, verify-ca or verify-full",
);

const NEGOTIATIONS: Choices<bool> =
    (&[("postgres", false), ("direct", true)], "postgres or direct");

/// TLS 1.2 is the oldest that is spoken at all, so a lower minimum is met.
const MIN_VERSIONS: Choices<TlsVersion> = (
    &[
        ("TLSv1", TlsVersion::V1_2),
        ("TLSv1.1", TlsVersion::V1_2),
        ("TLSv1.2", TlsVersion::V1_2),
        ("TLSv1.3", TlsVersion::V1_3),
    ],
    "TLSv1.2 or TLSv1.3",
);

const MAX_VERSIONS: Choices<TlsVersion> =
    (&[("TLSv1.2", TlsVersion::V1_2), ("TLSv1.3", TlsVersion::V1_3)], "TLSv1.2 or TLSv1.3");

const CHANNEL_BINDINGS: Choices<ChannelBinding> = (
    &[
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ],
    "disable, prefer or require",
);

const TARGET_SESSIONS: Choices<TargetSession> = (
    &[
        ("any", TargetSession::Any),
        ("read-write", TargetSession::ReadWrite),
        ("read-only", TargetSession::ReadOnly),
        ("primary", TargetSession::Primary),
        ("standby", TargetSession::Standby),
        ("prefer-standby", TargetSession::PreferStandby),
    ],
    "any, read-write, read-only, primary, standby or prefer-standby",
);

const AUTH_METHODS: [AuthMethod; 4] =
    [AuthMethod::None, AuthMethod::Password, AuthMethod::Md5, AuthMethod::ScramSha256];

/// An entry of a comma-separated list; nothing when it is empty.
fn entry<'a>(list: Option<&[&'a str]>, index: usize) -> Option<&'a str> {
    list?.get(index).copied().filter(|entry| !entry.is_empty())
}

fn default_socket_directory() -> String {
    let is_there = |directory: &&str| std::path::Path::new(directory).is_dir();
    SOCKET_DIRECTORIES.into_iter().find(is_there).unwrap_or("/tmp").to_owned()
}

#[cfg(test)]
mod tests;
