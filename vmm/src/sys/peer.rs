//! Who is at the other end of a unix socket.
#![expect(unsafe_code, reason = "SO_PEERCRED has no safe wrapper in our dependencies")]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// User of the process that connected `stream`, as it was then.
pub fn user(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = u32::try_from(mem::size_of_val(&peer)).map_err(io::Error::other)?;
    // SAFETY: `peer` has room for the `length` bytes that the call may write, all of whose values are valid.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_user() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(user(&here).unwrap(), crate::sys::user::effective());
    }
}
