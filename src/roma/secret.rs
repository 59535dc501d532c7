//! Reads passwords and tokens from where the configuration says they lie. They never reach a log,
//! an error or a Debug output: only the place is ever named.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::settings::SecretPlace;

/// Tokens have a few kilobytes; anything larger is not a secret but a mistake.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// systemd handed over no credentials.
    #[error(
        "credential:{0} needs $CREDENTIALS_DIRECTORY: add LoadCredential={0}:/path to the unit, or \
         name a file in the configuration"
    )]
    NoDirectory(String),
    /// The file cannot be read.
    #[error("cannot read the secret {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is open to others.
    #[error("the secret {} has mode {mode:04o}: make it 0640 or less (chmod 640)", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is empty, too large, or not text.
    #[error("the secret {} is {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a secret; line breaks at the end do not count.
pub fn read(place: &SecretPlace) -> Result<SecretString, SecretError> {
    let path = match place {
        SecretPlace::File(path) => path.clone(),
        SecretPlace::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => PathBuf::from(directory).join(name),
            None => return Err(SecretError::NoDirectory(name.clone())),
        },
    };
    let unreadable = |source| SecretError::Unreadable { path: path.clone(), source };
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(SecretError::TooOpen { path, mode });
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    let unusable = |what| SecretError::Unusable { path: path.clone(), what };
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(unusable("not text"));
        }
        Err(error) => return Err(unreadable(error)),
        Ok(_) => {}
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(unusable("larger than 64 KiB"));
    }
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(unusable("empty"));
    }
    if secret.chars().any(char::is_control) {
        return Err(unusable("not a single line of text"));
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretPlace) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        (directory, SecretPlace::File(path))
    }

    #[test]
    fn a_secret_is_one_private_line() {
        let (_directory, place) = file(b"s3cret\r\n", 0o640);
        let secret = read(&place).unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_by_name_and_never_shown() {
        let cases: [(&[u8], u32, &str); 5] = [
            (b"correct-horse", 0o644, "mode 0644"),
            (b"correct-horse", 0o660, "mode 0660"),
            (b"\n", 0o600, "empty"),
            (b"correct-horse\nbattery", 0o600, "single line"),
            (b"correct-horse\xff", 0o600, "not text"),
        ];
        for (content, mode, expected) in cases {
            let (_directory, place) = file(content, mode);
            let error = read(&place).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("secret"), "{error}");
            assert!(!error.contains("correct-horse"), "{error}");
        }
        let (_directory, place) = file(&vec![b'a'; 70_000], 0o600);
        assert!(read(&place).unwrap_err().to_string().contains("larger"));
    }
}
