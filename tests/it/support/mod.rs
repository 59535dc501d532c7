//! What the tests share.

pub(crate) mod audit;
pub(crate) mod binary;
pub(crate) mod disk;
pub(crate) mod faulty_disk;
pub(crate) mod oracle;
pub(crate) mod platter;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod relay;
pub(crate) mod scratch;
pub(crate) mod site;
pub(crate) mod stage;
pub(crate) mod trial;
pub(crate) mod world;

/// For whoever looks into a test that failed; otherwise nobody sees it.
#[expect(clippy::print_stdout, reason = "a test keeps it to itself unless it fails")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
