//! What the process tells its caller: the exit codes, after BSD's sysexits.

use std::process::ExitCode;

/// One of the documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// The thing asked about is not well: a loss, a missed objective, a damaged file.
    NotWell = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Data that should be readable is not.
    Data = 65,
    /// ROMA cannot be reached.
    Unavailable = 69,
    /// A bug in this program.
    Bug = 70,
    /// A file cannot be created.
    CannotCreate = 73,
    /// A file, the disk or the catalog failed.
    Io = 74,
    /// Another daemon holds the state directory.
    Held = 75,
    /// ROMA refused.
    Refused = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// Every code, in ascending order.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::NotWell,
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Bug,
        Self::CannotCreate,
        Self::Io,
        Self::Held,
        Self::Refused,
        Self::Config,
    ];

    /// What help and manual pages say of it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "all is well",
            Self::NotWell => {
                "the thing asked about is not well: a loss, a missed objective, a damaged file"
            }
            Self::Usage => "the command line is wrong",
            Self::Data => "what was asked for is not there, or cannot be used",
            Self::Unavailable => "ROMA cannot be reached",
            Self::Bug => "a bug in this program",
            Self::CannotCreate => "a file cannot be created, or not by this user",
            Self::Io => "a file, the disk or the catalog failed",
            Self::Held => "something else is at work: another daemon, a package that waits",
            Self::Refused => "ROMA refused",
            Self::Config => "the configuration is wrong",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
