//! A daemon that goes on running, looked at from outside through `/proc`. It must never be left
//! behind.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Bench;
use crate::daemon::Daemon;
use crate::measure::float;

/// No daemon takes as long as this to start.
const PATIENCE: Duration = Duration::from_mins(5);

/// In which the kernel tells every program about CPU time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Stopped when dropped.
pub(crate) struct Live {
    child: Child,
    /// From the start of the process to READY.
    pub(crate) seconds_to_ready: f64,
}

/// What was counted since the process began.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    at: Instant,
    pub(crate) cpu_seconds: f64,
    /// Of each thread: how often it slept of its own accord.
    slept: HashMap<String, u64>,
    pub(crate) rss_bytes: u64,
}

/// Between two looks, for each second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) seconds: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) wake_ups: f64,
}

impl Live {
    /// Starts it and waits until it says that it is ready, as it would to systemd.
    pub(crate) fn start(bench: &Bench, daemon: &Daemon) -> Self {
        let socket = daemon.state().with_file_name("notify");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixDatagram::bind(&socket).unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command: Command = daemon.command(&["run"]);
        command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
        bench.meter.count_fsyncs(&mut command, Duration::ZERO);
        let begin = Instant::now();
        let child = command.spawn().unwrap();
        let mut live = Self { child, seconds_to_ready: 0.0 };
        let mut message = [0; 4_096];
        loop {
            let length = listener.recv(&mut message).unwrap();
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                live.seconds_to_ready = begin.elapsed().as_secs_f64();
                return live;
            }
        }
    }

    pub(crate) fn look(&self) -> Look {
        let process = format!("/proc/{}", self.child.id());
        let mut slept = HashMap::new();
        for thread in std::fs::read_dir(format!("{process}/task")).unwrap() {
            let thread = thread.unwrap().path();
            // A thread may end between the two.
            let status = std::fs::read_to_string(thread.join("status")).unwrap_or_default();
            let name = thread.display().to_string();
            slept.insert(name, number_of(&status, "voluntary_ctxt_switches:"));
        }
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
        // After the name of the program: user and system time are the 12th and 13th word.
        let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = words[11..13].iter().map(|word| word.parse::<u64>().unwrap()).sum();
        Look {
            at: Instant::now(),
            cpu_seconds: float(ticks) / TICKS_PER_SECOND,
            slept,
            rss_bytes: number_of(&status, "VmRSS:") * 1_024,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl Look {
    pub(crate) fn until(&self, later: &Look) -> Pace {
        let seconds = later.at.duration_since(self.at).as_secs_f64();
        let slept = |(thread, count): (&String, &u64)| {
            count.saturating_sub(self.slept.get(thread).copied().unwrap_or(0))
        };
        Pace {
            seconds,
            cpu_ms: (later.cpu_seconds - self.cpu_seconds) * 1e3 / seconds,
            wake_ups: float(later.slept.iter().map(slept).sum()) / seconds,
        }
    }
}

fn number_of(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
