//! What the operator chose, as values that cannot be wrong.
//!
//! `config` turns text into these; everybody else only reads the part it needs. Pure data: no
//! file is read here, and secrets appear only as the place where they lie.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use url::Url;

use crate::lifecycle::Pace;
use crate::model::Name;
use crate::retention::Policy;
use crate::schedule::Schedule;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds the catalog, `vault/`, `staging/`, `quarantine/` and `lock`; absolute.
    pub state_dir: PathBuf,
    /// The zone of schedules and of retention's buckets.
    pub zone: TimeZone,
    /// The IAM users that ROMA is asked as.
    pub accounts: Vec<Account>,
    /// The ROMA Connect instances; each names an account of `accounts`.
    pub instances: Vec<Instance>,
    /// The recurring exports; each names an instance of `instances`.
    pub exports: Vec<Export>,
    /// `[retention]`: for watched jobs, and for exports without a policy of their own.
    pub retention: Policy,
    /// How much, how often, how long.
    pub limits: Limits,
    /// How packages are compressed.
    pub pack: Pack,
    /// How servers are reached and trusted.
    pub tls: Tls,
    /// How often stored files are read again.
    pub verify: Verify,
    /// Where monitoring looks.
    pub metrics: Metrics,
    /// Who is told.
    pub notify: Notify,
}

/// One IAM user. ROMA runs one asset job of it at a time (contract 1).
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name in this configuration.
    pub name: Name,
    /// How it signs in.
    pub auth: Auth,
}

/// How an account signs in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A token from IAM by user name and password (contract 6.1).
    Password {
        /// Where IAM answers, without a path.
        iam_endpoint: Url,
        /// IAM user.
        user: String,
        /// IAM account, called domain.
        domain: String,
        /// Project, by name (usually the region) or by id.
        project: String,
        /// Where the password lies.
        password: SecretPlace,
    },
    /// A key pair that signs every request (contract 6.2).
    AkSk {
        /// Where the access key lies; all of these are read again when the keys are refused.
        access_key: SecretPlace,
        /// Where the secret key lies.
        secret_key: SecretPlace,
        /// Where the security token of temporary keys lies.
        security_token: Option<SecretPlace>,
    },
    /// Keys of the agency that this machine has in the cloud (contract 6.3).
    Agency {
        /// Where the machine's metadata service answers, without a path.
        metadata_endpoint: Url,
    },
    /// A token that somebody else renews.
    Token {
        /// Where the token lies; read again for every renewal.
        token: SecretPlace,
    },
}

impl Auth {
    /// Everything secret that it needs, each where it lies.
    pub fn secrets(&self) -> Vec<&SecretPlace> {
        match self {
            Self::Password { password, .. } => vec![password],
            Self::AkSk { access_key, secret_key, security_token } => {
                [access_key, secret_key].into_iter().chain(security_token).collect()
            }
            Self::Agency { .. } => Vec::new(),
            Self::Token { token } => vec![token],
        }
    }
}

/// The region that tokens of this IAM are good for, where it is not that of `endpoint`: those of a
/// regional one are refused elsewhere, those of the global one nowhere (contract 6.1, 8).
pub fn foreign_region<'i>(iam_endpoint: &'i Url, endpoint: &Url) -> Option<&'i str> {
    let iam: Vec<&str> = iam_endpoint.host_str()?.split('.').collect();
    let ["iam", region, "myhuaweicloud", _] = iam[..] else { return None };
    let host: Vec<&str> = endpoint.host_str()?.split('.').collect();
    let is_elsewhere = host.contains(&"myhuaweicloud") && !host.contains(&region);
    is_elsewhere.then_some(region)
}

/// Where a secret lies. Reading it is the business of whoever needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// `credential:NAME`: `$CREDENTIALS_DIRECTORY/NAME`, given by systemd's `LoadCredential=`.
    Credential(String),
    /// An absolute path; mode 0640 at most.
    File(PathBuf),
}

impl std::fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One ROMA Connect instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name in this configuration and in the vault.
    pub name: Name,
    /// The account that it is asked as.
    pub account: Name,
    /// Where ROMA answers, without a path. `http` for loopback only.
    pub endpoint: Url,
    /// Part of every ROMA path (contract, Base).
    pub project_id: String,
    /// Part of every ROMA path (contract, Base).
    pub instance_id: String,
}

/// One recurring export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name in this configuration and in the vault.
    pub name: Name,
    /// The instance that is exported.
    pub instance: Name,
    /// `None`: only started by hand.
    pub schedule: Option<Schedule>,
    /// Which applications.
    pub apps: Selection,
    /// Which FDI tasks.
    pub tasks: Selection,
    /// A verified snapshot shall never be older than this.
    pub rpo: Option<Duration>,
    /// Its own `[export.retention]`, or a copy of `[retention]`.
    pub policy: Policy,
}

/// Which assets an export takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Whatever the instance holds at the time of the run.
    All,
    /// Exactly these ids; may be empty.
    Ids(Vec<String>),
}

impl Selection {
    /// Whether there can be anything in it.
    pub const fn takes_any(&self) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => !ids.is_empty(),
        }
    }
}

/// How much, how often, how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Downloads at the same time.
    pub downloads: NonZeroUsize,
    /// How often running jobs are looked at.
    pub pace: Pace,
    /// For one API call, from connect to the last byte.
    pub request_timeout: Duration,
    /// A download that is silent for longer is broken off. There is no total limit.
    pub download_idle_timeout: Duration,
    /// A larger package is broken off, in bytes.
    pub max_package_bytes: u64,
    /// Left free on the disk at any time, in bytes.
    pub min_free_bytes: u64,
    /// How often a lost part is exported again.
    pub reexports: u32,
    /// How long running steps may go on after SIGTERM.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            downloads: NonZeroUsize::MIN.saturating_add(7),
            pace: Pace {
                poll_interval: Duration::from_secs(2),
                poll_interval_max: Duration::from_mins(1),
            },
            request_timeout: Duration::from_secs(30),
            download_idle_timeout: Duration::from_mins(1),
            max_package_bytes: 64 << 30,
            min_free_bytes: 1 << 30,
            reexports: 3,
            shutdown_grace: Duration::from_mins(5),
        }
    }
}

/// How packages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Which method.
    pub method: PackMethod,
    /// 1 (fast) to 9 (small).
    pub level: NonZeroU32,
}

impl Default for Pack {
    fn default() -> Self {
        Self { method: PackMethod::Auto, level: NonZeroU32::MIN.saturating_add(5) }
    }
}

/// `pack.method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackMethod {
    /// Deflate, but store what does not shrink.
    Auto,
    /// Always deflate.
    Deflate,
    /// Never compress.
    Store,
}

/// How often stored files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// A file whose last check is older than this is read again.
    pub every: Duration,
    /// Read in a day, in bytes; 0: nothing is.
    pub daily_bytes: u64,
}

impl Default for Verify {
    fn default() -> Self {
        Self { every: Duration::from_hours(7 * 24), daily_bytes: 2 << 30 }
    }
}

/// How servers are reached and trusted.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates in PEM that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// All requests go through this proxy.
    pub proxy: Option<Url>,
}

/// Where monitoring looks.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// For the textfile collector of `node_exporter`; absolute.
    pub textfile: Option<PathBuf>,
}

/// Who is told.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    /// Asked regularly, but only while every objective is met.
    pub ping: Option<HiddenUrl>,
    /// Told of each loss, damaged file and missed objective.
    pub webhook: Option<HiddenUrl>,
}

/// An address that is a secret by itself, because whoever knows it may speak there.
#[derive(Clone)]
pub struct HiddenUrl(Url);

impl HiddenUrl {
    /// Hides it.
    pub const fn new(url: Url) -> Self {
        Self(url)
    }

    /// The address, for the request alone.
    pub const fn reveal(&self) -> &Url {
        &self.0
    }

    /// Host and port, which is no secret.
    pub fn place(&self) -> Option<(&str, u16)> {
        self.0.host_str().zip(self.0.port_or_known_default())
    }
}

impl std::fmt::Debug for HiddenUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_region_is_noticed() {
        let foreign = |iam: &str, roma: &str| {
            let (iam, roma) = (iam.parse().unwrap(), roma.parse().unwrap());
            foreign_region(&iam, &roma).map(ToOwned::to_owned)
        };
        let roma = "https://roma.ap-southeast-1.myhuaweicloud.com";
        let north = "https://iam.cn-north-4.myhuaweicloud.com";
        assert_eq!(foreign(north, roma).as_deref(), Some("cn-north-4"));
        assert_eq!(foreign("https://iam.ap-southeast-1.myhuaweicloud.com", roma), None);
        assert_eq!(foreign("https://iam.myhuaweicloud.com", roma), None);
        assert_eq!(foreign("http://127.0.0.1:1", roma), None);
        assert_eq!(foreign(north, "https://roma.corp.example"), None, "behind a name of one's own");
    }
}
