//! A block's value as it stands in the log, read to its last record.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    pgtrail_log::fuzzing::read_block(data);
});
