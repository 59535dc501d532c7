//! A child process in a group of its own: killed as a whole, waited for with patience that ends,
//! and gone when the test is.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(2);

/// How a child ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// It did not end in time and was killed.
    pub(crate) hung: bool,
    pub(crate) stderr: String,
}

impl Ended {
    /// For a finding: how it ended, and the last it said.
    pub(crate) fn story(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().rev().take(4).collect();
        let last = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
        let how = match (self.hung, self.code) {
            (true, _) => "did not end".to_owned(),
            (false, Some(code)) => format!("exit code {code}"),
            (false, None) => "ended by a signal".to_owned(),
        };
        format!("{how}: {last}")
    }
}

/// A running child.
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    /// Where its output goes: a pipe that nobody reads would stop it.
    output: [PathBuf; 2],
}

impl Process {
    /// Starts it; what it says goes to files in `scratch`.
    pub(crate) fn start(mut command: Command, scratch: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let output = ["out", "err"].map(|kind| scratch.join(format!("{number}.{kind}")));
        let [out, err] = output.each_ref().map(|path| File::create(path).unwrap());
        let child = command.process_group(0).stdout(out).stderr(err).spawn().unwrap();
        Self { child, ended: None, output }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_some()
    }

    /// Sends a signal to the child and its own children.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
            // It may end between the look and the signal; then nobody is there to receive it.
            let _ = kill_process_group(group, signal);
        }
    }

    /// SIGKILL. A code in the answer means that it had ended by itself before.
    pub(crate) fn kill(mut self) -> Ended {
        self.signal(Signal::KILL);
        self.finish(false)
    }

    /// Waits for its end, and kills it when that takes too long.
    pub(crate) fn wait(mut self, patience: Duration) -> Ended {
        let mut waited = Duration::ZERO;
        while !self.has_ended() && waited < patience {
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        let hung = !self.has_ended();
        self.signal(Signal::KILL);
        self.finish(hung)
    }

    fn finish(&mut self, hung: bool) -> Ended {
        let status = self.ended.unwrap_or_else(|| self.child.wait().unwrap());
        self.ended = Some(status);
        let [_, stderr] = self.output.each_ref().map(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            let _ = std::fs::remove_file(path);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let code = if status.signal().is_some() { None } else { status.code() };
        Ended { code, hung, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            let _ = self.child.wait();
        }
    }
}
