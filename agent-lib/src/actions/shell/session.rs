//! One user's turn.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use fleet_core::protocol::OutputStream;

use crate::{
    actions::device::{Account, Device},
    executor::{RunAs, ShellSpec},
};

/// A user who is signed in to a desktop, while a script runs as that user.
pub(super) struct Session<'a> {
    device: &'a Device,
    user: &'a Account,
    lines: Mutex<Lines>,
}

impl<'a> Session<'a> {
    pub(super) fn new(device: &'a Device, user: &'a Account) -> Self {
        Self {
            device,
            user,
            lines: Mutex::new(Lines::of(&user.name)),
        }
    }

    /// The same as this user, with what the programs of the session have in common.
    pub(super) fn specify(&self, spec: ShellSpec) -> ShellSpec {
        let mut environment = spec.environment.clone();
        environment.extend(self.device.runtime_folder(self.user));
        ShellSpec {
            run_as: Some(RunAs::User(self.device.executed_as(self.user))),
            environment,
            // All users share what is kept.
            output_limit_bytes: spec.output_limit_bytes.min(self.device.room()),
            ..spec
        }
    }

    /// Writes into the run's output, each line with the user's name before it.
    pub(super) async fn write(&self, stream: OutputStream, text: &str) {
        let text = self.lock().add(stream, text);
        self.device.write(stream, &text).await;
    }

    /// Ends the lines that are open, so that those of the next user begin on their own.
    pub(super) async fn end(&self) {
        let open = self.lock().open();
        for stream in open {
            self.device.write(stream, "\n").await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a name before each line, however it is cut.
struct Lines {
    prefix: String,
    /// The streams that stand in the middle of a line.
    open: BTreeMap<u8, OutputStream>,
}

impl Lines {
    fn of(name: &str) -> Self {
        Self {
            prefix: format!("{name}: "),
            open: BTreeMap::new(),
        }
    }

    fn add(&mut self, stream: OutputStream, text: &str) -> String {
        let mut prefixed = String::with_capacity(text.len() + self.prefix.len());
        for line in text.split_inclusive('\n') {
            if !self.open.contains_key(&key(stream)) {
                prefixed.push_str(&self.prefix);
            }
            prefixed.push_str(line);
            match line.ends_with('\n') {
                true => self.open.remove(&key(stream)),
                false => self.open.insert(key(stream), stream),
            };
        }
        prefixed
    }

    fn open(&mut self) -> Vec<OutputStream> {
        std::mem::take(&mut self.open).into_values().collect()
    }
}

fn key(stream: OutputStream) -> u8 {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Agent => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutputStream::{Stderr, Stdout};

    #[test]
    fn each_line_has_the_name_before_it_however_it_is_cut() {
        let mut lines = Lines::of("ana");
        let added: Vec<_> = [(Stdout, "a\n\nb"), (Stderr, "x"), (Stdout, "c\nd"), (Stderr, "y\n")]
            .map(|(stream, text)| lines.add(stream, text))
            .into();
        assert_eq!(added, ["ana: a\nana: \nana: b", "ana: x", "c\nana: d", "y\n"]);
        assert_eq!(lines.open(), [Stdout]);
        assert_eq!(lines.add(Stdout, "e"), "ana: e");
    }
}
