//! The committed description of the REST API.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write nothing; fail if the committed document is not what the server would print.
    #[arg(long)]
    check: bool,
    /// Use the server that is built already.
    #[arg(long, hide = true)]
    no_build: bool,
}

/// Where it is committed.
pub const DOCUMENT: &str = "openapi/openapi.json";

/// Writes the document, or compares it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        workspace.build_programs(false)?;
    }
    let output = workspace
        .command(workspace.binary("fleet-server", false))
        .arg("openapi")
        .output()
        .context("fleet-server does not start")?;
    if !output.status.success() {
        bail!(
            "fleet-server openapi failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let printed = String::from_utf8(output.stdout).context("the document is not UTF-8")?;
    serde_json::from_str::<serde_json::Value>(&printed).context("the document is not JSON")?;
    let path = workspace.root.join(DOCUMENT);
    if arguments.check {
        let committed = fs::read_to_string(&path).with_context(|| format!("reading {DOCUMENT}"))?;
        if let Some(difference) = first_difference(&committed, &printed) {
            bail!("{DOCUMENT} is not what the server says; run `cargo xtask openapi` and commit it\n{difference}");
        }
        eprintln!("{DOCUMENT} is up to date");
    } else {
        fs::create_dir_all(workspace.root.join("openapi"))?;
        fs::write(&path, printed).with_context(|| format!("writing {DOCUMENT}"))?;
        eprintln!("{DOCUMENT} is written");
    }
    Ok(())
}

/// The first line in which two texts differ, as people read it.
fn first_difference(committed: &str, printed: &str) -> Option<String> {
    if committed == printed {
        return None;
    }
    let (mut ours, mut theirs) = (committed.lines(), printed.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (ours.next(), theirs.next()) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return Some("they differ only at the end of the file".into()),
            (one, other) => {
                let text = |side: Option<&str>| side.map_or("(ends here)".to_owned(), |text| format!("{text:.200}"));
                return Some(format!(
                    "line {line}\n  committed: {}\n  printed:   {}",
                    text(one),
                    text(other)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_shown_by_its_first_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(
            first_difference("a\nb\n", "a\nc\n").unwrap(),
            "line 2\n  committed: b\n  printed:   c"
        );
        assert_eq!(
            first_difference("a\n", "a\nb\n").unwrap(),
            "line 2\n  committed: (ends here)\n  printed:   b"
        );
        assert_eq!(
            first_difference("a", "a\n").unwrap(),
            "they differ only at the end of the file"
        );
    }
}
