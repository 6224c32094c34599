//! How much memory the machine has free, and how much this process has used.

/// Bytes that this process may come to use, those that it uses now included; `None` where the system doesn't say.
///
/// The smaller of what the machine has free and what the process' control group allows (Linux).
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

/// The most bytes that this process has had in memory so far; `None` where the system doesn't say (Linux does).
///
/// ```
/// if let Some(bytes) = engraft_memory::peak() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn peak() -> Option<usize> {
    kernel_counter("/proc/self/status", "VmHWM:")
}

/// The field `name` of a file of the kernel's that holds `Name: 123 kB` in each line, in bytes.
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
