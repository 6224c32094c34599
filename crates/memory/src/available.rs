//! How much memory this process may use, and how much it has used at most.

/// Bytes that this process may use in total, including those in use now; `None` if the system doesn't tell (only Linux does).
///
/// The smaller of two limits: the machine's free memory plus this process' own, and the limit in `/sys/fs/cgroup/memory.max`
/// (cgroup v2), which a container has. The limit of a nested control group isn't read.
///
/// ```
/// if let Some(bytes) = engraft_memory::available() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn available() -> Option<usize> {
    let free = kernel_counter("/proc/meminfo", "MemAvailable:")?;
    let own = kernel_counter("/proc/self/status", "VmRSS:").unwrap_or(0);
    let machine = free.saturating_add(own);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(group.map_or(machine, |group: usize| group.min(machine)))
}

/// The peak resident memory of this process so far, in bytes; `None` if the system doesn't tell (only Linux does).
///
/// ```
/// if let Some(bytes) = engraft_memory::peak() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn peak() -> Option<usize> {
    kernel_counter("/proc/self/status", "VmHWM:")
}

/// The value in bytes of the line `name 123 kB` in a file of `/proc`.
fn kernel_counter(file: &str, name: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_use_what_it_has_used() {
        let (peak, available) = (peak().unwrap_or(0), available().unwrap_or(0));
        assert!(peak > 100 << 10, "{peak}");
        assert!(available > 100 << 10, "{available}");
    }
}
