//! Packages: each can be had once. When it counts as had is a knob.

use std::sync::Arc;

use serde_json::json;

use super::World;
use super::serve::Call;
use super::users::Caller;
use crate::content::Content;
use crate::knobs::{ConsumePoint, Knobs, SecondGet};
use crate::ledger::PackageRecord;
use crate::reply::{Body, Refusal, Reply};
use crate::route::Place;
use crate::wire::BareArchiveRef;

#[derive(Clone, Debug)]
pub(super) struct Package {
    user: String,
    place: Place,
    ready_ms: i64,
    consumed_ms: Option<i64>,
    replaced: bool,
}

impl Package {
    pub(super) fn is_consumed(&self) -> bool {
        self.consumed_ms.is_some()
    }

    /// It cannot be had any more, though nobody fetched it.
    pub(super) fn is_gone(&self, knobs: &Knobs, now_ms: i64) -> bool {
        let expired = knobs
            .validity_ms
            .is_some_and(|validity| now_ms >= self.ready_ms.saturating_add(validity));
        self.replaced || expired
    }
}

/// A GET that is being answered with a package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GetTicket {
    package: usize,
    get: usize,
}

impl GetTicket {
    pub(super) fn new(package: usize, get: usize) -> GetTicket {
        GetTicket { package, get }
    }
}

impl World {
    pub(super) fn add_package(
        &mut self,
        job_id: &str,
        package_id: &str,
        user: &str,
        place: &Place,
        content: Arc<Content>,
        ready_ms: i64,
    ) -> usize {
        if self.knobs.prepare_in_memory {
            content.prepare();
        }
        if self.knobs.export_replaces_package {
            let older = self.packages.iter_mut();
            for package in older.filter(|package| package.user == user) {
                package.replaced = true;
            }
        }
        self.packages.push(Package {
            user: user.to_owned(),
            place: place.clone(),
            ready_ms,
            consumed_ms: None,
            replaced: false,
        });
        self.ledger.add_package(PackageRecord {
            package_id: package_id.to_owned(),
            job_id: job_id.to_owned(),
            instance_id: place.instance_id.clone(),
            ready_ms,
            gets: Vec::new(),
            content,
        })
    }

    pub(super) fn download(
        &self,
        call: &Call<'_>,
        caller: &Caller,
        place: &Place,
        archive_id: &str,
    ) -> Result<Reply, Refusal> {
        self.instance_of(caller, place)?;
        let index = self.ledger.index_of(archive_id).filter(|index| {
            self.packages.get(*index).is_some_and(|package| {
                let had = package.is_consumed() && self.knobs.consume_point != ConsumePoint::Never;
                package.place == *place && !had && !package.is_gone(&self.knobs, call.now_ms)
            })
        });
        let record = index.and_then(|index| self.ledger.packages().get(index));
        let Some(record) = record else {
            return self.gone(archive_id);
        };
        let content_type = self.knobs.download_content_type.as_deref();
        let mut reply = Reply::bytes(200, content_type, Vec::new());
        if let Some(disposition) = &self.knobs.download_disposition {
            reply.add_header("Content-Disposition", disposition);
        }
        reply.body = Body::Content(Arc::clone(&record.content));
        reply.package = index;
        Ok(reply)
    }

    /// The answer to the GET of a package that cannot be had.
    fn gone(&self, archive_id: &str) -> Result<Reply, Refusal> {
        const MESSAGE: &str = "The archive does not exist.";
        let refuse = |status| Err(Refusal::roma(status, 101, MESSAGE));
        let bare = BareArchiveRef { archive_id: archive_id.to_owned() };
        match self.knobs.second_get() {
            SecondGet::Forbidden403 => refuse(403),
            SecondGet::NotFound404 => refuse(404),
            SecondGet::BadRequest400 => refuse(400),
            SecondGet::Gone410 => refuse(410),
            SecondGet::NotFound404Bare => Ok(Reply::json(404, &bare)),
            SecondGet::Ok200Empty => Ok(Reply::bytes(200, None, Vec::new())),
            SecondGet::Ok200Json => Ok(Reply::json(200, &json!({"apps": [], "tasks": []}))),
        }
    }

    /// True when this call consumed it, false when it was consumed before.
    pub(super) fn consume(&mut self, index: usize, now_ms: i64) -> bool {
        let Some(package) = self.packages.get_mut(index) else {
            return false;
        };
        let first = package.consumed_ms.is_none();
        package.consumed_ms.get_or_insert(now_ms);
        first
    }

    pub(super) fn consume_by(&mut self, ticket: GetTicket, now_ms: i64) {
        if self.consume(ticket.package, now_ms)
            && let Some(get) = self.ledger.get_mut(ticket.package, ticket.get)
        {
            get.consumed = true;
        }
    }

    /// The first byte of the body is about to go.
    pub(crate) fn first_byte(&mut self, ticket: GetTicket, now_ms: i64) {
        if self.knobs.consume_point == ConsumePoint::FirstByte {
            self.consume_by(ticket, now_ms);
        }
    }

    /// The last byte of the body is about to go, `bytes_sent` in all; with a truthful head that
    /// makes it complete.
    pub(crate) fn last_byte(
        &mut self,
        ticket: GetTicket,
        truthful: bool,
        bytes_sent: u64,
        now_ms: i64,
    ) {
        // An empty body has a last byte only in a manner of speaking, and no first one.
        let point = self.knobs.consume_point;
        if matches!(point, ConsumePoint::FirstByte | ConsumePoint::LastByte) {
            self.consume_by(ticket, now_ms);
        }
        if let Some(get) = self.ledger.get_mut(ticket.package, ticket.get) {
            get.complete = truthful;
            get.bytes_sent = bytes_sent;
        }
    }

    /// The last byte could not be sent after all.
    pub(crate) fn last_byte_failed(&mut self, ticket: GetTicket) {
        let at_last_byte = self.knobs.consume_point == ConsumePoint::LastByte;
        let Some(get) = self.ledger.get_mut(ticket.package, ticket.get) else {
            return;
        };
        get.complete = false;
        if at_last_byte && get.consumed {
            get.consumed = false;
            if let Some(package) = self.packages.get_mut(ticket.package) {
                package.consumed_ms = None;
            }
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn get_ended(&mut self, ticket: GetTicket, bytes_sent: u64) {
        if let Some(get) = self.ledger.get_mut(ticket.package, ticket.get) {
            get.bytes_sent = bytes_sent;
        }
    }
}
