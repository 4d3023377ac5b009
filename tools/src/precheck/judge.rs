//! The judgements: each a pure function from facts to a finding.

pub(super) mod activity;
pub(super) mod existing;
pub(super) mod extensions;
pub(super) mod objects;
pub(super) mod reach;
pub(super) mod relations;
pub(super) mod rights;
pub(super) mod settings;
pub(super) mod space;
mod transfer;
pub(super) mod values;

#[cfg(test)]
mod tests;
