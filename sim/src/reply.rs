//! An answer before it is sent: status, headers, body, and the vendor's way of refusing. PURE.

use std::sync::Arc;

use serde::Serialize;

use crate::content::Content;
use crate::knobs::{CodeStyle, GatewayPrefix, Knobs};
use crate::wire::{ErrorEnvelope, KeystoneCause, KeystoneError};

/// What is sent after the head.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Content(Arc<Content>),
    /// Noise without an end.
    Endless,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    /// The `error_code` in the body, for the ledger.
    pub(crate) error_code: Option<String>,
    /// The body is the content of the package with this index.
    pub(crate) package: Option<usize>,
    /// The job that the request started.
    pub(crate) started_job: Option<String>,
}

impl Reply {
    pub(crate) fn bytes(status: u16, content_type: Option<&str>, body: Vec<u8>) -> Reply {
        let mut reply = Reply {
            status,
            headers: Vec::new(),
            body: Body::Content(Arc::new(Content::from_bytes(body))),
            error_code: None,
            package: None,
            started_job: None,
        };
        if let Some(content_type) = content_type {
            reply.add_header("Content-Type", content_type);
        }
        reply
    }

    pub(crate) fn json(status: u16, value: &impl Serialize) -> Reply {
        // Own types without maps of odd keys: they always become JSON.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Reply::bytes(status, Some("application/json;charset=UTF-8"), body)
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// The same answer with another JSON body.
    pub(crate) fn with_json(mut self, value: &impl Serialize) -> Reply {
        self.body = Reply::json(self.status, value).body;
        self
    }
}

/// A code of ROMA or of the gateway in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Roma(u32),
    Gateway(u32),
}

impl Code {
    pub(crate) fn spelt(self, knobs: &Knobs) -> String {
        match self {
            Code::Roma(number) => match knobs.code_style {
                CodeStyle::Plain if number < 1000 => format!("ROMA.{number:08}"),
                CodeStyle::Plain => format!("ROMA.{number}"),
                CodeStyle::Padded => format!("ROMA.{number:08}"),
            },
            Code::Gateway(number) => match knobs.gateway_prefix {
                GatewayPrefix::Apigw => format!("APIGW.{number:04}"),
                GatewayPrefix::Apig => format!("APIG.{number:04}"),
            },
        }
    }
}

/// A refusal with the vendor's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn roma(status: u16, code: u32, message: &str) -> Refusal {
        Refusal { status, code: Code::Roma(code), message: message.to_owned() }
    }

    pub(crate) fn gateway(status: u16, code: u32, message: &str) -> Refusal {
        Refusal { status, code: Code::Gateway(code), message: message.to_owned() }
    }

    pub(crate) fn reply(&self, knobs: &Knobs, request_id: &str) -> Reply {
        envelope(self.status, self.code.spelt(knobs), &self.message, knobs, request_id)
    }
}

/// An error answer with this code as it stands.
pub(crate) fn envelope(
    status: u16,
    code: String,
    message: &str,
    knobs: &Knobs,
    request_id: &str,
) -> Reply {
    let body = ErrorEnvelope {
        error_code: code.clone(),
        error_msg: message.to_owned(),
        error_details: None,
        suggestion: knobs.suggestion().then(|| "Check the parameters and try again.".to_owned()),
        request_id: Some(request_id.to_owned()),
    };
    let mut reply = Reply::json(status, &body);
    reply.error_code = Some(code);
    reply
}

/// IAM's way of refusing.
pub(crate) fn keystone(status: u16, message: &str) -> Reply {
    Reply::json(
        status,
        &KeystoneError {
            error: KeystoneCause {
                code: status,
                message: message.to_owned(),
                title: crate::http::phrase(status).to_owned(),
            },
        },
    )
}

/// What goes wrong with credentials at the gateway.
pub(crate) fn bad_token() -> Refusal {
    Refusal::gateway(401, 301, "Incorrect IAM authentication information: decrypt token fail")
}

/// The answer to an expired token.
pub(crate) fn expired_token() -> Refusal {
    Refusal::gateway(401, 307, "The token must be updated.")
}
