//! Imports: a package comes in as a multipart form and a job starts. Must never keep the file.

use super::World;
use super::jobs::{JobKind, Order, Outcome};
use super::serve::Call;
use super::users::Caller;
use crate::content::sha256_hex;
use crate::ledger::ImportRecord;
use crate::reply::{Refusal, Reply};
use crate::route::Place;
use crate::wire::JobAccepted;

const PART: &str = "ImportAssetRequestBody";

impl World {
    pub(super) fn import(
        &mut self,
        call: &Call<'_>,
        caller: &Caller,
        place: &Place,
    ) -> Result<Reply, Refusal> {
        self.instance_of(caller, place)?;
        let request = call.request;
        let mode = request.query("type").unwrap_or_else(|| "AddNew".to_owned());
        if !["AddNew", "Merge"].contains(&mode.as_str()) {
            return Err(Refusal::roma(400, 13000, "The type is invalid."));
        }
        let overwrite = request.query("datasource_overwrite");
        if overwrite.as_deref().is_some_and(|word| !["true", "false"].contains(&word)) {
            return Err(Refusal::roma(400, 13000, "The datasource_overwrite is invalid."));
        }
        let content_type = request.header("content-type").unwrap_or_default();
        let file = part(content_type, &request.body)
            .ok_or_else(|| Refusal::roma(400, 13001, "The file part is missing."))?;
        if !name_fits(&file.name) {
            return Err(Refusal::roma(400, 10013, "The file name is invalid."));
        }
        if !file.data.starts_with(b"PK\x03\x04") {
            return Err(Refusal::roma(400, 10011, "The file is no valid zip."));
        }
        self.ask_for_lock(&caller.user, &place.instance_id, call.now_ms)?;
        let order = Order {
            kind: JobKind::Import,
            user: caller.user.clone(),
            place: place.clone(),
            outcome: Outcome::Nothing,
        };
        let job_id = self.start_job(order, call.now_ms);
        self.ledger.import(ImportRecord {
            at_ms: call.now_ms,
            user: caller.user.clone(),
            instance_id: place.instance_id.clone(),
            file_name: file.name,
            bytes: u64::try_from(file.data.len()).unwrap_or(u64::MAX),
            sha256: sha256_hex(file.data),
            mode,
            prefix: request.query("prefix"),
            datasource_overwrite: overwrite,
            job_id: job_id.clone(),
        });
        let mut reply = Reply::json(200, &JobAccepted { job_id: job_id.clone() });
        reply.started_job = Some(job_id);
        Ok(reply)
    }
}

/// A letter or digit, then letters, digits, `+`, `-`, `_`, and `.zip` at the end.
fn name_fits(name: &str) -> bool {
    let stem = name.strip_suffix(".zip").unwrap_or_default();
    let first = stem.chars().next();
    first.is_some_and(|first| first.is_ascii_alphanumeric())
        && stem.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-_".contains(letter))
}

struct Part<'a> {
    name: String,
    data: &'a [u8],
}

/// The file part of the form.
fn part<'a>(content_type: &str, body: &'a [u8]) -> Option<Part<'a>> {
    let boundary = parameter(content_type, "boundary")?;
    let delimiter = format!("--{boundary}");
    let closing = format!("\r\n{delimiter}");
    let mut rest = &body[find(body, delimiter.as_bytes())? + delimiter.len()..];
    loop {
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let data = &rest[head_end + 4..];
        let end = find(data, closing.as_bytes())?;
        let disposition =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"));
        if let Some(line) = disposition
            && parameter(line, "name").as_deref() == Some(PART)
        {
            return Some(Part { name: parameter(line, "filename")?, data: &data[..end] });
        }
        rest = &data[end + closing.len()..];
    }
}

/// The value of `key=...` among the parameters of a header.
fn parameter(header: &str, key: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case(key).then(|| value.to_owned())
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
