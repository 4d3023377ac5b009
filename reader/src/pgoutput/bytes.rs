//! Owns reading big-endian fields from the front of a message.
//!
//! The one invariant: a read either takes what it names or leaves an error; it never looks past the
//! end.

use pgtrail_log::{Lsn, Timestamp, Tuple};

use super::decoder::Flaw;

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Flaw> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, Flaw> {
        self.array().map(u64::from_be_bytes).map(Lsn::new)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, Flaw> {
        self.array().map(i64::from_be_bytes).map(Timestamp)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// A string that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<&'a str, Flaw> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or(Flaw::Short)?;
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).map_err(|_| Flaw::NotUtf8)
    }

    /// One whole `TupleData`, left as it is.
    pub(super) fn tuple(&mut self) -> Result<&'a [u8], Flaw> {
        let length = Tuple::measure(self.0).map_err(Flaw::Tuple)?;
        self.take(length)
    }
}
