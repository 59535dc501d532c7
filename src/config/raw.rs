//! What the TOML may say: every key there is, the shape of its value and an example of it.
//!
//! One table makes both the structs that serde fills and the tree of known keys, so that the two
//! cannot differ. Nothing here knows what a value means or refuses one.

use serde::Deserialize;

use crate::retention::Period;

/// The shape of a value, before anybody asks what it means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Text in quotes.
    Text,
    /// Text that may be a secret by mistake, and is therefore never repeated.
    Hidden,
    /// A whole number.
    Integer,
    /// `"all"` or a list of ids.
    Selection,
    /// A phrase, or a list of times.
    History,
    /// `[section]`.
    Table(&'static [Known]),
    /// `[[section]]`.
    List(&'static [Known]),
}

/// A key that exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// As it is written.
    pub(super) name: &'static str,
    /// What must follow it.
    pub(super) shape: Shape,
    /// A value in TOML; for a section, its header.
    pub(super) example: &'static str,
}

/// A type of this file, and the shape it is read from.
pub(super) trait Shaped {
    const SHAPE: Shape;
}

impl Shaped for String {
    const SHAPE: Shape = Shape::Text;
}

impl Shaped for i64 {
    const SHAPE: Shape = Shape::Integer;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = match T::SHAPE {
        Shape::Table(keys) => Shape::List(keys),
        other => other,
    };
}

/// Text that must not be repeated.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Hidden(pub(super) String);

impl Shaped for Hidden {
    const SHAPE: Shape = Shape::Hidden;
}

/// `"all"` or a list of ids.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSelection {
    /// Hopefully `all`.
    Word(String),
    /// The ids.
    Ids(Vec<String>),
}

impl Shaped for RawSelection {
    const SHAPE: Shape = Shape::Selection;
}

/// What a test of a policy is given.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawHistory {
    /// Hopefully `daily since 2026-01-01`.
    Phrase(String),
    /// The times.
    Times(Vec<String>),
}

impl Shaped for RawHistory {
    const SHAPE: Shape = Shape::History;
}

macro_rules! section {
    (
        $(#[$doc:meta])*
        struct $name:ident {
            $($key:ident: $type:ty = $example:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)*
        }

        impl Shaped for $name {
            const SHAPE: Shape = Shape::Table(Self::KEYS);
        }

        impl $name {
            const KEYS: &'static [Known] = &[
                $(Known {
                    name: stringify!($key),
                    shape: <$type as Shaped>::SHAPE,
                    example: $example,
                },)*
            ];
        }
    };
}

section! {
    /// The whole file.
    struct RawConfig {
        state_dir: String = "\"/var/lib/roma-archived\"",
        timezone: String = "\"UTC\"",
        account: Vec<RawAccount> = "[[account]]",
        instance: Vec<RawInstance> = "[[instance]]",
        export: Vec<RawExport> = "[[export]]",
        retention: RawRetention = "[retention]",
        limits: RawLimits = "[limits]",
        pack: RawPack = "[pack]",
        tls: RawTls = "[tls]",
        verify: RawVerify = "[verify]",
        metrics: RawMetrics = "[metrics]",
        notify: RawNotify = "[notify]",
    }
}

section! {
    /// `[[account]]`; which keys belong together depends on `auth`.
    struct RawAccount {
        name: String = "\"ops\"",
        auth: String = "\"password\"",
        iam_endpoint: String = "\"https://iam.ap-southeast-1.myhuaweicloud.com\"",
        user: String = "\"backup\"",
        domain: String = "\"corp\"",
        project: String = "\"ap-southeast-1\"",
        password_file: Hidden = "\"credential:roma-password\"",
        access_key_file: Hidden = "\"credential:roma-access-key\"",
        secret_key_file: Hidden = "\"credential:roma-secret-key\"",
        security_token_file: Hidden = "\"credential:roma-security-token\"",
        token_file: Hidden = "\"credential:roma-token\"",
    }
}

section! {
    /// `[[instance]]`.
    struct RawInstance {
        name: String = "\"prod\"",
        account: String = "\"ops\"",
        endpoint: String = "\"https://roma.ap-southeast-1.myhuaweicloud.com\"",
        project_id: String = "\"0605768a3300d5762f82c0180692f7e0\"",
        instance_id: String = "\"e34610ca-0a37-4f04-8856-4101b08cc5e2\"",
    }
}

section! {
    /// `[[export]]`.
    struct RawExport {
        name: String = "\"nightly\"",
        instance: String = "\"prod\"",
        schedule: String = "\"0 2 * * *\"",
        jitter: String = "\"10min\"",
        apps: RawSelection = "\"all\"",
        tasks: RawSelection = "\"all\"",
        rpo: String = "\"26h\"",
        retention: RawRetention = "[export.retention]",
    }
}

section! {
    /// `[retention]` and `[export.retention]`.
    struct RawRetention {
        keep_last: i64 = "7",
        keep_hourly: i64 = "24",
        keep_daily: i64 = "14",
        keep_weekly: i64 = "8",
        keep_monthly: i64 = "12",
        keep_quarterly: i64 = "8",
        keep_yearly: i64 = "-1",
        keep_within: String = "\"14d\"",
        keep_within_hourly: String = "\"2d\"",
        keep_within_daily: String = "\"1mo\"",
        keep_within_weekly: String = "\"3mo\"",
        keep_within_monthly: String = "\"1y\"",
        keep_within_quarterly: String = "\"2y\"",
        keep_within_yearly: String = "\"10y\"",
        max_age: String = "\"2y\"",
        max_count: i64 = "500",
        max_total_size: String = "\"200GiB\"",
        trash: String = "\"7d\"",
        min_keep: i64 = "1",
        policy_grace: String = "\"24h\"",
        max_delete_per_sweep: i64 = "50",
        test: Vec<RawTest> = "[[retention.test]]",
    }
}

section! {
    /// `[[retention.test]]` and `[[export.retention.test]]`.
    struct RawTest {
        given: RawHistory = "\"daily since 2026-01-01\"",
        at: String = "\"2026-12-31\"",
        expect: RawHistory = "[\"2026-12-31\", \"2026-12-30\"]",
    }
}

section! {
    /// A file of its own with nothing but a policy, to be tried.
    struct RawPolicyFile {
        retention: RawRetention = "[retention]",
    }
}

section! {
    /// `[limits]`.
    struct RawLimits {
        downloads: i64 = "8",
        poll_interval: String = "\"2s\"",
        poll_interval_max: String = "\"60s\"",
        request_timeout: String = "\"30s\"",
        download_idle_timeout: String = "\"60s\"",
        max_package_size: String = "\"64GiB\"",
        min_free_space: String = "\"1GiB\"",
        reexports: i64 = "3",
        shutdown_grace: String = "\"5min\"",
    }
}

section! {
    /// `[pack]`.
    struct RawPack {
        method: String = "\"auto\"",
        level: i64 = "6",
    }
}

section! {
    /// `[tls]`.
    struct RawTls {
        ca_file: String = "\"/etc/ssl/certs/corp-ca.pem\"",
        proxy: String = "\"http://proxy.corp.example:3128\"",
    }
}

section! {
    /// `[verify]`.
    struct RawVerify {
        every: String = "\"7d\"",
        budget: String = "\"2GiB\"",
    }
}

section! {
    /// `[metrics]`.
    struct RawMetrics {
        textfile: String = "\"/var/lib/node_exporter/roma-archived.prom\"",
    }
}

section! {
    /// `[notify]`. Such addresses usually hold a token, hence hidden.
    struct RawNotify {
        ping_url: Hidden = "\"https://ping.example/roma-archived\"",
        webhook_url: Hidden = "\"https://chat.example/hooks/roma-archived\"",
    }
}

impl RawRetention {
    /// The rules that count, each with the period of its buckets.
    pub(super) fn counts(&self) -> [(Option<Period>, Option<i64>); 7] {
        [
            (None, self.keep_last),
            (Some(Period::Hour), self.keep_hourly),
            (Some(Period::Day), self.keep_daily),
            (Some(Period::Week), self.keep_weekly),
            (Some(Period::Month), self.keep_monthly),
            (Some(Period::Quarter), self.keep_quarterly),
            (Some(Period::Year), self.keep_yearly),
        ]
    }

    /// The rules that look back over a span, each with the period of its buckets.
    pub(super) fn within(&self) -> [(Option<Period>, Option<&str>); 7] {
        [
            (None, self.keep_within.as_deref()),
            (Some(Period::Hour), self.keep_within_hourly.as_deref()),
            (Some(Period::Day), self.keep_within_daily.as_deref()),
            (Some(Period::Week), self.keep_within_weekly.as_deref()),
            (Some(Period::Month), self.keep_within_monthly.as_deref()),
            (Some(Period::Quarter), self.keep_within_quarterly.as_deref()),
            (Some(Period::Year), self.keep_within_yearly.as_deref()),
        ]
    }
}

/// The keys of the whole file.
pub(super) const ROOT: &[Known] = RawConfig::KEYS;
/// The keys of a file with nothing but a policy.
pub(super) const POLICY_ROOT: &[Known] = RawPolicyFile::KEYS;

/// The key at a path such as `limits.downloads` or `export[3].rpo`.
pub(super) fn find(path: &str) -> Option<Known> {
    let mut keys = ROOT;
    let mut found = None;
    for segment in path.split('.') {
        let name = segment.split('[').next()?;
        let known = *keys.iter().find(|known| known.name == name)?;
        keys = match known.shape {
            Shape::Table(keys) | Shape::List(keys) => keys,
            _ => &[],
        };
        found = Some(known);
    }
    found
}

/// An example of the key at a path; `[export.retention]` is an example of a section.
pub(super) fn example(path: &str) -> Option<&'static str> {
    find(path).map(|known| known.example)
}

/// The sections that have a key called `name`, by their headers; `None` is the top of the file.
pub(super) fn homes(name: &str) -> Vec<Option<&'static str>> {
    fn visit(
        keys: &'static [Known],
        header: Option<&'static str>,
        name: &str,
        homes: &mut Vec<Option<&'static str>>,
    ) {
        for known in keys {
            if known.name == name {
                homes.push(header);
            }
            if let Shape::Table(keys) | Shape::List(keys) = known.shape {
                visit(keys, Some(known.example), name, homes);
            }
        }
    }
    let mut homes = Vec::new();
    visit(ROOT, None, name, &mut homes);
    homes
}

/// Every key that is not a section, such as `limits.downloads` and `export.retention.keep_last`.
pub fn known_keys() -> Vec<String> {
    fn visit(keys: &[Known], prefix: &str, found: &mut Vec<String>) {
        for known in keys {
            let path = format!("{prefix}{}", known.name);
            match known.shape {
                Shape::Table(keys) | Shape::List(keys) => visit(keys, &format!("{path}."), found),
                _ => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    visit(ROOT, "", &mut found);
    found
}
