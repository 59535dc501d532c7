//! A relay between the product and the simulator that writes down every byte that passes, and takes
//! the record apart into requests and answers. It changes nothing and decides nothing.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Both directions of one connection.
#[derive(Default)]
struct Conversation {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

type Record = Arc<Mutex<Conversation>>;

/// Listens until its runtime ends.
pub(crate) struct Relay {
    url: String,
    record: Arc<Mutex<Vec<Record>>>,
}

/// A request, and the answer as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// Path and query as they went over the wire.
    pub(crate) target: String,
    pub(crate) request: Message,
    /// None: the connection ended without a head.
    pub(crate) answer: Option<Answer>,
}

/// Headers and body of either direction.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body came to the end that its head announced.
    pub(crate) whole: bool,
}

/// The last head of an answer, after any informational ones.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) message: Message,
}

impl Message {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Relay {
    /// To the server at `address` (`host:port`).
    pub(crate) async fn start(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let record = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&record);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let conversation = Record::default();
                all.lock().unwrap().push(Arc::clone(&conversation));
                tokio::spawn(pass(client, address.clone(), conversation));
            }
        });
        Self { url, record }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that was said so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let record = self.record.lock().unwrap();
        record.iter().flat_map(|conversation| take_apart(&conversation.lock().unwrap())).collect()
    }
}

async fn pass(client: TcpStream, address: String, record: Record) {
    let Ok(server) = TcpStream::connect(address).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let asked = copy(client_in, server_out, |bytes| record.lock().unwrap().asked.extend(bytes));
    let answered =
        copy(server_in, client_out, |bytes| record.lock().unwrap().answered.extend(bytes));
    tokio::join!(asked, answered);
}

/// Writes down first, so that nothing is known to the receiver that is not on record.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut note: impl FnMut(&[u8]),
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        note(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // The other side may already have gone.
    let _ = to.shutdown().await;
}

fn take_apart(conversation: &Conversation) -> Vec<Exchange> {
    let (mut asked, mut answered) = (&conversation.asked[..], &conversation.answered[..]);
    let mut exchanges = Vec::new();
    while let Some((method, target, request)) = next_request(&mut asked) {
        let answer = next_answer(&mut answered);
        exchanges.push(Exchange { method, target, request, answer });
    }
    exchanges
}

fn next_request(rest: &mut &[u8]) -> Option<(String, String, Message)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(rest).unwrap() else { return None };
    let (method, target) = (head.method.unwrap().to_owned(), head.path.unwrap().to_owned());
    let headers = owned(head.headers);
    *rest = &rest[end..];
    // A request without either header has no body.
    let framed = headers.iter().any(|(name, _)| is_framing(name));
    let (body, whole) = if framed { body(&headers, rest) } else { (Vec::new(), true) };
    Some((method, target, Message { headers, body, whole }))
}

fn next_answer(rest: &mut &[u8]) -> Option<Answer> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = head.parse(rest) else { return None };
        let status = head.code.unwrap();
        let headers = owned(head.headers);
        *rest = &rest[end..];
        if status >= 200 {
            let (body, whole) = body(&headers, rest);
            return Some(Answer { status, message: Message { headers, body, whole } });
        }
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect()
}

fn is_framing(name: &str) -> bool {
    name == "content-length" || name == "transfer-encoding"
}

/// The body, and whether it reached the end that the head announces.
fn body(headers: &[(String, String)], rest: &mut &[u8]) -> (Vec<u8>, bool) {
    match headers.iter().find(|(name, _)| is_framing(name)) {
        Some((name, length)) if name == "content-length" => {
            let length = length.parse().unwrap();
            let whole = rest.len() >= length;
            (take(rest, length), whole)
        }
        Some(_) => chunks(rest),
        None => (take(rest, usize::MAX), true),
    }
}

fn take(rest: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, left) = rest.split_at(length.min(rest.len()));
    *rest = left;
    taken.to_vec()
}

fn chunks(rest: &mut &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) {
        *rest = &rest[start..];
        let size = usize::try_from(size).unwrap();
        // Each chunk ends with a line break, the last one has nothing else: no trailers are sent.
        let whole = rest.len() >= size + 2;
        body.extend(take(rest, size));
        take(rest, 2);
        if size == 0 || !whole {
            return (body, whole);
        }
    }
    (body, false)
}
