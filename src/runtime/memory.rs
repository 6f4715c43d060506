//! How the process takes memory from the system: for all of it, before there is a thread.

/// Has the C library make no more arenas than there are cores, where it would make eight for each. Events are made on one
/// thread and dropped on another, so that each arena keeps what it had at its fullest, which is several times what is in
/// use over all of them.
pub fn few_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "it sets a number, and nobody offers it otherwise")]
        // SAFETY: the call takes two numbers, and no other thread allocates yet. Where it is refused, nothing changes.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
}
