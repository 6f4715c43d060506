//! The operating system's walls around a rule worker, for the day on which a rule breaks out of the interpreter.
//!
//! What is open to a rule is decided in `interpreter` and `shims/sandbox.py`. This makes the process itself poor: no
//! environment (the daemon starts it without one), no file descriptor but the pipes, no new process, thread, file or
//! privilege, and no system call beyond those that computing, allocating and answering take.
//!
//! There is no limit of CPU seconds: a worker lives for days, and the budget of one call is `watch`'s to keep.

use std::fs;
use std::io::{self, ErrorKind};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Standard input, output and error are pipes to the daemon; above them nothing stays open.
const FIRST_STRANGER: i32 = 3;

/// Where `/proc` does not tell which file descriptors are open.
const MOST_DESCRIPTORS: i32 = 4096;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill, // abort() raises its signal with it
];

/// Before any thread is started and any rule is read. `memory` bounds the address space, in bytes.
pub(super) fn close_behind(memory: Option<u64>) -> io::Result<()> {
    // A daemon that is killed closes its end of the pipe, which ends this process as well; this also ends one that is
    // stopped. The signal comes when the thread that started this process ends: it is one that lives as long as the daemon.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    close_strangers();
    // Running out of memory aborts, and the image of an aborted process would hold events.
    limit(Resource::Core, 0)?;
    memory.map_or(Ok(()), |bytes| limit(Resource::As, bytes))
}

/// When everything that needs more has been started; holds for all threads. The reason when the kernel, or what it runs in,
/// refuses the filter of system calls; the limits hold then all the same.
pub(super) fn lock() -> Result<(), String> {
    let limits = [(Resource::Nofile, FIRST_STRANGER as u64), (Resource::Nproc, 0), (Resource::Fsize, 0)];
    for (resource, most) in limits {
        limit(resource, most).map_err(|error| format!("a limit of {resource:?} was refused: {error}"))?;
    }
    let program = filter().map_err(|error| format!("no filter of system calls for this machine: {error}"))?;
    apply_filter_all_threads(&program).map_err(|error| format!("the filter of system calls was refused: {error}"))?;
    // Said by the kernel is not seen: a system call that needs no descriptor must fail now.
    match fs::metadata("/") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        _ => Err("the filter of system calls was taken and does not hold".to_owned()),
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    // A limit that is in force already can only be lowered.
    let most = getrlimit(resource).maximum.map_or(most, |ceiling| ceiling.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// The daemon marks its own descriptors to be closed here. Those it was itself started with are not so marked.
fn close_strangers() {
    let listed = fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        names.collect::<Vec<i32>>()
    });
    for descriptor in listed.unwrap_or_else(|_| (FIRST_STRANGER..MOST_DESCRIPTORS).collect()) {
        if descriptor >= FIRST_STRANGER {
            // Not open, or the one that was used for the listing.
            let _ = nix::unistd::close(descriptor);
        }
    }
}

/// Refused calls fail with `EPERM`: the C library may try one that it can do without.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let descriptor = |number: u64| condition(0, SeccompCmpOp::Eq, number);
    let not_executable = || condition(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    let reading = vec![SeccompRule::new(vec![descriptor(0)?])?];
    let writing = || Ok(vec![SeccompRule::new(vec![descriptor(1)?])?, SeccompRule::new(vec![descriptor(2)?])?]);
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_read, reading);
    rules.insert(libc::SYS_write, writing()?);
    rules.insert(libc::SYS_writev, writing()?);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![not_executable()?])?]);
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn condition(
    argument: u8,
    comparison: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
}
