//! The client of ROMA Connect: one method a call, no retries, no state of its own but credentials.
//!
//! The GET of a package is destructive, so it goes through a client of its own that cannot send it
//! twice: no redirects, no retries, no reuse of connections that may be dead, HTTP/1.1, identity
//! encoding, a limit on silence but none on duration. The same client starts jobs, which must not
//! be started twice either. Credentials are marked sensitive and never leave for another address.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::SecretString;
use url::Url;

mod agency;
mod answer;
mod credential;
mod download;
mod error;
mod import;
mod inquiry;
mod listing;
pub mod secret;
mod session;
mod signin;
mod signing;
mod standing;
mod wire;

pub use answer::ClockOffset;
pub use download::PackageStream;
pub use error::{Call, ErrorCode, RomaError, Speaker, classify, shorten};
pub use import::{FORM_BYTES, ImportMode, ImportOptions, LARGEST_REQUEST, file_name_fits};
pub use inquiry::ListedInstance;
pub use listing::Listing;
pub use wire::{JobReport, JobStatus, ShortBody, error_body, job_report, short_body};

use crate::lifecycle::{Effect, FailureClass};
use crate::model::{JobId, Name, PackageId, Scope, Timestamp};
use crate::settings::{Account, Auth, Instance, Limits, Tls};
use answer::ServerClock;
use session::Session;

const USER_AGENT: &str = concat!("roma-archived/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The gateway takes no longer address (contract 7).
const MAX_URL: usize = 32 << 10;

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificates cannot be read.
    #[error("cannot read tls.ca_file {}", path.display())]
    CaFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client refuses its settings.
    #[error("cannot set up the HTTP client (are the ca-certificates installed?)")]
    Build(#[source] reqwest::Error),
    /// An instance names an account that does not exist.
    #[error("instance `{0}` names an account that is not configured")]
    NoAccount(Name),
}

/// All instances, each with its account's session.
#[derive(Debug)]
pub struct Roma {
    /// For calls that may be sent again without harm.
    api: Client,
    /// For calls that may not.
    once: Client,
    request_timeout: Duration,
    max_package_bytes: u64,
    instances: HashMap<Name, Target>,
}

#[derive(Debug)]
struct Target {
    name: Name,
    clock: ServerClock,
    account: Name,
    session: Arc<Session>,
    endpoint: Url,
    project_id: String,
    instance_id: String,
}

impl Roma {
    /// Prepares the clients; nothing is sent yet.
    pub fn new(
        accounts: &[Account],
        instances: &[Instance],
        limits: &Limits,
        tls: &Tls,
    ) -> Result<Self, ClientError> {
        let api = builder(tls)?.timeout(limits.request_timeout).build();
        let api = api.map_err(ClientError::Build)?;
        let used = |account: &Name| instances.iter().filter(|i| i.account == *account).count();
        let mut sessions = HashMap::new();
        for account in accounts {
            let http = match account.auth {
                Auth::Agency { .. } => metadata_client()?,
                _ => api.clone(),
            };
            let session = Session::new(account, used(&account.name), http);
            sessions.insert(&account.name, Arc::new(session));
        }
        let mut targets = HashMap::new();
        for instance in instances {
            let session = sessions
                .get(&instance.account)
                .ok_or_else(|| ClientError::NoAccount(instance.name.clone()))?;
            targets.insert(
                instance.name.clone(),
                Target {
                    name: instance.name.clone(),
                    clock: ServerClock::default(),
                    account: instance.account.clone(),
                    session: session.clone(),
                    endpoint: instance.endpoint.clone(),
                    project_id: instance.project_id.clone(),
                    instance_id: instance.instance_id.clone(),
                },
            );
        }
        let once = builder(tls)?
            .http1_only()
            .pool_max_idle_per_host(0)
            .read_timeout(limits.download_idle_timeout);
        Ok(Self {
            api,
            once: once.build().map_err(ClientError::Build)?,
            request_timeout: limits.request_timeout,
            max_package_bytes: limits.max_package_bytes,
            instances: targets,
        })
    }

    /// The account that an instance is asked as.
    pub fn account_of(&self, instance: &Name) -> Option<&Name> {
        self.instances.get(instance).map(|target| &target.account)
    }

    /// How far the clock of each instance is ahead of ours, as its last answer said.
    pub fn clock_offsets(&self) -> Vec<ClockOffset> {
        self.instances.values().filter_map(|target| target.clock.offset()).collect()
    }

    /// The same of one instance.
    pub fn clock_offset(&self, instance: &Name) -> Option<ClockOffset> {
        self.instances.get(instance)?.clock.offset()
    }

    /// When the credential at hand of an account ends, where that is known.
    pub fn credential_end(&self, account: &Name) -> Option<Timestamp> {
        self.instances.values().find(|target| target.account == *account)?.session.ends()
    }

    /// Our clock was set: what any instance said of it before means nothing any more.
    pub fn forget_clocks(&self) {
        self.instances.values().for_each(|target| target.clock.forget());
    }

    /// Starts a job (contract 1).
    pub async fn start_export(
        &self,
        instance: &Name,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<JobId, RomaError> {
        let call = Call::Export;
        let target = self.target(call, instance)?;
        let url = target.url(call, &["assets", "export"])?;
        let request = self
            .once
            .request(Method::POST, url)
            .timeout(self.request_timeout)
            .header(CONTENT_TYPE, "application/json;charset=UTF-8")
            .body(wire::export_request(scope).to_string());
        let body = self.ask(call, target, request, now).await?;
        // A success without a job id: the job runs, and nobody will ever find it.
        wire::accepted_job(&body).ok_or_else(|| answer::unexpected(call, &body, "no job_id"))
    }

    /// Asks about a job (contract 2).
    pub async fn job(
        &self,
        instance: &Name,
        job: &JobId,
        now: Timestamp,
    ) -> Result<JobReport, RomaError> {
        let call = Call::Job;
        let target = self.target(call, instance)?;
        let url = target.url(call, &["assets", "jobs", job.as_str()])?;
        let body = self.ask(call, target, self.api.get(url), now).await?;
        job_report(&body).ok_or_else(|| answer::unexpected(call, &body, "not a job"))
    }

    /// Makes sure that the instance's credential will not run out during what follows.
    pub async fn ready_credential(&self, instance: &Name, now: Timestamp) -> Result<(), RomaError> {
        let target = self.target(Call::Download, instance)?;
        target.session.ready(&target.name, now).await
    }

    /// The one GET (contract 3). Never call it before the intent is recorded.
    pub async fn open_package(
        &self,
        instance: &Name,
        package: &PackageId,
        now: Timestamp,
    ) -> Result<PackageStream, RomaError> {
        let call = Call::Download;
        let target = self.target(call, instance)?;
        let url = target.url(call, &["assets", "archives", package.as_str()])?;
        let request = self.once.get(url).header(ACCEPT, "*/*");
        let place = (target, Some(target.project_id.as_str()));
        let (response, hidden) = self.send(call, place, request, now).await?;
        PackageStream::open(response, self.max_package_bytes, hidden).await
    }

    fn target(&self, call: Call, instance: &Name) -> Result<&Target, RomaError> {
        self.instances.get(instance).ok_or_else(|| {
            let message = format!("instance `{instance}` is no longer configured");
            RomaError::new(call, FailureClass::Local, Effect::NotDone, message)
        })
    }

    /// The body of an answer that is read whole.
    async fn ask(
        &self,
        call: Call,
        target: &Target,
        request: RequestBuilder,
        now: Timestamp,
    ) -> Result<Vec<u8>, RomaError> {
        self.ask_in(call, (target, Some(&target.project_id)), request, now).await
    }

    /// The same of an address that belongs to this project, or to none.
    async fn ask_in(
        &self,
        call: Call,
        place: (&Target, Option<&str>),
        request: RequestBuilder,
        now: Timestamp,
    ) -> Result<Vec<u8>, RomaError> {
        let (response, hidden) = self.send(call, place, request, now).await?;
        Ok(answer::redact(answer::body(call, response).await?, &hidden))
    }

    /// Signs and sends a request; answers other than 2xx are errors. What was secret in it comes
    /// back with the answer, because the answer may repeat it.
    async fn send(
        &self,
        call: Call,
        (target, project_id): (&Target, Option<&str>),
        request: RequestBuilder,
        now: Timestamp,
    ) -> Result<(Response, Vec<SecretString>), RomaError> {
        let lease = target.session.lease(&target.name, now).await?;
        let (http, request) = request.header(ACCEPT_ENCODING, "identity").build_split();
        let mut request = request.map_err(|error| RomaError::transport(call, error))?;
        let hidden = lease.credential.attach(call, &mut request, project_id, now)?;
        let sent = http.execute(request).await;
        let response = sent.map_err(|error| RomaError::transport(call, error))?;
        target.clock.note(response.headers(), now);
        if response.status().is_success() {
            target.session.accepted(&lease, &target.name);
            return Ok((response, hidden));
        }
        let mut error = answer::refusal(call, response, &hidden, now).await;
        if error.class == FailureClass::Unauthorized {
            let skew = target.clock.offset().map(|offset| offset.millis);
            error.message.push_str(&lease.credential.doubt_of_clock(skew));
            error.message.push_str(&target.session.doubt_of_region(&target.endpoint));
            let said = &error.message;
            error.account_paused_until =
                target.session.refused(&lease, &target.name, said, now).await;
        }
        Err(error)
    }
}

impl Target {
    /// `/v2/{project_id}/instances/{instance_id}/...`, every part percent-encoded.
    fn url(&self, call: Call, rest: &[&str]) -> Result<Url, RomaError> {
        let base = ["v2", &self.project_id, "instances", &self.instance_id];
        self.join(call, &[&base[..], rest].concat())
    }

    /// `/v2/{project_id}/fdi/instances/{instance_id}/tasks`.
    fn tasks_url(&self) -> Result<Url, RomaError> {
        let parts = ["v2", &self.project_id, "fdi", "instances", &self.instance_id, "tasks"];
        self.join(Call::List, &parts)
    }

    fn join(&self, call: Call, parts: &[&str]) -> Result<Url, RomaError> {
        let mut path = String::new();
        for part in parts {
            path.push('/');
            push_encoded(&mut path, part.as_bytes());
        }
        // URLs drop these two, which would ask for something else.
        if path.len() > MAX_URL || parts.iter().any(|part| matches!(*part, "." | "..")) {
            let message = "the identifier cannot be part of an address";
            // One that ROMA gave out is out of reach for ever.
            let class = match call {
                Call::Job | Call::Download => FailureClass::Gone,
                _ => FailureClass::Permanent,
            };
            return Err(RomaError::new(call, class, Effect::NotDone, message));
        }
        let mut url = self.endpoint.clone();
        url.set_path(&path);
        Ok(url)
    }
}

/// Percent-encoded, whatever it holds (contract U16). The URL library would drop tabs and line
/// breaks, and so ask for something else.
fn push_encoded(path: &mut String, part: &[u8]) {
    for byte in part {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            path.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

/// A client for addresses that have nothing to do with ROMA: the same certificates and proxy, and
/// neither redirects nor retries.
pub fn plain_client(tls: &Tls, timeout: Duration) -> Result<Client, ClientError> {
    builder(tls)?.timeout(timeout).build().map_err(ClientError::Build)
}

/// For the metadata service: it is on the machine's own link, where no proxy is.
fn metadata_client() -> Result<Client, ClientError> {
    builder(&Tls::default())?
        .no_proxy()
        .timeout(agency::TIMEOUT)
        .build()
        .map_err(ClientError::Build)
}

fn builder(tls: &Tls) -> Result<reqwest::ClientBuilder, ClientError> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // By default the client sends again on some protocol errors: never here.
        .retry(reqwest::retry::never());
    if let Some(path) = &tls.ca_file {
        let pem = std::fs::read(path)
            .map_err(|source| ClientError::CaFile { path: path.clone(), source })?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(ClientError::Build)?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(proxy) = &tls.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.as_str()).map_err(ClientError::Build)?);
    }
    Ok(builder)
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
