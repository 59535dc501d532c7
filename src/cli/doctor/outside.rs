//! What monitoring needs: a folder for the metrics, and addresses that can be found. Nobody is
//! called: a ping would say that all is well.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Check;
use crate::config::Loaded;
use crate::settings::{HiddenUrl, Settings};

pub(super) async fn checks(loaded: &Loaded) -> Vec<Check> {
    let settings = &loaded.settings;
    let mut checks = Vec::new();
    checks.extend(settings.metrics.textfile.as_deref().map(metrics));
    let notify = &settings.notify;
    for (key, url) in [("ping_url", &notify.ping), ("webhook_url", &notify.webhook)] {
        if let Some(url) = url {
            checks.push(address(settings, key, url).await);
        }
    }
    let has_addresses = notify.ping.is_some() || notify.webhook.is_some();
    let is_readable =
        |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o004 != 0);
    if has_addresses && is_readable(&loaded.path) {
        let shown = loaded.path.display();
        checks.push(Check::doubtful(
            "notify",
            format!("everybody may read {shown}, and the addresses in it are secrets"),
            format!("chgrp roma-archived {shown} && chmod 640 {shown}"),
        ));
    }
    checks
}

/// Whether this user may write there; the sandbox of the unit is another matter.
fn metrics(textfile: &Path) -> Check {
    let folder = textfile.parent().unwrap_or(textfile);
    let shown = folder.display();
    let remedy = format!(
        "install -d -m 0775 -g roma-archived {shown}, and ReadWritePaths={shown} in a drop-in of \
         the unit"
    );
    match folder.metadata() {
        Err(error) => Check::wrong("metrics", format!("{shown}: {error}"), remedy),
        Ok(found) if !found.is_dir() => {
            Check::wrong("metrics", format!("{shown} is not a folder"), remedy)
        }
        Ok(_) if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() => {
            Check::wrong("metrics", format!("this user may not write in {shown}"), remedy)
        }
        Ok(_) => Check::well("metrics", format!("this user may write in {shown}")),
    }
}

/// Whether its host is known. Behind a proxy, that is the proxy's business.
async fn address(settings: &Settings, key: &str, url: &HiddenUrl) -> Check {
    let subject = format!("notify.{key}");
    if settings.tls.proxy.is_some() {
        return Check::well(subject, "is asked through the proxy");
    }
    let Some((host, port)) = url.place() else {
        return Check::wrong(subject, "names no host", "copy the whole address again");
    };
    match tokio::net::lookup_host((host, port)).await {
        Ok(_) => Check::well(subject, format!("the host {host} is known; it was not called")),
        Err(error) => Check::wrong(
            subject,
            format!("the host {host} cannot be found: {error}"),
            "look at the name, and at this machine's name server",
        ),
    }
}
