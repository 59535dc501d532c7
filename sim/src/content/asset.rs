//! Asset packages as zip files in memory. The vendor does not publish the inner layout; this one
//! is made up, of the size and the likeness (successive exports hardly differ) that matter.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::prng::{Prng, below, hash, hex_id};

/// An asset changes once in so many exports: a few percent of all assets from one to the next.
const CHANGES_EVERY: (u64, u64) = (20, 60);

/// An application or a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What an asset package is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct AssetScope {
    pub(crate) instance_id: String,
    pub(crate) instance_name: String,
    pub(crate) apps: Vec<Item>,
    pub(crate) tasks: Vec<Item>,
    /// How many exports of the instance came before.
    pub(crate) export_number: u64,
    /// The number whose time the entries of the zip bear, when that is not the time of all.
    pub(crate) stamp: Option<u64>,
    /// Seed of the assets themselves, the same for all exports of a world.
    pub(crate) seed: u64,
}

pub(super) fn build(scope: &AssetScope) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let modified = scope.stamp.map_or_else(DateTime::default, stamped);
    let mut add = |name: &str, value: &Value| add(&mut zip, name, value, modified);
    let manifest = json!({
        "format": "roma-assets",
        "version": "1.2",
        "instance": {"id": scope.instance_id, "name": scope.instance_name},
        "export": scope.export_number,
        "apps": scope.apps.iter().map(|app| json!({
            "id": app.id, "name": app.name, "file": app_file(app),
        })).collect::<Vec<_>>(),
        "tasks": scope.tasks.iter().map(|task| json!({
            "id": task.id, "name": task.name, "file": task_file(task),
        })).collect::<Vec<_>>(),
    });
    add("manifest.json", &manifest)?;
    for app in &scope.apps {
        add(&app_file(app), &app_json(scope, app))?;
    }
    for task in &scope.tasks {
        add(&task_file(task), &task_json(scope, task))?;
    }
    Ok(zip.finish()?.into_inner())
}

pub(super) fn stored_zip(bytes: u64, seed: u64) -> ZipResult<Vec<u8>> {
    let size = usize::try_from(bytes).unwrap_or(0);
    let mut data = vec![0; size];
    Prng::new(seed).fill(&mut data);
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(size + 512)));
    let options = options(CompressionMethod::Stored).large_file(bytes >= u64::from(u32::MAX));
    zip.start_file("assets.bin", options)?;
    zip.write_all(&data)?;
    Ok(zip.finish()?.into_inner())
}

fn options(method: CompressionMethod) -> SimpleFileOptions {
    // A fixed date: the same assets give the same bytes.
    SimpleFileOptions::default().compression_method(method).last_modified_time(DateTime::default())
}

/// Two seconds more for each number: a zip knows no smaller step.
fn stamped(number: u64) -> DateTime {
    let part = |every: u64, count: u64| u8::try_from(number / every % count).unwrap_or(0);
    let (hour, minute, second) = (part(1_800, 24), part(30, 60), 2 * part(1, 30));
    DateTime::from_date_and_time(2026, 11, 24, hour, minute, second).unwrap_or_default()
}

fn add(
    zip: &mut ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    value: &Value,
    modified: DateTime,
) -> ZipResult<()> {
    // The quickest level: tests make thousands of these.
    let options = options(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .last_modified_time(modified);
    zip.start_file(name, options)?;
    let text = format!("{value:#}\n");
    zip.write_all(text.as_bytes())?;
    Ok(())
}

fn app_file(app: &Item) -> String {
    format!("apps/{}.json", app.id)
}

fn task_file(task: &Item) -> String {
    format!("tasks/{}.json", task.id)
}

/// How often the asset has changed up to this export: each asset changes at its own pace.
fn revision(scope: &AssetScope, asset: &str) -> u64 {
    let dice = hash(scope.seed, asset, 1);
    let (fast, slow) = CHANGES_EVERY;
    let every = fast + dice % (slow - fast);
    let offset = (dice >> 32) % every;
    (scope.export_number + offset) / every
}

fn app_json(scope: &AssetScope, app: &Item) -> Value {
    let apis = 4 + below(hash(scope.seed, &app.id, 0), 9);
    json!({
        "id": app.id,
        "name": app.name,
        "revision": revision(scope, &app.id),
        "remark": format!("application {} of {}", app.name, scope.instance_name),
        "apis": (0..apis).map(|number| api_json(scope, app, number)).collect::<Vec<_>>(),
        "topics": (0..apis / 3).map(|number| json!({
            "name": format!("{}-events-{number}", app.name),
            "partitions": 3,
            "permission": "all",
        })).collect::<Vec<_>>(),
    })
}

fn api_json(scope: &AssetScope, app: &Item, number: usize) -> Value {
    const METHODS: [&str; 4] = ["GET", "PUT", "POST", "DELETE"];
    const NOUNS: [&str; 6] = ["orders", "parts", "invoices", "shipments", "devices", "readings"];
    let word = format!("{}/{number}", app.id);
    let dice = hash(scope.seed, &word, 0);
    let noun = NOUNS[below(dice, NOUNS.len())];
    let revision = revision(scope, &word);
    json!({
        "id": hex_id(scope.seed, &word, 0),
        "name": format!("{noun}-{number}"),
        "req_method": METHODS[below(dice >> 8, METHODS.len())],
        "req_uri": format!("/v1/{noun}/{{id}}"),
        "auth_type": "APP",
        "revision": revision,
        "release": hex_id(scope.seed, &word, 1 + revision),
        "backend_api": {
            "req_protocol": "HTTPS",
            "url_domain": format!("backend-{:02}.internal:8443", dice % 40),
            "timeout": 1000 * (1 + dice % 30),
            "retry_count": dice % 3,
        },
        "req_params": [
            {"name": "id", "location": "PATH", "type": "STRING", "required": 1},
            {"name": "page", "location": "QUERY", "type": "NUMBER", "required": 2},
        ],
    })
}

fn task_json(scope: &AssetScope, task: &Item) -> Value {
    let dice = hash(scope.seed, &task.id, 0);
    let revision = revision(scope, &task.id);
    json!({
        "task_id": task.id,
        "task_name": task.name,
        "revision": revision,
        "version": hex_id(scope.seed, &task.id, 1 + revision),
        "schedule": {"kind": "cron", "cron": format!("0 {} {} * * ?", dice % 60, dice % 24)},
        "source": {"type": "MYSQL", "table": format!("t_{:04x}", dice >> 48)},
        "target": {"type": "KAFKA", "topic": format!("topic-{:02}", dice % 25)},
        "mapping": (0..6 + below(dice >> 16, 10)).map(|column| json!({
            "source": format!("col_{column:02}"),
            "target": format!("field_{column:02}"),
            "type": "VARCHAR",
        })).collect::<Vec<_>>(),
    })
}
