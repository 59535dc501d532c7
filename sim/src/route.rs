//! Which call a request is. PURE: must never look at more than method and path.

use crate::fault::Endpoint;
use crate::http::Request;

/// A call and the ids in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Export { place: Place },
    Job { place: Place, job_id: String },
    Download { place: Place, archive_id: String },
    Import { place: Place },
    Instances { project_id: String },
    Apps { place: Place },
    Tasks { place: Place },
    Token,
    Projects,
    MetadataToken,
    SecurityKey,
    Admin(Vec<String>),
    Unknown,
}

/// An instance of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) project_id: String,
    pub(crate) instance_id: String,
}

impl Place {
    fn new(project_id: &str, instance_id: &str) -> Place {
        Place { project_id: project_id.to_owned(), instance_id: instance_id.to_owned() }
    }
}

impl Route {
    pub(crate) fn of(request: &Request) -> Route {
        let segments = request.segments();
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (request.method.as_str(), words.as_slice()) {
            (_, ["admin", rest @ ..]) => {
                Route::Admin(rest.iter().map(|word| (*word).to_owned()).collect())
            }
            ("POST", ["v3", "auth", "tokens"]) => Route::Token,
            ("GET", ["v3", "projects"]) => Route::Projects,
            ("PUT", ["meta-data", "latest", "api", "token"]) => Route::MetadataToken,
            ("GET", ["openstack", "latest", "securitykey"]) => Route::SecurityKey,
            ("GET", ["v2", project, "instances"]) => {
                Route::Instances { project_id: (*project).to_owned() }
            }
            ("GET", ["v2", project, "fdi", "instances", instance, "tasks"]) => {
                Route::Tasks { place: Place::new(project, instance) }
            }
            (method, ["v2", project, "instances", instance, rest @ ..]) => {
                Route::of_instance(method, Place::new(project, instance), rest)
            }
            _ => Route::Unknown,
        }
    }

    fn of_instance(method: &str, place: Place, rest: &[&str]) -> Route {
        match (method, rest) {
            ("POST", ["assets", "export"]) => Route::Export { place },
            ("POST", ["assets", "import"]) => Route::Import { place },
            ("GET", ["assets", "jobs", job_id]) => {
                Route::Job { place, job_id: (*job_id).to_owned() }
            }
            ("GET", ["assets", "archives", archive_id]) => {
                Route::Download { place, archive_id: (*archive_id).to_owned() }
            }
            ("GET", ["apps"]) => Route::Apps { place },
            _ => Route::Unknown,
        }
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        Some(match self {
            Route::Export { .. } => Endpoint::Export,
            Route::Job { .. } => Endpoint::Job,
            Route::Download { .. } => Endpoint::Download,
            Route::Import { .. } => Endpoint::Import,
            Route::Instances { .. } => Endpoint::Instances,
            Route::Apps { .. } => Endpoint::Apps,
            Route::Tasks { .. } => Endpoint::Tasks,
            Route::Token => Endpoint::Token,
            Route::Projects => Endpoint::Projects,
            Route::MetadataToken => Endpoint::MetadataToken,
            Route::SecurityKey => Endpoint::SecurityKey,
            Route::Admin(_) | Route::Unknown => return None,
        })
    }

    /// The ids that a fault can be scripted for.
    pub(crate) fn ids(&self) -> Vec<&str> {
        match self {
            Route::Export { place }
            | Route::Import { place }
            | Route::Apps { place }
            | Route::Tasks { place } => vec![&place.instance_id],
            Route::Job { place, job_id } => vec![job_id, &place.instance_id],
            Route::Download { place, archive_id } => vec![archive_id, &place.instance_id],
            Route::Instances { project_id } => vec![project_id],
            Route::Token
            | Route::Projects
            | Route::MetadataToken
            | Route::SecurityKey
            | Route::Admin(_)
            | Route::Unknown => Vec::new(),
        }
    }
}
