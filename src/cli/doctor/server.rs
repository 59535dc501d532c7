//! What ROMA must grant: every account signs in, every instance is found and may be read. Nothing
//! is started there: whether a job may be started is told by the catalog, from the last time.

use super::Check;
use crate::cli::error::CliError;
use crate::clock::Clock;
use crate::lifecycle::{Failure, FailureClass};
use crate::model::story;
use crate::roma::{ListedInstance, Roma, RomaError, secret};
use crate::settings::{Account, Auth, Instance, SecretPlace, Settings};

/// Larger offsets keep retention from deleting, and soon after signatures from being accepted
/// (contract 6.2).
const TOLERANCE_MS: u64 = 5 * 60 * 1_000;

type Tell<'a> = &'a mut (dyn FnMut(Check) -> Result<(), CliError> + Send);

pub(super) async fn checks(settings: &Settings, tell: Tell<'_>) -> Result<(), CliError> {
    let roma = Roma::new(&settings.accounts, &settings.instances, &settings.limits, &settings.tls)?;
    for account in &settings.accounts {
        let of_account = |instance: &&Instance| instance.account == account.name;
        let Some(first) = settings.instances.iter().find(of_account) else {
            tell(Check::doubtful(
                subject("account", account),
                "no instance uses it",
                "name it in an [[instance]], or take it out",
            ))?;
            continue;
        };
        if !signs_in(&roma, account, first, tell).await? {
            continue;
        }
        for instance in settings.instances.iter().filter(of_account) {
            reads(&roma, account, instance, tell).await?;
        }
    }
    let offsets = roma.clock_offsets();
    if let Some(worst) = offsets.iter().max_by_key(|offset| offset.millis.unsigned_abs()) {
        tell(clock(worst.millis))?;
    }
    Ok(())
}

fn subject(kind: &str, account: &Account) -> String {
    format!("{kind} {}", account.name)
}

/// Whether a credential can be had.
async fn signs_in(
    roma: &Roma,
    account: &Account,
    instance: &Instance,
    tell: Tell<'_>,
) -> Result<bool, CliError> {
    let subject = subject("account", account);
    for place in account.auth.secrets() {
        if let Err(error) = secret::read(place) {
            let remedy = match place {
                SecretPlace::Credential(_) => {
                    "a shell has no credentials of systemd: run this as the service does, with \
                     `systemd-run -P -p LoadCredential=... roma-archived doctor`"
                }
                SecretPlace::File(_) => "see what the error says of the file",
            };
            tell(Check::wrong(&*subject, story(&error), remedy))?;
            return Ok(false);
        }
    }
    match roma.ready_credential(&instance.name, Clock::System.now()).await {
        Ok(()) => {
            tell(Check::well(subject, signed_in(account)))?;
            Ok(true)
        }
        Err(error) => {
            let remedy = match account.auth {
                Auth::Password { .. } => "look at user, domain, project and the secret itself",
                Auth::Agency { .. } => "see what the message says of the agency",
                Auth::AkSk { .. } | Auth::Token { .. } => "look at the files",
            };
            tell(failed(subject, error, remedy))?;
            Ok(false)
        }
    }
}

fn signed_in(account: &Account) -> String {
    match &account.auth {
        Auth::Password { user, domain, .. } => format!("{user} of {domain} signs in"),
        Auth::AkSk { access_key, .. } => format!("a key pair is in {access_key} and beside it"),
        Auth::Agency { metadata_endpoint } => {
            format!("the metadata service at {metadata_endpoint} gives keys of an agency")
        }
        Auth::Token { token } => format!("a token is in {token}"),
    }
}

/// What the account may do with one of its instances.
async fn reads(
    roma: &Roma,
    account: &Account,
    instance: &Instance,
    tell: Tell<'_>,
) -> Result<(), CliError> {
    let subject = format!("instance {}", instance.name);
    let now = || Clock::System.now();
    let name = &instance.name;
    if let Auth::Password { iam_endpoint, project, .. } = &account.auth {
        match roma.projects(name, (iam_endpoint, project), now()).await {
            // It is named by its id, and IAM looks for names.
            Ok(_) if *project == instance.project_id => {
                tell(Check::well(&*subject, format!("the project is {project}")))?;
            }
            Ok(ids) => tell(project_check(&subject, instance, project, &ids))?,
            Err(error) => tell(failed(subject.clone(), error, "look at iam_endpoint"))?,
        }
    }
    match roma.listed_instances(name, now()).await {
        Ok(listed) => tell(instance_check(&subject, instance, &listed))?,
        Err(error) => {
            let remedy = "look at endpoint and project_id; the account needs the right to list \
                          instances (roma:instances:list)";
            tell(failed(subject.clone(), error, remedy))?;
        }
    }
    let rights = "give the account's user group the role ROMA Administrator, or a policy with \
                  roma:assets:export and the rights to read applications and tasks";
    match roma.list_apps(name, now()).await {
        Ok(apps) => {
            tell(Check::well(&*subject, format!("{} applications seen", apps.ids.len())))?;
        }
        Err(error) => tell(failed(subject.clone(), error, rights))?,
    }
    match roma.list_tasks(name, now()).await {
        Ok(tasks) => tell(Check::well(&*subject, format!("{} tasks seen", tasks.ids.len())))?,
        Err(error) => tell(failed(subject.clone(), error, rights))?,
    }
    match roma.may_read_jobs(name, now()).await {
        Ok(()) => tell(Check::well(subject, "jobs may be read")),
        Err(error) => tell(failed(subject, error, rights)),
    }
}

fn project_check(subject: &str, instance: &Instance, project: &str, ids: &[String]) -> Check {
    if ids.contains(&instance.project_id) && ids.len() > 1 {
        let found = format!("IAM shows {} projects of the name {project}", ids.len());
        return Check::doubtful(subject, found, "write the project's id in the place of its name");
    }
    if ids.contains(&instance.project_id) {
        return Check::well(subject, format!("project {project} is {}", instance.project_id));
    }
    match ids {
        [] => Check::doubtful(
            subject,
            format!("IAM shows the account no project of the name {project}"),
            "a project is named as in the console, usually like its region",
        ),
        ids => Check::wrong(
            subject,
            format!("project {project} is {}, not {}", ids.join(" or "), instance.project_id),
            "copy project_id from My Credentials in the console",
        ),
    }
}

fn instance_check(subject: &str, instance: &Instance, listed: &[ListedInstance]) -> Check {
    let found = listed.iter().find(|found| found.id == instance.instance_id);
    match found {
        Some(found) if found.status.eq_ignore_ascii_case("running") => {
            Check::well(subject, format!("found as `{}`, {}", found.name, found.status))
        }
        Some(found) => Check::wrong(
            subject,
            format!("found as `{}`, but {}", found.name, found.status),
            "ROMA answers for it only while it is RUNNING: look at it in the console",
        ),
        None => {
            let known = listed.iter().map(|one| format!("{} ({})", one.id, one.name));
            let known = known.collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            Check::wrong(
                subject,
                format!(
                    "{} is not among those that the account sees: {known}",
                    instance.instance_id
                ),
                "copy instance_id from the console",
            )
        }
    }
}

fn failed(subject: String, error: RomaError, remedy: &str) -> Check {
    let Failure { class, message, .. } = error.into_failure();
    let remedy = match class {
        FailureClass::Transient => {
            "look at the endpoint, at tls.ca_file, tls.proxy and the network"
        }
        FailureClass::Throttled => "ROMA asks for fewer calls: try again in some minutes",
        _ => remedy,
    };
    Check::wrong(subject, message, remedy)
}

fn clock(millis: i64) -> Check {
    let seconds = millis.unsigned_abs().div_ceil(1_000);
    let direction = if millis >= 0 { "behind" } else { "ahead of" };
    if millis.unsigned_abs() <= TOLERANCE_MS {
        return Check::well("clock", format!("{seconds} s {direction} ROMA's at most"));
    }
    Check::wrong(
        "clock",
        format!("{seconds} s {direction} ROMA's: nothing is deleted, and signatures are refused"),
        "let the machine keep its time: `timedatectl set-ntp true`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn the_clock_is_wrong_from_five_minutes_on() {
        assert_eq!(clock(-299_000).verdict, Verdict::Well);
        assert_eq!(clock(301_000).verdict, Verdict::Wrong);
        assert!(clock(301_000).found.contains("301 s behind"));
        assert!(clock(-301_000).found.contains("301 s ahead of"));
    }
}
