//! Reading a node's status over HTTP: one request a connection, everything in bounded time and memory.

use crate::status::NodeStatus;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// For connecting, and for each read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at a node.
const INTERVAL: Duration = Duration::from_millis(250);

/// A node's status, now.
///
/// # Errors
/// It does not answer in time, or its answer is none.
pub(super) fn get(api: SocketAddr) -> Result<NodeStatus> {
    let mut stream = TcpStream::connect_timeout(&api, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /api/status HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("listening")?;
    serde_json::from_slice(&body(&answer)?).context("the status is not what this version knows")
}

/// The body of an HTTP/1.1 answer.
fn body(answer: &[u8]) -> Result<Vec<u8>> {
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    if status != "200" {
        bail!("answered {status}");
    }
    let body = &answer[split + 4..];
    let chunked =
        head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    if chunked { unchunk(body) } else { Ok(body.to_vec()) }
}

/// Joins the pieces of a chunked body (RFC 9112, section 7.1).
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("a torn answer")?;
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("a torn answer")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).context("a torn answer")?);
        rest = rest.get(size + 2..).context("a torn answer")?;
    }
}

/// Looks at a node several times a second, on a thread of its own.
#[derive(Debug)]
pub(super) struct Watch {
    latest: Arc<Mutex<Option<NodeStatus>>>,
    over: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn begin(api: SocketAddr) -> Watch {
        let watch = Watch { latest: Arc::default(), over: Arc::default() };
        let (latest, over) = (watch.latest.clone(), watch.over.clone());
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(status) = get(api) {
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                }
                thread::sleep(INTERVAL);
            }
        });
        watch
    }

    /// What was seen since the last call, if anything.
    pub(super) fn take(&self) -> Option<NodeStatus> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Serves `answer` to one request and returns where.
    fn serve(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /api/status HTTP/1.1\r\n"));
            stream.write_all(&answer).unwrap();
        });
        api
    }

    fn status() -> NodeStatus {
        NodeStatus { round: 7, phase: "training".into(), ..NodeStatus::default() }
    }

    #[test]
    fn reads_plain_and_chunked_answers() {
        let json = serde_json::to_string(&status()).unwrap();
        let plain = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len());
        assert_eq!(get(serve(plain.into())).unwrap(), status());
        let (a, b) = json.split_at(10);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{a}\r\n{:x};x=y\r\n{b}\r\n0\r\n\r\n",
            b.len()
        );
        assert_eq!(get(serve(chunked.into())).unwrap(), status());
    }

    #[test]
    fn anything_else_is_an_error() {
        let answers = [
            "",
            "HTTP/1.1 500 Oh\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n\r\nnot json",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfff\r\nshort",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ];
        for answer in answers {
            assert!(get(serve(answer.into())).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_watch_sees_a_status_once() {
        let json = serde_json::to_string(&status()).unwrap();
        let watch = Watch::begin(serve(format!("HTTP/1.1 200 OK\r\n\r\n{json}").into()));
        let seen = (0..100).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            watch.take()
        });
        assert_eq!((seen, watch.take()), (Some(status()), None));
    }
}
