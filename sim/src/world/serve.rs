//! Answers one request with the whole world, and writes it into the ledger. Must never wait nor
//! send: it says in a [`Plan`] what shall be sent, and how badly.

use serde_json::Value;

use super::World;
use super::packages::GetTicket;
use super::users::Caller;
use crate::auth;
use crate::chaos;
use crate::defaults;
use crate::fault::{Effect, Fault, UnauthorizedKind};
use crate::http::Request;
use crate::knobs::{ConsumePoint, Vintage};
use crate::ledger::{GetRecord, RequestRecord};
use crate::prng::hex_id;
use crate::reply::{Body, Refusal, Reply, bad_token, envelope, expired_token};
use crate::route::Route;
use crate::shape::Shape;

/// One request and what goes with it.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) now_ms: i64,
    pub(crate) request_id: String,
}

/// An answer and the way in which it is sent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) reply: Reply,
    pub(crate) shape: Shape,
    /// Present when the answer is a package.
    pub(crate) ticket: Option<GetTicket>,
}

impl World {
    pub(crate) fn serve(&mut self, request: &Request, now_ms: i64) -> Plan {
        let route = Route::of(request);
        let endpoint = route.endpoint();
        let (number, of_endpoint) = self.ledger.open_request(endpoint);
        let call = Call { request, now_ms, request_id: hex_id(self.seed, "request", number) };
        let fault = endpoint.and_then(|endpoint| {
            let scripted = self.faults.take(endpoint, &route.ids());
            scripted.or_else(|| chaos::fault(&self.knobs.chaos, endpoint, of_endpoint))
        });
        // A fault on a job comes before its time is looked at: it can still be stopped.
        if let (Route::Job { job_id, .. }, Some(fault)) = (&route, &fault) {
            self.bend_job(job_id, fault, now_ms);
        }
        self.settle(now_ms);
        let caller = self.authenticate(request, now_ms);
        let user = caller.as_ref().ok().map(|caller| caller.user.clone());
        let mut reply = match fault.as_ref().and_then(|fault| self.instead(fault, &call)) {
            Some(reply) => reply,
            None => self.answer(&route, &call, caller),
        };
        if let (Some(job_id), Some(fault)) = (&reply.started_job, &fault) {
            self.bend_job(&job_id.clone(), fault, now_ms);
        }
        let package = reply.package;
        if let Some(fault) = &fault {
            reply = self.afterwards(fault, reply, &call);
        }
        if let (Some(endpoint), Some(Fault::ListMoves(what))) = (endpoint, &fault)
            && let Some(instance_id) = route.ids().last()
        {
            self.move_list(instance_id, endpoint, *what);
        }
        reply.add_header("X-Request-Id", &call.request_id);
        let shape = Shape::of(&self.knobs, fault.as_ref(), &reply, now_ms);
        let status = if shape.silent { 0 } else { reply.status };
        let ticket = self.note_get(&route, package, status, fault.as_ref(), now_ms);
        self.ledger.record(RequestRecord {
            number,
            at_ms: now_ms,
            endpoint,
            method: request.method.clone(),
            path: request.path().to_owned(),
            status,
            error_code: reply.error_code.clone(),
            user,
            fault,
        });
        Plan {
            // The body is the package's own only if nothing took its place.
            ticket: ticket.filter(|_| reply.package.is_some()),
            reply,
            shape,
        }
    }

    fn answer(&mut self, route: &Route, call: &Call<'_>, caller: Result<Caller, Refusal>) -> Reply {
        match route {
            Route::Token => return self.issue_token(call.request, call.now_ms),
            Route::MetadataToken => return self.metadata_token(call.request, call.now_ms),
            Route::SecurityKey => return self.security_key(call.request, call.now_ms),
            _ => {}
        }
        let result = caller.and_then(|caller| self.dispatch(route, call, &caller));
        result.unwrap_or_else(|refusal| refusal.reply(&self.knobs, &call.request_id))
    }

    fn dispatch(
        &mut self,
        route: &Route,
        call: &Call<'_>,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        let request = call.request;
        if request.body_bytes > self.knobs.import_limit_bytes {
            let message = "The request body is too large.";
            return Err(Refusal::gateway(413, 201, message));
        }
        match route {
            Route::Export { place } => self.export(call, caller, place),
            Route::Job { place, job_id } => self.job_answer(call, caller, place, job_id),
            Route::Download { place, archive_id } => self.download(call, caller, place, archive_id),
            Route::Import { place } => self.import(call, caller, place),
            Route::Instances { project_id } => self.list_instances(request, caller, project_id),
            Route::Apps { place } => self.list_apps(request, caller, place),
            Route::Tasks { place } => self.list_tasks(request, caller, place),
            Route::Projects => Ok(self.projects(request, caller)),
            Route::Token
            | Route::MetadataToken
            | Route::SecurityKey
            | Route::Admin(_)
            | Route::Unknown => {
                let message = "The API does not exist or has not been published.";
                Err(Refusal::gateway(404, 101, message))
            }
        }
    }

    /// The answer that a fault gives in place of the ordinary one, before any effect.
    fn instead(&self, fault: &Fault, call: &Call<'_>) -> Option<Reply> {
        let refuse = |refusal: Refusal| Some(refusal.reply(&self.knobs, &call.request_id));
        match fault {
            Fault::Status { .. } => Some(self.status_fault(fault, call)),
            Fault::Unauthorized { kind } => refuse(unauthorized(*kind)),
            Fault::Throttle { retry_after } => {
                let message = "The throttling threshold has been reached: \
                               policy user over ratelimit,limit:10";
                let mut reply = refuse(Refusal::gateway(429, 308, message))?;
                if let Some(retry_after) = retry_after {
                    reply.add_header("Retry-After", retry_after);
                }
                Some(reply)
            }
            Fault::Redirect { location } => {
                let mut reply = Reply::bytes(302, None, Vec::new());
                reply.add_header("Location", location);
                Some(reply)
            }
            Fault::HtmlError200 => Some(html(200, "Service temporarily unavailable")),
            Fault::JsonError200 => {
                let mut reply = refuse(Refusal::roma(200, 11000, "System error."))?;
                reply.status = 200;
                Some(reply)
            }
            Fault::Empty200 => Some(Reply::bytes(200, None, Vec::new())),
            Fault::BadGateway { code, effect: Effect::Before } => refuse(bad_gateway(*code)),
            Fault::CloseBeforeHead { effect: Effect::Before } => {
                Some(Reply::bytes(200, None, Vec::new()))
            }
            _ => None,
        }
    }

    fn status_fault(&self, fault: &Fault, call: &Call<'_>) -> Reply {
        let Fault::Status { code, error_code, body, retry_after, content_type } = fault else {
            return html(500, "no status");
        };
        let mut reply = if let Some(body) = body {
            Reply::bytes(*code, content_type.as_deref(), body.clone().into_bytes())
        } else {
            let error_code =
                error_code.clone().unwrap_or_else(|| usual_refusal(*code).code.spelt(&self.knobs));
            let message = "Scripted by the simulator.";
            envelope(*code, error_code, message, &self.knobs, &call.request_id)
        };
        if let (Some(content_type), None) = (content_type, body) {
            reply.headers.retain(|(name, _)| name != "Content-Type");
            reply.add_header("Content-Type", content_type);
        }
        if let Some(retry_after) = retry_after {
            reply.add_header("Retry-After", retry_after);
        }
        reply
    }

    /// What a fault makes of the ordinary answer, whose effect has taken place.
    fn afterwards(&self, fault: &Fault, reply: Reply, call: &Call<'_>) -> Reply {
        let good = reply.status < 300;
        match fault {
            Fault::BadGateway { code, effect: Effect::After } => {
                bad_gateway(*code).reply(&self.knobs, &call.request_id)
            }
            Fault::EndlessBody => Reply { body: Body::Endless, package: None, ..reply },
            Fault::HugeJson { bytes } if good => huge_json(reply, *bytes),
            Fault::MalformedJson if good && reply.package.is_none() => malformed(reply),
            Fault::UnknownStatus { word } if good => edited(reply, |body| {
                if let Some(status) = body.get_mut("status") {
                    *status = Value::String(word.clone());
                }
            }),
            Fault::SuccessWithoutId if good => {
                let success = match self.knobs.vintage {
                    Vintage::V2025 => "SUCCEEDED",
                    Vintage::V2022 | Vintage::ExampleCasing => "Success",
                };
                let mut reply = edited(reply, |body| without_id(body, success));
                reply.headers.retain(|(name, _)| name != "X-Subject-Token");
                reply
            }
            _ => reply,
        }
    }

    /// Every GET that names a known package is written down, whatever became of it.
    fn note_get(
        &mut self,
        route: &Route,
        served: Option<usize>,
        status: u16,
        fault: Option<&Fault>,
        now_ms: i64,
    ) -> Option<GetTicket> {
        let Route::Download { archive_id, .. } = route else {
            return None;
        };
        let package = served.or_else(|| self.ledger.index_of(archive_id))?;
        let get = GetRecord {
            at_ms: now_ms,
            status,
            bytes_sent: 0,
            complete: false,
            consumed: false,
            fault: fault.cloned(),
        };
        let ticket = GetTicket::new(package, self.ledger.add_get(package, get)?);
        served?;
        let forced = matches!(
            fault,
            Some(
                Fault::BadGateway { effect: Effect::After, .. }
                    | Fault::CloseBeforeHead { effect: Effect::After }
            )
        );
        if forced || self.knobs.consume_point == ConsumePoint::Request {
            self.consume_by(ticket, now_ms);
        }
        Some(ticket)
    }
}

fn unauthorized(kind: UnauthorizedKind) -> Refusal {
    match kind {
        UnauthorizedKind::ExpiredToken => expired_token(),
        UnauthorizedKind::BadToken => bad_token(),
        UnauthorizedKind::BadSignature => auth::bad_signature(),
        UnauthorizedKind::ClockSkew => auth::skewed(),
        UnauthorizedKind::AkLocked => auth::locked(),
        UnauthorizedKind::AkUnknown => auth::unknown(defaults::ACCESS_KEY),
        UnauthorizedKind::WrongTokenAs400 => Refusal::roma(400, 1002, "The token is wrong."),
    }
}

fn bad_gateway(code: u16) -> Refusal {
    let message = if code == 504 { "Backend timeout." } else { "Backend unavailable." };
    Refusal::gateway(code, 201, message)
}

/// The code that a status usually comes with.
fn usual_refusal(status: u16) -> Refusal {
    match status {
        401 => bad_token(),
        403 => Refusal::gateway(403, 302, ""),
        404 => Refusal::gateway(404, 101, ""),
        429 => Refusal::gateway(429, 308, ""),
        413 | 414 | 494 | 502 | 504 => Refusal::gateway(status, 201, ""),
        503 => Refusal::gateway(503, 613, ""),
        500 => Refusal::roma(500, 11000, ""),
        _ => Refusal::roma(status, 13000, ""),
    }
}

fn html(status: u16, title: &str) -> Reply {
    let page = format!("<html><head><title>{title}</title></head><body>{title}</body></html>\n");
    Reply::bytes(status, Some("text/html"), page.into_bytes())
}

fn body_bytes(reply: &Reply) -> Vec<u8> {
    match &reply.body {
        Body::Content(content) => content.to_vec(),
        Body::Endless => Vec::new(),
    }
}

fn edited(reply: Reply, edit: impl FnOnce(&mut Value)) -> Reply {
    if reply.package.is_some() {
        return reply;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&body_bytes(&reply)) else {
        return reply;
    };
    edit(&mut value);
    reply.with_json(&value)
}

fn without_id(body: &mut Value, success: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove("archive_id");
        fields.remove("entities");
        fields.remove("job_id");
        if let Some(status) = fields.get_mut("status") {
            *status = Value::String(success.to_owned());
        }
    }
}

fn malformed(mut reply: Reply) -> Reply {
    let mut body = body_bytes(&reply);
    body.truncate(body.len() / 2);
    reply.body = Reply::bytes(200, None, body).body;
    reply
}

fn huge_json(mut reply: Reply, bytes: u64) -> Reply {
    reply.body = Body::Content(std::sync::Arc::new(crate::content::Content::new(
        &crate::content::ContentSpec::Json { bytes },
        1,
        crate::content::AssetScope::default(),
    )));
    reply.package = None;
    reply
}
