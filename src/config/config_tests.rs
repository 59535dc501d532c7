//! What an operator reads when the file is wrong, and what the program reads when it is right.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::retention::{Count, CountRule, Period, Policy};
use crate::settings::{Auth, PackMethod, SecretPlace, Selection};

const BASE: &str = r#"state_dir = "/srv/roma"
[[account]]
name = "ops"
auth = "password"
iam_endpoint = "https://iam.example"
user = "backup"
domain = "corp"
project = "region-1"
password_file = "credential:roma-password"
[[instance]]
name = "prod"
account = "ops"
endpoint = "https://roma.example"
project_id = "p-1"
instance_id = "i_1"
[retention]
keep_last = 7
[[export]]
name = "nightly"
instance = "prod"
"#;
/// The line on which something appended to `BASE` stands.
const NEXT: usize = 21;

const SHIPPED: &str = include_str!("../../config/roma-archived.toml");

fn name() -> &'static Path {
    Path::new("r.toml")
}

fn loaded(text: &str) -> Loaded {
    parse(text, name()).unwrap_or_else(|error| panic!("{error}\n--- in ---\n{text}"))
}

fn settings(text: &str) -> Settings {
    loaded(text).settings
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, name()) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("{other:?}\n--- in ---\n{text}"),
    }
}

/// The only problem, as `LINE: key: message`, or without line.
fn problem(text: &str) -> String {
    let problems = problems(text);
    let [problem] = problems.as_slice() else { panic!("{problems:#?}\n--- in ---\n{text}") };
    match problem.line {
        Some(line) => format!("{line}: {problem}"),
        None => problem.to_string(),
    }
}

fn plus(more: &str) -> String {
    format!("{BASE}{more}\n")
}

fn swapped(line: &str, by: &str) -> String {
    assert_eq!(BASE.matches(line).count(), 1, "{line:?}");
    BASE.replace(line, by)
}

/// Each line of `cases` after `BASE`; its message begins with the key.
fn check_appended(section: &str, cases: &[(&str, &str)]) {
    for (input, expect) in cases {
        let (text, line) = match section {
            "" => (plus(input), NEXT),
            section => (plus(&format!("{section}\n{input}")), NEXT + 1),
        };
        assert_eq!(problem(&text), format!("{line}: {expect}"), "{input}");
    }
}

#[test]
fn the_smallest_file_gets_all_defaults() {
    let text = BASE.replace("[retention]\nkeep_last = 7\n", "");
    let Loaded { settings, warnings, path } = loaded(&text);
    assert_eq!(path, name());
    assert_eq!(warnings, ["export nightly of prod keeps everything for ever: no retention rule"]);
    assert_eq!(settings.state_dir, Path::new("/srv/roma"));
    assert_eq!(settings.zone, jiff::tz::TimeZone::UTC);
    let default = crate::settings::Limits::default();
    assert_eq!(format!("{:?}", settings.limits), format!("{default:?}"));
    assert_eq!(settings.pack, crate::settings::Pack::default());
    assert!(settings.tls.ca_file.is_none() && settings.tls.proxy.is_none());
    assert!(settings.retention.keeps_everything());
    let [export] = settings.exports.as_slice() else { panic!("{settings:?}") };
    assert!(export.schedule.is_none() && export.rpo.is_none());
    assert_eq!((&export.apps, &export.tasks), (&Selection::All, &Selection::All));
    assert_eq!(format!("{:?}", export.policy), format!("{:?}", Policy::default()));
    let Auth::Password { password, iam_endpoint, .. } = &settings.accounts[0].auth else {
        panic!("{settings:?}")
    };
    assert_eq!(*password, SecretPlace::Credential("roma-password".to_owned()));
    assert_eq!(iam_endpoint.as_str(), "https://iam.example/");
}

#[test]
fn everything_that_is_written_arrives() {
    let text = plus(
        r#"schedule = "@daily"
apps = ["a1", "a2"]
tasks = []
rpo = "1d 2h"
[export.retention]
keep_yearly = -1
keep_within_daily = "1y6mo"
max_age = "2y"
max_count = 500
max_total_size = "200GiB"
trash = "90min"
min_keep = 2
policy_grace = "1w"
max_delete_per_sweep = 5
[limits]
downloads = 256
poll_interval = "500ms"
poll_interval_max = "1m"
max_package_size = "1.5 GB"
min_free_space = "0"
reexports = 0
shutdown_grace = "1h"
[pack]
method = "store"
level = 0x9
[tls]
ca_file = "/etc/ca.pem"
proxy = "http://proxy.example:3128"
"#,
    );
    let settings = settings(&text);
    let export = &settings.exports[0];
    assert_eq!(export.schedule.as_ref().unwrap().to_string(), "@daily");
    assert_eq!(export.apps, Selection::Ids(vec!["a1".to_owned(), "a2".to_owned()]));
    assert_eq!(export.tasks, Selection::Ids(vec![]));
    assert_eq!(export.rpo, Some(Duration::from_hours(26)));
    assert_eq!(
        export.policy.to_string(),
        "keep_within_daily=1y 6mo keep_yearly=-1 max_age=2y max_count=500 \
         max_delete_per_sweep=5 max_total_size=214748364800 min_keep=2 policy_grace=604800s \
         trash=5400s"
    );
    assert_eq!(export.policy.policy_grace, Duration::from_hours(168));
    assert_eq!(export.policy.max_delete_per_sweep, 5);
    assert_eq!(settings.limits.downloads.get(), 256);
    assert_eq!(settings.limits.pace.poll_interval, Duration::from_millis(500));
    assert_eq!(settings.limits.pace.poll_interval_max, Duration::from_mins(1));
    assert_eq!(settings.limits.max_package_bytes, 1_500_000_000);
    assert_eq!((settings.limits.min_free_bytes, settings.limits.reexports), (0, 0));
    assert_eq!(settings.limits.shutdown_grace, Duration::from_hours(1));
    assert_eq!((settings.pack.method, settings.pack.level.get()), (PackMethod::Store, 9));
    assert_eq!(settings.tls.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
}

#[test]
fn an_exports_own_retention_replaces_the_common_one() {
    let text = plus(
        "[export.retention]\nkeep_daily = 3\n\
         [[export]]\nname = \"weekly\"\ninstance = \"prod\"\n\
         [[export]]\nname = \"all\"\ninstance = \"prod\"\n[export.retention]\ntrash = \"1d\"",
    );
    let Loaded { settings, warnings, .. } = loaded(&text);
    let rules = |index: usize| settings.exports[index].policy.counts.clone();
    let daily = CountRule { period: Some(Period::Day), count: Count::Limited(3) };
    let last = CountRule { period: None, count: Count::Limited(7) };
    assert_eq!((rules(0), rules(1), rules(2)), (vec![daily], vec![last], vec![]));
    assert_eq!(settings.retention.counts, [last]);
    assert_eq!(warnings, ["export all of prod keeps everything for ever: no retention rule"]);
}

#[test]
fn an_account_by_token_needs_nothing_else() {
    let start = BASE.find("auth =").unwrap();
    let end = BASE.find("[[instance]]").unwrap();
    let with = |keys: &str| format!("{}{keys}\n{}", &BASE[..start], &BASE[end..]);
    let settings = settings(&with("auth = \"token\"\ntoken_file = \"/run/token\""));
    let Auth::Token { token } = &settings.accounts[0].auth else { panic!("{settings:?}") };
    assert_eq!(*token, SecretPlace::File("/run/token".into()));
    assert_eq!(
        problem(&with("auth = \"token\"")),
        "2: account[ops].token_file: is missing; \
         for example token_file = \"credential:roma-token\""
    );
}

#[test]
fn an_account_by_agency_needs_nothing_and_takes_nothing() {
    let start = BASE.find("auth =").unwrap();
    let end = BASE.find("[[instance]]").unwrap();
    let with =
        |keys: &str| format!("{}auth = \"agency\"\n{keys}\n{}", &BASE[..start], &BASE[end..]);
    let settings = settings(&with(""));
    let Auth::Agency { metadata_endpoint } = &settings.accounts[0].auth else {
        panic!("{settings:?}")
    };
    assert_eq!(metadata_endpoint.as_str(), "http://169.254.169.254/");
    let told = problem(&with("user = \"backup\""));
    assert!(told.contains("belongs to auth = \"password\""), "{told}");
}

#[test]
fn an_account_by_keys_needs_both_of_them() {
    let start = BASE.find("auth =").unwrap();
    let end = BASE.find("[[instance]]").unwrap();
    let with = |keys: &str| format!("{}auth = \"aksk\"\n{keys}\n{}", &BASE[..start], &BASE[end..]);
    let file = |path: &str| SecretPlace::File(path.into());
    for (more, expected) in
        [("", None), ("security_token_file = \"/run/token\"", Some(file("/run/token")))]
    {
        let text = format!("access_key_file = \"/a\"\nsecret_key_file = \"/b\"\n{more}");
        let settings = settings(&with(&text));
        let Auth::AkSk { access_key, secret_key, security_token } = &settings.accounts[0].auth
        else {
            panic!("{settings:?}")
        };
        let found = (access_key.clone(), secret_key.clone(), security_token.clone());
        assert_eq!(found, (file("/a"), file("/b"), expected));
    }
    assert_eq!(
        problem(&with("access_key_file = \"/a\"")),
        "2: account[ops].secret_key_file: is missing; \
         for example secret_key_file = \"credential:roma-secret-key\""
    );
    let secret = "access_key_file = \"/a\"\nsecret_key_file = \"AKIA-the-key-itself\"";
    let told = problem(&with(secret));
    assert!(told.contains("must say where the secret lies"), "{told}");
    assert!(!told.contains("the-key-itself"), "{told}");
}

#[test]
fn where_monitoring_looks_and_who_is_told_may_be_left_out() {
    let said = loaded(&plus(
        "[metrics]\ntextfile = \"/m.prom\"\n\
         [notify]\nping_url = \"https://ping.example/x?y=z\"",
    ));
    assert_eq!(said.warnings, [""; 0]);
    assert_eq!(said.settings.metrics.textfile.as_deref(), Some(Path::new("/m.prom")));
    let ping = said.settings.notify.ping.as_ref().unwrap();
    assert_eq!(ping.reveal().as_str(), "https://ping.example/x?y=z");
    assert_eq!(ping.place(), Some(("ping.example", 443)));
    assert!(said.settings.notify.webhook.is_none());
    assert!(!format!("{:?}", said.settings).contains("ping.example"), "an address is a secret");
    assert_eq!(
        problem(&plus("[metrics]\ntextfile = \"/var/lib/m.txt\"")),
        "22: metrics.textfile: must end in .prom, for node_exporter reads no other \
         (got \"/var/lib/m.txt\"); \
         for example textfile = \"/var/lib/node_exporter/roma-archived.prom\""
    );
    assert_eq!(loaded(&plus("[verify]\n[metrics]\n[notify]")).warnings, [""; 0]);
    let spare = "[[account]]\nname = \"spare\"\nauth = \"token\"\ntoken_file = \"/t\"";
    assert_eq!(loaded(&plus(spare)).warnings, ["account spare is not used by any instance"]);
}

#[test]
fn stored_files_are_read_again_unless_that_is_switched_off() {
    let verify = |text: &str| settings(&plus(text)).verify;
    let day = std::time::Duration::from_hours(24);
    for text in ["", "[verify]"] {
        let by_default = verify(text);
        assert_eq!((by_default.every, by_default.daily_bytes), (7 * day, 2 << 30));
    }
    let given = verify("[verify]\nevery = \"30d\"\nbudget = \"0\"");
    assert_eq!((given.every, given.daily_bytes), (30 * day, 0));
}

#[test]
fn http_is_for_loopback_only() {
    for host in ["127.0.0.1:8080", "127.9.9.9", "localhost:1", "[::1]:8080"] {
        let text = swapped("https://roma.example", &format!("http://{host}"));
        settings(&text.replace("https://iam.example", &format!("http://{host}/")));
    }
    for host in ["128.0.0.1", "localhost.example", "[::2]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        assert_eq!(
            problem(&swapped("https://roma.example", &format!("http://{host}"))),
            format!(
                "13: instance[prod].endpoint: would send credentials unencrypted \
                 (got \"http://{host}\"); write https://; http:// is for loopback addresses only"
            )
        );
    }
}

#[test]
fn endpoints_are_servers_and_nothing_more() {
    let cases = [
        (
            "https://roma.example/v2/",
            "must end after the host (got \"https://roma.example/v2/\"); \
             write \"https://roma.example\"",
        ),
        (
            "https://roma.example:8443?x=1",
            "must end after the host (got \"https://roma.example:8443/?x=1\"); \
             write \"https://roma.example:8443\"",
        ),
        (
            "https://u:hunter2@roma.example",
            "must not hold a user or a password (the value is not shown here); \
             take out what stands before the @",
        ),
    ];
    for (given, expect) in cases {
        let text = swapped("https://roma.example", given);
        assert_eq!(problem(&text), format!("13: instance[prod].endpoint: {expect}"));
    }
    for given in ["roma.example", "ftp://roma.example", "https://", "https:roma", " https://a", ""]
    {
        let text = swapped("https://roma.example", given);
        assert_eq!(
            problem(&text),
            format!(
                "13: instance[prod].endpoint: is not a URL (got {given:?}); \
                 for example endpoint = \"https://roma.ap-southeast-1.myhuaweicloud.com\""
            )
        );
    }
}

#[test]
fn unknown_keys_say_what_was_meant() {
    check_appended(
        "[limits]",
        &[
            ("downlods = 4", "limits.downlods: there is no such key; did you mean `downloads`?"),
            (
                "poll-interval = '1s'",
                "limits.poll-interval: there is no such key; did you mean `poll_interval`?",
            ),
            (
                "level = 3",
                "limits.level: there is no such key in this section; it belongs to [pack]",
            ),
            (
                "state_dir = '/x'",
                "limits.state_dir: there is no such key in this section; \
                 it belongs to the top of the file, above every [section]",
            ),
            (
                "\"a.b\\n\" = 3",
                "limits.\"a.b\\n\": there is no such key; known here: downloads, poll_interval, \
                 poll_interval_max, request_timeout, download_idle_timeout, max_package_size, \
                 min_free_space, reexports, shutdown_grace",
            ),
        ],
    );
    check_appended(
        "",
        &[
            ("[limit]", "limit: there is no such key; did you mean `limits`?"),
            ("[[exports]]", "exports: there is no such key; did you mean `export`?"),
            (
                "keep_last = 3",
                "export[nightly].keep_last: there is no such key in this section; \
                 it belongs to [export.retention] or [retention]",
            ),
            (
                "retention.keep_lats = 3",
                "export[nightly].retention.keep_lats: there is no such key; \
                 did you mean `keep_last`?",
            ),
        ],
    );
    assert_eq!(
        problem(&plus(
            "[[export.retention.test]]\ngiven = 'daily'\nat = '2026-01-01'\nexpect = []"
        )),
        "22: export[nightly].retention.test[#1].given: is no history that is understood \
         (got \"daily\"); write \"daily since 2026-01-01\" (also hourly, weekly, monthly, yearly, \
         \"every 6h since ...\"), or a list of times"
    );
    assert_eq!(
        problem(&swapped(
            "keep_last = 7",
            "[[retention.test]]\ngiven = ['2026-01-01']\nat = '2026-13-01'\nexpect = []"
        )),
        "19: retention.test[#1].at: is neither a day nor a time (got \"2026-13-01\"); \
         write \"2026-12-31\", or \"2026-12-31T02:00:00+01:00\""
    );
    // The misspelt key explains why the right one is missing.
    assert_eq!(
        problem(&swapped("user = ", "usr = ")),
        "6: account[ops].usr: there is no such key; did you mean `user`?"
    );
    assert_eq!(
        problem(&swapped("[[instance]]", "[[instances]]")),
        "10: instances: there is no such key; did you mean `instance`?"
    );
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let cases = [
        ("password", "password_file"),
        ("passwd", "password_file"),
        ("token", "token_file"),
        ("secret_key", "secret_key_file"),
        ("Access_Key", "access_key_file"),
    ];
    for (key, instead) in cases {
        let text = swapped("project = ", &format!("{key} = \"hunter2\"\nproject = "));
        let expect = format!(
            "8: account[ops].{key}: secrets do not belong in this file; \
             put it into a file of its own and name that with `{instead}`"
        );
        assert_eq!(problem(&text), expect);
    }
    for given in ["\"hunter2\"", "\"credential:\"", "\"credential:a/hunter2\"", "[\"hunter2\"]"] {
        let text = swapped("\"credential:roma-password\"", given);
        let found = problem(&text);
        assert!(found.starts_with("9: account[ops].password_file: must "), "{found}");
        assert!(found.contains("not") && found.contains("shown here"), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let alone = swapped("password_file = \"credential:roma-password\"", "password = 'hunter2'");
    assert_eq!(
        problem(&alone),
        "9: account[ops].password: secrets do not belong in this file; \
         put it into a file of its own and name that with `password_file`"
    );
    let broken = swapped("\"credential:roma-password\"", "\"hunter2");
    let broken = parse(&broken, name()).unwrap_err();
    assert!(matches!(&broken, ConfigError::Syntax { line: 9, .. }), "{broken:?}");
    assert!(!format!("{broken} {broken:?}").contains("hunter2"), "{broken:?}");
    let hook = plus("[notify]\nwebhook_url = \"ftp://chat.example/hunter2\"");
    assert_eq!(
        problem(&hook),
        "22: notify.webhook_url: is not a URL without user and password \
         (the value is not shown here); \
         for example webhook_url = \"https://chat.example/hooks/roma-archived\""
    );
}

#[test]
fn nothing_is_coerced() {
    check_appended(
        "[limits]",
        &[
            (
                "downloads = 1.9",
                "limits.downloads: must be a whole number (got 1.9); for example downloads = 8",
            ),
            (
                "downloads = \"8\"",
                "limits.downloads: must be a whole number (got \"8\"); for example downloads = 8",
            ),
            (
                "downloads = true",
                "limits.downloads: must be a whole number (got true); for example downloads = 8",
            ),
            (
                "downloads = 99999999999999999999",
                "limits.downloads: is too large a number (got \"99999999999999999999\"); \
                 for example downloads = 8",
            ),
            (
                "poll_interval = 2",
                "limits.poll_interval: must be text in quotes (got 2); \
                 for example poll_interval = \"2s\"",
            ),
            (
                "min_free_space = 0",
                "limits.min_free_space: must be text in quotes (got 0); \
                 for example min_free_space = \"1GiB\"",
            ),
        ],
    );
    check_appended(
        "",
        &[
            (
                "apps = [\"a\", 5]",
                "export[nightly].apps[#2]: must be text in quotes (got 5); write each in quotes",
            ),
            (
                "apps = [5]\ntasks = []",
                "export[nightly].apps[#1]: must be text in quotes (got 5); write each in quotes",
            ),
            (
                "apps = true",
                "export[nightly].apps: must be \"all\" or a list of ids (got true); \
                 for example apps = \"all\"",
            ),
            (
                "rpo = 02:00:00",
                "export[nightly].rpo: must be text in quotes (got 02:00:00); \
                 for example rpo = \"26h\"",
            ),
            ("[[limits]]", "limits: must be a section (got a list); write [limits]"),
            (
                "[[export.retention]]",
                "export[nightly].retention: must be a section (got a list); \
                 write [export.retention]",
            ),
        ],
    );
    assert_eq!(
        problem(&swapped("user = \"backup\"", "user = 12345")),
        "6: account[ops].user: must be text in quotes (got 12345); for example user = \"backup\""
    );
    assert_eq!(
        problem(&swapped("[[instance]]", "[instance]")),
        "10: instance: must be a list of sections (got a section); write [[instance]]"
    );
}

#[test]
fn numbers_have_limits() {
    let range = |key: &str, limits: &str, got: &str, example: &str| {
        format!("{key}: must be {limits} (got {got}); for example {example}")
    };
    let downloads = |got| range("limits.downloads", "from 1 to 256", got, "downloads = 8");
    let level = |got| range("pack.level", "from 1 to 9", got, "level = 6");
    let reexports = range("limits.reexports", "from 0 to 4294967295", "-1", "reexports = 3");
    check_appended(
        "[limits]",
        &[
            ("downloads = 0", &downloads("0")),
            ("downloads = 257", &downloads("257")),
            ("reexports = -1", &reexports),
        ],
    );
    check_appended("[pack]", &[("level = 0", &level("0")), ("level = 10", &level("10"))]);
    let hint = "leave the rule out, or write -1 to keep without limit";
    let zero = format!(
        "export[nightly].retention.keep_daily: \
         0 would keep nothing, which no rule can ask for; {hint}"
    );
    check_appended(
        "[export.retention]",
        &[
            ("keep_daily = 0", &zero),
            (
                "keep_weekly = -2",
                "export[nightly].retention.keep_weekly: must be from 1 to 4294967295 (got -2); \
                 write -1 to keep without limit",
            ),
            (
                "max_count = -1",
                "export[nightly].retention.max_count: must be 1 or more (got -1); \
                 for example max_count = 500",
            ),
            (
                "min_keep = 0",
                "export[nightly].retention.min_keep: must be from 1 to 4294967295 (got 0); \
                 for example min_keep = 1",
            ),
        ],
    );
}

#[test]
fn lengths_of_time_are_positive_and_unambiguous() {
    let units = "write a number and a unit, such as \"30s\", \"5min\", \"26h\" or \"7d\"";
    let cases = [
        ("2", format!("is a length of time without a unit (got \"2\"); {units}")),
        ("", format!("is a length of time without a unit (got \"\"); {units}")),
        ("5 minuts", format!("is not a length of time (got \"5 minuts\"); {units}")),
        ("0s", format!("must be more than nothing (got \"0s\"); {units}")),
        ("-3s", format!("must be more than nothing (got \"-3s\"); {units}")),
        ("3s ago", format!("must be more than nothing (got \"3s ago\"); {units}")),
        ("PT3S", format!("is not a length of time (got \"PT3S\"); {units}")),
        (
            "10us",
            "is less than a millisecond (got \"10us\"); for example request_timeout = \"30s\""
                .to_owned(),
        ),
        (
            "1mo",
            "months and years do not always last equally long (got \"1mo\"); \
             write days, such as \"60d\""
                .to_owned(),
        ),
    ];
    for (given, expect) in &cases {
        let text = format!("request_timeout = \"{given}\"");
        check_appended("[limits]", &[(&text, &format!("limits.request_timeout: {expect}"))]);
    }
    check_appended(
        "",
        &[(
            "rpo = \"1m\"",
            "export[nightly].rpo: `m` could be minutes or months (got \"1m\"); \
             write `min` for minutes, or days such as \"30d\"",
        )],
    );
    let units = "write hours, days, weeks, months or years, such as \"36h\", \"14d\", \
                 \"6mo\" or \"2y\"";
    let cases = [
        ("6m", "`m` would be minutes (got \"6m\"); write `mo` for months".to_owned()),
        ("1y 6 M", "`m` would be minutes (got \"1y 6 M\"); write `mo` for months".to_owned()),
        ("30min", format!("must be whole hours or longer units (got \"30min\"); {units}")),
        ("0d", format!("must be more than nothing (got \"0d\"); {units}")),
        ("2", format!("is a length of time without a unit (got \"2\"); {units}")),
        ("99999y", format!("is not a length of time (got \"99999y\"); {units}")),
    ];
    for (given, expect) in &cases {
        for key in ["max_age", "keep_within", "keep_within_monthly"] {
            let expect = format!("export[nightly].retention.{key}: {expect}");
            let text = format!("{key} = \"{given}\"");
            check_appended("[export.retention]", &[(&text, &expect)]);
        }
    }
}

#[test]
fn a_young_job_is_polled_no_less_often_than_an_old_one() {
    let remedy = "make poll_interval the smaller one";
    check_appended(
        "[limits]",
        &[
            (
                "poll_interval = \"2min\"",
                &format!(
                    "limits.poll_interval: is longer than poll_interval_max \
                     (they are 120s and 60s); {remedy}"
                ),
            ),
            (
                "poll_interval_max = \"1s\"",
                &format!(
                    "limits.poll_interval_max: is shorter than poll_interval \
                     (they are 2s and 1s); {remedy}"
                ),
            ),
        ],
    );
}

#[test]
fn sizes_have_a_unit() {
    let units = "write a number and a unit, such as \"500MB\" (decimal) or \"64GiB\" (binary)";
    let cases = [
        ("64", format!("is a size without a unit (got \"64\"); {units}")),
        ("", format!("is a size without a unit (got \"\"); {units}")),
        ("64 gigs", format!("is not a size (got \"64 gigs\"); {units}")),
        ("-1GiB", format!("is not a size (got \"-1GiB\"); {units}")),
        ("9EiB", format!("is more than 8 EiB (got \"9EiB\"); {units}")),
        (
            "0",
            "must be more than nothing (got \"0\"); for example max_package_size = \"64GiB\""
                .to_owned(),
        ),
    ];
    for (given, expect) in &cases {
        let text = format!("max_package_size = \"{given}\"");
        check_appended("[limits]", &[(&text, &format!("limits.max_package_size: {expect}"))]);
    }
}

#[test]
fn single_values_are_refused_with_reason_and_remedy() {
    let ids = "must be 1 to 64 letters, digits, `_` or `-`";
    let console = "copy it from the console of ROMA Connect";
    let cases = [
        (
            swapped("/srv/roma", "srv/roma"),
            "1: state_dir: must be an absolute path (got \"srv/roma\"); \
             for example state_dir = \"/var/lib/roma-archived\""
                .to_owned(),
        ),
        (
            format!("timezone = \"Europe/Berln\"\n{BASE}"),
            "1: timezone: is no time zone known here (got \"Europe/Berln\"); \
             did you mean \"Europe/Berlin\"?"
                .to_owned(),
        ),
        (
            format!("timezone = \"Mars\\nOlympus Mons\"\n{BASE}"),
            "1: timezone: is no time zone known here (got \"Mars\\nOlympus Mons\"); \
             write an IANA name such as \"Europe/Berlin\", or \"UTC\""
                .to_owned(),
        ),
        (
            swapped("project_id = \"p-1\"", "project_id = \"a/b\""),
            format!("14: instance[prod].project_id: {ids} (got \"a/b\"); {console}"),
        ),
        (
            swapped("instance_id = \"i_1\"", "instance_id = \"\""),
            format!("15: instance[prod].instance_id: {ids} (got \"\"); {console}"),
        ),
        (
            swapped("domain = \"corp\"", "domain = \" \""),
            "7: account[ops].domain: is empty; for example domain = \"corp\"".to_owned(),
        ),
        (
            swapped("auth = \"password\"", "auth = \"pasword\""),
            "4: account[ops].auth: is not one of the known words (got \"pasword\"); \
             did you mean \"password\"?"
                .to_owned(),
        ),
        (
            swapped("user =", "token_file = \"/t\"\nuser ="),
            "6: account[ops].token_file: belongs to auth = \"token\", \
             but this account has auth = \"password\"; take one of the two out"
                .to_owned(),
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(problem(&text), expect);
    }
}

#[test]
fn single_values_further_down_are_refused_likewise() {
    let cases = [
        (
            plus("[pack]\nmethod = \"zip\""),
            "22: pack.method: is not one of the known words (got \"zip\"); \
             write \"auto\" or \"deflate\" or \"store\""
                .to_owned(),
        ),
        (
            plus("[tls]\nca_file = \"ca.pem\""),
            "22: tls.ca_file: must be an absolute path (got \"ca.pem\"); \
             for example ca_file = \"/etc/ssl/certs/corp-ca.pem\""
                .to_owned(),
        ),
        (
            plus("schedule = \"0 2 * *\""),
            "21: export[nightly].schedule: is not a schedule (it has not five fields) \
             (got \"0 2 * *\"); write five cron fields such as \"0 2 * * *\", or @daily"
                .to_owned(),
        ),
        (
            plus("schedule = \"0 0 30 2 *\""),
            "21: export[nightly].schedule: never comes, for no such date exists \
             (got \"0 0 30 2 *\"); write five cron fields such as \"0 2 * * *\", or @daily"
                .to_owned(),
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(problem(&text), expect);
    }
}

#[test]
fn selections_name_something_once() {
    let long = "x".repeat(65);
    let too_long = format!("apps = [\"{long}\"]");
    let too_long_message = format!(
        "export[nightly].apps: holds an id of more than 64 characters (got \"{}\"...); \
         copy it from the console of ROMA Connect",
        &long[..60]
    );
    check_appended(
        "",
        &[
            (
                "apps = \"a1\"",
                "export[nightly].apps: must be \"all\" or a list of ids (got \"a1\"); \
                 write \"all\" or [\"a1\"]",
            ),
            ("apps = [\"\"]", "export[nightly].apps: holds an empty id; take it out"),
            (
                "tasks = [\"t\", \"u\", \"t\"]",
                "export[nightly].tasks: names an id twice (got \"t\"); take one of them out",
            ),
            (&too_long, &too_long_message),
            (
                "apps = []\ntasks = []",
                "export[nightly].apps: is empty, and so is `tasks`: nothing would be exported; \
                 name ids, or write \"all\"",
            ),
        ],
    );
}

#[test]
fn names_are_usable_unique_and_known() {
    let rule = "use 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or a digit";
    let again = |section: &str, keys: &str| plus(&format!("[[{section}]]\n{keys}"));
    let cases = [
        (
            swapped("name = \"nightly\"", "name = \"../x\""),
            format!("19: export[#1].name: `../x` cannot be a name; {rule}"),
        ),
        (
            swapped("name = \"nightly\"", "name = \"watched\""),
            "19: export[watched].name: `watched` is reserved for jobs adopted by `watch`; \
             choose another name"
                .to_owned(),
        ),
        (
            again("account", "name = \"ops\"\nauth = \"token\"\ntoken_file = \"/t\""),
            "22: account[ops].name: is already the name of the account on line 3; \
             choose another name"
                .to_owned(),
        ),
        (
            again("export", "name = \"nightly\"\ninstance = \"prod\""),
            "22: export[nightly].name: is already the name of the export of this instance on \
             line 19; choose another name"
                .to_owned(),
        ),
        (
            swapped("account = \"ops\"", "account = \"opps\""),
            "12: instance[prod].account: there is no account of this name (got \"opps\"); \
             did you mean \"ops\"?"
                .to_owned(),
        ),
        (
            swapped("instance = \"prod\"", "instance = \"test\""),
            "20: export[nightly].instance: there is no instance of this name (got \"test\"); \
             there is \"prod\""
                .to_owned(),
        ),
        (
            swapped("name = \"prod\"\n", ""),
            "10: instance[#1].name: is missing; for example name = \"prod\"".to_owned(),
        ),
        (
            swapped("name = \"ops\"", "name = 5"),
            "3: account[#1].name: must be text in quotes (got 5); for example name = \"ops\""
                .to_owned(),
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(problem(&text), expect);
    }
    // The same export name on another instance is fine.
    let second = BASE[BASE.find("[[instance]]").unwrap()..BASE.find("[retention]").unwrap()]
        .replace("\"prod\"", "\"test\"");
    settings(&plus(&format!("{second}[[export]]\nname = \"nightly\"\ninstance = \"test\"")));
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let error = parse(
        "timezone = \"Nowhere\"\n\n[limits]\ndownloads = 0\nreexport = 3\n\n\
         [[account]]\nname = \"ops\"\nauth = \"token\"\n",
        name(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "r.toml:1: timezone: is no time zone known here (got \"Nowhere\"); \
         write an IANA name such as \"Europe/Berlin\", or \"UTC\"\n\
         r.toml:4: limits.downloads: must be from 1 to 256 (got 0); for example downloads = 8\n\
         r.toml:5: limits.reexport: there is no such key; did you mean `reexports`?\n\
         r.toml:7: account[ops].token_file: is missing; \
         for example token_file = \"credential:roma-token\"\n\
         r.toml: state_dir: is missing; for example state_dir = \"/var/lib/roma-archived\"\n\
         r.toml: instance: there is none, but something has to be archived; add an [[instance]] \
         with name, account, endpoint, project_id and instance_id"
    );
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let cases = [
        ("a = 1\r\nb = = 2\r\n", "r.toml:2: not valid TOML: "),
        ("state_dir = /var/lib\n", "r.toml:1: not valid TOML: "),
        ("[limits]\n[pack]\n[limits]\n", "r.toml:3: not valid TOML: duplicate key `limits`"),
        ("timezone = \"Ä\"\n\ntimezone = \"B\"", "r.toml:3: not valid TOML: duplicate key `time"),
        ("x = [[[[", "r.toml:1: not valid TOML: "),
    ];
    for (text, expect) in cases {
        let error = parse(text, name()).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expect), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn every_example_is_right() {
    fn visit(keys: &[raw::Known], header: &str) {
        for known in keys {
            match known.shape {
                raw::Shape::List(_) if known.name != "export" => {}
                raw::Shape::Table(keys) | raw::Shape::List(keys) => visit(keys, known.example),
                _ => {
                    let line = format!("{} = {}", known.name, known.example);
                    let text = match header {
                        "" if known.name == "state_dir" => swapped("\"/srv/roma\"", known.example),
                        "" => format!("{line}\n{BASE}"),
                        "[[export]]" if ["name", "instance"].contains(&known.name) => plus(""),
                        // It goes with a schedule only.
                        "[[export]]" if known.name == "jitter" => {
                            plus(&format!("schedule = \"@daily\"\n{line}"))
                        }
                        "[[export]]" => plus(&line),
                        "[retention]" => swapped("keep_last = 7", &line),
                        _ => plus(&format!("{header}\n{line}")),
                    };
                    settings(&text);
                }
            }
        }
    }
    visit(raw::ROOT, "");
}

#[test]
fn jitter_goes_with_a_schedule() {
    let alone = problem(&plus("jitter = \"10min\""));
    assert!(
        alone.contains("export[nightly].jitter") && alone.contains("add a schedule"),
        "{alone}"
    );
    let zone = jiff::tz::TimeZone::UTC;
    let starts = |more: &str| {
        let settings = settings(&plus(&format!("schedule = \"@daily\"\n{more}")));
        let midnight = "2026-11-25T00:00:00Z".parse().unwrap();
        settings.exports[0].schedule.as_ref().unwrap().starts(midnight, &zone).since(midnight)
    };
    assert_eq!(starts(""), Duration::ZERO);
    let late = starts("jitter = \"10min\"");
    assert!(late > Duration::ZERO && late < Duration::from_mins(10), "{late:?}");
}

#[test]
fn known_keys_are_listed_by_path() {
    let keys = known_keys();
    for key in ["state_dir", "account.password_file", "export.retention.keep_last", "pack.level"] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
}

/// Whatever comes in: an answer, on one line per problem, without the secret.
fn answer(text: &str) {
    match parse(text, name()) {
        Ok(loaded) => assert!(!loaded.settings.accounts.is_empty()),
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty());
            let lines = text.lines().count().max(1);
            for problem in problems {
                assert!(!problem.message.is_empty(), "{problem:?}");
                // Only a file that is no TOML at all has no key to name.
                assert!(!problem.key.is_empty(), "{problem:?}");
                assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

/// A piece of text that is likely to take the program somewhere new.
fn piece() -> impl Strategy<Value = String> {
    let keys = known_keys();
    let key = (0..keys.len())
        .prop_map(move |index| keys[index].rsplit('.').next().unwrap_or_default().to_owned());
    let words = [
        "\n",
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        " = ",
        ",",
        ".",
        "#",
        "\r\n",
        "-1",
        "0",
        "1e9",
        "nan",
        "true",
        "2026-01-01",
        "0x",
        "_",
        "\\u0000",
        "\\",
        "\u{feff}",
        "[limits]\n",
        "[[export]]\n",
        "[export.retention]\n",
        "[[retention.test]]\n",
        "all",
        "credential:",
        "https://",
        "@",
        "9999999999999999999",
        "\0",
        "é",
        "y",
        "mo",
        "m",
        "GiB",
    ];
    prop_oneof![
        key,
        proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        "\\PC{0,12}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(
        text in any::<String>(),
        pieces in prop::collection::vec(piece(), 0..24),
    ) {
        answer(&text);
        answer(&pieces.concat());
    }

    #[test]
    fn a_damaged_file_gets_an_answer(
        shipped in any::<bool>(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..40, piece()), 1..6),
    ) {
        let mut text: Vec<char> = if shipped { SHIPPED } else { BASE }.chars().collect();
        for (at, remove, insert) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + remove).min(text.len());
            text.splice(start..end, insert.chars());
        }
        answer(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_of_any_key_gets_an_answer(
        key in any::<prop::sample::Index>(),
        value in prop_oneof![
            any::<String>().prop_map(|text| toml::Value::String(text).to_string()),
            "[-+0-9a-zA-Z:/.@ ]{0,20}".prop_map(|text| toml::Value::String(text).to_string()),
            "[0-9]{1,6} ?[a-zA-Z]{0,3}( ago)?".prop_map(|text| format!("\"{text}\"")),
            "[-*/0-9A-Za-z,@#?]{0,6}( [-*/0-9A-Za-z,#?]{1,6}){4}"
                .prop_map(|text| format!("\"{text}\"")),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| toml::Value::Float(number).to_string()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            prop::collection::vec(any::<String>(), 0..3)
                .prop_map(|list| toml::Value::from(list).to_string()),
        ],
    ) {
        let keys = known_keys();
        let path = &keys[key.index(keys.len())];
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let section = match section {
            "" => String::new(),
            list @ ("account" | "instance" | "export") => format!("[[{list}]]\n"),
            "export.retention" => "[[export]]\n[export.retention]\n".to_owned(),
            table => format!("[{table}]\n"),
        };
        answer(&format!("{section}{name} = {value}\n"));
    }

    #[test]
    fn a_secret_is_never_repeated(secret in "[A-Z][a-z0-9]{12}q", key in 0_usize..7) {
        let texts = [
            swapped("\"credential:roma-password\"", &format!("\"{secret}\"")),
            swapped("\"credential:roma-password\"", &format!("[\"{secret}\"]")),
            swapped("password_file = ", &format!("password = \"{secret}\"\npassword_file = ")),
            swapped("https://iam.example", &format!("https://u:{secret}@iam.example")),
            swapped("https://iam.example", &format!("https://{secret}:x y@iam.example")),
            plus(&format!("[tls]\nproxy = \"http://u:{secret}@proxy.example\"")),
            plus(&format!("[notify]\nping_url = \"ping/{secret}\"")),
        ];
        let error = parse(&texts[key], name()).unwrap_err();
        prop_assert!(!format!("{error} {error:?}").contains(&secret), "{error:?}");
    }
}
