//! A request as it came in, and its parts decoded. PURE: the socket is read in `http/read.rs`.

pub(crate) mod read;

/// One request, its body read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query as they came.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, or its beginning where it is longer than the server keeps.
    pub(crate) body: Vec<u8>,
    /// How long the body really was.
    pub(crate) body_bytes: u64,
    /// The client wants no further request on this connection.
    pub(crate) close: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The path as it came, without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The path's segments, each decoded on its own, so that `%2F` does not split one.
    pub(crate) fn segments(&self) -> Vec<String> {
        let path = self.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        path.split('/').map(percent_decode).collect()
    }

    /// The first value of a query key.
    pub(crate) fn query(&self, key: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name) == key).then(|| percent_decode(&value.replace('+', "%20")))
        })
    }
}

/// Decodes `%41`; whatever is not well formed stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    String::from_utf8_lossy(&percent_decode_bytes(text)).into_owned()
}

/// The same for what need not be text.
pub(crate) fn percent_decode_bytes(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes.get(at + 1), bytes.get(at + 2));
        if let (b'%', (Some(high), Some(low))) = (bytes[at], pair)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high * 16 + low);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The usual words for a status.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        494 => "Request Header Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_query_are_decoded() {
        let request = Request {
            target: "/v2/p%2Fq/..%2f%00/%zz/%?name=a%20b+c&empty&name=x".to_owned(),
            ..Request::default()
        };
        assert_eq!(request.segments(), ["v2", "p/q", "../\0", "%zz", "%"]);
        assert_eq!(request.query("name").as_deref(), Some("a b c"));
        assert_eq!(request.query("empty").as_deref(), Some(""));
        assert_eq!(request.query("none"), None);
    }
}
