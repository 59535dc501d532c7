//! What the tests share.

pub(crate) mod binary;
pub(crate) mod world;
