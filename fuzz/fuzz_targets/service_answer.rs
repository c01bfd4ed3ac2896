#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| distcc_fuzz::discovery::service_answer(bytes));
