//! The control socket of a running reader or applier: a Unix socket in the log directory, one JSON
//! object a line.
//!
//! Also what keeps a second reader or applier of the same pipeline out with a clear message; the
//! log's own lock and the applier's seat at the destination are the guards that hold whatever
//! happens to this file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pgtrail_log::DurableMark;
use pgtrail_reader::ResyncRequest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::TableName;
use crate::failure::Failure;

/// A request is one short line; more is not one of ours.
const REQUEST_BYTES: u64 = 64 << 10;

/// How long a process may take to answer before it counts as hung.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a reader answers to besides.
#[derive(Clone, Debug)]
pub struct ReaderVerbs {
    /// `follow` tells each advance of the durable mark.
    pub marks: watch::Receiver<DurableMark>,
    /// `resync` has tables copied again.
    pub resync: mpsc::Sender<ResyncRequest>,
}

/// Answers `status` at any moment.
pub type StatusSource = Arc<dyn Fn() -> Value + Send + Sync>;

/// A bound socket, removed from the directory when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path`, replacing what a dead process left there.
    ///
    /// # Errors When a living process answers on it (`what` names the process), or the directory
    /// refuses the file.
    pub async fn bind(path: &Path, what: &str) -> anyhow::Result<ControlSocket> {
        if let Ok(answer) = ask(path, "status").await {
            let pid = answer.get("pid").and_then(Value::as_u64).unwrap_or_default();
            let pipeline = answer.get("pipeline").and_then(Value::as_str).unwrap_or_default();
            return Err(Failure::halt(
                "PGT-0501",
                format!("{what} of pipeline \"{pipeline}\" runs already, as process {pid}"),
            )
            .hint(format!("Stop it first: kill {pid}. \"pgtrail status\" shows what it does."))
            .into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(format!("remove the dead socket {}", path.display()));
            }
            _ => {}
        }
        let listener = with_short_path(path, |short| UnixListener::bind(short))
            .with_context(|| format!("listen on {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("restrict {}", path.display()))?;
        Ok(ControlSocket { listener, path: path.to_owned() })
    }

    /// Serves until dropped. A reader answers to more verbs than `status`.
    pub async fn serve(self, status: StatusSource, reader: Option<ReaderVerbs>) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        sessions.spawn(session(stream, Arc::clone(&status), reader.clone()));
                    }
                    // Out of descriptors, most likely: give the others time to go away.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = sessions.join_next() => {}
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket's path may have 107 bytes; a log directory may have more. A path through the
/// directory's open descriptor is always short.
fn with_short_path<T>(
    path: &Path,
    act: impl FnOnce(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    if path.as_os_str().len() <= 100 {
        return act(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return act(path);
    };
    let directory = std::fs::File::open(parent)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    act(&PathBuf::from(format!("/proc/self/fd/{number}")).join(name))
}

async fn session(stream: UnixStream, status: StatusSource, reader: Option<ReaderVerbs>) {
    // The other side went away: nothing to tell anyone.
    let _ = converse(stream, status, reader).await;
}

async fn converse(
    mut stream: UnixStream,
    status: StatusSource,
    reader: Option<ReaderVerbs>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read.take(REQUEST_BYTES)).lines();
    while let Some(line) = lines.next_line().await? {
        lines.get_mut().get_mut().set_limit(REQUEST_BYTES);
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        let answer = match (request.get("verb").and_then(Value::as_str), &reader) {
            (Some("status"), _) => status(),
            (Some("follow"), Some(reader)) => {
                return tell_marks(&mut write, &mut lines, reader.marks.clone()).await;
            }
            (Some("resync"), Some(reader)) => resync(&request, &reader.resync).await,
            (verb, reader) => refuse_verb(verb, reader.is_some()),
        };
        send(&mut write, &answer).await?;
    }
    Ok(())
}

/// Hands tables that are to be copied again to the reader.
async fn resync(request: &Value, reader: &mpsc::Sender<ResyncRequest>) -> Value {
    let table = |text: &Value| Some(TableName::parse(text.as_str()?).ok()?.pattern);
    let listed = request.get("tables").and_then(Value::as_array);
    let tables: Option<Vec<_>> = listed.and_then(|list| list.iter().map(table).collect());
    let Some(tables) = tables.filter(|tables| !tables.is_empty()) else {
        return json!({ "error": "tables must be a list of names such as \"schema.table\"" });
    };
    let (answer, answered) = oneshot::channel();
    let sent = reader.send(ResyncRequest { tables, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(tables))) => json!({ "tables": tables }),
        (Ok(()), Ok(Err(error))) => json!({ "error": error }),
        _ => json!({ "error": "the reader is stopping, or has not got so far yet" }),
    }
}

fn refuse_verb(verb: Option<&str>, is_reader: bool) -> Value {
    let known: &[&str] = if is_reader { &["status", "follow", "resync"] } else { &["status"] };
    let error = match verb {
        Some(verb) => format!("unknown verb \"{verb}\""),
        None => "a request is a JSON object with a verb".to_owned(),
    };
    json!({ "error": error, "known": known })
}

/// One line now and one for each advance, until either side goes away.
async fn tell_marks<R: tokio::io::AsyncBufRead + Unpin>(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    lines: &mut tokio::io::Lines<R>,
    mut marks: watch::Receiver<DurableMark>,
) -> std::io::Result<()> {
    loop {
        let line = {
            let mark = marks.borrow_and_update();
            json!({ "durable_seq": mark.seq, "end_lsn": mark.end_lsn.to_string() })
        };
        send(write, &line).await?;
        tokio::select! {
            changed = marks.changed() => if changed.is_err() { return Ok(()) },
            // Nothing is expected here: an end of file says that the follower left.
            gone = lines.next_line() => if gone?.is_none() { return Ok(()) },
        }
    }
}

async fn send(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    answer: &Value,
) -> std::io::Result<()> {
    let mut line = answer.to_string();
    line.push('\n');
    write.write_all(line.as_bytes()).await
}

/// Asks the process behind `path` for one answer.
///
/// # Errors
/// When nobody listens there, or no answer comes in time.
pub async fn ask(path: &Path, verb: &str) -> anyhow::Result<Value> {
    request(path, &json!({ "verb": verb })).await
}

/// As [`ask`], with a request that has more to it.
///
/// # Errors
/// As [`ask`].
pub async fn request(path: &Path, request: &Value) -> anyhow::Result<Value> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
        let mut lines = open(path, request).await?;
        let line = lines.next_line().await?.context("the process closed the connection")?;
        anyhow::Ok(serde_json::from_str(&line)?)
    });
    answer.await.context("no answer in time")?
}

/// Sends a verb and leaves its answers to be read.
async fn open(
    path: &Path,
    request: &Value,
) -> anyhow::Result<tokio::io::Lines<BufReader<UnixStream>>> {
    let stream = with_short_path(path, |short| std::os::unix::net::UnixStream::connect(short))?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    send(&mut stream, request).await?;
    Ok(BufReader::new(stream).lines())
}

/// How often an applier looks at the log by itself while no reader tells it anything.
const UNTOLD_INTERVAL: Duration = Duration::from_millis(200);

/// Calls `wake` at each advance that the reader behind `path` tells, and now and then while there
/// is no reader.
pub async fn wake_on_advance(path: PathBuf, wake: Arc<tokio::sync::Notify>) {
    loop {
        if let Ok(mut lines) = open(&path, &json!({ "verb": "follow" })).await {
            while let Ok(Some(_)) = lines.next_line().await {
                wake.notify_one();
            }
        }
        wake.notify_one();
        tokio::time::sleep(UNTOLD_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use pgtrail_log::{Epoch, Incarnation, Lsn, Position};

    use super::*;

    fn mark(seq: u64) -> DurableMark {
        DurableMark {
            incarnation: Incarnation(1),
            seq,
            position: Position::of_transaction(Epoch::FIRST, Lsn::new(seq)),
            end_lsn: Lsn::new(seq * 16),
            relations: 0,
            bases_complete: 0,
            initial_complete: false,
            sequences: pgtrail_log::SequenceMark::default(),
        }
    }

    fn verbs(marks: watch::Receiver<DurableMark>) -> ReaderVerbs {
        ReaderVerbs { marks, resync: mpsc::channel(1).0 }
    }

    fn answering() -> StatusSource {
        Arc::new(|| json!({ "pipeline": "p", "pid": 42 }))
    }

    #[tokio::test]
    async fn answers_status_and_refuses_unknown_verbs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reader.sock");
        let socket = ControlSocket::bind(&path, "a reader").await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let server = tokio::spawn(socket.serve(answering(), None));
        assert_eq!(ask(&path, "status").await.unwrap()["pid"], 42);
        assert_eq!(ask(&path, "dance").await.unwrap()["known"], json!(["status"]));
        server.abort();
        let _ = server.await;
        assert!(!path.exists(), "the socket goes with its process");
    }

    #[tokio::test]
    async fn p6_a_second_process_is_refused_and_a_dead_ones_socket_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reader.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = ControlSocket::bind(&path, "a reader").await.unwrap();
        let server = tokio::spawn(first.serve(answering(), None));
        let refusal = ControlSocket::bind(&path, "a reader").await.unwrap_err();
        assert_eq!(refusal.to_string(), "a reader of pipeline \"p\" runs already, as process 42");
        server.abort();
    }

    #[tokio::test]
    async fn a_follower_hears_each_advance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reader.sock");
        let socket = ControlSocket::bind(&path, "a reader").await.unwrap();
        let (advance, marks) = watch::channel(mark(1));
        let server = tokio::spawn(socket.serve(answering(), Some(verbs(marks))));
        let mut lines = open(&path, &json!({ "verb": "follow" })).await.unwrap();
        let first: Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(first, json!({ "durable_seq": 1, "end_lsn": "0/10" }));
        advance.send(mark(2)).unwrap();
        let next: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(next["durable_seq"], 2);
        server.abort();
    }

    #[tokio::test]
    async fn a_log_directory_may_have_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("reader.sock");
        let socket = ControlSocket::bind(&path, "a reader").await.unwrap();
        let server = tokio::spawn(socket.serve(answering(), None));
        assert_eq!(ask(&path, "status").await.unwrap()["pid"], 42);
        server.abort();
    }
}
