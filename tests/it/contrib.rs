//! What is shipped for Prometheus, Grafana and Datasette fits the metrics and the catalog, and the
//! page about it names exactly what there is.

use std::collections::BTreeSet;
use std::path::Path;

use roma_archived::health::{Kind, METRICS};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::schema;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&read(path)).unwrap()
}

/// The metrics that an expression names.
fn metrics_in(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("roma_archived_")).collect()
}

/// All of them exist, and there is at least one.
#[track_caller]
fn assert_known(expression: &str) {
    let named = metrics_in(expression);
    assert!(!named.is_empty(), "{expression}");
    for name in named {
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} in {expression}");
    }
}

#[test]
fn the_page_lists_exactly_the_metrics_there_are() {
    let page = read("docs/monitoring.md");
    let (_, list) = page.split_once("## List of the metrics").unwrap();
    let rows: Vec<&str> = list.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let kind = if metric.kind == Kind::Gauge { "gauge" } else { "counter" };
            let labels =
                if metric.labels.is_empty() { "-".to_owned() } else { metric.labels.join(", ") };
            let help = metric.help.trim_end_matches('.');
            format!("| `{}` | {kind} | {labels} | {help} |", metric.name)
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_alert_asks_about_metrics_there_are_and_leads_to_what_to_do() {
    let rules = yaml("contrib/prometheus-alerts.yml");
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 15);
    let page = read("docs/operations.md");
    let (_, section) = page.split_once("\n## What to do for each alert\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut told: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert_known(rule["expr"].as_str().unwrap());
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], anchor.as_str());
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        assert!(told.remove(name), "docs/operations.md does not say what to do for {name}");
        assert!(!rule["annotations"]["summary"].as_str().unwrap().is_empty());
    }
    assert!(told.is_empty(), "no alert leads to {told:?}");
}

/// The rows of a query, as often as there are.
async fn rows(db: &mut SqliteConnection, sql: &str) -> usize {
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(db).await;
    result.unwrap_or_else(|error| panic!("{error}\n{sql}")).len()
}

#[tokio::test]
async fn every_panel_of_the_dashboard_has_something_to_show() {
    let (_directory, mut db) = schema::sample().await;
    let dashboard: Value = serde_json::from_str(&read("contrib/grafana-dashboard.json")).unwrap();
    assert_eq!(dashboard["uid"], "roma-archived");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let inputs: BTreeSet<String> = dashboard["__inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| format!("${{{}}}", input["name"].as_str().unwrap()))
        .collect();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let (mut queries, mut expressions) = (0, 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "two panels at {place:?}");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(inputs.contains(panel["datasource"]["uid"].as_str().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert_eq!(target["datasource"], panel["datasource"]);
            if let Some(expression) = target["expr"].as_str() {
                assert_known(expression);
                expressions += 1;
                continue;
            }
            // As the data source puts them in: milliseconds.
            let sql = target["queryText"].as_str().unwrap();
            assert_eq!(target["rawQueryText"], sql);
            let sql = sql.replace("$__from", "0").replace("$__to", "32503680000000");
            assert!(!sql.contains("$__"), "{sql}");
            assert!(rows(&mut db, &sql).await > 0, "{}: nothing\n{sql}", panel["title"]);
            if target["queryType"] == "time series" {
                let row =
                    &sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&mut db).await.unwrap()[0];
                // A number is taken for seconds.
                let time: i64 = row.get("time");
                let at = schema::sample_time().as_millis() / 1_000;
                assert!((time - at).abs() <= 86_400, "{time} {at}");
            }
            queries += 1;
        }
    }
    assert!(queries >= 8 && expressions >= 6);
}

#[tokio::test]
async fn datasette_is_told_of_every_view_and_every_column() {
    let (_directory, mut db) = schema::sample().await;
    let metadata = yaml("contrib/datasette-metadata.yaml");
    let catalog = &metadata["databases"]["catalog"];
    let tables = catalog["tables"].as_object().unwrap();
    let views = schema::views(&mut db).await;
    for (view, columns) in &views {
        let described = &tables[view];
        assert!(described["description"].as_str().is_some_and(|text| !text.is_empty()), "{view}");
        let described: BTreeSet<&str> =
            described["columns"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, columns.iter().map(String::as_str).collect(), "{view}");
    }
    let select = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let internal: BTreeSet<String> = sqlx::raw_sql(select)
        .fetch_all(&mut db)
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let hidden = tables.iter().filter(|(_, table)| table["hidden"] == true);
    assert_eq!(hidden.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), internal);
    assert_eq!(tables.len(), views.len() + internal.len(), "others do not exist");
    let queries = catalog["queries"].as_object().unwrap();
    assert!(queries.len() >= 5);
    for (name, query) in queries {
        let sql = query["sql"].as_str().unwrap().replace(":archive", "'1'");
        assert!(rows(&mut db, &sql).await > 0, "{name}: nothing\n{sql}");
        assert!(query["title"].is_string(), "{name}");
    }
}
