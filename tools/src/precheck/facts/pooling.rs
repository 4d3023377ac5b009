use pgtrail_postgres::{Error, Session};

/// What stands between us and a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pooling {
    /// Nothing that shows.
    Direct,
    /// A proxy or a pooler that gives each of our sessions one server process.
    Session,
    /// A pooler that gives each transaction another server process.
    Transaction,
}

impl Pooling {
    /// Finds out with two sessions. While one holds a transaction, the other's next process must be
    /// another one; when the first then ends its transaction, a pooler that shares processes gives
    /// the one that became free to whoever asks next.
    pub(super) async fn probe(first: &Session, second: &Session) -> Result<Pooling, Error> {
        first.batch_execute("begin").await?;
        let own = pid(first).await?;
        let before = pid(second).await?;
        first.batch_execute("commit").await?;
        let after = pid(second).await?;
        let again = pid(first).await?;
        let announced = [(first, own), (second, before)];
        Ok(if before != after || own != again || own == before {
            Pooling::Transaction
        } else if announced.iter().any(|(session, pid)| {
            session.link().announced_pid.is_some_and(|announced| announced != *pid)
        }) {
            Pooling::Session
        } else {
            Pooling::Direct
        })
    }
}

/// Asked without a prepared statement: a pooler may know none.
async fn pid(session: &Session) -> Result<i32, Error> {
    let answer = session.simple_query("select pg_catalog.pg_backend_pid()").await?;
    let pid = answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    pid.ok_or_else(|| Error::Protocol { what: "no process number".to_owned() })
}
