//! What the tests need beyond the sources: said, and installed where we may.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{postgres, workspace::Workspace};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave a part out: rust, python, postgres, sqlite, strace, nginx or actions. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
}

/// A part of the setup: its name, what it is for, and what makes it so.
struct Part {
    name: &'static str,
    for_what: &'static str,
    install: fn(&Workspace) -> Result<String>,
}

const PARTS: &[Part] = &[
    Part {
        name: "rust",
        for_what: "a C compiler for SQLite and the TLS library, rustfmt, clippy",
        install: rust,
    },
    Part {
        name: "python",
        for_what: "the validator of the OpenAPI document",
        install: python,
    },
    Part {
        name: "postgres",
        for_what: "a database for the backend of several servers, and a pooler in front of it",
        install: postgres,
    },
    Part {
        name: "sqlite",
        for_what: "the engine's own program, with which the handbook copies a store",
        install: sqlite,
    },
    Part {
        name: "strace",
        for_what: "the proof that what a store acknowledges is on the disk",
        install: strace,
    },
    Part {
        name: "nginx",
        for_what: "the proxy that agents and people come through",
        install: nginx,
    },
    Part {
        name: "actions",
        for_what: "sshd, visudo, systemd's tools, gpg, flatpak, cryptsetup and a TPM, which say whether what actions do is right",
        install: actions,
    },
];

/// What the Python tools are, to the exact version.
const PYTHON_PACKAGES: &[&str] = &["openapi-spec-validator==0.9.0"];

/// Installs what is missing.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    for name in &arguments.without {
        if !PARTS.iter().any(|part| part.name == name) {
            let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
            bail!("setup has no part {name}; there are {}", names.join(", "));
        }
    }
    for part in PARTS {
        if arguments.without.iter().any(|name| name == part.name) {
            eprintln!("setup: {:<8} left out ({})", part.name, part.for_what);
            continue;
        }
        let begun = Instant::now();
        let found = (part.install)(workspace).with_context(|| format!("setup of {} ({})", part.name, part.for_what))?;
        eprintln!(
            "setup: {:<8} {found} ({:.1} s)",
            part.name,
            begun.elapsed().as_secs_f32()
        );
    }
    Ok(())
}

fn rust(workspace: &Workspace) -> Result<String> {
    if !works("cc", &["--version"]) {
        apt_install(&["gcc", "libc6-dev"])?;
    }
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(workspace.cargo().args([probe, "--version"])) {
            eprintln!("setup: installing {component} with rustup");
            must_succeed(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    let nextest = succeeds(workspace.cargo().args(["nextest", "--version"]));
    Ok(format!(
        "cc, rustfmt, clippy are there; tests run with {}",
        if nextest {
            "cargo nextest"
        } else {
            "cargo test (cargo-nextest is not installed)"
        }
    ))
}

fn python(workspace: &Workspace) -> Result<String> {
    let venv = workspace.venv();
    let wanted = PYTHON_PACKAGES.join("\n");
    let stamp = venv.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && venv.join("bin/python").exists() {
        return Ok(format!("{} is there", PYTHON_PACKAGES.join(", ")));
    }
    if !works("python3", &["-c", "import venv, ensurepip"]) {
        apt_install(&["python3", "python3-venv"])?;
    }
    eprintln!(
        "setup: installing {} into {}",
        PYTHON_PACKAGES.join(", "),
        venv.display()
    );
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("removing {}", venv.display()))?;
    }
    must_succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    must_succeed(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON_PACKAGES),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(format!("{} installed", PYTHON_PACKAGES.join(", ")))
}

fn postgres(_: &Workspace) -> Result<String> {
    if postgres::programs().is_err() || postgres::pooler().is_none() {
        apt_install(&["postgresql", "pgbouncer"])?;
    }
    let programs = postgres::programs().map_err(anyhow::Error::msg)?;
    let pooler = postgres::pooler().context("pgbouncer is not there after its installation")?;
    Ok(format!("{} and {} are there", programs.display(), pooler.display()))
}

fn sqlite(_: &Workspace) -> Result<String> {
    if works("sqlite3", &["-version"]) {
        return Ok("sqlite3 is there".to_owned());
    }
    apt_install(&["sqlite3"])?;
    Ok("sqlite3 installed".to_owned())
}

fn strace(_: &Workspace) -> Result<String> {
    if works("strace", &["-V"]) {
        return Ok("strace is there".to_owned());
    }
    apt_install(&["strace"])?;
    Ok("strace installed".to_owned())
}

fn nginx(_: &Workspace) -> Result<String> {
    if works("nginx", &["-v"]) {
        return Ok("nginx is there".to_owned());
    }
    apt_install(&["nginx-light"])?;
    Ok("nginx installed".to_owned())
}

fn actions(_: &Workspace) -> Result<String> {
    let programs = [
        "/usr/sbin/sshd",
        "/usr/sbin/visudo",
        "/usr/bin/systemctl",
        "/usr/bin/systemd-analyze",
        "/usr/bin/gpg",
        "/usr/bin/gpgv",
        "/usr/bin/flatpak",
        "/usr/sbin/cryptsetup",
        "/usr/bin/systemd-cryptenroll",
        "/usr/bin/swtpm",
    ];
    if programs.iter().all(|program| Path::new(program).exists()) {
        return Ok("sshd, visudo, systemctl, gpg, flatpak, cryptsetup and swtpm are there".to_owned());
    }
    apt_install(&[
        "openssh-server",
        "sudo",
        "systemd",
        "gpg",
        "gpgv",
        "flatpak",
        "cryptsetup-bin",
        "swtpm",
        // What systemd-cryptenroll reaches a TPM by, and one that is a program.
        "libtss2-esys-3.0.2-0",
        "libtss2-rc0",
        "libtss2-tcti-swtpm0",
    ])?;
    Ok("sshd, visudo, systemctl, gpg, flatpak, cryptsetup and swtpm installed".to_owned())
}

/// Installs Debian packages when we are root, else says how.
fn apt_install(packages: &[&str]) -> Result<()> {
    let line = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("please install {} (on Debian: {line})", packages.join(", "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("please run: sudo {line}");
    }
    eprintln!("setup: {line}");
    must_succeed(Command::new("apt-get").args(["update", "--quiet=2"]))?;
    must_succeed(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(packages),
    )
}

pub fn works(program: &str, arguments: &[&str]) -> bool {
    succeeds(Command::new(program).args(arguments))
}

/// Whether a command succeeds; what it prints is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn must_succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Standard output belongs to results: what installers say goes beside it.
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("{program} does not start"))?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}
