#![no_main]

#[path = "../../impl/tests/fuzzed/properties.rs"]
#[expect(dead_code, reason = "one target asserts one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::domain(bytes);
});
