//! Messages put together by hand, for tests.

/// Big-endian message bytes, put together field by field.
#[derive(Clone, Default)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

impl Wire {
    pub(crate) fn kind(kind: u8) -> Wire {
        Wire(vec![kind])
    }

    pub(crate) fn u8(mut self, value: u8) -> Wire {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Wire {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Wire {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Wire {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn text(mut self, value: &str) -> Wire {
        self.0.extend(value.as_bytes());
        self.u8(0)
    }

    pub(crate) fn raw(mut self, value: &[u8]) -> Wire {
        self.0.extend(value);
        self
    }
}
