//! Holds one exchange against the OpenAPI document: the call, its parameters, its credentials, both
//! bodies. It knows nothing of the product and nothing of the simulator.

use serde_json::{Value, json};
use url::Url;

use crate::support::relay::{Exchange, Message};

/// The server's side in OpenAPI, as far as it is described that way.
const DOCUMENT: &str = include_str!("../../contract/openapi.yaml");

/// Calls of the contract (section 5) that the document leaves out: reading only, never a body.
const UNDESCRIBED: [(&str, &str); 4] = [
    ("Projects", "/v3/projects"),
    ("Instances", "/v2/{project_id}/instances"),
    ("Applications", "/v2/{project_id}/instances/{instance_id}/apps"),
    ("Tasks", "/v2/{project_id}/fdi/instances/{instance_id}/tasks"),
];

pub(super) struct Contract {
    document: Value,
}

/// An operation of the document.
struct Operation<'a> {
    id: &'a str,
    /// Those of the path and those of the operation.
    parameters: Vec<&'a Value>,
    value: &'a Value,
    /// What stands in place of each `{name}` of the path.
    arguments: Vec<(String, String)>,
}

/// What an exchange was, and what is wrong with it.
pub(super) struct Reading {
    /// The name of the operation, if the call is known at all.
    pub(super) operation: Option<String>,
    pub(super) findings: Vec<String>,
}

impl Contract {
    pub(super) fn load() -> Self {
        Self { document: serde_yaml_ng::from_str(DOCUMENT).unwrap() }
    }

    /// The names of all operations.
    pub(super) fn operations(&self) -> Vec<&str> {
        let paths = self.document["paths"].as_object().unwrap().values();
        let ids = paths.flat_map(|path| path.as_object().unwrap().values());
        ids.filter_map(|operation| operation["operationId"].as_str()).collect()
    }

    pub(super) fn read(&self, exchange: &Exchange) -> Reading {
        let url = Url::parse("http://any").unwrap().join(&exchange.target).unwrap();
        let mut findings = Vec::new();
        let operation = if let Some(operation) = self.operation(&exchange.method, &url) {
            self.check_parameters(&operation, &url, &mut findings);
            self.check_credentials(&operation, &exchange.request, &mut findings);
            self.check_request(&operation, &exchange.request, &mut findings);
            self.check_answer(&operation, exchange, &mut findings);
            Some(operation.id.to_owned())
        } else if let Some((id, _)) = UNDESCRIBED.iter().find(|(_, template)| {
            exchange.method == "GET" && arguments(template, url.path()).is_some()
        }) {
            if !exchange.request.body.is_empty() {
                findings.push("a request that only reads has a body".to_owned());
            }
            Some((*id).to_owned())
        } else {
            findings.push("no such call".to_owned());
            None
        };
        let call = format!("{} {}", exchange.method, exchange.target);
        let findings = findings.into_iter().map(|finding| format!("{call}: {finding}")).collect();
        Reading { operation, findings }
    }

    fn operation(&self, method: &str, url: &Url) -> Option<Operation<'_>> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().find_map(|(template, path)| {
            let arguments = arguments(template, url.path())?;
            let value = path.get(method.to_lowercase())?;
            let lists = [&path["parameters"], &value["parameters"]];
            let parameters = lists.iter().filter_map(|list| list.as_array()).flatten();
            let parameters = parameters.map(|parameter| self.resolve(parameter)).collect();
            Some(Operation { id: value["operationId"].as_str()?, parameters, value, arguments })
        })
    }

    fn check_parameters(&self, operation: &Operation<'_>, url: &Url, findings: &mut Vec<String>) {
        let given = |place: &str| -> Vec<(String, String)> {
            match place {
                "path" => operation.arguments.clone(),
                _ => url.query_pairs().into_owned().collect(),
            }
        };
        for place in ["path", "query"] {
            for (name, value) in given(place) {
                let known = operation.parameters.iter().find(|p| p["name"] == *name);
                match known.filter(|parameter| parameter["in"] == place) {
                    Some(parameter) => {
                        let what = format!("parameter {name}");
                        self.check(&what, &parameter["schema"], &json!(value), findings);
                    }
                    None => findings.push(format!("{place} parameter {name} is not described")),
                }
            }
        }
        for parameter in operation.parameters.iter().filter(|p| p["required"] == true) {
            let place = parameter["in"].as_str().unwrap();
            if !given(place).iter().any(|(name, _)| parameter["name"] == **name) {
                findings.push(format!("parameter {} is missing", parameter["name"]));
            }
        }
    }

    fn check_credentials(
        &self,
        operation: &Operation<'_>,
        request: &Message,
        findings: &mut Vec<String>,
    ) {
        let allowed = operation.value["security"].as_array().unwrap();
        let schemes = &self.document["components"]["securitySchemes"];
        let sent: Vec<&str> = schemes
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, scheme)| {
                let name = scheme["name"].as_str().unwrap().to_lowercase();
                request.header(&name).is_some_and(|value| !value.is_empty())
            })
            .map(|(name, _)| name.as_str())
            .collect();
        match (&sent[..], allowed.is_empty()) {
            ([], true) => {}
            ([one], false) if allowed.iter().any(|scheme| scheme.get(one).is_some()) => {}
            _ => findings.push(format!("credentials {sent:?}, allowed is one of {allowed:?}")),
        }
    }

    fn check_request(
        &self,
        operation: &Operation<'_>,
        request: &Message,
        findings: &mut Vec<String>,
    ) {
        let Some(described) = operation.value["requestBody"]["content"].as_object() else {
            if !request.body.is_empty() {
                findings.push("a body that is not described".to_owned());
            }
            return;
        };
        let given = request.header("content-type").unwrap_or_default();
        let media = given.split(';').next().unwrap().trim();
        let Some(content) = described.get(media) else {
            findings.push(format!("the content type of the request is `{given}`"));
            return;
        };
        let body = match media {
            "application/json" => serde_json::from_slice(&request.body).unwrap_or_else(|error| {
                findings.push(format!("the request is not JSON: {error}"));
                Value::Null
            }),
            _ => form(given, &request.body, findings),
        };
        let schema = &content["schema"];
        self.check("request", schema, &body, findings);
        // The document leaves room for keys to come; what we send it has to name.
        self.check_names("request", schema, &body, findings);
    }

    fn check_answer(
        &self,
        operation: &Operation<'_>,
        exchange: &Exchange,
        findings: &mut Vec<String>,
    ) {
        let Some(answer) = exchange.answer.as_ref().filter(|answer| answer.message.whole) else {
            return;
        };
        let responses = &operation.value["responses"];
        let exact = responses.get(answer.status.to_string());
        let Some(response) = exact.or_else(|| responses.get("default")) else {
            findings.push(format!("status {} is not described", answer.status));
            return;
        };
        let response = self.resolve(response);
        let required = response["headers"].as_object().into_iter().flatten();
        for (name, _) in required.filter(|(_, header)| header["required"] == true) {
            if answer.message.header(&name.to_lowercase()).is_none() {
                findings.push(format!("{} without the header {name}", answer.status));
            }
        }
        let schema = &response["content"]["application/json"]["schema"];
        // "The body may be empty, HTML or the JSON envelope", where no status is named.
        let is_json = answer
            .message
            .header("content-type")
            .is_some_and(|value| value.starts_with("application/json"));
        if schema.is_null() || (exact.is_none() && !is_json) {
            return;
        }
        let what = format!("answer {}", answer.status);
        match serde_json::from_slice(&answer.message.body) {
            Ok(body) => self.check(&what, schema, &body, findings),
            Err(error) => findings.push(format!("{what} is not JSON: {error}")),
        }
    }

    fn check(&self, what: &str, schema: &Value, value: &Value, findings: &mut Vec<String>) {
        let components = &self.document["components"];
        let schema = json!({ "allOf": [schema], "components": components });
        let validator = jsonschema::draft4::new(&schema).unwrap();
        for error in validator.iter_errors(value) {
            findings.push(format!("{what}{}: {error}", error.instance_path()));
        }
    }

    /// Every key must be one that the schema names.
    fn check_names(&self, what: &str, schema: &Value, value: &Value, findings: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if let (Some(keys), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
            for (key, value) in keys {
                match known.get(key) {
                    Some(schema) => {
                        self.check_names(&format!("{what}/{key}"), schema, value, findings);
                    }
                    None => findings.push(format!("{what}/{key} is not described")),
                }
            }
        }
        for value in value.as_array().into_iter().flatten() {
            self.check_names(what, &schema["items"], value, findings);
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }
}

/// The parts of a multipart form, each a file, as the object that the document describes.
fn form(content_type: &str, body: &[u8], findings: &mut Vec<String>) -> Value {
    let boundary = content_type.split("boundary=").nth(1).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let (open, close) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}--\r\n"));
    let Some(parts) = text.strip_prefix(&open).and_then(|rest| rest.strip_suffix(&close)) else {
        findings.push("a form that does not begin and end with its boundary".to_owned());
        return Value::Null;
    };
    let mut form = serde_json::Map::new();
    for part in parts.split(&format!("\r\n--{boundary}\r\n")) {
        let (head, content) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
        let quoted = |key: &str| {
            let (_, rest) = head.split_once(&format!("{key}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let name = quoted("; name").unwrap_or_default();
        // Contract 4: letters, digits, `+-_`, the first a letter or digit, and `.zip`.
        let file = quoted("filename").unwrap_or_default();
        let stem = file.strip_suffix(".zip").unwrap_or_default();
        if !stem.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !stem.chars().all(|c| c.is_ascii_alphanumeric() || "+-_".contains(c))
        {
            findings.push(format!("part {name} has the file name `{file}`"));
        }
        if form.insert(name.clone(), json!(content)).is_some() {
            findings.push(format!("part {name} comes twice"));
        }
    }
    Value::Object(form)
}

/// What stands in place of each `{name}`, if the path is one of this template.
fn arguments(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let mut arguments = Vec::new();
    for (expected, found) in template.into_iter().zip(path) {
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !found.is_empty() => {
                arguments.push((name.to_owned(), found.to_owned()));
            }
            None if expected == found => {}
            _ => return None,
        }
    }
    Some(arguments)
}
