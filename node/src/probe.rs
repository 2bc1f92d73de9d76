//! Asking a node for its status: one HTTP GET with a deadline, for use on one machine.

use crate::status::NodeStatus;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status code.
    pub code: u16,
    /// What it says.
    pub body: Vec<u8>,
}

/// The status of the node that serves it at `api`.
///
/// # Errors
/// Nobody answers within `patience`, or not with a status.
pub fn node_status(api: SocketAddr, patience: Duration) -> io::Result<NodeStatus> {
    let answer = get(api, "/api/status", patience)?;
    if answer.code != 200 {
        return Err(invalid(format!("answered {} where 200 was expected", answer.code)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| invalid(format!("answered no status: {error}")))
}

/// What `address` answers to a GET of `path` within `patience`.
///
/// # Errors
/// Nobody listens, the answer is late, or it is no HTTP.
pub fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP 1.0: the answer is neither chunked nor followed by another.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    parse(&read_all(&mut stream, deadline)?).map_err(invalid)
}

fn read_all(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no whole answer in time"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(all),
            got => all.extend_from_slice(&piece[..got]),
        }
        if all.len() > ANSWER_BYTES_MAX {
            return Err(invalid(format!("the answer exceeds {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

/// Takes an HTTP answer apart: `HTTP/1.1 200 OK`, header lines, an empty line, the body.
fn parse(answer: &[u8]) -> Result<Answer, String> {
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the answer is no HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let version = first.next().unwrap_or_default();
    let code = first.next().and_then(|code| code.parse().ok());
    let (true, Some(code)) = (version.starts_with("HTTP/1."), code) else {
        return Err("the answer is no HTTP".into());
    };
    let body = &answer[end + 4..];
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let told = name.eq_ignore_ascii_case("content-length");
        if told { value.trim().parse::<usize>().ok() } else { None }
    });
    match length {
        Some(length) if length > body.len() => {
            Err(format!("the answer broke off after {} of {length} bytes", body.len()))
        }
        Some(length) => Ok(Answer { code, body: body[..length].to_vec() }),
        None => Ok(Answer { code, body: body.to_vec() }),
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn ok(code: u16, body: &str) -> Result<Answer, String> {
        Ok(Answer { code, body: body.into() })
    }

    #[test]
    fn answers_are_taken_apart() {
        let rows = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", ok(200, "hi")),
            ("HTTP/1.0 503 Gone\r\nContent-Length:2 \r\nX: y\r\n\r\nhi and more", ok(503, "hi")),
            ("HTTP/1.0 200 OK\r\n\r\nall there is", ok(200, "all there is")),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
                Err("the answer broke off after 2 of 9 bytes".into()),
            ),
            ("SSH-2.0-x\r\n\r\n", Err("the answer is no HTTP".into())),
            ("HTTP/1.1 fine\r\n\r\n", Err("the answer is no HTTP".into())),
            ("", Err("the answer is no HTTP".into())),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let error =
            get(listener.local_addr().unwrap(), "/", Duration::from_millis(50)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(5), "{error}");
    }
}
