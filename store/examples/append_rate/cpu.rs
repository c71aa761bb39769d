//! CPU time as the kernel counts it: of this process, and of a Postgres server with all its processes.

use anyhow::Context as _;
use formledger_test_cluster::Postgres;

/// `sysconf(_SC_CLK_TCK)` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of this process, in seconds.
pub(crate) fn own() -> anyhow::Result<f64> {
    let fields = stat("self")?;
    Ok((fields[UTIME] + fields[STIME]) / TICKS_PER_SECOND)
}

/// User and system time of the server's processes, in seconds; of those that ended, too.
pub(crate) async fn of(server: &Postgres) -> anyhow::Result<f64> {
    let pid_file = server.ask("SELECT pg_read_file('postmaster.pid')").await;
    let postmaster: f64 = pid_file.lines().next().context("the file has lines")?.trim().parse()?;
    let mut ticks = 0.0;
    for process in std::fs::read_dir("/proc")? {
        let name = process?.file_name();
        // A process that ended since it was listed counts with its parent.
        let Some(fields) =
            name.to_str().filter(|name| name.parse::<u32>().is_ok()).and_then(|pid| stat(pid).ok())
        else {
            continue;
        };
        if name.to_str() == Some(&postmaster.to_string()) {
            ticks += fields[UTIME] + fields[STIME] + fields[CHILDREN_UTIME] + fields[CHILDREN_STIME];
        } else if fields[PARENT] == postmaster {
            ticks += fields[UTIME] + fields[STIME];
        }
    }
    Ok(ticks / TICKS_PER_SECOND)
}

// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, counted from the field after the program's name and state.
const PARENT: usize = 0;
const UTIME: usize = 10;
const STIME: usize = 11;
const CHILDREN_UTIME: usize = 12;
const CHILDREN_STIME: usize = 13;

fn stat(process: &str) -> anyhow::Result<Vec<f64>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in parentheses, the third a letter.
    let after_name = stat.rsplit_once(')').context("a stat line has a name")?.1;
    Ok(after_name.split_whitespace().skip(1).take(14).map(str::parse).collect::<Result<_, _>>()?)
}
