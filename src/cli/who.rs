//! Who types: kept with what is done in a person's name. A help for whoever asks later, no proof.

use rustix::process::getuid;

/// Longer than any account's name.
const LONGEST: usize = 64;

/// Who ran `sudo`, else the account, else its number.
pub(super) fn name() -> String {
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let uid = getuid().as_raw();
    let account = || std::fs::read_to_string("/etc/passwd").ok().and_then(|all| named(&all, uid));
    let name = sudo.or_else(account).unwrap_or_else(|| uid.to_string());
    super::output::printable(&name).chars().take(LONGEST).collect()
}

fn named(accounts: &str, uid: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n# :x:7:\n:x:8:\nops:x:1000:1000::/:/bin/sh";
        assert_eq!(named(accounts, 0).as_deref(), Some("root"));
        assert_eq!(named(accounts, 1000).as_deref(), Some("ops"));
        assert_eq!(named(accounts, 100), None);
        assert_eq!(named(accounts, 8), None);
    }
}
