#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
//! The URI form: `postgresql://user:password@host1:5432,host2/dbname?sslmode=require`.

use super::ConninfoError;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Whether the text is meant as a URI.
pub(super) fn is_uri(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// The keywords and values of the URI, percent-decoded.
///
/// Several hosts become comma-separated `host` and `port` lists, as in the keyword form.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, ConninfoError> {
    let uri = Uri { text };
    let rest = SCHEMES
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .ok_or_else(|| uri.error(text, "it does not begin with postgresql://"))?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (rest, None),
    };

    let mut pairs = Vec::new();
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            uri.login(login, &mut pairs)?;
            hosts
        }
        None => authority,
    };
    uri.hosts(hosts, &mut pairs)?;
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        pairs.push(("dbname".to_owned(), uri.decode(path)?));
    }
    if let Some(query) = query {
        uri.parameters(query, &mut pairs)?;
    }
    Ok(pairs)
}

struct Uri<'a> {
    text: &'a str,
}

impl Uri<'_> {
    /// An error at the place where `part`, a slice of the text, begins.
    fn error(&self, part: &str, what: &'static str) -> ConninfoError {
        let offset = (part.as_ptr().addr()).saturating_sub(self.text.as_ptr().addr());
        ConninfoError::Syntax { what, offset: offset.min(self.text.len()) }
    }

    fn login(&self, login: &str, pairs: &mut Vec<(String, String)>) -> Result<(), ConninfoError> {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if !user.is_empty() {
            pairs.push(("user".to_owned(), self.decode(user)?));
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            pairs.push(("password".to_owned(), self.decode(password)?));
        }
        Ok(())
    }

    fn hosts(&self, list: &str, pairs: &mut Vec<(String, String)>) -> Result<(), ConninfoError> {
        if list.is_empty() {
            return Ok(());
        }
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for entry in list.split(',') {
            let (host, port) = self.host_and_port(entry)?;
            hosts.push(self.decode(host)?);
            ports.push(port.to_owned());
        }
        // "postgresql://:5433" means the default host, which PGHOST may name.
        if hosts.iter().any(|host| !host.is_empty()) {
            pairs.push(("host".to_owned(), hosts.join(",")));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            pairs.push(("port".to_owned(), ports.join(",")));
        }
        Ok(())
    }

    fn host_and_port<'a>(&self, entry: &'a str) -> Result<(&'a str, &'a str), ConninfoError> {
        let Some(bracketed) = entry.strip_prefix('[') else {
            return Ok(entry.split_once(':').unwrap_or((entry, "")));
        };
        let (host, rest) = bracketed
            .split_once(']')
            .ok_or_else(|| self.error(entry, "an IPv6 address lacks its closing \"]\""))?;
        if host.is_empty() {
            return Err(self.error(entry, "an IPv6 address is empty"));
        }
        match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err(self.error(rest, "only a port may follow an IPv6 address")),
        }
    }

    fn parameters(
        &self,
        query: &str,
        pairs: &mut Vec<(String, String)>,
    ) -> Result<(), ConninfoError> {
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or_else(|| self.error(parameter, "a parameter has no \"=\""))?;
            if value.contains('=') {
                return Err(self.error(value, "a parameter has more than one \"=\""));
            }
            let (name, value) = (self.decode(name)?, self.decode(value)?);
            // What JDBC writes, which libpq takes too.
            if name == "ssl" && value == "true" {
                pairs.push(("sslmode".to_owned(), "require".to_owned()));
            } else {
                pairs.push((name, value));
            }
        }
        Ok(())
    }

    fn decode(&self, part: &str) -> Result<String, ConninfoError> {
        let mut bytes = Vec::with_capacity(part.len());
        let mut rest = part.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            match (digit(), digit()) {
                (Some(0), Some(0)) => return Err(self.error(part, "%00 is not allowed")),
                (Some(high), Some(low)) => bytes.extend(u8::try_from(high * 16 + low)),
                _ => return Err(self.error(part, "\"%\" is not followed by two hex digits")),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.error(part, "it is not UTF-8 once decoded"))
    }
}
