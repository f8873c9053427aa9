//! Any bytes of a client of the API, in pieces of any size: requests, bodies in chunks, frames of a WebSocket. Whatever
//! they are, answers are HTTP, and no longer than what was sent can ask for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::api::hostile;

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let heard = hostile::serve(bytes, 1 + usize::from(*size) * 16);
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.1 "), "{heard:?}");
    if *size > 0 {
        // In how many pieces bytes come makes no difference to a client that is answered as a whole.
        let slowly = hostile::serve(bytes, 7);
        assert!(slowly.is_empty() || slowly.starts_with(b"HTTP/1.1 "), "{slowly:?}");
    }
});
