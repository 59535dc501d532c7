//! The way back: a package goes to an instance, which starts a job that imports it (contract 4).
//!
//! Like the start of an export it must not be sent twice, so it goes through the same client. What
//! ROMA would refuse for its form alone is said by [`file_name_fits`] and [`LARGEST_REQUEST`], so
//! that nobody has to find out half-way through a snapshot.

use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};

use super::error::{Call, RomaError};
use super::{Roma, answer, wire};
use crate::lifecycle::{Effect, FailureClass};
use crate::model::{JobId, Name, Timestamp};

/// The gateway refuses a request whose body is larger, in bytes, however it is signed: "12 MB"
/// (contract 4, 7). Taken for the smaller of its two meanings.
pub const LARGEST_REQUEST: u64 = 12_000_000;
/// What the form takes besides the package: two boundaries and the headers of one part.
pub const FORM_BYTES: u64 = 512;
/// The name of the form's only part (contract 4).
const PART: &str = "ImportAssetRequestBody";
/// A line that is slower than this is broken, in bytes a second.
const SLOWEST: u64 = 32 << 10;

/// What the instance is to do with assets that it has already (contract 4, `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// `AddNew`: everything is created anew, beside what is there.
    AddNew,
    /// `Merge`: what is there is updated.
    Merge,
}

impl ImportMode {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AddNew => "AddNew",
            Self::Merge => "Merge",
        }
    }
}

/// How a package is to be imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// What happens to assets that are there already.
    pub mode: ImportMode,
    /// Put in front of the name of every imported application.
    pub prefix: Option<String>,
    /// Whether imported data sources replace those of the same name.
    pub overwrite_datasources: bool,
}

/// Whether ROMA takes a file of this name: `.zip`, before it a letter or digit, then letters,
/// digits, `+`, `-` and `_` (contract 4, ROMA.10013).
pub fn file_name_fits(name: &str) -> bool {
    let stem = name.strip_suffix(".zip").unwrap_or_default();
    stem.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(&byte))
}

impl Roma {
    /// Sends a package and starts the job that imports it (contract 4).
    pub async fn import_package(
        &self,
        instance: &Name,
        (file_name, package): (&str, Vec<u8>),
        options: &ImportOptions,
        now: Timestamp,
    ) -> Result<JobId, RomaError> {
        let call = Call::Import;
        let unfit =
            |message: &str| RomaError::new(call, FailureClass::Permanent, Effect::NotDone, message);
        if !file_name_fits(file_name) {
            return Err(unfit("ROMA takes no file of this name"));
        }
        let target = self.target(call, instance)?;
        let mut url = target.url(call, &["assets", "import"])?;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("type", options.mode.word());
            if let Some(prefix) = &options.prefix {
                query.append_pair("prefix", prefix);
            }
            if options.overwrite_datasources {
                query.append_pair("datasource_overwrite", "true");
            }
        }
        let patience = Duration::from_secs(package.len() as u64 / SLOWEST);
        let part = Part::bytes(package)
            .file_name(file_name.to_owned())
            .mime_str("application/zip")
            .map_err(|_| unfit("the form cannot be built"))?;
        let request = self
            .once
            .request(Method::POST, url)
            .timeout(self.request_timeout + patience)
            .multipart(Form::new().part(PART, part));
        let body = self.ask(call, target, request, now).await?;
        // A success without a job id: the job runs, and nobody will ever find it.
        wire::accepted_job(&body).ok_or_else(|| answer::unexpected(call, &body, "no job_id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_roma_takes_are_sent() {
        for good in ["s12-1.zip", "A+b_c.zip", "0.zip"] {
            assert!(file_name_fits(good), "{good}");
        }
        for bad in ["s12-1", ".zip", "-a.zip", "a b.zip", "a/b.zip", "a.b.zip", "ä.zip", ""] {
            assert!(!file_name_fits(bad), "{bad}");
        }
    }
}
