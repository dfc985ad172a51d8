//! Where the sources and what is built from them are.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The workspace.
#[derive(Debug)]
pub struct Workspace {
    /// The folder of the sources.
    pub root: PathBuf,
    /// The folder of what is built.
    pub target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            target_directory: PathBuf,
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(manifest)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo metadata does not start")?;
        if !output.status.success() {
            bail!("cargo metadata failed");
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
        })
    }

    /// A cargo command in the workspace.
    pub fn cargo(&self) -> Command {
        self.command(cargo())
    }

    /// A command in the workspace.
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root);
        command
    }

    /// Builds server, agent and command line, always together: each set of packages has features of its own, and so a build of its
    /// own.
    pub fn build_programs(&self, release: bool) -> Result<()> {
        let mut command = self.cargo();
        command.args([
            "build",
            "--package",
            "fleet-server",
            "--package",
            "fleet-agent",
            "--package",
            "fleet",
        ]);
        if release {
            command.arg("--release");
        }
        // Standard output belongs to results.
        let status = command.stdout(std::io::stderr()).status()?;
        if !status.success() {
            bail!("the build failed");
        }
        Ok(())
    }

    /// A program that was built here.
    pub fn binary(&self, name: &str, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join(name)
    }

    /// The folder of the Python tools.
    pub fn venv(&self) -> PathBuf {
        self.target.join("venv")
    }
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
