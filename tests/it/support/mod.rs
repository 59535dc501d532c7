//! What the tests share.

pub(crate) mod audit;
pub(crate) mod binary;
pub(crate) mod disk;
pub(crate) mod process;
pub(crate) mod stage;
pub(crate) mod world;
