//! Streams of messages, each with two bytes of length before it, decoded by one decoder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgtrail_reader::pgoutput::Decoder;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, after) = after.split_at(length);
        let _ = decoder.relation_of_row(message);
        let _ = decoder.decode(message);
        rest = after;
    }
});
