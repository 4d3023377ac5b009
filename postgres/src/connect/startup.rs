#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! The startup packet, and proving who we are.
//!
//! The invariant: a password leaves this process only by a method that `require_auth` accepts, and
//! where channel binding is required, only by an exchange bound to the TLS connection.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::frontend;

use super::raw::{RawSession, unexpected};
use crate::Error;
use crate::conninfo::{AuthMethod, ChannelBinding, ConnInfo, PasswordLookup, Secret, Target};
use crate::error::ServerError;
use crate::wire::WireStream;

/// AuthenticationOk and the requests, as the server numbers them.
mod request {
    pub(super) const OK: u32 = 0;
    pub(super) const PASSWORD: u32 = 3;
    pub(super) const MD5: u32 = 5;
    pub(super) const SASL: u32 = 10;
    pub(super) const SASL_CONTINUE: u32 = 11;
    pub(super) const SASL_FINAL: u32 = 12;
}

pub(super) struct Startup<'a> {
    pub(super) info: &'a ConnInfo,
    pub(super) target: &'a Target,
    pub(super) password: PasswordLookup,
}

impl Startup<'_> {
    /// Starts a session on a fresh stream.
    pub(super) async fn run(
        &self,
        stream: WireStream,
        parameters: &[(&str, &str)],
    ) -> Result<RawSession, Error> {
        let mut session = RawSession::new(stream, self.target.clone());
        session.send(&self.packet(parameters)?).await?;
        self.authenticate(&mut session).await?;
        self.take_greeting(&mut session).await?;
        Ok(session)
    }

    fn packet(&self, parameters: &[(&str, &str)]) -> Result<BytesMut, Error> {
        let info = self.info;
        let mut all = vec![("user", info.user()), ("database", info.dbname())];
        all.extend(info.options().map(|options| ("options", options)));
        all.extend(info.application_name().map(|name| ("application_name", name)));
        all.push(("client_encoding", "UTF8"));
        all.extend(parameters.iter().copied());
        let mut packet = BytesMut::new();
        frontend::startup_message(all, &mut packet).map_err(malformed)?;
        Ok(packet)
    }

    async fn authenticate(&self, session: &mut RawSession) -> Result<(), Error> {
        let mut proven = false;
        loop {
            let (kind, body) = self.receive(session).await?;
            if kind == request::OK {
                return if proven { Ok(()) } else { self.accept(AuthMethod::None) };
            }
            match kind {
                request::PASSWORD => {
                    self.accept(AuthMethod::Password)?;
                    let password = self.password()?;
                    self.send_password(session, password.expose()).await?;
                }
                request::MD5 => {
                    self.accept(AuthMethod::Md5)?;
                    let password = self.password()?;
                    let salt = body.first_chunk::<4>().ok_or_else(|| unexpected(b'R'))?;
                    let hash = md5_hash(self.info.user().as_bytes(), password.expose(), *salt);
                    self.send_password(session, hash.as_bytes()).await?;
                }
                request::SASL => self.scram(session, &body).await?,
                2 | 7..=9 => return Err(self.failed("the server asks for Kerberos or SSPI")),
                _ => return Err(self.failed("the server asks for an unknown method")),
            }
            proven = true;
        }
    }

    /// Refuses a method that `require_auth` or `channel_binding` excludes.
    fn accept(&self, method: AuthMethod) -> Result<(), Error> {
        if !self.info.auth_policy.accepts(method) {
            return Err(self.failed_with_hint(
                &format!("the server asks for method {}", method.name()),
                "\"require_auth\" does not accept that method.",
            ));
        }
        let binds = method == AuthMethod::ScramSha256;
        if self.info.channel_binding == ChannelBinding::Require && !binds {
            return Err(self.not_bound());
        }
        Ok(())
    }

    fn not_bound(&self) -> Error {
        self.failed_with_hint(
            "the server does not offer channel binding",
            "\"channel_binding\" requires it: it takes TLS and a scram-sha-256 password.",
        )
    }

    fn password(&self) -> Result<&Secret, Error> {
        match &self.password {
            PasswordLookup::Found(password) => Ok(password),
            PasswordLookup::NotFound => Err(self.failed_with_hint(
                "no password supplied",
                "Give one by PGPASSWORD, a password file or a service file.",
            )),
            PasswordLookup::Ignored { file, reason } => Err(self.failed_with_hint(
                "no password supplied",
                &format!("Password file {} was ignored: {reason}.", file.display()),
            )),
        }
    }

    async fn send_password(&self, session: &mut RawSession, password: &[u8]) -> Result<(), Error> {
        let mut message = BytesMut::new();
        frontend::password_message(password, &mut message).map_err(malformed)?;
        session.send(&message).await
    }

    async fn scram(&self, session: &mut RawSession, mechanisms: &[u8]) -> Result<(), Error> {
        self.accept(AuthMethod::ScramSha256)?;
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|m| m == name.as_bytes());
        let wanted = self.info.channel_binding != ChannelBinding::Disable;
        let binding = session.stream.channel_binding().filter(|_| wanted).map(<[u8]>::to_vec);
        let (mechanism, binding) = match binding {
            Some(binding) if offers(sasl::SCRAM_SHA_256_PLUS) => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(binding))
            }
            // We could and the server says it cannot: it will notice if somebody in between lied.
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(self.failed("the server offers no known SASL mechanism"));
        }
        if self.info.channel_binding == ChannelBinding::Require
            && mechanism != sasl::SCRAM_SHA_256_PLUS
        {
            return Err(self.not_bound());
        }
        let mut exchange = ScramSha256::new(self.password()?.expose(), binding);
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(mechanism, exchange.message(), &mut message)
            .map_err(malformed)?;
        session.send(&message).await?;

        let challenge = self.receive_step(session, request::SASL_CONTINUE).await?;
        exchange.update(&challenge).map_err(|error| self.failed(&error.to_string()))?;
        let mut message = BytesMut::new();
        frontend::sasl_response(exchange.message(), &mut message).map_err(malformed)?;
        session.send(&message).await?;

        // The server proves here that it knows the password too.
        let proof = self.receive_step(session, request::SASL_FINAL).await?;
        exchange.finish(&proof).map_err(|_| self.failed("the server does not know the password"))
    }

    async fn receive_step(&self, session: &mut RawSession, wanted: u32) -> Result<Bytes, Error> {
        let (kind, body) = self.receive(session).await?;
        if kind == wanted { Ok(body) } else { Err(unexpected(b'R')) }
    }

    /// The next authentication message: its number and what follows.
    async fn receive(&self, session: &mut RawSession) -> Result<(u32, Bytes), Error> {
        let mut message = session.receive().await?;
        match message.kind {
            b'R' => {
                let kind = message.body.first_chunk::<4>().ok_or_else(|| unexpected(b'R'))?;
                let kind = u32::from_be_bytes(*kind);
                Ok((kind, message.body.split_off(4)))
            }
            b'E' => Err(self.refused(&message.body)),
            b'v' => Err(Error::protocol("it is too old for protocol 3.0")),
            other => Err(unexpected(other)),
        }
    }

    fn refused(&self, body: &[u8]) -> Error {
        let passfile = match &self.password {
            PasswordLookup::Ignored { file, reason } => {
                Some(format!("Password file {} was ignored: {reason}.", file.display()))
            }
            PasswordLookup::Found(_) | PasswordLookup::NotFound => None,
        };
        Error::Refused {
            target: self.target.to_string(),
            user: self.info.user().to_owned(),
            server: Box::new(ServerError::parse(body)),
            passfile,
        }
    }

    fn failed(&self, what: &str) -> Error {
        Error::Authentication {
            target: self.target.to_string(),
            user: self.info.user().to_owned(),
            what: what.to_owned(),
            hint: None,
        }
    }

    fn failed_with_hint(&self, what: &str, advice: &str) -> Error {
        Error::Authentication {
            target: self.target.to_string(),
            user: self.info.user().to_owned(),
            what: what.to_owned(),
            hint: Some(advice.to_owned()),
        }
    }

    /// Everything up to ReadyForQuery, kept as it came.
    async fn take_greeting(&self, session: &mut RawSession) -> Result<(), Error> {
        loop {
            let message = session.receive_any().await?;
            match message.kind {
                b'E' => return Err(self.refused(&message.body)),
                b'S' => session.note_parameter(&message.body),
                b'K' | b'Z' | b'N' => {}
                other => return Err(unexpected(other)),
            }
            let length =
                u32::try_from(message.body.len() + 4).map_err(|_| unexpected(message.kind))?;
            session.greeting.put_u8(message.kind);
            session.greeting.put_u32(length);
            session.greeting.extend_from_slice(&message.body);
            if message.kind == b'Z' {
                return Ok(());
            }
        }
    }
}

fn malformed(error: std::io::Error) -> Error {
    Error::protocol(error.to_string())
}
