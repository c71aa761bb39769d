//! Open and closed loop against small servers in this process that stall, refuse, hang or hang up.
//!
//! What is asserted is the arithmetic of waiting (a stall must show up in every request that was due during it), never
//! that this machine is fast.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use formledger_bench::check::Bounds;
use formledger_bench::load::{LoadPlan, LoadRun, Pace, run};
use formledger_bench::pacer::Length;
use formledger_bench::report::Summary;
use formledger_bench::request::RequestTemplate;
use formledger_bench::sample::NO_ANSWER;
use formledger_bench::schedule::Schedule;

const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
const CREATED_AND_CLOSED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// What a server does with a request, by its number over all connections.
type Behaviour = fn(usize) -> Reaction;

enum Reaction {
    Answer(&'static [u8]),
    AnswerAfter(Duration, &'static [u8]),
    HangUpAfter(&'static [u8]),
    HangUp,
    Hang,
}

/// Serves until the test process ends, one thread for each connection.
fn server(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let requests = Arc::clone(&requests);
            thread::spawn(move || serve(stream, behaviour, &requests));
        }
    });
    address
}

fn serve(mut stream: TcpStream, behaviour: Behaviour, requests: &AtomicUsize) {
    let mut buffer = [0; 4096];
    // Requests here are smaller than the buffer and sent in one write, so one read is one request.
    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
        let written = match behaviour(requests.fetch_add(1, Ordering::Relaxed)) {
            Reaction::Answer(bytes) => stream.write_all(bytes),
            Reaction::AnswerAfter(pause, bytes) => {
                thread::sleep(pause);
                stream.write_all(bytes)
            }
            Reaction::HangUpAfter(bytes) => return stream.write_all(bytes).unwrap_or_default(),
            Reaction::HangUp => return,
            Reaction::Hang => {
                thread::park();
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn plan(target: SocketAddr, pace: Pace, connections: usize, length: Length) -> LoadPlan {
    LoadPlan {
        target,
        request: RequestTemplate::new("POST", "/", &target.to_string(), &[], Some(r#"{"n":{{seq}}}"#))
            .unwrap(),
        pace,
        connections,
        warmup: Duration::ZERO,
        length,
        grace: Duration::from_secs(60),
        server_pid: Some(std::process::id()),
        database_pid: None,
    }
}

fn open(rate: u64) -> Pace {
    Pace::Open(Schedule::new(rate).unwrap())
}

fn assert_schedule_kept(run: &LoadRun, rate: u64) {
    let bounds = Bounds { rate_per_second: Some(rate), ..Bounds::samples(1) };
    assert_eq!(bounds.violations(&run.samples), [""; 0]);
}

#[test]
fn a_stalling_server_does_not_slow_the_arrivals_and_every_arrival_shows_the_stall() {
    const RATE: u64 = 500;
    const STALL: Duration = Duration::from_millis(600);
    let target = server(|number| match number {
        200 => Reaction::AnswerAfter(STALL, CREATED),
        _ => Reaction::Answer(CREATED),
    });
    // One connection: everything due during the stall has to wait behind it.
    let run = run(plan(target, open(RATE), 1, Length::Requests(1_000))).unwrap();

    assert_eq!(run.samples.len(), 1_000);
    assert!(run.samples.iter().all(|sample| sample.status == 201));
    assert_schedule_kept(&run, RATE);
    // The stall holds RATE * STALL = 300 arrivals; each waits at least for what is left of it.
    let stall_us = STALL.as_micros() as u64;
    for (behind, sample) in run.samples[200..450].iter().enumerate() {
        let left_us = stall_us - behind as u64 * 1_000_000 / RATE;
        assert!(sample.latency_us >= left_us, "arrival {behind} behind the stall: {sample:?}");
    }
    // Timed from the moment of sending, all but one would look fast: that is the error this loop exists to avoid.
    let slow_by_service_time = |sample: &formledger_bench::sample::Sample| {
        sample.latency_us.saturating_sub(sample.start_us - sample.intended_us) >= stall_us
    };
    assert_eq!(run.samples.iter().filter(|sample| slow_by_service_time(sample)).count(), 1);
}

#[test]
fn arrivals_at_a_server_that_never_answers_are_all_counted() {
    let target = server(|_| Reaction::Hang);
    let mut plan = plan(target, open(1_000), 3, Length::Requests(100));
    plan.grace = Duration::from_millis(50);
    let run = run(plan).unwrap();

    assert_eq!(run.samples.len(), 100);
    assert!(run.samples.iter().all(|sample| sample.status == NO_ANSWER));
    assert!(run.samples.iter().all(|sample| sample.latency_us >= 50_000));
    assert_schedule_kept(&run, 1_000);
    let summary = Summary::of(&run);
    assert_eq!((run.answered, summary.others_than(201)), (0, 100));
    assert!(summary.first_error.is_some());
}

#[test]
fn a_connection_that_is_lost_costs_its_request_and_is_opened_again() {
    let target = server(|number| match number {
        10 => Reaction::HangUp,
        20 => Reaction::HangUpAfter(CREATED_AND_CLOSED),
        30 => Reaction::Answer(UNAVAILABLE),
        _ => Reaction::Answer(CREATED),
    });
    let run = run(plan(target, Pace::Closed, 1, Length::Requests(50))).unwrap();

    let statuses = Summary::of(&run).by_status;
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(NO_ANSWER, 1), (201, 48), (503, 1)]);
}

#[test]
fn the_closed_loop_measures_after_warm_up_and_counts_what_it_cost() {
    let target = server(|_| Reaction::Answer(CREATED));
    let mut plan = plan(target, Pace::Closed, 4, Length::Time(Duration::from_millis(300)));
    plan.warmup = Duration::from_millis(100);
    let run = run(plan).unwrap();

    assert!(!run.samples.is_empty());
    assert!(run.measured_for >= Duration::from_millis(300));
    assert_eq!(Bounds::samples(1).violations(&run.samples), [""; 0]);
    // Requests in flight when warm-up ended are answered in measured time: at most one for each connection.
    let more = run.answered - run.samples.len() as u64;
    assert!(more <= 4, "{more}");
    assert!(run.server_cpu.is_some());
    assert!(Summary::of(&run).to_string().contains("us CPU a request"));
}

#[test]
fn a_server_that_does_not_exist_is_an_error_and_not_a_run() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = run(plan(nobody, Pace::Closed, 2, Length::Requests(1))).unwrap_err();
    assert!(error.to_string().contains("connecting"), "{error:#}");
}
