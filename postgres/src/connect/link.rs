use std::net::IpAddr;

use super::RawSession;
use crate::conninfo::Target;

/// How a session reaches its server, for a person to judge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The server as it was named.
    pub target: String,
    /// Whether what is sent is encrypted.
    pub encrypted: bool,
    /// Whether nothing leaves this machine: a Unix socket, or a loopback address.
    pub local: bool,
    /// The server process as announced at the start. A proxy or pooler announces a number of its
    /// own.
    pub announced_pid: Option<i32>,
}

impl Link {
    pub(super) fn of(session: &RawSession) -> Link {
        let target = session.target();
        Link {
            target: target.to_string(),
            encrypted: session.is_encrypted(),
            local: target.socket().is_some() || is_loopback(target),
            announced_pid: announced_pid(&session.greeting),
        }
    }
}

fn is_loopback(target: &Target) -> bool {
    match target.address {
        Some(address) => address.is_loopback(),
        None => {
            target.host == "localhost"
                || target.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// The first number of BackendKeyData, among the messages of the greeting.
fn announced_pid(greeting: &[u8]) -> Option<i32> {
    let mut rest = greeting;
    loop {
        let (kind, after) = rest.split_first()?;
        let (length, body) = after.split_first_chunk::<4>()?;
        if *kind == b'K' {
            return body.first_chunk::<4>().map(|pid| i32::from_be_bytes(*pid));
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_sub(4)?;
        rest = body.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_found_among_other_messages() {
        let mut greeting = b"S\0\0\0\x08a\0b\0".to_vec();
        greeting.extend_from_slice(b"K\0\0\0\x0c\0\0\x01\x02\0\0\0\x09");
        assert_eq!(announced_pid(&greeting), Some(0x102));
        assert_eq!(announced_pid(b"S\0\0\0\x08a\0b\0"), None);
        assert_eq!(announced_pid(b"K\0\0\0\x0c\0"), None);
        assert_eq!(announced_pid(b"S\0\0\0\x01"), None);
    }
}
