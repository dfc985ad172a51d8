//! Commands that give devices work: a script, a state, their inventory, their desired state.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use fleet_core::work::{
    BatchRequest,
    operations::{refresh, shell, sync},
};
use serde_json::{Map, Value, json};

use super::{
    Context,
    asking::{How, On, ask, work},
    pair,
    secret::SecretVariable,
};
use crate::client::{Client, Failure, Result};

/// `fleet run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet run --on web-1 -- uname -a
  fleet run --label env=prod --timeout 2m -- systemctl is-active nginx
  fleet run --on web-1 --secret-env TOKEN=@token.txt --script deploy.sh
  fleet run --group laptops --desktop-users -- 'gsettings set org.gnome.desktop.screensaver lock-enabled true'
  fleet run --group db -- 'df -h | tail -n +2'
  fleet run --query 'os equals debian and memory_total lessThan 4000000000' -- free -m
  fleet run --all --no-wait --script fix.sh
  fleet run --group db --at 2026-12-01T03:00:00Z --approvals 1 -- reboot
  fleet run --all --wave 1 --wave 10% --max-failures 5% --watch 10m -- apt-get -y upgrade

One word after `--` is a script for /bin/sh, with pipes and all; several words are a
command with its arguments, each passed on as it is. Ctrl-C leaves; the work goes on.
Risky work on many devices, or on all, asks for their number; --confirm N says it beforehand.
The exit code is 6 when it failed on some device.")]
pub struct Run {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    script: Script,
}

/// What is run.
#[derive(Debug, Args)]
pub struct Script {
    /// Read the script from this file, or from standard input with `-`; the words after `--` are its arguments.
    #[arg(long = "script", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The program that reads the script [default: /bin/sh].
    #[arg(long, value_name = "PATH")]
    interpreter: Option<String>,
    /// The user that it runs as.
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// Run it once for each user who is signed in to a desktop, as that user; nothing where nobody is.
    #[arg(long, conflicts_with = "run_as")]
    desktop_users: bool,
    /// Where it runs.
    #[arg(long, value_name = "PATH")]
    directory: Option<String>,
    /// An environment variable; may be repeated. Not for secrets: everybody who sees the run sees them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A secret environment variable; may be repeated. Its value is asked for, read from FILE, or, where there is no terminal, taken from the
    /// variable of this name here. Nobody sees it, and it is taken out of the output.
    #[arg(long, value_name = "NAME[=@FILE]")]
    secret_env: Vec<SecretVariable>,
    /// The command.
    #[arg(last = true)]
    command: Vec<String>,
}

/// `fleet refresh`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet refresh --on web-1 --section packages")]
pub struct Refresh {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
    /// Only this part of the inventory; may be repeated.
    #[arg(long)]
    section: Vec<String>,
}

/// `fleet sync`
#[derive(Debug, Args)]
#[command(after_help = "\
Devices keep their desired state by themselves, each part in its own rhythm. This does not wait for that,
but for the fleet's windows, unless with --ignore-windows.

Example:
  fleet sync --on web-1")]
pub struct Sync {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
}

/// `fleet apply`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet apply package --on web-1 --params '{\"name\": \"nginx\"}' --dry-run
  fleet apply file --label env=prod --params @motd.json
  fleet apply file --group kiosks --params '{\"path\": \"/opt/kiosk/film.mp4\"}' --content-from film.mp4
  fleet apply packages.upgrade --all --dry-run-first --wave 10%
  fleet apply packages.upgrade --all --retry 3 --retry-after 5m --retry-on failed
  fleet apply service --group db --params '{\"unit\": \"postgresql.service\", \"running\": \"restarted\"}'
  fleet apply user --all --params '{\"name\": \"deploy\"}' --absent

The kinds, and what their parameters are: docs/actions.md, and `GET /api/v1/operations`.")]
pub struct Apply {
    /// The kind of operation, such as file, package or service.
    kind: String,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
    /// Its parameters as JSON; `@FILE` reads them from a file, `-` from standard input.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    params: String,
    #[command(flatten)]
    content: ContentFrom,
    /// The devices are not to have it.
    #[arg(long)]
    absent: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Say what would be done, and do it where something would be changed once somebody agreed. The time, windows, waves and further
    /// attempts that are asked for are those of what follows.
    #[arg(long, conflicts_with = "dry_run")]
    dry_run_first: bool,
}

/// Brings devices into a state, or says what that would take.
pub async fn apply(context: &mut Context, command: Apply) -> Result<()> {
    let request = BatchRequest {
        operation: command.kind.clone(),
        params: command.params(&context.client).await?.into(),
        dry_run_first: command.dry_run_first,
        ..BatchRequest::default()
    };
    ask(context, &command.on, &command.how, request).await
}

impl Apply {
    async fn params(&self, client: &Client) -> Result<Value> {
        let mut params = object(&self.params)?;
        self.content.add_to(&mut params, client).await?;
        if self.absent {
            params.insert("state".into(), json!("absent"));
        }
        if self.dry_run {
            params.insert("dry_run".into(), json!(true));
        }
        Ok(Value::Object(params))
    }
}

/// A content that parameters hold, or name.
#[derive(Debug, Args)]
pub struct ContentFrom {
    /// Take the content of `file` from this file. One that is large, or no text, is uploaded first; at most 10 MiB.
    #[arg(long, value_name = "FILE")]
    content_from: Option<PathBuf>,
}

/// What parameters hold of a content, in bytes: as JSON it may become longer.
const MAX_INLINE: u64 = 16 << 10;

impl ContentFrom {
    /// Adds it to parameters: itself where it is short, and else the digest under which the server has it.
    pub async fn add_to(&self, params: &mut Map<String, Value>, client: &Client) -> Result<()> {
        let Some(path) = &self.content_from else { return Ok(()) };
        if params.contains_key("content") || params.contains_key("content_blob") {
            return Err(Failure::usage("the content stands in --params already"));
        }
        let unreadable = |error: std::io::Error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
        let mut read = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_INLINE + 1).read_to_end(&mut read).map_err(unreadable)?;
        let text = String::from_utf8(read)
            .ok()
            .filter(|text| text.len() as u64 <= MAX_INLINE);
        let (member, value) = match text {
            Some(text) => ("content", text.into()),
            None => {
                let blob = client.upload(&["blobs"], &[], path).await?.body;
                ("content_blob", blob["digest"].clone())
            }
        };
        params.insert(member.into(), value);
        Ok(())
    }
}

/// Parameters as JSON; `@FILE` reads them from a file, `-` from standard input.
pub fn object(text: &str) -> Result<Map<String, Value>> {
    let text = match text {
        "-" => read_script(Path::new("-"))?,
        text => match text.strip_prefix('@') {
            Some(path) => read_script(Path::new(path))?,
            None => text.to_owned(),
        },
    };
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("--params is no JSON object: {error}")))
}

/// The longest script that is read from a file, in bytes; the server says how long one may be.
const MAX_SCRIPT: u64 = 1 << 20;

/// Runs a command on devices.
pub async fn run(context: &mut Context, run: Run) -> Result<()> {
    let params = run.script.params().await?;
    let params = params.ok_or_else(|| Failure::usage("say what to run: -- COMMAND, or --script FILE"))?;
    work(context, &run.on, &run.how, shell::NAME, params).await
}

/// Has devices report anew.
pub async fn refresh(context: &mut Context, command: Refresh) -> Result<()> {
    let params = json!({"sections": command.section});
    work(context, &command.on, &command.how, refresh::NAME, params).await
}

/// Has devices apply their desired state now.
pub async fn sync(context: &mut Context, command: Sync) -> Result<()> {
    let params = json!({"ignore_windows": command.how.ignores_windows()});
    work(context, &command.on, &command.how, sync::NAME, params).await
}

impl Script {
    /// The parameters of `shell`; nothing when nothing is to be run.
    pub async fn params(&self) -> Result<Option<Value>> {
        let mut params = match &self.file {
            Some(path) => json!({"script": read_script(path)?, "arguments": self.command}),
            None if self.command.is_empty() => return Ok(None),
            None => json!({"script": script_of(&self.command)}),
        };
        let environment: BTreeMap<_, _> = self.env.iter().cloned().collect();
        if !environment.is_empty() {
            params["environment"] = json!(environment);
        }
        let mut secrets = Map::new();
        for variable in &self.secret_env {
            secrets.insert(variable.name.clone(), variable.read().await?.into());
        }
        if !secrets.is_empty() {
            params["secret_env"] = secrets.into();
        }
        if self.desktop_users {
            params["scope"] = json!(shell::ShellScope::Users);
        }
        for (name, value) in [
            ("interpreter", &self.interpreter),
            ("run_as", &self.run_as),
            ("working_directory", &self.directory),
        ] {
            if let Some(value) = value {
                params[name] = json!(value);
            }
        }
        Ok(Some(params))
    }
}

fn read_script(path: &Path) -> Result<String> {
    let mut script = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SCRIPT).read_to_string(&mut script)
    } else {
        File::open(path).and_then(|file| file.take(MAX_SCRIPT).read_to_string(&mut script))
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok(script)
}

/// One word is a script; several are a command whose arguments reach it as they were typed.
fn script_of(words: &[String]) -> String {
    match words {
        [script] => script.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// A word as a shell reads it back (POSIX.1-2024, Shell Command Language §2.2.2).
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
        assert_eq!(script_of(&words), expected);
    }

    #[test]
    fn words_reach_the_device_as_they_were_typed() {
        check(&["uname", "-a"], "uname -a");
        check(&["df -h | tail -n +2"], "df -h | tail -n +2");
        check(
            &["echo", "a b", "it's", "$HOME", ""],
            r"echo 'a b' 'it'\''s' '$HOME' ''",
        );
    }

    #[test]
    fn a_real_shell_reads_quoted_words_back() {
        let words = ["printf", "%s\\n", "a b", "it's", "$(id)", "", "*", "ü\n\\"];
        let script = script_of(&words.map(str::to_owned));
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let expected = words[2..].iter().map(|word| format!("{word}\n")).collect::<String>();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
