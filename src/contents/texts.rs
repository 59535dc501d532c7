//! Texts without the secrets that stand in them: credentials of URLs and of connection strings,
//! pairs such as `password=x`, headers, options of commands, XML elements.
//!
//! It hides rather too much: what follows a secret's name goes to the end of its line, and to the
//! end of the text where a line does not tell where it ends. Only a query of a URL keeps what comes
//! after the next `&`. Reads a text a fixed number of times, however it is made.

use super::secret::{HIDDEN, is_secret};

/// Words behind which credentials stand, to the end of the line.
const SCHEMES: [&str; 8] = [
    "bearer",
    "basic",
    "digest",
    "apikey",
    "negotiate",
    "sdk-hmac-sha256",
    "aws4-hmac-sha256",
    "hmac-sha256",
];

/// A text that is no JSON, without its secrets.
pub(super) fn without_secrets(text: &str) -> String {
    hide_named(&hide_logins(&hide_user_info(text)))
}

/// Whether the element after this one of a command's arguments is a secret.
pub(super) fn is_secret_option(argument: &str) -> bool {
    let is_option = argument.starts_with('-') && !argument.contains(['=', ' ']);
    is_option && (matches!(argument, "-u" | "--user" | "-p") || is_secret(argument))
}

/// `scheme://user:word@host` becomes `scheme://***@host`.
fn hide_user_info(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    // Once a word, not once a `://`: a word may be the whole text and hold many of them.
    let (mut word_end, mut last_at) = (0, None);
    while let Some(found) = text[done..].find("://") {
        let start = done + found + 3;
        clean.push_str(&text[done..start]);
        let after = &text[start..];
        if start >= word_end {
            let is_end = |c: char| c.is_whitespace() || c == '"';
            word_end = after.find(is_end).map_or(text.len(), |end| start + end);
            last_at = text[start..word_end].rfind('@').map(|at| start + at);
        }
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<');
        let host = &after[..after.find(is_end).unwrap_or(after.len())];
        let user_end = host.rfind('@').map(|at| start + at).or_else(|| {
            // A password may hold what should have been escaped: the last `@` before the blank.
            let slash = last_at.filter(|at| *at >= start)?;
            // `https://host:443/@name` has none: what stands before the slash is host and port.
            let (_, word) = host.split_once(':')?;
            (!word.bytes().all(|byte| byte.is_ascii_digit())).then_some(slash)
        });
        if user_end.is_some() {
            clean.push_str(HIDDEN);
        }
        done = user_end.unwrap_or(start);
    }
    clean.push_str(&text[done..]);
    clean
}

/// `user:word@host` and `user/word@host` become `***@host`, escaped for a URL or not.
fn hide_logins(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
    for piece in text.split_inclusive(is_end) {
        let lower = piece.to_ascii_lowercase();
        let escaped = lower.rfind("%40").filter(|at| {
            lower[..*at].contains("%3a")
                || lower[..*at].contains("%2f")
                || lower[..*at].contains(':')
        });
        // What has a scheme was looked at before.
        let plain = piece
            .rfind('@')
            .filter(|at| piece[..*at].contains([':', '/']) && !piece.contains("://"));
        if let Some(at) = escaped.max(plain) {
            clean.push_str(HIDDEN);
            clean.push_str(&piece[at..]);
        } else {
            clean.push_str(piece);
        }
    }
    clean
}

/// `token=x`, `password: "x"`, `--password x`, `Bearer x`, `<password>x` lose the x.
fn hide_named(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_name) {
        let name_end = rest[start..].find(|c| !is_of_name(c)).map_or(rest.len(), |n| start + n);
        let (before, name) = (clean.chars().next_back(), &rest[start..name_end]);
        let before = rest[..start].chars().next_back().or(before);
        let after = &rest[name_end..];
        clean.push_str(&rest[..name_end]);
        rest = after;
        let Some((value_start, end)) = secret_behind(name, before, after) else { continue };
        clean.push_str(&after[..value_start]);
        clean.push_str(HIDDEN);
        let value = &after[value_start..];
        let is_query_end = |c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '<');
        let length = match end {
            End::Query => value.find(is_query_end),
            End::Line => value.find(['\n', '\r']),
            End::Text => None,
        };
        rest = &value[length.unwrap_or(value.len())..];
    }
    clean.push_str(rest);
    clean
}

/// Where a secret in a text ends.
enum End {
    Query,
    Line,
    Text,
}

/// Where the secret begins that this name announces, and where it ends.
fn secret_behind(name: &str, before: Option<char>, after: &str) -> Option<(usize, End)> {
    let value = after.trim_start();
    let blanks = after.len() - value.len();
    let is_separate = blanks > 0 && !value.is_empty();
    if SCHEMES.contains(&name.to_ascii_lowercase().as_str()) {
        return is_separate.then_some((blanks, End::Line));
    }
    if matches!(name, "-u" | "--user") {
        let word = value.split_whitespace().next().unwrap_or_default();
        return (is_separate && word.contains(':')).then_some((blanks, End::Line));
    }
    if !is_secret(name) {
        return None;
    }
    let is_quote = |c: char| matches!(c, '"' | '\'' | '\\' | '`');
    let behind_name = after
        .trim_start_matches(|c: char| c.is_whitespace() || is_quote(c) || matches!(c, ']' | ')'));
    if let Some(value) = behind_mark(behind_name) {
        let start = after.len() - value.len();
        return (!value.is_empty()).then(|| (start, end_of(before, &after[..start], value)));
    }
    // `<password kind="x">y`, but not `</password>`; `name="password" value="x"`.
    let is_open = before == Some('<') && !behind_name.is_empty();
    let is_quoted = before.is_some_and(is_quote) && after.starts_with(is_quote);
    if is_open || (is_quoted && !behind_name.is_empty()) {
        return Some((after.len() - behind_name.len(), End::Text));
    }
    (name.starts_with('-') && is_separate).then_some((blanks, End::Line))
}

/// What comes after the `=` or `:` that stands here.
fn behind_mark(text: &str) -> Option<&str> {
    const MARKS: [&str; 11] =
        ["%3D", "%3d", "%3A", "%3a", "=>", "->", "=", ":", ">", "\u{ff1a}", "\u{ff1d}"];
    let value = MARKS.iter().find_map(|mark| text.strip_prefix(mark))?;
    Some(value.trim_start_matches([' ', '\t', '=', ':', '>']))
}

fn end_of(before: Option<char>, between: &str, value: &str) -> End {
    if matches!(before, Some('?' | '&')) && between == "=" && !value.starts_with(['"', '\'']) {
        return End::Query;
    }
    // What begins so may go on in the next line.
    let may_go_on = |c: char| matches!(c, '\n' | '\r' | '[' | '{' | '(' | '|' | '\\');
    let line = value.split(['\n', '\r']).next().unwrap_or_default();
    let is_quoted = value.starts_with(['"', '\'', '`']);
    let is_closed = || line.chars().next().is_some_and(|quote| line[1..].contains(quote));
    let is_element = between.contains('>') || before == Some('<');
    if is_element
        || value.starts_with(may_go_on)
        || line.trim_end().ends_with('\\')
        || (is_quoted && !is_closed())
    {
        End::Text
    } else {
        End::Line
    }
}

/// Characters that nobody sees do not part a name.
fn is_of_name(c: char) -> bool {
    let is_unseen = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.') || is_unseen
}
