//! The process as the unit of containment: what a worker does to itself before it touches untrusted input.
//!
//! A worker is the same binary, started with an empty environment and pipes. Its first act is [`confine`]: limits of
//! the operating system on memory, CPU, file size and descriptors, death with its parent, and a system-call filter
//! without sockets, programs and tracing. Watching the clock from outside is the parent's part.
//! Linux only; elsewhere [`confine`] fails, and the worker must not go on.

use std::fmt;

/// What a worker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// Bytes of private writable memory (`RLIMIT_DATA`; address space that is only reserved does not count).
    pub memory_bytes_max: u64,
    /// CPU seconds of all threads together (`RLIMIT_CPU`).
    pub cpu_seconds_max: u64,
    /// Bytes of the largest file it may write (`RLIMIT_FSIZE`).
    pub file_bytes_max: u64,
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub descriptors_max: u64,
    /// Whether sockets may be made.
    pub network: Network,
}

/// Whether a worker may open sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// `socket` and its kin answer `EPERM`.
    Denied,
    /// The store is remote, and the worker reads from it.
    Allowed,
}

/// Why a worker could not be confined. It must exit.
#[derive(Debug)]
pub struct ConfineError {
    step: &'static str,
    cause: String,
}

impl fmt::Display for ConfineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "confine the worker: {}: {}", self.step, self.cause)
    }
}

impl std::error::Error for ConfineError {}

#[cfg(target_os = "linux")]
pub use linux::{confine, limit_cpu};

/// Limits the processor time that the calling process may still use. Not available on this system.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn limit_cpu(_seconds: u64) -> Result<(), ConfineError> {
    Err(ConfineError { step: "system", cause: "workers can only be confined on Linux".to_owned() })
}

/// Confines the calling process for good. Not available on this system.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn confine(_confinement: &Confinement) -> Result<(), ConfineError> {
    Err(ConfineError { step: "system", cause: "workers can only be confined on Linux".to_owned() })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use nix::sys::prctl;
    use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
    use nix::sys::signal::Signal;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads};

    use super::{ConfineError, Confinement, Network};

    /// Confines the calling process, all its threads, for good. Call it before anything untrusted is read.
    ///
    /// # Errors
    /// Where the system refuses a limit or the filter; the worker must exit then.
    pub fn confine(confinement: &Confinement) -> Result<(), ConfineError> {
        let failed = |step: &'static str| move |error: nix::Error| ConfineError { step, cause: error.to_string() };
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("death with the parent"))?;
        prctl::set_no_new_privs().map_err(failed("no new privileges"))?;
        prctl::set_dumpable(false).map_err(failed("no core dump"))?;
        let limits = [
            ("memory", Resource::RLIMIT_DATA, confinement.memory_bytes_max),
            ("cpu", Resource::RLIMIT_CPU, confinement.cpu_seconds_max),
            ("file size", Resource::RLIMIT_FSIZE, confinement.file_bytes_max),
            ("descriptors", Resource::RLIMIT_NOFILE, confinement.descriptors_max),
            ("core", Resource::RLIMIT_CORE, 0),
        ];
        for (step, resource, value) in limits {
            // What the system grants may be less already; nothing is ever raised.
            let (_, granted) = getrlimit(resource).map_err(failed(step))?;
            let value = value.min(granted);
            setrlimit(resource, value, value).map_err(failed(step))?;
        }
        let filter = filter(confinement.network).map_err(|cause| ConfineError { step: "filter", cause })?;
        apply_filter_all_threads(&filter).map_err(|error| ConfineError { step: "filter", cause: error.to_string() })
    }

    /// Limits the processor time that the calling process may still use, all threads together: for a worker that does
    /// one piece of work after the other. Never more than [`Confinement::cpu_seconds_max`] in all.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn limit_cpu(seconds: u64) -> Result<(), ConfineError> {
        let failed = |error: nix::Error| ConfineError { step: "cpu", cause: error.to_string() };
        let used = getrusage(UsageWho::RUSAGE_SELF).map_err(failed)?;
        let used = used.user_time().tv_sec().saturating_add(used.system_time().tv_sec());
        let (_, granted) = getrlimit(Resource::RLIMIT_CPU).map_err(failed)?;
        let wanted = seconds.saturating_add(u64::try_from(used).unwrap_or(0)).saturating_add(1);
        setrlimit(Resource::RLIMIT_CPU, wanted.min(granted), granted).map_err(failed)
    }

    /// Refuses (`EPERM`) what a worker never needs; everything else stays as it is.
    fn filter(network: Network) -> Result<BpfProgram, String> {
        let always = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_pivot_root,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
        ];
        let sockets = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4];
        let mut rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
            always.into_iter().map(|call| (call, vec![])).collect();
        if network == Network::Denied {
            rules.extend(sockets.into_iter().map(|call| (call, vec![])));
        }
        let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|_| "unknown processor".to_owned())?;
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
            .and_then(BpfProgram::try_from)
            .map_err(|error| error.to_string())
    }
}
