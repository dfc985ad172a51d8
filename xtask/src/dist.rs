//! Programs that are handed out. Built against an old C library, so that they run where people are; what cannot be built here is said.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

use crate::{setup::must_succeed, workspace::Workspace};

/// The C library that programs for Linux ask for at most: glibc of CentOS 7 and everything since 2012.
const FLOOR: (u32, u32) = (2, 17);
/// The linker that knows old C libraries, from PyPI, and cargo's way to use it.
const ZIG: &str = "ziglang==0.17.1";
const ZIGBUILD: (&str, &str) = ("cargo-zigbuild", "0.24.1");
/// What the agent's program may weigh, in bytes.
const MOST_AGENT: u64 = 8 << 20;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this platform; may be repeated [default: all that can be built here]
    #[arg(long, value_name = "PLATFORM", value_parser = PLATFORMS.map(|platform| platform.name))]
    platform: Vec<String>,
    /// Only the agent
    #[arg(long)]
    agent: bool,
}

/// A platform, as releases name it, and as compilers do.
#[derive(Clone, Copy)]
struct Platform {
    name: &'static str,
    triple: &'static str,
}

const PLATFORMS: [Platform; 3] = [
    Platform {
        name: "linux-x86_64",
        triple: "x86_64-unknown-linux-gnu",
    },
    Platform {
        name: "linux-aarch64",
        triple: "aarch64-unknown-linux-gnu",
    },
    Platform {
        name: "linux-x86_64-musl",
        triple: "x86_64-unknown-linux-musl",
    },
];

/// A program: package, profile.
const PROGRAMS: [(&str, &str); 4] = [
    ("fleet-agent", "device"),
    ("fleet-server", "release"),
    ("fleet", "release"),
    ("migrate-storage", "release"),
];

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let tools = tools(workspace)?;
    let wanted = |platform: &&Platform| {
        arguments.platform.is_empty() || arguments.platform.iter().any(|name| name == platform.name)
    };
    let mut missing = Vec::new();
    for platform in PLATFORMS.iter().filter(wanted) {
        match has_library(platform)? {
            true => build(workspace, &tools, platform, arguments.agent)?,
            false => {
                println!(
                    "{}: not built: this machine's Rust has no standard library for it; rustup target add {}",
                    platform.name, platform.triple
                );
                missing.push(platform.name);
            }
        }
    }
    // Who asked for one by name wanted it.
    Ok(match arguments.platform.is_empty() || missing.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What builds, where it is.
struct Tools {
    zig: PathBuf,
    zigbuild: PathBuf,
}

/// Finds the linker and cargo's way to it in the target folder, or puts them there.
fn tools(workspace: &Workspace) -> Result<Tools> {
    let folder = workspace.target.join("dist-tools");
    let python = folder.join("venv/bin/python");
    if !python.exists() {
        println!("installing {ZIG} into {}", folder.display());
        must_succeed(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
    }
    must_succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", ZIG]))?;
    let place = "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
    let found = Command::new(&python).args(["-c", place]).output()?;
    let zig = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    ensure!(zig.exists(), "ziglang has no zig");
    let (name, version) = ZIGBUILD;
    let zigbuild = folder.join("bin").join(name);
    if !zigbuild.exists() {
        println!("installing {name} {version} into {}", folder.display());
        let mut install = workspace.cargo();
        install
            .args(["install", "--quiet", "--locked", name, "--version", version, "--root"])
            .arg(&folder);
        must_succeed(&mut install)?;
    }
    Ok(Tools { zig, zigbuild })
}

fn has_library(platform: &Platform) -> Result<bool> {
    let found = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", platform.triple])
        .output()
        .context("rustc does not start")?;
    Ok(found.status.success() && Path::new(String::from_utf8(found.stdout)?.trim()).exists())
}

fn build(workspace: &Workspace, tools: &Tools, platform: &Platform, agent_only: bool) -> Result<()> {
    let is_gnu = platform.triple.ends_with("gnu");
    let target = match is_gnu {
        true => format!("{}.{}.{}", platform.triple, FLOOR.0, FLOOR.1),
        false => platform.triple.to_owned(),
    };
    let folder = workspace.target.join("dist").join(platform.name);
    fs::create_dir_all(&folder)?;
    let mut sums = String::new();
    for (package, profile) in PROGRAMS
        .iter()
        .filter(|(package, _)| !agent_only || *package == "fleet-agent")
    {
        let mut command = workspace.command(&tools.zigbuild);
        command
            .args([
                "zigbuild",
                "--package",
                package,
                "--profile",
                profile,
                "--target",
                &target,
            ])
            .env("CARGO_ZIGBUILD_ZIG_PATH", &tools.zig)
            .stdout(std::io::stderr());
        must_succeed(&mut command)?;
        let built = workspace.target.join(platform.triple).join(profile).join(package);
        let named = folder.join(format!("{package}-{}", platform.name));
        fs::copy(&built, &named).with_context(|| format!("{} was not built", built.display()))?;
        let asked = if is_gnu { library(&named)? } else { None };
        if let Some(asked) = asked {
            ensure!(
                asked <= FLOOR,
                "{} asks for glibc {}.{}",
                named.display(),
                asked.0,
                asked.1
            );
        }
        let size = named.metadata()?.len();
        ensure!(
            *package != "fleet-agent" || size <= MOST_AGENT,
            "the agent has {size} bytes, more than {MOST_AGENT}"
        );
        let library = asked
            .map(|(major, minor)| format!(", glibc {major}.{minor}"))
            .unwrap_or_default();
        println!("{}: {:.2} MB{library}", named.display(), size as f64 / 1e6);
        sums += &sum(&named)?;
    }
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// The newest version of the C library that a program asks for.
fn library(program: &Path) -> Result<Option<(u32, u32)>> {
    let said = Command::new("readelf")
        .arg("--version-info")
        .arg("--wide")
        .arg(program)
        .output();
    let said = said.context("readelf is needed (binutils)")?;
    Ok(newest(&String::from_utf8_lossy(&said.stdout)))
}

/// The newest `GLIBC_2.x` in a text.
fn newest(text: &str) -> Option<(u32, u32)> {
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = number.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    versions.max()
}

/// A line of SHA256SUMS.
fn sum(path: &Path) -> Result<String> {
    let folder = path.parent().context("a path has a folder")?;
    let name = path.file_name().context("a path has a name")?;
    let said = Command::new("sha256sum").current_dir(folder).arg(name).output()?;
    ensure!(said.status.success(), "sha256sum failed");
    Ok(String::from_utf8(said.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(u32, u32)>) {
        assert_eq!(newest(text), expected, "{text}");
    }

    #[test]
    fn the_newest_library_is_found_by_its_numbers() {
        check("", None);
        check(
            "Name: GLIBC_2.9  Flags: none\n Name: GLIBC_2.17\n Name: GLIBC_2.2.5",
            Some((2, 17)),
        );
        check("Name: GLIBC_2.34) GLIBC_PRIVATE", Some((2, 34)));
    }
}
