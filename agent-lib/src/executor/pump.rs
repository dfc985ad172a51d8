//! From the pipes to the channel. Nothing is read while the consumer has not taken what there is: that slows the process
//! down instead of filling memory.

use std::{io, os::fd::AsFd, time::Duration};

use fleet_core::protocol::OutputChunk;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{ChildStderr, ChildStdout},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::output::{Output, Pipe};

const READ: usize = 16 << 10;

pub(super) struct Pump {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    output: Output,
    consumer: mpsc::Sender<OutputChunk>,
    read_out: Box<[u8]>,
    read_err: Box<[u8]>,
}

impl Pump {
    pub fn new(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        output: Output,
        consumer: mpsc::Sender<OutputChunk>,
    ) -> Self {
        Self {
            stdout,
            stderr,
            output,
            consumer,
            read_out: vec![0; READ].into(),
            read_err: vec![0; READ].into(),
        }
    }

    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Nobody can write to the pipes any more.
    pub fn is_eof(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// All that was read is with the consumer.
    pub fn is_done(&self) -> bool {
        self.is_eof() && !self.output.has_ready()
    }

    /// The inodes of the pipes that are still open.
    pub fn inodes(&self) -> Vec<u64> {
        let fds = [
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        let stats = fds.into_iter().flatten().filter_map(|fd| rustix::fs::fstat(fd).ok());
        stats.map(|stat| stat.st_ino).collect()
    }

    /// Does the next thing there is to do. Nothing is lost when it is dropped before it is done.
    pub async fn step(&mut self) {
        if self.output.has_ready() {
            match self.consumer.reserve().await {
                Ok(place) => {
                    if let Some(chunk) = self.output.pop() {
                        place.send(chunk);
                    }
                }
                // Nobody listens any more; the process goes on.
                Err(_) => while self.output.pop().is_some() {},
            }
            return;
        }
        let flush_at = self.output.flush_at();
        let (pipe, read) = tokio::select! {
            read = read(self.stdout.as_mut(), &mut self.read_out) => (Pipe::Out, read),
            read = read(self.stderr.as_mut(), &mut self.read_err) => (Pipe::Err, read),
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {
                self.output.flush();
                return;
            }
        };
        let bytes = match pipe {
            Pipe::Out => &self.read_out,
            Pipe::Err => &self.read_err,
        };
        match read {
            Ok(count) if count > 0 => {
                let now = Instant::now();
                self.output.push(pipe, bytes.get(..count).unwrap_or_default(), now);
                // A steady stream must not put the flush off.
                if self.output.flush_at().is_some_and(|at| at <= now) {
                    self.output.flush();
                }
            }
            Ok(_) => self.end(pipe),
            Err(error) => {
                tracing::warn!(%error, "the output of a run cannot be read");
                self.end(pipe);
            }
        }
    }

    /// Moves on until the pipes end, for at most `limit` of waiting for them; time spent waiting for the consumer is free.
    pub async fn drain(&mut self, limit: Duration, interrupted: impl Future<Output = ()>) {
        let mut left = limit;
        tokio::pin!(interrupted);
        while !self.is_eof() && !left.is_zero() {
            let blocked = self.output.has_ready();
            let began = Instant::now();
            tokio::select! {
                () = self.step() => {}
                () = sleep(left), if !blocked => return,
                () = &mut interrupted => return,
            }
            if !blocked {
                left = left.saturating_sub(began.elapsed());
            }
        }
    }

    /// Stops reading: whoever still writes gets SIGPIPE.
    pub fn close(&mut self) {
        for pipe in [Pipe::Out, Pipe::Err] {
            self.end(pipe);
        }
    }

    fn end(&mut self, pipe: Pipe) {
        match pipe {
            Pipe::Out => self.stdout = None,
            Pipe::Err => self.stderr = None,
        }
        self.output.end(pipe);
    }
}

async fn read(pipe: Option<&mut (impl AsyncRead + Unpin)>, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => std::future::pending().await,
    }
}
