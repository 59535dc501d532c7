//! Users, their tokens, and the token endpoint of IAM.

use super::{UserSpec, World};
use crate::auth::{Credential, credential};
use crate::calendar::iso_micros;
use crate::http::Request;
use crate::prng::hex_id;
use crate::reply::{Refusal, Reply, bad_token, expired_token, keystone};
use crate::wire::{NameOrId, Project, ProjectList, Scope, TokenAnswer, TokenBody, TokenRequest};

#[derive(Clone, Debug)]
pub(super) struct User {
    domain: String,
    password: String,
    projects: Vec<Project>,
    wrong_passwords: u32,
    locked_until_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    user: String,
    /// None: good for every project of the user.
    project_id: Option<String>,
    /// None: never.
    expires_ms: Option<i64>,
    revoked: bool,
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: String,
    project_id: Option<String>,
}

impl Caller {
    /// A key is good for all projects of its user.
    pub(super) fn with_key(user: &str) -> Caller {
        Caller { user: user.to_owned(), project_id: None }
    }
}

impl World {
    /// Adds a user; a further project if the user is known already.
    pub fn add_user(&mut self, spec: UserSpec) {
        let project = Project { id: spec.project_id, name: spec.project_name, enabled: true };
        let user = self.users.entry(spec.name).or_insert_with(|| User {
            domain: String::new(),
            password: String::new(),
            projects: Vec::new(),
            wrong_passwords: 0,
            locked_until_ms: 0,
        });
        user.domain = spec.domain;
        user.password = spec.password;
        user.projects.retain(|known| known.id != project.id);
        user.projects.push(project);
    }

    /// A token of the user that never expires and holds for all the user's projects.
    pub fn add_static_token(&mut self, token: &str, user: &str) {
        let known =
            Token { user: user.to_owned(), project_id: None, expires_ms: None, revoked: false };
        self.tokens.insert(token.to_owned(), known);
    }

    /// Ends all tokens of the user early, static ones too; new ones can be had.
    pub fn revoke_tokens(&mut self, user: &str) {
        let of_user = self.tokens.values_mut().filter(|token| token.user == user);
        for token in of_user {
            token.revoked = true;
        }
    }

    pub(super) fn authenticate(
        &mut self,
        request: &Request,
        now_ms: i64,
    ) -> Result<Caller, Refusal> {
        let text = match credential(request) {
            Credential::Token(text) => text,
            Credential::Signature(signature) => {
                return self.check_signature(request, &signature, now_ms);
            }
            Credential::Missing => return Err(bad_token()),
        };
        let token = self.tokens.get(&text).ok_or_else(bad_token)?;
        if token.revoked || token.expires_ms.is_some_and(|end| end <= now_ms) {
            return Err(expired_token());
        }
        Ok(Caller { user: token.user.clone(), project_id: token.project_id.clone() })
    }

    /// Whether the caller may act on a project.
    pub(super) fn allow(&self, caller: &Caller, project_id: &str) -> Result<(), Refusal> {
        let fits = match &caller.project_id {
            Some(scope) => scope == project_id,
            None => self.users.get(&caller.user).is_some_and(|user| {
                let mut projects = user.projects.iter();
                projects.any(|project| project.id == project_id)
            }),
        };
        if fits { Ok(()) } else { Err(Refusal::roma(403, 12000, "No permission for the project.")) }
    }

    pub(super) fn issue_token(&mut self, request: &Request, now_ms: i64) -> Reply {
        let Ok(asked) = serde_json::from_slice::<TokenRequest>(&request.body) else {
            return keystone(400, "The request body is invalid.");
        };
        let Some(method) =
            asked.auth.identity.password.filter(|_| asked.auth.identity.methods == ["password"])
        else {
            return keystone(400, "Only the method password is supported.");
        };
        if let Err(reply) = self.check_password(
            &method.user.name,
            method.user.domain.name.as_deref(),
            &method.user.password,
            now_ms,
        ) {
            return reply;
        }
        self.answer_token(&method.user.name, asked.auth.scope.as_ref(), now_ms)
    }

    fn check_password(
        &mut self,
        name: &str,
        domain: Option<&str>,
        password: &str,
        now_ms: i64,
    ) -> Result<(), Reply> {
        const WRONG: &str = "The username or password is wrong.";
        let knobs = &self.knobs;
        let Some(user) = self.users.get_mut(name) else {
            return Err(keystone(401, WRONG));
        };
        if user.locked_until_ms > now_ms {
            return Err(keystone(401, "The account is locked."));
        }
        if domain == Some(&user.domain) && password == user.password {
            user.wrong_passwords = 0;
            return Ok(());
        }
        user.wrong_passwords += 1;
        if knobs.lock_after.is_some_and(|limit| user.wrong_passwords >= limit) {
            user.wrong_passwords = 0;
            user.locked_until_ms = now_ms + knobs.lock_ms;
        }
        Err(keystone(401, WRONG))
    }

    fn answer_token(&mut self, name: &str, scope: Option<&Scope>, now_ms: i64) -> Reply {
        let Some(user) = self.users.get(name) else {
            return keystone(404, "Could not find the user.");
        };
        let wanted = scope.and_then(|scope| scope.project.as_ref());
        let fits = |project: &&Project| {
            wanted.is_some_and(|wanted| match (&wanted.id, &wanted.name) {
                (Some(id), _) => *id == project.id,
                (None, Some(name)) => *name == project.name,
                (None, None) => false,
            })
        };
        let project = user.projects.iter().find(fits).cloned();
        if wanted.is_some() && project.is_none() {
            return keystone(404, "Could not find the project.");
        }
        let expires_ms = now_ms + self.knobs.token_lifetime_s * 1_000;
        let text = self.new_token_text();
        let token = Token {
            user: name.to_owned(),
            // A token without a project is good for no project at all.
            project_id: Some(project.as_ref().map_or_else(String::new, |known| known.id.clone())),
            expires_ms: Some(expires_ms),
            revoked: false,
        };
        self.tokens.insert(text.clone(), token);
        let by_name = |id: &str, name: &str| NameOrId {
            id: Some(id.to_owned()),
            name: Some(name.to_owned()),
        };
        let body = TokenAnswer {
            token: TokenBody {
                expires_at: iso_micros(expires_ms),
                issued_at: iso_micros(now_ms),
                methods: vec!["password".to_owned()],
                catalog: Vec::new(),
                roles: vec![by_name("0", "roma_admin")],
                project: project.map(|known| by_name(&known.id, &known.name)),
                domain: None,
                user: by_name(&hex_id(self.seed, name, 0), name),
            },
        };
        let mut reply = Reply::json(201, &body);
        reply.add_header("X-Subject-Token", &text);
        reply
    }

    fn new_token_text(&mut self) -> String {
        let number = self.next_number();
        let mut text = String::from("MIIS");
        let mut part = 0;
        while text.len() < self.knobs.token_length.max(36) {
            text.push_str(&hex_id(self.seed ^ part, "token", number));
            part += 1;
        }
        text.truncate(self.knobs.token_length.max(36));
        text
    }

    pub(super) fn projects(&self, request: &Request, caller: &Caller) -> Reply {
        let wanted = request.query("name");
        let of_user = self.users.get(&caller.user);
        let projects = of_user.map_or(&[][..], |user| &user.projects);
        let fits = |project: &&Project| wanted.as_ref().is_none_or(|name| *name == project.name);
        Reply::json(200, &ProjectList { projects: projects.iter().filter(fits).cloned().collect() })
    }
}
