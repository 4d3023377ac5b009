//! A tuple that parses yields as many datums as it says, and measures to its own length.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pgtrail_log::Tuple;

fuzz_target!(|data: &[u8]| {
    let measured = Tuple::measure(data);
    if let Ok(tuple) = Tuple::parse(Bytes::copy_from_slice(data)) {
        assert_eq!(measured, Ok(data.len()));
        assert_eq!(tuple.iter().count(), tuple.len());
    }
});
