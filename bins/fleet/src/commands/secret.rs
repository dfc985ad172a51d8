//! Passwords: from a file, from standard input, or typed without being shown. Never from the command line, which everybody on the
//! machine can read.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use fleet_bins_common::terminal::{MAX_LINE, first_line, hidden, terminal};

use crate::client::{Exit, Failure, Result};

/// Where a password comes from.
#[derive(Debug, clap::Args)]
pub struct PasswordSource {
    /// Read the password from this file, or from standard input with `-`; it is asked for otherwise.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password; a new one is asked for twice.
    pub async fn read(&self, prompt: &str, is_new: bool) -> Result<String> {
        match &self.password_file {
            Some(path) => from_file(path),
            None => from_terminal(terminal().ok_or_else(no_terminal)?, prompt, is_new).await,
        }
    }
}

/// A password that is typed.
pub async fn ask(prompt: &str) -> Result<String> {
    from_terminal(terminal().ok_or_else(no_terminal)?, prompt, false).await
}

/// A secret environment variable: its name, and the file that holds its value, if one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVariable {
    /// The name.
    pub name: String,
    file: Option<PathBuf>,
}

impl FromStr for SecretVariable {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            None => (text, None),
            Some((name, value)) => match value.strip_prefix('@') {
                Some(path) => (name, Some(PathBuf::from(path))),
                None => {
                    let why =
                        "a secret does not stand on the command line, which others can read; give NAME, or NAME=@FILE";
                    return Err(why.into());
                }
            },
        };
        match name.is_empty() {
            true => Err("a variable has a name".into()),
            false => Ok(Self {
                name: name.to_owned(),
                file,
            }),
        }
    }
}

impl SecretVariable {
    /// Its value: from its file without the last line's end, typed, or, where there is no terminal, from the variable of this name here.
    pub async fn read(&self) -> Result<String> {
        if let Some(path) = &self.file {
            return whole_file(path);
        }
        if let Some(terminal) = terminal() {
            return from_terminal(terminal, &self.name, false).await;
        }
        let variable = std::env::var_os(&self.name).and_then(|value| value.into_string().ok());
        variable.ok_or_else(|| {
            Failure::usage(format!(
                "there is no terminal to ask for {name}, and no environment variable of this name; give --secret-env {name}=@FILE",
                name = self.name
            ))
        })
    }
}

fn whole_file(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LINE + 2).read_to_string(&mut text));
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    if let Some(line) = text.strip_suffix('\n') {
        text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
    }
    if text.len() as u64 > MAX_LINE {
        return Err(Failure::usage(format!(
            "{} is larger than a secret may be",
            path.display()
        )));
    }
    Ok(text)
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

/// What is typed after a question, shown as it is typed; nothing where there is no terminal.
pub async fn line_from_terminal(question: &str) -> Result<Option<String>> {
    let Some(mut terminal) = terminal() else {
        return Ok(None);
    };
    write!(terminal, "{question}")?;
    let typed = tokio::task::spawn_blocking(move || first_line(&terminal));
    tokio::select! {
        typed = typed => match typed {
            Ok(line) => Ok(Some(line?)),
            Err(_) => Err(Failure::silent(Exit::Failed)),
        },
        _ = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
    }
}

fn no_terminal() -> Failure {
    Failure::usage("there is no terminal to ask for the password; give --password-file FILE, or `-` for standard input")
}

async fn from_terminal(terminal: File, prompt: &str, is_new: bool) -> Result<String> {
    let prompt = prompt.to_owned();
    match hidden(terminal, move |ask| type_in(ask, &prompt, is_new)).await {
        Ok(typed) => typed,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::silent(Exit::Interrupted)),
        Err(error) => Err(error.into()),
    }
}

fn type_in(ask: &mut dyn FnMut(&str) -> io::Result<String>, prompt: &str, is_new: bool) -> Result<String> {
    let secret = ask(prompt)?;
    if secret.is_empty() {
        return Err(Failure::usage("no password was typed"));
    }
    if is_new && ask("once more")? != secret {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_variable_names_a_file_and_never_holds_its_value() {
        let read = |text: &str| text.parse::<SecretVariable>();
        let variable = |file: Option<&str>| SecretVariable {
            name: "TOKEN".into(),
            file: file.map(PathBuf::from),
        };
        assert_eq!(read("TOKEN"), Ok(variable(None)));
        assert_eq!(read("TOKEN=@/run/t=1"), Ok(variable(Some("/run/t=1"))));
        assert!(read("TOKEN=hunter2").is_err());
        assert!(read("=@x").is_err());
    }

    #[test]
    fn a_file_is_read_whole_without_its_last_line_end() {
        for (text, expected) in [("a\nb\n", "a\nb"), ("a", "a"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(whole_file(file.path()).unwrap(), expected);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x".repeat(4_097)).unwrap();
        assert_eq!(whole_file(file.path()).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn an_empty_file_holds_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(from_file(file.path()).unwrap_err().exit(), Exit::Usage);
        assert_eq!(from_file(Path::new("/no/such/file")).unwrap_err().exit(), Exit::Usage);
    }
}
