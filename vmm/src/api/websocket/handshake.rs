//! How HTTP becomes a WebSocket (RFC 6455 §4).

use std::hash::{BuildHasher, Hasher, RandomState};

use sha1::{Digest, Sha1};

use crate::api::http::{Request, Response};

/// KubeVirt's subprotocol of bytes that are passed on as they are (`staging/src/kubevirt.io/client-go/subresources`).
pub(crate) const PLAIN: &str = "plain.kubevirt.io";
/// What a server adds to the client's key, to show that it knows the protocol (RFC 6455 §1.3).
const ACCEPTANCE: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: &str = "13";

/// The response that agrees to go on as a WebSocket, with KubeVirt's subprotocol if the client offers it.
///
/// # Errors
/// The response to a request that does not ask for that.
pub(crate) fn accept(request: &Request) -> Result<Response, Response> {
    let asks = request.lists("connection", "upgrade") && request.lists("upgrade", "websocket");
    let key = request.field("sec-websocket-key").filter(|key| {
        // 16 bytes, whatever they are.
        spec::base64::decode(key).is_ok_and(|key| key.len() == 16)
    });
    let (true, Some(key), Some(VERSION)) = (asks, key, request.field("sec-websocket-version")) else {
        let refusal = Response::empty(426).with("Upgrade", "websocket").with("Connection", "Upgrade");
        return Err(refusal.with("Sec-WebSocket-Version", VERSION));
    };
    let response = Response::empty(101)
        .with("Upgrade", "websocket")
        .with("Connection", "Upgrade")
        .with("Sec-WebSocket-Accept", accept_key(key));
    let offers = request.lists("sec-websocket-protocol", PLAIN);
    Ok(if offers { response.with("Sec-WebSocket-Protocol", PLAIN) } else { response })
}

/// What a server answers to a client's key.
pub(crate) fn accept_key(key: &str) -> String {
    spec::base64::encode(&Sha1::new().chain_update(key).chain_update(ACCEPTANCE).finalize())
}

/// A client's key: 16 bytes that were not used before.
pub(crate) fn new_key() -> String {
    let mut bytes = random().to_vec();
    bytes.extend(random());
    spec::base64::encode(&bytes)
}

/// The mask of a client's frame, which nobody can foretell (RFC 6455 §5.3).
pub(crate) fn new_mask() -> [u8; 4] {
    let [a, b, c, d, ..] = random();
    [a, b, c, d]
}

/// Bytes that nobody can foretell.
fn random() -> [u8; 8] {
    RandomState::new().build_hasher().finish().to_ne_bytes()
}
