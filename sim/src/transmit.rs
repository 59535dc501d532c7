//! Sends one answer over a socket, exactly as its shape says: whole, cut, reset, stalled or
//! trickled. Must never decide what is sent.
//!
//! The ledger learns of the last byte just before it goes, so that nobody who has seen the end
//! of an answer can find the ledger behind; should the write fail, it is taken back.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::calendar::http_date;
use crate::clock::{Beat, pause};
use crate::http::phrase;
use crate::knobs::Encoding;
use crate::reply::{Body, Reply};
use crate::server::Shared;
use crate::shape::{Ending, Framing, Shape};
use crate::supply::Supply;
use crate::world::{GetTicket, Plan};

const PIECE: usize = 256 * 1024;

/// Sends the answer. True: the connection can be used for another request.
pub(crate) async fn send(
    stream: &mut TcpStream,
    shared: &Arc<Shared>,
    plan: Plan,
    without_body: bool,
    close: bool,
) -> io::Result<bool> {
    let Plan { reply, shape, ticket } = plan;
    let mut watch = Watch::new(shared, ticket, shape.truthful);
    pause(shape.latency_ms).await;
    if shape.silent {
        watch.end();
        stream.shutdown().await?;
        return Ok(false);
    }
    let close = close || shape.close;
    if let Some(code) = shape.informational {
        let interim = format!("HTTP/1.1 {code} {}\r\n\r\n", phrase(code));
        stream.write_all(interim.as_bytes()).await?;
    }
    let is_empty = matches!(&reply.body, Body::Content(content) if content.bytes() == 0);
    if is_empty && matches!(shape.framing, Framing::Length(_)) {
        watch.last_byte(0);
    }
    let sent = async {
        stream.write_all(head(&reply, &shape, close).as_bytes()).await?;
        if !without_body {
            send_body(stream, &reply, &shape, &mut watch).await?;
        }
        Ok(())
    }
    .await;
    if sent.is_err() {
        watch.failed();
        return sent.map(|()| false);
    }
    watch.end();
    match shape.ending {
        Ending::Reset(_) => {
            stream.set_zero_linger()?;
            Ok(false)
        }
        Ending::Close(_) => {
            stream.shutdown().await?;
            Ok(false)
        }
        Ending::Whole if close => {
            stream.shutdown().await?;
            Ok(false)
        }
        Ending::Whole => Ok(true),
    }
}

fn head(reply: &Reply, shape: &Shape, close: bool) -> String {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nDate: {}\r\n",
        reply.status,
        phrase(reply.status),
        http_date(shape.date_ms)
    );
    // Writing to a String cannot fail.
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    match shape.encoding {
        Encoding::Identity => {}
        Encoding::Gzip => head.push_str("Content-Encoding: gzip\r\n"),
        Encoding::Deflate => head.push_str("Content-Encoding: deflate\r\n"),
    }
    match shape.framing {
        Framing::Length(length) => {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::UntilClose => {}
    }
    if close {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

async fn send_body(
    stream: &mut TcpStream,
    reply: &Reply,
    shape: &Shape,
    watch: &mut Watch,
) -> io::Result<()> {
    let mut supply = Supply::new(&reply.body, shape.encoding);
    let by_length = matches!(shape.framing, Framing::Length(_));
    let last_at = match &reply.body {
        Body::Content(content) if by_length => Some(content.bytes()),
        Body::Content(_) | Body::Endless => None,
    };
    let mut stall = shape.stall;
    let mut beat = shape.pace.map(|pace| Beat::new(pace.every));
    loop {
        if let Some(due) = stall
            && due.at == watch.sent
        {
            stall = None;
            pause(due.ms).await;
        }
        let room = room(shape, stall.map(|due| due.at), watch.sent);
        if room == 0 {
            return Ok(());
        }
        let Some(piece) = supply.next(room)? else {
            break;
        };
        if watch.sent == 0 {
            watch.first_byte();
        }
        let sent = watch.sent + u64::try_from(piece.len()).unwrap_or(0);
        if last_at == Some(sent) {
            watch.last_byte(sent);
        }
        if shape.framing == Framing::Chunked {
            let size = format!("{:x}\r\n", piece.len());
            stream.write_all(size.as_bytes()).await?;
            stream.write_all(piece).await?;
            stream.write_all(b"\r\n").await?;
        } else {
            stream.write_all(piece).await?;
        }
        watch.sent = sent;
        if let Some(beat) = &mut beat {
            beat.wait().await;
        }
    }
    if shape.ending == Ending::Whole && !by_length {
        watch.last_byte(watch.sent);
        if shape.framing == Framing::Chunked {
            stream.write_all(b"0\r\n\r\n").await?;
        }
    }
    Ok(())
}

/// How many bytes may go before something happens; zero when the body is to be cut here.
fn room(shape: &Shape, stall_at: Option<u64>, sent: u64) -> usize {
    let until = |at: u64| usize::try_from(at.saturating_sub(sent)).unwrap_or(usize::MAX);
    let mut room = shape.pace.map_or(PIECE, |pace| pace.bytes.min(PIECE));
    if let Some(at) = stall_at
        && at > sent
    {
        room = room.min(until(at));
    }
    match shape.ending {
        Ending::Whole => room,
        Ending::Close(at) | Ending::Reset(at) => room.min(until(at)),
    }
}

/// Tells the world how far a package has been sent, at the latest when it is dropped.
struct Watch {
    shared: Arc<Shared>,
    ticket: Option<GetTicket>,
    truthful: bool,
    sent: u64,
    last_byte: bool,
}

impl Watch {
    fn new(shared: &Arc<Shared>, ticket: Option<GetTicket>, truthful: bool) -> Watch {
        Watch { shared: Arc::clone(shared), ticket, truthful, sent: 0, last_byte: false }
    }

    fn first_byte(&self) {
        if let Some(ticket) = self.ticket {
            let now_ms = self.shared.now_ms();
            self.shared.world().first_byte(ticket, now_ms);
        }
    }

    fn last_byte(&mut self, sent: u64) {
        self.last_byte = true;
        if let Some(ticket) = self.ticket {
            let now_ms = self.shared.now_ms();
            self.shared.world().last_byte(ticket, self.truthful, sent, now_ms);
        }
    }

    fn failed(&mut self) {
        if let (Some(ticket), true) = (self.ticket, self.last_byte) {
            self.shared.world().last_byte_failed(ticket);
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.world().get_ended(ticket, self.sent);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}
