//! Room for what is on its way.
#![expect(unsafe_code, reason = "the sizes of sockets' buffers have no safe wrapper in our dependencies")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets so many bytes be on their way before a writer has to wait; or as many as the host allows. Who writes and who reads
/// work at the same time only as far as this reaches.
pub fn widen(socket: BorrowedFd<'_>, bytes: c_int) {
    // The first goes beyond the limit of the host, for those who may.
    for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
        let value = (&raw const bytes).cast::<c_void>();
        let len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
        // SAFETY: `value` points to `len` bytes that live until the call is over.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, len) };
        if result == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn more_can_be_on_its_way() {
        let fits = |widened: bool| {
            let (mut writer, _reader) = UnixStream::pair().unwrap();
            writer.set_nonblocking(true).unwrap();
            widen(writer.as_fd(), if widened { 128 << 10 } else { 4 << 10 });
            (0..64).take_while(|_| writer.write(&[0; 1 << 10]).is_ok_and(|count| count == 1 << 10)).count()
        };
        assert!(fits(false) < fits(true), "{} {}", fits(false), fits(true));
    }
}
