#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluis::fuzz::websocket::run(bytes));
