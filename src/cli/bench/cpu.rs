//! CPU time as the system counts it, from `/proc`: of this process, of its rule workers, of threads by their name.

/// Of this process and of its rule workers, in seconds. From `/proc`, because the workers still run and are no part of
/// what the system counts for ended children.
pub(super) fn cpu_seconds() -> f64 {
    seconds_of(&format!("/proc/{}/stat", std::process::id())) + worker_seconds()
}

/// Of the rule workers alone.
pub(super) fn worker_seconds() -> f64 {
    let own = std::process::id();
    names("/proc")
        .filter_map(|name| name.parse::<u32>().ok())
        .map(|pid| format!("/proc/{pid}/stat"))
        .filter(|stat| parent(stat) == Some(own))
        .map(|stat| seconds_of(&stat))
        .sum()
}

/// Of those threads of this process whose names begin so.
pub(super) fn thread_seconds(name: &str) -> f64 {
    names("/proc/self/task")
        .map(|id| format!("/proc/self/task/{id}"))
        .filter(|task| std::fs::read_to_string(format!("{task}/comm")).is_ok_and(|comm| comm.starts_with(name)))
        .map(|task| seconds_of(&format!("{task}/stat")))
        .sum()
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn fields(stat: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(stat).ok()?;
    // The second field is the name in parentheses, which may contain anything; what counts comes after it.
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.get(1)?.parse().ok()
}

fn seconds_of(stat: &str) -> f64 {
    /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that margay runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let Some(fields) = fields(stat) else { return 0.0 };
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
