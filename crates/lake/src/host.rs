//! Who this process is, so that others can tell whether a lease's holder is still alive.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process on a machine, unmistakable across restarts of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Host name.
    pub host: String,
    /// Identity of the machine's current boot; empty where the system does not tell.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 where the system does not tell.
    pub started: u64,
}

impl HostInfo {
    /// Describes this process from `/proc`.
    pub fn this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid,
            started: start_time(pid).unwrap_or(0),
        }
    }

    /// Says whether the process `other` is known to have ended: it ran on this machine, and either the machine was
    /// restarted since or no such process is there.
    pub(crate) fn knows_dead(&self, other: &Self) -> bool {
        if self.host != other.host || self.boot.is_empty() || other.boot.is_empty() {
            return false;
        }
        self.boot != other.boot || start_time(other.pid).is_none_or(|started| started != other.started)
    }
}

/// Reads field 22 of `/proc/<pid>/stat`; `None` where there is no such process, or it is a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in brackets and may hold blanks; the fields after it are plain.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_namesakes() {
        let own = HostInfo::this_process();
        let restarted = HostInfo { boot: "another".to_owned(), ..own.clone() };
        let recycled = HostInfo { started: own.started + 1, ..own.clone() };
        let elsewhere = HostInfo { host: "elsewhere".to_owned(), ..restarted.clone() };
        assert!(own.started > 0);
        assert!(!own.knows_dead(&own) && !own.knows_dead(&elsewhere));
        assert!(own.knows_dead(&restarted) && own.knows_dead(&recycled));
    }
}
