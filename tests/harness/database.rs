//! A database as the tests see it: an address, and SQL with panics for errors.

use std::fmt::Write as _;
use std::ops::Deref;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Where a database is. A plain value; the server is kept by its [`crate::Cluster`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Host name, address, or socket directory.
    pub host: String,
    /// TCP port (also in the socket's name).
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password, when the server asks for one.
    pub password: Option<String>,
    /// Database name.
    pub name: String,
}

impl Database {
    /// As libpq keywords, quoted.
    pub fn conninfo(&self) -> String {
        let mut text = format!("host={} port={}", quoted(&self.host), self.port);
        write!(text, " user={} dbname={}", quoted(&self.user), quoted(&self.name)).expect("text");
        if let Some(password) = &self.password {
            write!(text, " password={}", quoted(password)).expect("text");
        }
        text
    }

    /// The same database reached by another port of this machine, a [`crate::Proxy`]'s say.
    pub fn at_port(&self, port: u16) -> Database {
        Database { host: "127.0.0.1".to_owned(), port, ..self.clone() }
    }

    /// Another database of the same server.
    pub fn named(&self, name: &str) -> Database {
        Database { name: name.to_owned(), ..self.clone() }
    }

    /// The same database as another role.
    pub fn as_user(&self, user: &str, password: Option<&str>) -> Database {
        let password = password.map(str::to_owned);
        Database { user: user.to_owned(), password, ..self.clone() }
    }

    /// Connects.
    ///
    /// # Panics
    /// When the server does not let us in.
    pub async fn connect(&self) -> Sql {
        self.try_connect().await.unwrap_or_else(|error| panic!("connect to {self:?}: {error:?}"))
    }

    /// Connects, or says why not.
    ///
    /// # Errors
    /// What the server or the network said.
    pub async fn try_connect(&self) -> Result<Sql, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.conninfo(), NoTls).await?;
        let task = tokio::spawn(async move {
            // A broken connection shows in the client's next call.
            let _ = connection.await;
        });
        Ok(Sql { client, task })
    }

    /// Runs statements on a connection of their own.
    ///
    /// # Panics
    /// When one fails.
    pub async fn exec(&self, sql: &str) {
        self.connect().await.exec(sql).await;
    }

    /// The first column of the first row, as text, on a connection of its own.
    ///
    /// # Panics
    /// When the statement fails, or gives no row or NULL.
    pub async fn text(&self, sql: &str) -> String {
        self.connect().await.text(sql).await
    }
}

/// Enough of a statement to know it again.
fn shortened(sql: &str) -> String {
    sql.chars().take(1000).collect()
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// An open session. Closed when dropped.
pub struct Sql {
    client: Client,
    task: tokio::task::JoinHandle<()>,
}

impl Sql {
    /// Runs statements.
    ///
    /// # Panics
    /// When one fails, showing the text and the server's words.
    pub async fn exec(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{error:?}\nin {}", shortened(sql));
        }
    }

    /// Runs statements that must fail, and returns the SQLSTATE.
    ///
    /// # Panics
    /// When they succeed, or fail without one.
    pub async fn exec_failing(&self, sql: &str) -> String {
        let error = self.client.batch_execute(sql).await.expect_err("the statement must fail");
        error.code().unwrap_or_else(|| panic!("no SQLSTATE: {error:?}")).code().to_owned()
    }

    /// All rows, each column as text, `None` for NULL.
    ///
    /// # Errors
    /// What the server or the network said.
    pub async fn try_rows(
        &self,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// All rows, each column as text, `None` for NULL.
    ///
    /// # Panics
    /// When the statement fails.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{error:?}\nin {}", shortened(sql)))
    }

    /// The first column of all rows.
    ///
    /// # Panics
    /// When the statement fails or gives NULL.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await;
        let first = |row: Vec<Option<String>>| row.into_iter().next().flatten().expect("not NULL");
        rows.into_iter().map(first).collect()
    }

    /// The first column of the first row.
    ///
    /// # Panics
    /// When the statement fails, or gives no row or NULL.
    pub async fn text(&self, sql: &str) -> String {
        let rows = self.texts(sql).await;
        rows.into_iter().next().unwrap_or_else(|| panic!("{sql}\ngave no row"))
    }

    /// The first column of the first row, as a number.
    ///
    /// # Panics
    /// When it is not one.
    pub async fn number(&self, sql: &str) -> i64 {
        let text = self.text(sql).await;
        text.parse().unwrap_or_else(|_| panic!("{sql}\ngave {text}"))
    }
}

impl Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        self.task.abort();
    }
}
