//! What people type where nobody else reads along.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The longest line, in bytes.
pub const MAX_LINE: u64 = 4 * 1024;

/// The terminal of whoever has started this program, where there is one.
pub fn terminal() -> Option<File> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    terminal.ok().filter(|terminal| terminal.is_terminal())
}

/// The first line, without its end.
///
/// # Errors
/// When it cannot be read.
pub fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(MAX_LINE)).read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Talks with whoever is at a terminal; what they type is not shown. `talk` is given a function that asks a question and waits for a line.
///
/// # Errors
/// When the terminal cannot be used; [`io::ErrorKind::Interrupted`] when somebody has pressed Ctrl-C. Either way it shows again what is
/// typed next.
pub async fn hidden<T: Send + 'static>(
    terminal: File,
    talk: impl FnOnce(&mut dyn FnMut(&str) -> io::Result<String>) -> T + Send + 'static,
) -> io::Result<T> {
    let shown = tcgetattr(&terminal)?;
    let to_restore = terminal.try_clone()?;
    let asked = tokio::task::spawn_blocking({
        let shown = shown.clone();
        move || hide(&terminal, &shown).map(|()| talk(&mut |question| ask(&terminal, question)))
    });
    let result = tokio::select! {
        result = asked => result.unwrap_or_else(|error| Err(io::Error::other(error))),
        _ = tokio::signal::ctrl_c() => Err(io::ErrorKind::Interrupted.into()),
    };
    // Whatever happened: who types next wants to see it.
    let _ = tcsetattr(&to_restore, OptionalActions::Now, &shown);
    result
}

fn hide(terminal: &File, shown: &Termios) -> io::Result<()> {
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    Ok(tcsetattr(terminal, OptionalActions::Flush, &hidden)?)
}

fn ask(mut terminal: &File, question: &str) -> io::Result<String> {
    write!(terminal, "{question}: ")?;
    let line = first_line(terminal);
    writeln!(terminal)?;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends() {
        for (text, expected) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\nmore\n", "hunter2"),
            (" a b \n", " a b "),
        ] {
            assert_eq!(first_line(text.as_bytes()).unwrap(), expected);
        }
        assert_eq!(first_line("x".repeat(5_000).as_bytes()).unwrap().len() as u64, MAX_LINE);
    }
}
