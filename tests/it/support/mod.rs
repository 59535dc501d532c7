//! What the tests share.

pub(crate) mod binary;
pub(crate) mod disk;
pub(crate) mod world;
