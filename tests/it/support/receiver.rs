//! A server that others call: it writes down what it is asked, and answers as a test wants.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// With this status and an empty body.
    Status(u16),
    /// Never, while the connection stays open.
    Never,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET /path`.
    pub(crate) line: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct Script {
    heard: Vec<Request>,
    answer: Option<Answer>,
}

/// It ends with the runtime it was started on.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: String,
    script: Arc<Mutex<Script>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self { address, script: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(crate) fn heard(&self) -> Vec<Request> {
        self.script.lock().unwrap().heard.clone()
    }

    /// This is the answer from now on.
    pub(crate) fn always(&self, answer: Answer) {
        self.script.lock().unwrap().answer = Some(answer);
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let Some((request, length)) = taken_apart(&bytes) else {
                let mut buffer = [0; 4_096];
                match stream.read(&mut buffer).await {
                    Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
                    _ => return,
                }
                continue;
            };
            bytes.drain(..length);
            let answer = {
                let mut script = self.script.lock().unwrap();
                script.heard.push(request);
                script.answer.unwrap_or(Answer::Status(200))
            };
            match answer {
                Answer::Never => std::future::pending().await,
                Answer::Status(status) => {
                    let head = format!(
                        "HTTP/1.1 {status} It\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
                    );
                    if stream.write_all(head.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The first request and how many bytes it has, once all of it is there.
fn taken_apart(bytes: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes).unwrap() else { return None };
    let line = format!("{} {}", head.method.unwrap(), head.path.unwrap());
    let length = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |h| std::str::from_utf8(h.value).unwrap().parse().unwrap());
    let body = bytes.get(start..start + length)?;
    let body = String::from_utf8(body.to_vec()).unwrap();
    Some((Request { line, body }, start + length))
}
