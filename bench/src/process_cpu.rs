//! What processes have cost so far: CPU time and time spent waiting for a core, read from `/proc`.
//!
//! `load` takes it before and after a run, of the server and of itself. Linux only. It must not be read during a run:
//! reading costs the generator time.

use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};

use anyhow::{Context, Result};
use serde::Serialize;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// CPU time so far, in microseconds. The kernel counts it in ticks of 10 ms, so take it over seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ProcessCpu {
    /// Running its own code.
    pub user_us: u64,
    /// In the kernel on its behalf: sockets, files.
    pub system_us: u64,
    /// Ready to run, but no core was free (sum over threads that live now).
    pub queued_us: u64,
}

impl ProcessCpu {
    /// User and system together.
    pub fn busy_us(&self) -> u64 {
        self.user_us + self.system_us
    }

    /// Of process `pid`, its descendants, and the children it has already waited for.
    ///
    /// # Errors
    /// The process is gone, or `/proc` is not readable.
    pub fn of_tree(pid: u32) -> Result<Self> {
        let stats = all_stats()?;
        stats.get(&pid).with_context(|| format!("process {pid} does not exist"))?;
        let mut total = Self::default();
        let mut waiting = vec![pid];
        while let Some(pid) = waiting.pop() {
            if let Some(stat) = stats.get(&pid) {
                total.user_us += stat.user_us;
                total.system_us += stat.system_us;
                total.queued_us += queued_us(pid);
            }
            waiting.extend(stats.iter().filter(|(_, stat)| stat.parent == pid).map(|(child, _)| *child));
        }
        Ok(total)
    }

    /// Of this process.
    ///
    /// # Errors
    /// `/proc` is not readable.
    pub fn of_self() -> Result<Self> {
        let pid = std::process::id();
        let text = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
        let stat = parse_stat(&text, ticks_per_second()).context("/proc/self/stat has another form")?;
        Ok(Self { user_us: stat.user_us, system_us: stat.system_us, queued_us: queued_us(pid) })
    }
}

impl Add for ProcessCpu {
    type Output = Self;

    /// Of two trees of processes together.
    fn add(self, other: Self) -> Self {
        Self {
            user_us: self.user_us + other.user_us,
            system_us: self.system_us + other.system_us,
            queued_us: self.queued_us + other.queued_us,
        }
    }
}

impl Sub for ProcessCpu {
    type Output = Self;

    /// What was spent since `before`. A thread that ended in between takes its waiting time with it, hence saturating.
    fn sub(self, before: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
            queued_us: self.queued_us.saturating_sub(before.queued_us),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user_us: u64,
    system_us: u64,
}

fn all_stats() -> Result<HashMap<u32, Stat>> {
    let ticks_per_second = ticks_per_second();
    let processes = fs::read_dir("/proc").context("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stat = |pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, ticks_per_second);
    Ok(pids.filter_map(|pid| Some((pid, stat(pid)?))).collect())
}

/// Fields of proc_pid_stat(5): 4 ppid, 14 utime, 15 stime, 16 cutime, 17 cstime. The name in field 2 may hold spaces and
/// parentheses, so counting starts behind the last `)`.
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let micros =
        |index: usize| Some(fields.get(index)?.parse::<u64>().ok()? * MICROS_PER_SECOND / ticks_per_second);
    Some(Stat { parent, user_us: micros(11)? + micros(13)?, system_us: micros(12)? + micros(14)? })
}

/// Second field of each thread's `schedstat`: nanoseconds on a run queue. Zero where the kernel does not keep it.
fn queued_us(pid: u32) -> u64 {
    const NANOS_PER_MICRO: u64 = 1_000;
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let queued_ns = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split_whitespace().nth(1)?.parse().ok()
    };
    threads.flatten().filter_map(|thread| queued_ns(thread.path())).sum::<u64>() / NANOS_PER_MICRO
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_a_name_with_spaces_and_parentheses() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 100 0 0 0 150 25 30 5 20 0 1 0 1 1 1";
        let expected = Stat { parent: 7, user_us: 1_800_000, system_us: 300_000 };
        assert_eq!(parse_stat(line, 100), Some(expected));
        assert_eq!(parse_stat("nonsense", 100), None);
    }

    #[test]
    fn work_done_here_is_counted_here() {
        let before = ProcessCpu::of_self().unwrap();
        let start = Instant::now();
        while (ProcessCpu::of_self().unwrap() - before).busy_us() == 0 {
            black_box((0..100_000_u64).fold(0, |sum, number| sum ^ number));
            assert!(start.elapsed() < Duration::from_secs(60), "a spinning process costs CPU");
        }
    }

    #[test]
    fn a_process_counts_its_children_whether_alive_or_waited_for() {
        let script = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done";
        let family = format!("sh -c '{script}' & ({script}); wait; cat");
        let mut child = Command::new("sh").args(["-c", &family]).stdin(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while ProcessCpu::of_tree(child.id()).unwrap().busy_us() == 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "looping children cost CPU");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ProcessCpu::of_tree(child.id()).is_err());
    }
}
