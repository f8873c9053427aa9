//! The heap of this process.
#![expect(unsafe_code, reason = "the allocator's settings have no safe wrapper")]

/// Lets all threads share one heap. Of itself glibc makes one for every thread: 128 MiB of addresses reserved and given
/// back in part when the thread starts, and pages of its own that stay resident. The threads of a running machine
/// allocate next to nothing, so that there is nothing to gain by it. To be called while there is one thread.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call changes a setting of the allocator and touches no memory of ours. It can fail only for a
    // parameter that this libc does not know, which leaves everything as it was.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives memory back to the host that is free in the heap, after something large was made and dropped.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no arguments that could be wrong, and touches no memory that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}
