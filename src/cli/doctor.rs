//! `doctor`: tries what a backup needs before it is needed, and names the remedy for each thing
//! that is wrong. It starts no job, fetches no package and changes nothing; it exits with 1 if
//! something fails.

use serde_json::{Value, json};

use super::error::CliError;
use super::output;
use crate::config::Loaded;
use crate::exit::Exit;

mod machine;
mod outside;
mod proof;
mod server;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Well,
    /// It may be meant so, or could not be found out.
    Doubtful,
    Wrong,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Doubtful => "warning",
            Self::Wrong => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Check {
    verdict: Verdict,
    /// What was looked at.
    subject: String,
    /// What was found.
    found: String,
    /// What helps; nothing where all is well.
    remedy: Option<String>,
}

impl Check {
    fn well(subject: impl Into<String>, found: impl Into<String>) -> Self {
        let (subject, found) = (subject.into(), found.into());
        Self { verdict: Verdict::Well, subject, found, remedy: None }
    }

    fn doubtful(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { verdict: Verdict::Doubtful, remedy, ..Self::well(subject, found) }
    }

    fn wrong(
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::doubtful(subject, found, remedy) }
    }

    fn as_json(&self) -> Value {
        json!({
            "verdict": self.verdict.word(),
            "subject": self.subject,
            "found": self.found,
            "remedy": self.remedy,
        })
    }
}

pub(super) async fn run(loaded: &Loaded, as_json: bool) -> Result<Exit, CliError> {
    let mut checks = Vec::new();
    let mut tell = |check: Check| -> Result<(), CliError> {
        if !as_json {
            line(&check)?;
        }
        checks.push(check);
        Ok(())
    };
    for check in machine::checks(loaded) {
        tell(check)?;
    }
    // One by one, as they come: an instance that does not answer takes its time.
    server::checks(&loaded.settings, &mut tell).await?;
    for check in outside::checks(loaded).await {
        tell(check)?;
    }
    for check in proof::checks(&loaded.settings).await? {
        tell(check)?;
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (wrong, doubtful) = (count(Verdict::Wrong), count(Verdict::Doubtful));
    if as_json {
        output::json(json!({
            "well": wrong == 0,
            "checks": checks.iter().map(Check::as_json).collect::<Vec<_>>(),
        }))?;
    } else {
        let warnings = match doubtful {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            several => format!(", {several} warnings"),
        };
        output::line(&match wrong {
            0 => format!("\nnothing is wrong: {} checks{warnings}", checks.len()),
            wrong => format!(
                "\n{wrong} of {} checks say that something is wrong{warnings}",
                checks.len()
            ),
        })?;
    }
    Ok(if wrong == 0 { Exit::Ok } else { Exit::NotWell })
}

fn line(check: &Check) -> Result<(), CliError> {
    let (subject, found) = (&check.subject, &check.found);
    let text = format!("{:<8} {subject}: {found}", check.verdict.word());
    output::line(&output::printable(&text))?;
    match &check.remedy {
        Some(remedy) => output::line(&output::printable(&format!("{:<8} -> {remedy}", ""))),
        None => Ok(()),
    }
}
