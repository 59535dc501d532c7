//! Reads Rust sources as far as the rules about them need it: without comments, without the
//! contents of texts, and without what is compiled for tests only.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// One source file.
pub(crate) struct Source {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with comments and the contents of texts blanked; each character keeps its place.
    pub(crate) code: String,
    /// `code` with test-only items blanked as well.
    pub(crate) product: String,
    /// Lines that belong to the product, comments included.
    pub(crate) product_lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let chars: Vec<char> = blanked(text);
        let tests = test_items(&chars);
        let mut product = chars.clone();
        let mut product_lines = text.lines().count();
        for range in tests {
            product_lines -= 1;
            for c in &mut product[range] {
                if *c == '\n' {
                    product_lines -= 1;
                } else {
                    *c = ' ';
                }
            }
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: chars.into_iter().collect(),
            product: product.into_iter().collect(),
            product_lines,
        }
    }

    /// All `.rs` files below a folder of the repository, in order; none if it does not exist.
    pub(crate) fn all(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let path = path.strip_prefix(root).unwrap().to_str().unwrap();
                    files.push(Self::new(path, &text));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// The modules this file is inside of: `["lifecycle", "retry"]` for `src/lifecycle/retry.rs`.
    pub(crate) fn modules(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        let mut modules: Vec<&str> = inner.split('/').collect();
        if matches!(modules.last(), Some(&("mod" | "lib" | "main"))) {
            modules.pop();
        }
        modules
    }

    /// What the product part of this file names at the root of its own crate, by `crate::` or by
    /// enough `super::`.
    pub(crate) fn named_in_crate(&self) -> BTreeSet<String> {
        let supers = "super::".repeat(self.modules().len());
        let mut names = heads_after(&self.product, "crate::");
        if !supers.is_empty() {
            names.extend(heads_after(&self.product, &supers));
        }
        names
    }

    /// What the product part names below a path such as `std::`.
    pub(crate) fn named_below(&self, path: &str) -> BTreeSet<String> {
        heads_after(&self.product, path)
    }

    /// Whether the product part uses this identifier anywhere.
    pub(crate) fn names(&self, identifier: &str) -> bool {
        self.product.split(|c| !is_word(c)).any(|word| word == identifier)
    }

    /// Files that exist for tests only: declared under `cfg(test)` by one of `all`, or named so.
    pub(crate) fn is_for_tests(&self, all: &[Self]) -> bool {
        let Some((name, parent)) = self.modules().split_last().map(|(n, p)| (*n, p.to_vec()))
        else {
            return false;
        };
        let declaration = format!("mod {name};");
        self.path.ends_with("_tests.rs")
            || all.iter().filter(|file| file.modules() == parent).any(|file| {
                file.code.contains(&declaration) && !file.product.contains(&declaration)
            })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first segment of every path that follows `prefix`: of each branch where braces follow.
fn heads_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        // `my_crate::` and `a::std::` are other things; `$crate::` is not.
        if code[..at].ends_with(|c: char| is_word(c) || c == ':') {
            continue;
        }
        let rest = code[at + prefix.len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            heads.insert(head(rest));
            continue;
        };
        let (mut depth, mut start) = (0_usize, 0);
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    let branch = group[start..index].trim();
                    heads.extend((!branch.is_empty()).then(|| head(branch)));
                    start = index + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    heads
}

/// The first segment of a path, or `*`.
fn head(path: &str) -> String {
    match path.find(|c| !is_word(c)) {
        Some(0) => path.chars().take(1).collect(),
        Some(end) => path[..end].to_owned(),
        None => path.to_owned(),
    }
}

/// Blanks comments and the contents of text and character literals.
fn blanked(text: &str) -> Vec<char> {
    let mut chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let inside = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => at..find(&chars, at, "\n"),
            '/' if chars.get(at + 1) == Some(&'*') => at..end_of_comment(&chars, at),
            'r' if !(at > 0 && is_word(chars[at - 1]) && !matches!(chars[at - 1], 'b' | 'c')) => {
                raw_text(&chars, at).unwrap_or(at..at)
            }
            '"' => at + 1..end_of_literal(&chars, at + 1, '"'),
            '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
                at + 1..end_of_literal(&chars, at + 1, '\'')
            }
            _ => at..at,
        };
        // After a literal stands its closing mark, which opens nothing.
        at = if inside.end > at { inside.end + 1 } else { at + 1 };
        for c in chars[inside].iter_mut().filter(|c| **c != '\n') {
            *c = ' ';
        }
    }
    chars
}

fn find(chars: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    let rest = chars.get(from..).unwrap_or_default();
    rest.windows(what.len()).position(|window| window == what).map_or(chars.len(), |i| from + i)
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_literal(chars: &[char], start: usize, mark: char) -> usize {
    let mut at = start;
    while at < chars.len() && chars[at] != mark {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at.min(chars.len())
}

/// The inside of `r"..."` or `r#"..."#` that begins at the `r`.
fn raw_text(chars: &[char], at: usize) -> Option<Range<usize>> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let start = at + 1 + hashes;
    (chars.get(start) == Some(&'"'))
        .then(|| start + 1..find(chars, start + 1, &format!("\"{}", "#".repeat(hashes))))
}

/// The items under `#[cfg(test)]`, attribute included.
fn test_items(code: &[char]) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut at = 0;
    loop {
        let start = find(code, at, "#[cfg(test)]");
        if start == code.len() {
            return items;
        }
        let mut end = start;
        let mut depth = 0_usize;
        // Attributes, then up to the `;` or the closing brace of the item.
        while let Some(c) = code.get(end) {
            end += 1;
            match c {
                '{' | '[' | '(' => depth += 1,
                '}' if depth == 1 => break,
                '}' | ']' | ')' => depth -= 1,
                ';' if depth == 0 => break,
                _ => {}
            }
        }
        items.push(start..end);
        at = end;
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let source = Source::new(
        "src/a/b.rs",
        "use crate::{one::{X, crate_in}, two::Y, three};\n\
         use super::super::four; use super::sibling; use super::super::{five::Z, six};\n\
         fn f() { crate::seven::g::<crate::eight::T>(); my_crate::no(); $crate::nine!() }\n\
         // crate::comment\n/* crate::c /* crate::d */ crate::e */\n\
         const S: &str = \"crate::text\"; const R: &str = r#\"\" crate::raw\"#;\n\
         const C: [char; 2] = ['\"', '\\''];\n\
         fn after<'a>(x: &'a str) -> crate::ten::T<'a> {}\n\
         #[cfg(test)]\n#[path = \"x.rs\"]\nmod helper;\n\
         #[cfg(test)]\nmod tests { use crate::test_only; fn f() { {} } }\nuse crate::eleven;\n",
    );
    let expected =
        ["eight", "eleven", "five", "four", "nine", "one", "seven", "six", "ten", "three", "two"];
    assert_eq!(source.named_in_crate().into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(source.modules(), ["a", "b"]);
    assert_eq!(source.code.chars().count(), source.text.chars().count());
    assert!(source.names("after") && !source.names("comment") && !source.names("test_only"));
    assert_eq!((source.text.lines().count(), source.product_lines), (14, 9));
    let glob = Source::new("src/a.rs", "use crate::*; use std::{fs, io::Read}; use std::net::X;");
    assert_eq!(glob.named_in_crate().into_iter().collect::<Vec<_>>(), ["*"]);
    assert_eq!(glob.named_below("std::").into_iter().collect::<Vec<_>>(), ["fs", "io", "net"]);
}

#[test]
fn files_for_tests_are_recognised_by_name_or_declaration() {
    let all = [
        Source::new("src/a/mod.rs", "#[cfg(test)]\nmod naive;\nmod plan;\n"),
        Source::new("src/a/naive.rs", ""),
        Source::new("src/a/plan.rs", ""),
        Source::new("src/a/plan_tests.rs", ""),
    ];
    let found: Vec<bool> = all.iter().map(|file| file.is_for_tests(&all)).collect();
    assert_eq!(found, [false, true, false, true]);
}
