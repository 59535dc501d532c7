//! Raw values become [`Settings`]: each is read, references are followed, rules that span several
//! keys are checked.
//!
//! Never stops at the first problem, and never invents a value in place of a wrong one: what could
//! not be read is `None`, and the report then holds the reason.

use std::collections::HashMap;

use url::Url;

use super::raw::{RawAccount, RawConfig, RawExport, RawInstance, RawSelection};
use super::{Fault, Report, Spot, sections, values};
use crate::model::Name;
use crate::retention::Policy;
use crate::schedule::Schedule;
use crate::settings::{Account, Auth, Export, Instance, Selection, Settings, foreign_region};

/// The settings that `raw` asks for. Unless the report holds a problem, they are there. `metadata`
/// is where the machine's metadata service answers.
pub(super) fn settings(raw: &RawConfig, metadata: &Url, report: &mut Report) -> Option<Settings> {
    let top = Spot::default();
    let state_dir =
        report.required(&top.key("state_dir"), raw.state_dir.as_deref(), values::absolute_path);
    let mut zone = jiff::tz::TimeZone::UTC;
    report.replace(&mut zone, &top.key("timezone"), raw.timezone.as_deref(), values::zone);

    let accounts = raw.account.as_deref().unwrap_or_default();
    let instances = raw.instance.as_deref().unwrap_or_default();
    let exports = raw.export.as_deref().unwrap_or_default();
    let retention = sections::policy(raw.retention.as_ref(), &top.key("retention"), report);
    let settings = Settings {
        state_dir: state_dir.unwrap_or_default(),
        zone,
        accounts: read_accounts(accounts, metadata, report),
        instances: read_instances(instances, accounts, report),
        exports: read_exports(exports, instances, &retention, report),
        retention,
        limits: sections::limits(raw.limits.as_ref(), &top.key("limits"), report),
        pack: sections::pack(raw.pack.as_ref(), &top.key("pack"), report),
        tls: sections::tls(raw.tls.as_ref(), &top.key("tls"), report),
        verify: sections::verify(raw.verify.as_ref(), &top.key("verify"), report),
        metrics: sections::metrics(raw.metrics.as_ref(), &top.key("metrics"), report),
        notify: sections::notify(raw.notify.as_ref(), &top.key("notify"), report),
    };
    unused(&settings, report);
    report.problems.is_empty().then_some(settings)
}

/// The names of one kind of section.
struct Names<'r> {
    kind: &'static str,
    known: Vec<&'r str>,
    /// One of them has no readable name, so that nothing can be said against a reference.
    incomplete: bool,
}

impl<'r> Names<'r> {
    fn new(
        kind: &'static str,
        names: impl Iterator<Item = Option<&'r str>>,
        report: &Report,
    ) -> Self {
        let names: Vec<Option<&str>> = names.collect();
        Self {
            kind,
            incomplete: names.contains(&None) || report.is_settled(&Spot::default().key(kind)),
            known: names.into_iter().flatten().collect(),
        }
    }

    /// The name that the key `kind` of the section `at` refers to.
    fn follow(&self, at: &Spot, given: Option<&str>, report: &mut Report) -> Option<Name> {
        report.required(&at.key(self.kind), given, |text| {
            if self.incomplete && !self.known.contains(&text) {
                values::name(text)
            } else {
                values::reference(text, self.kind, &self.known)
            }
        })
    }
}

/// Refuses a name that an earlier section of the same kind has.
struct Unique<K>(HashMap<K, Spot>);

impl<K: Eq + std::hash::Hash> Unique<K> {
    fn check(&mut self, key: Option<K>, kind: &str, at: &Spot, report: &mut Report) {
        let Some(key) = key else { return };
        let at = at.key("name");
        let Some(earlier) = self.0.get(&key) else {
            self.0.insert(key, at);
            return;
        };
        let line = report.line_of(earlier).map_or(String::new(), |line| format!(" on line {line}"));
        let why = format!("is already the name of the {kind}{line}");
        report.refuse(&at, Fault::new(why).remedy("choose another name"));
    }
}

fn read_accounts(raws: &[RawAccount], metadata: &Url, report: &mut Report) -> Vec<Account> {
    let list = Spot::default().key("account");
    if raws.is_empty() && !report.is_settled(&list) {
        report.refuse(
            &list,
            Fault::new("there is none, but ROMA has to be asked as somebody")
                .remedy("add an [[account]] with name, auth and what that needs"),
        );
    }
    let mut unique = Unique(HashMap::new());
    let read = raws.iter().enumerate().filter_map(|(index, raw)| {
        let at = list.item(index, raw.name.as_deref());
        unique.check(raw.name.as_deref(), "account", &at, report);
        let name = report.required(&at.key("name"), raw.name.as_deref(), values::name);
        let auth = auth(raw, &at, metadata, report);
        Some(Account { name: name?, auth: auth? })
    });
    read.collect()
}

/// The ways to sign in that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthKind {
    Password,
    AkSk,
    Agency,
    Token,
}

const AUTH_KINDS: [(&str, AuthKind); 4] = [
    ("password", AuthKind::Password),
    ("token", AuthKind::Token),
    ("aksk", AuthKind::AkSk),
    ("agency", AuthKind::Agency),
];

fn auth(raw: &RawAccount, at: &Spot, metadata: &Url, report: &mut Report) -> Option<Auth> {
    let kind = report
        .required(&at.key("auth"), raw.auth.as_deref(), |text| values::choice(text, &AUTH_KINDS))?;
    let owners = [
        ("iam_endpoint", raw.iam_endpoint.is_some(), AuthKind::Password),
        ("user", raw.user.is_some(), AuthKind::Password),
        ("domain", raw.domain.is_some(), AuthKind::Password),
        ("project", raw.project.is_some(), AuthKind::Password),
        ("password_file", raw.password_file.is_some(), AuthKind::Password),
        ("access_key_file", raw.access_key_file.is_some(), AuthKind::AkSk),
        ("secret_key_file", raw.secret_key_file.is_some(), AuthKind::AkSk),
        ("security_token_file", raw.security_token_file.is_some(), AuthKind::AkSk),
        ("token_file", raw.token_file.is_some(), AuthKind::Token),
    ];
    let word = |kind| AUTH_KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(w, _)| *w);
    for (key, given, owner) in owners {
        if given && owner != kind {
            let why = format!(
                "belongs to auth = \"{}\", but this account has auth = \"{}\"",
                word(owner),
                word(kind)
            );
            report.refuse(&at.key(key), Fault::new(why).remedy("take one of the two out"));
        }
    }
    match kind {
        AuthKind::Password => password(raw, at, report),
        AuthKind::AkSk => key_pair(raw, at, report),
        AuthKind::Agency => Some(Auth::Agency { metadata_endpoint: metadata.clone() }),
        AuthKind::Token => {
            let token = raw.token_file.as_ref();
            let token = report.required(&at.key("token_file"), token, values::secret_place);
            Some(Auth::Token { token: token? })
        }
    }
}

fn password(raw: &RawAccount, at: &Spot, report: &mut Report) -> Option<Auth> {
    let iam_endpoint = raw.iam_endpoint.as_deref();
    let iam_endpoint = report.required(&at.key("iam_endpoint"), iam_endpoint, values::endpoint);
    let user = report.required(&at.key("user"), raw.user.as_deref(), values::plain_text);
    let domain = report.required(&at.key("domain"), raw.domain.as_deref(), values::plain_text);
    let project = report.required(&at.key("project"), raw.project.as_deref(), values::plain_text);
    let password = raw.password_file.as_ref();
    let password = report.required(&at.key("password_file"), password, values::secret_place);
    Some(Auth::Password {
        iam_endpoint: iam_endpoint?,
        user: user?,
        domain: domain?,
        project: project?,
        password: password?,
    })
}

fn key_pair(raw: &RawAccount, at: &Spot, report: &mut Report) -> Option<Auth> {
    let (access, secret) = (raw.access_key_file.as_ref(), raw.secret_key_file.as_ref());
    let access = report.required(&at.key("access_key_file"), access, values::secret_place);
    let secret = report.required(&at.key("secret_key_file"), secret, values::secret_place);
    let token = raw.security_token_file.as_ref();
    let token = report.optional(&at.key("security_token_file"), token, values::secret_place);
    Some(Auth::AkSk { access_key: access?, secret_key: secret?, security_token: token })
}

fn read_instances(
    raws: &[RawInstance],
    accounts: &[RawAccount],
    report: &mut Report,
) -> Vec<Instance> {
    let list = Spot::default().key("instance");
    if raws.is_empty() && !report.is_settled(&list) {
        report.refuse(
            &list,
            Fault::new("there is none, but something has to be archived").remedy(
                "add an [[instance]] with name, account, endpoint, project_id and instance_id",
            ),
        );
    }
    let accounts = accounts.iter().map(|raw| raw.name.as_deref());
    let accounts = Names::new("account", accounts, report);
    let mut unique = Unique(HashMap::new());
    let read = raws.iter().enumerate().filter_map(|(index, raw)| {
        let at = list.item(index, raw.name.as_deref());
        unique.check(raw.name.as_deref(), "instance", &at, report);
        let name = report.required(&at.key("name"), raw.name.as_deref(), values::name);
        let account = accounts.follow(&at, raw.account.as_deref(), report);
        let endpoint =
            report.required(&at.key("endpoint"), raw.endpoint.as_deref(), values::endpoint);
        let project_id =
            report.required(&at.key("project_id"), raw.project_id.as_deref(), values::path_id);
        let instance_id =
            report.required(&at.key("instance_id"), raw.instance_id.as_deref(), values::path_id);
        Some(Instance {
            name: name?,
            account: account?,
            endpoint: endpoint?,
            project_id: project_id?,
            instance_id: instance_id?,
        })
    });
    read.collect()
}

fn read_exports(
    raws: &[RawExport],
    instances: &[RawInstance],
    retention: &Policy,
    report: &mut Report,
) -> Vec<Export> {
    let list = Spot::default().key("export");
    let instances = instances.iter().map(|raw| raw.name.as_deref());
    let instances = Names::new("instance", instances, report);
    let mut unique = Unique(HashMap::new());
    let read = raws.iter().enumerate().filter_map(|(index, raw)| {
        let at = list.item(index, raw.name.as_deref());
        let pair = raw.instance.as_deref().zip(raw.name.as_deref());
        unique.check(pair, "export of this instance", &at, report);
        let name = report.required(&at.key("name"), raw.name.as_deref(), values::export_name);
        let instance = instances.follow(&at, raw.instance.as_deref(), report);
        let schedule =
            report.optional(&at.key("schedule"), raw.schedule.as_deref(), values::schedule);
        let jitter = report.optional(&at.key("jitter"), raw.jitter.as_deref(), values::duration);
        if jitter.is_some() && raw.schedule.is_none() {
            let fault = Fault::new("says how late a scheduled run may start, and there is none");
            report.refuse(&at.key("jitter"), fault.remedy("add a schedule, or leave it out"));
        }
        let apps = selection(&at.key("apps"), raw.apps.as_ref(), report);
        let tasks = selection(&at.key("tasks"), raw.tasks.as_ref(), report);
        let nothing = Selection::Ids(Vec::new());
        if apps == nothing && tasks == nothing {
            let fault = Fault::new("is empty, and so is `tasks`: nothing would be exported");
            report.refuse(&at.key("apps"), fault.remedy("name ids, or write \"all\""));
        }
        let rpo = report.optional(&at.key("rpo"), raw.rpo.as_deref(), values::long_duration);
        let policy = match &raw.retention {
            Some(own) => sections::policy(Some(own), &at.key("retention"), report),
            None => retention.clone(),
        };
        let (name, instance) = (name?, instance?);
        let schedule = schedule.map(|schedule: Schedule| {
            schedule.with_jitter(jitter.unwrap_or_default(), &format!("{instance}/{name}"))
        });
        Some(Export { name, instance, schedule, apps, tasks, rpo, policy })
    });
    read.collect()
}

fn selection(at: &Spot, raw: Option<&RawSelection>, report: &mut Report) -> Selection {
    let mut selection = Selection::All;
    report.replace(&mut selection, at, raw, values::selection);
    selection
}

/// What is allowed and still worth a word.
fn unused(settings: &Settings, report: &mut Report) {
    for account in &settings.accounts {
        let name = &account.name;
        if settings.instances.iter().all(|instance| instance.account != *name) {
            report.warn(format!("account {name} is not used by any instance"));
        }
    }
    for instance in &settings.instances {
        let account = settings.accounts.iter().find(|account| account.name == instance.account);
        if let Some(Account { name, auth: Auth::Password { iam_endpoint, .. } }) = account
            && let Some(region) = foreign_region(iam_endpoint, &instance.endpoint)
        {
            report.warn(format!(
                "account {name} signs in at IAM of {region}, whose tokens are good in that region \
                 only, but instance {} is elsewhere: use its own region's IAM, or the global one \
                 (https://iam.myhuaweicloud.com)",
                instance.name
            ));
        }
    }
    for export in settings.exports.iter().filter(|export| export.policy.keeps_everything()) {
        let Export { name, instance, .. } = export;
        report.warn(format!(
            "export {name} of {instance} keeps everything for ever: no retention rule"
        ));
    }
}
