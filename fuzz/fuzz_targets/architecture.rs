#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    engraft_hostile::reader("architecture").check(bytes);
});
