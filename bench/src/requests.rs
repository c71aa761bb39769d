//! What each kind of request costs: commands, lists, single submissions, the past, statistics, exports and the feed.
//!
//! Called by `cli`; `deploy/profile.sh` lets a server be watched under it. Several programs are asked in turns, each with data of its own.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::contestant::{Contestant, Running};
use crate::pacer::Length;
use crate::percentile::median;
use crate::report::Summary;
use crate::review;
use crate::template::Random;

/// What is shown, amended and looked up by its id is one of so many.
const KNOWN: u64 = 100;
/// Of an [`Asked::path`]: one of the known submissions.
const ANY: &str = "{any}";
/// Of an [`Asked::path`]: the middle of the ledger.
const MIDDLE: &str = "{middle}";
/// Before each measurement.
const WARMUP: Duration = Duration::from_millis(500);
/// A feed that says nothing for so long has ended.
const FEED_SILENCE_MAX: Duration = Duration::from_secs(20);
const FEED_READ_BYTES: usize = 64 * 1024;
/// How an event begins in a feed; a comment has no data.
const FEED_EVENT: &[u8] = b"\ndata:";

/// A kind of request.
struct Asked {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<&'static str>,
    status: u16,
}

const fn get(name: &'static str, path: &'static str) -> Asked {
    Asked { name, method: "GET", path, body: None, status: 200 }
}

const ASKED: [Asked; 20] = [
    Asked {
        name: "a submission that is refused",
        method: "POST",
        path: "/v1/forms/benchmark/submissions",
        body: Some(r#"{"data":{"reference":"EXP-{{int:1:9999}}","lines":"none"}}"#),
        status: 422,
    },
    get("a submission", "/v1/submissions/{any}"),
    get("as it was before", "/v1/submissions/{any}?at_position={middle}"),
    get("its timeline", "/v1/submissions/{any}/timeline"),
    get("the newest 50", "/v1/submissions?limit=50"),
    get(
        "by an indexed field",
        "/v1/submissions?form=benchmark&where=/amount%3E%3D500&sort=-/amount&limit=20",
    ),
    // Amounts are spread evenly from 1,000 to 20,000.
    get("the newest of many amounts", "/v1/submissions?form=benchmark&where=/amount%3E%3D10000&limit=20"),
    get("the newest of few amounts", "/v1/submissions?form=benchmark&where=/amount%3E%3D19990&limit=20"),
    get(
        "the newest of a country and many amounts",
        "/v1/submissions?form=benchmark&where=/country%3DDE&where=/amount%3E%3D10000&limit=20",
    ),
    get(
        "the largest of a country",
        "/v1/submissions?form=benchmark&where=/country%3DDE&sort=-/amount&limit=20",
    ),
    get("by a word", "/v1/submissions?form=benchmark&q=lodging&limit=20"),
    get("statistics of a form", "/v1/stats?form=benchmark"),
    get("what waits for a person", "/v1/tasks?limit=20"),
    get("all forms", "/v1/forms"),
    get("a form", "/v1/forms/benchmark"),
    get("100 events", "/v1/events?after={middle}&limit=100"),
    get("where the ledger is", "/v1/ledger"),
    get("an export of a twentieth", "/v1/exports/submissions.ndjson?form=benchmark&where=/amount%3E%3D19000"),
    get("the metrics", "/metrics"),
    Asked {
        status: 404,
        ..get("nothing that there is", "/v1/submissions/00000000-0000-7000-8000-000000000000")
    },
];

/// After them, because it makes longer what they read: as many of it in each turn, so that every server has the same to read.
const AMENDMENT: Asked = Asked {
    name: "an amendment",
    method: "PATCH",
    path: "/v1/submissions/{any}",
    body: Some(r#"{"note":"{{uuid}}"}"#),
    status: 200,
};
const AMENDMENTS: u64 = 1_000;

/// What to ask, how often and for how long.
#[derive(Debug, Clone)]
pub struct RequestsPlan {
    /// The servers; ratios are to the first.
    pub contestants: Vec<Contestant>,
    /// Turns of each kind of request.
    pub rounds: usize,
    /// Of each measurement.
    pub duration: Duration,
    /// Connections of each measurement.
    pub connections: usize,
    /// Recorded before anything is measured, of each of the two forms.
    pub submissions: u64,
    /// The servers keep their data below this.
    pub data_root: PathBuf,
}

/// Medians of one kind of request at one server.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The kind of request.
    pub request: &'static str,
    /// The server.
    pub contestant: String,
    /// Answers, or of a feed events, a second.
    pub rate_per_second: f64,
    /// Microseconds of CPU for each, the database's not included.
    pub server_cpu_us: f64,
    /// What the database spent, where that is a process of its own.
    pub database_cpu_us: Option<f64>,
    /// Milliseconds; of a feed none.
    pub p50_ms: Option<f64>,
    /// CPU in all, over that of the first server in the same turn.
    pub cpu_ratio: f64,
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Requests {
    /// By kind, then by server.
    pub lines: Vec<Line>,
}

/// One measurement.
struct Measured {
    rate_per_second: f64,
    server_cpu_us: f64,
    database_cpu_us: Option<f64>,
    p50_ms: Option<f64>,
}

impl Measured {
    fn cpu_us(&self) -> f64 {
        self.server_cpu_us + self.database_cpu_us.unwrap_or(0.0)
    }
}

/// A server with what is asked of it.
struct Site {
    running: Running,
    any: String,
    middle: u64,
}

/// Runs `plan`. Prints each kind of request to standard error as it ends.
///
/// # Errors
/// A server does not start, or answers with another status than it should.
pub fn run(plan: &RequestsPlan) -> Result<Requests> {
    ensure!(
        plan.rounds > 0 && plan.submissions >= KNOWN,
        "nothing to ask without rounds, or with fewer than {KNOWN} submissions"
    );
    let sites =
        plan.contestants.iter().map(|contestant| Site::open(contestant, plan)).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    for asked in &ASKED {
        let length = Length::Time(plan.duration);
        lines.extend(in_turns(plan, &sites, asked.name, |site| {
            site.ask(asked, plan.connections, WARMUP, length)
        })?);
    }
    let amended = |site: &Site| {
        let measured = site.ask(&AMENDMENT, plan.connections, Duration::ZERO, Length::Requests(AMENDMENTS));
        // What it puts off is not to be done while another one is asked.
        site.running.settle()?;
        measured
    };
    lines.extend(in_turns(plan, &sites, AMENDMENT.name, amended)?);
    lines.extend(in_turns(plan, &sites, "the feed from its beginning, an event", Site::feed)?);
    Ok(Requests { lines })
}

fn in_turns(
    plan: &RequestsPlan,
    sites: &[Site],
    request: &'static str,
    measure: impl Fn(&Site) -> Result<Measured>,
) -> Result<Vec<Line>> {
    let mut rounds: Vec<Vec<Measured>> = Vec::new();
    for _ in 0..plan.rounds {
        rounds.push(sites.iter().map(&measure).collect::<Result<_>>().with_context(|| request.to_owned())?);
    }
    let lines = plan.contestants.iter().enumerate().map(|(place, contestant)| {
        let middle = |figure: &dyn Fn(&[Measured]) -> Option<f64>| {
            median(rounds.iter().filter_map(|round| figure(round)).collect())
        };
        Ok(Line {
            request,
            contestant: contestant.name.clone(),
            rate_per_second: middle(&|round| Some(round[place].rate_per_second)).context("no rounds")?,
            server_cpu_us: middle(&|round| Some(round[place].server_cpu_us)).context("no rounds")?,
            database_cpu_us: middle(&|round| round[place].database_cpu_us),
            p50_ms: middle(&|round| round[place].p50_ms),
            cpu_ratio: middle(&|round| Some(round[place].cpu_us() / round[0].cpu_us()))
                .context("no rounds")?,
        })
    });
    let lines = lines.collect::<Result<Vec<_>>>()?;
    for line in &lines {
        eprintln!("-- {line}");
    }
    Ok(lines)
}

impl Site {
    /// Starts the server, publishes and records.
    fn open(contestant: &Contestant, plan: &RequestsPlan) -> Result<Self> {
        let running = contestant.start(&plan.data_root)?;
        review::publish(&running)?;
        running.record(review::submission(&running)?, plan.submissions)?;
        running.record(running.submission()?, plan.submissions)?;
        running.settle()?;
        let ledger: Value = serde_json::from_slice(&running.once("GET", "/v1/ledger", None, 200)?)?;
        let position = ledger["position"].as_u64().context("the ledger's position")?;
        let path =
            format!("/v1/submissions?form=review&sort=created_at&limit={KNOWN}&min_position={position}");
        let known: Value = serde_json::from_slice(&running.once("GET", &path, None, 200)?)?;
        let ids = known["items"].as_array().context("items")?.iter();
        let ids: Vec<&str> =
            ids.map(|item| item["submission_id"].as_str().context("submission_id")).collect::<Result<_>>()?;
        ensure!(!ids.is_empty(), "no submission to ask for");
        let any = format!("{{{{pick:{}}}}}", ids.join("|"));
        Ok(Self { running, any, middle: position / 2 })
    }

    fn ask(&self, asked: &Asked, connections: usize, warmup: Duration, length: Length) -> Result<Measured> {
        let path = asked.path.replace(ANY, &self.any).replace(MIDDLE, &self.middle.to_string());
        let request = self.running.request(asked.method, &path, asked.body)?;
        let run = self.running.closed_loop(request, connections, warmup, length)?;
        let summary = Summary::of(&run);
        ensure!(
            summary.others_than(asked.status) == 0,
            "{} {} was answered {:?}",
            asked.method,
            asked.path,
            summary.by_status
        );
        Ok(Measured {
            rate_per_second: summary.rate_per_second,
            server_cpu_us: summary.server_cpu.context("the server's CPU")?.total_us,
            database_cpu_us: summary.database_cpu.map(|cpu| cpu.total_us),
            p50_ms: Some(summary.latencies.p50_us as f64 / 1e3),
        })
    }

    /// Reads the feed from its beginning to where the ledger is.
    fn feed(&self) -> Result<Measured> {
        self.running.settle()?;
        let ledger: Value = serde_json::from_slice(&self.running.once("GET", "/v1/ledger", None, 200)?)?;
        let events = ledger["position"].as_u64().context("the ledger's position")?;
        let request = self.running.request("GET", "/v1/feed?after=0", None)?;
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        request.render(0, &mut Random::from_entropy(), &mut bytes, &mut scratch);
        let before = self.running.cpu_of_each()?;
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.running.target())?;
        stream.set_read_timeout(Some(FEED_SILENCE_MAX))?;
        stream.write_all(&bytes)?;
        let (mut buffer, mut kept, mut seen) = (vec![0; FEED_READ_BYTES], 0, 0);
        while seen < events {
            let read = stream
                .read(&mut buffer[kept..])
                .with_context(|| format!("the feed after {seen} of {events} events"))?;
            if read == 0 {
                bail!("the feed ended after {seen} of {events} events");
            }
            let filled = kept + read;
            if seen == 0 && kept == 0 {
                let answer = String::from_utf8_lossy(&buffer[..filled]);
                ensure!(answer.starts_with("HTTP/1.1 200"), "the feed was answered {answer}");
            }
            seen += buffer[..filled].windows(FEED_EVENT.len()).filter(|window| *window == FEED_EVENT).count()
                as u64;
            // One that came in parts is counted when its end has come.
            kept = filled.min(FEED_EVENT.len() - 1);
            buffer.copy_within(filled - kept..filled, 0);
        }
        let seconds = began.elapsed().as_secs_f64();
        let after = self.running.cpu_of_each()?;
        let each = |micros: u64| micros as f64 / events as f64;
        Ok(Measured {
            rate_per_second: events as f64 / seconds,
            server_cpu_us: each((after.0 - before.0).busy_us()),
            database_cpu_us: after.1.zip(before.1).map(|(after, before)| each((after - before).busy_us())),
            p50_ms: None,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, contestant, rate_per_second, server_cpu_us, cpu_ratio, .. } = self;
        let or_none = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| format!("{figure:.1}"));
        let (database_cpu_us, p50_ms) = (or_none(self.database_cpu_us), or_none(self.p50_ms));
        write!(
            formatter,
            "| {request} | {contestant} | {rate_per_second:.0} | {server_cpu_us:.1} | {database_cpu_us} | {p50_ms} | {cpu_ratio:.2} |"
        )
    }
}

impl fmt::Display for Requests {
    /// A Markdown table, ready for `docs/benchmarks.md`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "| request | server | answers/s | server CPU µs | + database | p50 ms | CPU: this ÷ first |\n| --- | --- | --- | --- | --- | --- | --- |"
        )?;
        self.lines.iter().try_for_each(|line| write!(formatter, "\n{line}"))
    }
}
