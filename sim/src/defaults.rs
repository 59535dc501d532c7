//! The world that stands ready when nothing else is said. Must hold names only, no behaviour.

/// Name of the user.
pub const USER: &str = "backup";
/// The account (domain) the user belongs to.
pub const DOMAIN: &str = "corp";
/// The user's password.
pub const PASSWORD: &str = "sim-password";
/// Name of the project; for a region's default project that is the region.
pub const PROJECT_NAME: &str = "ap-southeast-1";
/// Id of the project.
pub const PROJECT_ID: &str = "0605768a3300d5762f82c0180692f7e0";
/// A token of the user that never expires.
pub const TOKEN: &str = "sim-token";
/// An access key of the user, which never expires.
pub const ACCESS_KEY: &str = "SIMACCESSKEY00000001";
/// The secret key to it.
pub const SECRET_KEY: &str = "sim-secret-key";
/// Id of the instance.
pub const INSTANCE_ID: &str = "e34610ca-0a37-4f04-8856-4101b08cc5e2";
/// Name of the instance.
pub const INSTANCE_NAME: &str = "prod";
/// How many applications the instance has.
pub const APPS: usize = 12;
/// How many FDI tasks the instance has.
pub const TASKS: usize = 30;
/// Seed of everything that looks random.
pub const SEED: u64 = 20_260_102;
