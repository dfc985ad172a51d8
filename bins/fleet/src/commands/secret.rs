//! Passwords: from a file, from standard input, or typed without being shown. Never from the command line, which everybody on the
//! machine can read.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::client::{Exit, Failure, Result};

/// The longest password or token, in bytes.
const MAX_SECRET: u64 = 4 * 1024;

/// Where a password comes from.
#[derive(Debug, clap::Args)]
pub struct PasswordSource {
    /// Read the password from this file, or from standard input with `-`; it is asked for otherwise.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password; a new one is asked for twice.
    pub async fn read(&self, prompt: &'static str, is_new: bool) -> Result<String> {
        match &self.password_file {
            Some(path) => from_file(path),
            None => from_terminal(prompt, is_new).await,
        }
    }
}

/// A password that is typed.
pub async fn ask(prompt: &'static str) -> Result<String> {
    from_terminal(prompt, false).await
}

/// The first line of a file, or of standard input with `-`.
pub fn from_file(path: &Path) -> Result<String> {
    let read = if path == Path::new("-") {
        first_line(io::stdin().lock())
    } else {
        File::open(path).and_then(first_line)
    };
    let secret = read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    if secret.is_empty() {
        return Err(Failure::usage(format!("the first line of {} is empty", path.display())));
    }
    Ok(secret)
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(MAX_SECRET)).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

async fn from_terminal(prompt: &'static str, is_new: bool) -> Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal = terminal.ok().filter(|terminal| terminal.is_terminal());
    let Some(terminal) = terminal else {
        return Err(Failure::usage(
            "there is no terminal to ask for the password; give --password-file FILE, or `-` for standard input",
        ));
    };
    let shown = tcgetattr(&terminal).map_err(|error| Failure::from(io::Error::from(error)))?;
    let to_restore = terminal.try_clone()?;
    let asked = tokio::task::spawn_blocking({
        let shown = shown.clone();
        move || type_in(&terminal, &shown, prompt, is_new)
    });
    let result = tokio::select! {
        result = asked => result.unwrap_or_else(|_| Err(Failure::silent(Exit::Failed))),
        _ = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
    };
    // Whatever happened: who types next wants to see it.
    let _ = tcsetattr(&to_restore, OptionalActions::Now, &shown);
    result
}

fn type_in(mut terminal: &File, shown: &Termios, prompt: &str, is_new: bool) -> Result<String> {
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Flush, &hidden).map_err(|error| Failure::from(io::Error::from(error)))?;
    let mut once = |prompt: &str| -> Result<String> {
        write!(terminal, "{prompt}: ")?;
        let secret = first_line(terminal);
        writeln!(terminal)?;
        Ok(secret?)
    };
    let secret = once(prompt)?;
    if secret.is_empty() {
        return Err(Failure::usage("no password was typed"));
    }
    if is_new && once("once more")? != secret {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line() {
        for (text, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\nmore\n", "hunter2"),
            (" a b \n", " a b "),
        ] {
            assert_eq!(first_line(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn an_empty_file_holds_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(from_file(file.path()).unwrap_err().exit(), Exit::Usage);
        assert_eq!(from_file(Path::new("/no/such/file")).unwrap_err().exit(), Exit::Usage);
    }
}
