//! `package.file`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::package_file::{PackageFile, PackageFileParams, PackageFormat, is_package},
};

use super::manager::Manager;
use crate::actions::{
    action::{Action, Problem},
    device::{Answer, Call, Device, shown},
};

/// The file holds no package, or one that cannot be read.
pub(in crate::actions) const UNREADABLE: Code = Code::new("package_file.unreadable", Class::Invalid);
/// The file holds another package, or version, than the parameters say.
pub(in crate::actions) const OTHER: Code = Code::new("package_file.other_package", Class::Conflict);

/// Keeps the package that is in a file.
pub(in crate::actions) struct FromFile;

/// What is done with it.
#[derive(PartialEq, Eq)]
pub(in crate::actions) enum Step {
    /// It is installed from the file, or becomes the file's version.
    Install {
        package: Named,
        url: String,
        instead_of: Option<String>,
    },
    /// It is removed.
    Remove(Named),
    /// Upgrades may change it for now, and so may this.
    Unpin(String),
    /// Upgrades leave it as it is again.
    Pin(String),
}

/// A package in a version.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::actions) struct Named {
    name: String,
    version: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install {
                package,
                url,
                instead_of,
            } => {
                write!(f, "install {package} from {}", shown(url))?;
                instead_of
                    .iter()
                    .try_for_each(|version| write!(f, " instead of {version}"))
            }
            Self::Remove(package) => write!(f, "remove {package}"),
            Self::Unpin(name) => write!(f, "unpin {name}"),
            Self::Pin(name) => write!(f, "pin {name} again"),
        }
    }
}

#[async_trait]
impl Action for FromFile {
    type Params = PackageFileParams;
    type Step = Step;

    async fn look(params: &PackageFileParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let manager = Manager::of(device)?;
        let (format, file) = file(params, manager)?;
        if params.state.is_absent() {
            // The check has seen to it that it has a name.
            let name = file.package(format).unwrap_or_default().to_owned();
            let version = manager.version_on(device, &name).await?;
            let remove = version.map(|version| Step::Remove(Named { name, version }));
            return Ok(remove.into_iter().collect());
        }
        let package = match (&file.name, &file.version) {
            (Some(name), Some(version)) => Named {
                name: name.clone(),
                version: version.clone(),
            },
            _ => read(device, format, file).await?,
        };
        let installed = manager.version_on(device, &package.name).await?;
        if installed.as_ref() == Some(&package.version) {
            return Ok(Vec::new());
        }
        if let (Some(installed), false) = (&installed, params.allow_downgrade) {
            let Named { name, version } = &package;
            manager.check_downgrade(device, name, version, installed).await?;
        }
        let name = package.name.clone();
        // Whoever names a file is stronger than a pin, which is there again afterwards.
        let is_pinned = installed.is_some() && manager.is_pinned_on(device, &name).await? == Some(true);
        let unpin = (is_pinned && manager.keeps_pins()).then(|| Step::Unpin(name.clone()));
        let install = Step::Install {
            package,
            url: file.url.clone(),
            instead_of: installed,
        };
        let pin = is_pinned.then_some(Step::Pin(name));
        Ok(unpin.into_iter().chain([install]).chain(pin).collect())
    }

    async fn act(params: &PackageFileParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let manager = Manager::of(device)?;
        let root = device.scratch_root();
        let (format, file) = file(params, manager)?;
        let call = match step {
            Step::Unpin(name) | Step::Pin(name) => {
                let call = manager.pin(root, name, matches!(step, Step::Pin(_)));
                return match call {
                    Some(call) => device.must(&call).await.map(drop),
                    None => Ok(()),
                };
            }
            Step::Remove(package) => manager.remove(root, &package.name),
            Step::Install {
                package, instead_of, ..
            } => {
                let read = read(device, format, file).await?;
                if read != *package {
                    let why = format!("{} holds {read}, and not {package}", shown(&file.url));
                    return Err(Problem::new(OTHER, why));
                }
                let path = fetched(device, format, file).await?;
                // What it needs comes from the repositories, as they are now.
                manager.refresh_on(device).await?;
                let is_older = match instead_of {
                    Some(installed) => manager.is_older_on(device, &package.version, installed).await?,
                    None => false,
                };
                manager.install_file(root, &path, instead_of.is_some(), is_older)
            }
        };
        manager.must_on(device, &call).await
    }
}

/// The file for this manager.
fn file(params: &PackageFileParams, manager: Manager) -> Result<(PackageFormat, &PackageFile), Problem> {
    let format = match manager {
        Manager::Apt => Some(PackageFormat::Deb),
        Manager::Dnf | Manager::Zypper => Some(PackageFormat::Rpm),
        Manager::Pacman | Manager::Apk => None,
    };
    let found = format.and_then(|format| Some((format, params.file(format)?)));
    found.ok_or_else(|| Problem::not_applicable("there is no file for this device's package manager"))
}

async fn fetched(device: &Device, format: PackageFormat, file: &PackageFile) -> Result<String, Problem> {
    let fetched = device
        .fetched(&file.url, file.sha256.as_deref(), format.suffix())
        .await?;
    Ok(fetched.path().to_string_lossy().into_owned())
}

/// What is in the file, as it says itself. What the parameters say of it has to be true.
async fn read(device: &Device, format: PackageFormat, file: &PackageFile) -> Result<Named, Problem> {
    let path = fetched(device, format, file).await?;
    let call = question(format, &path);
    device.require_program(&call.program)?;
    let answer = device.ask(&call).await?;
    let package = named(&answer).ok_or_else(|| {
        let why = format!(
            "{} holds no package that can be read: {}",
            shown(&file.url),
            answer.last_words()
        );
        Problem::new(UNREADABLE, why)
    })?;
    match &file.name {
        Some(name) if *name != package.name => {
            let why = format!("{} holds {package}, and not {name}", shown(&file.url));
            Err(Problem::new(OTHER, why))
        }
        _ => Ok(package),
    }
}

/// Asks a file what is in it.
fn question(format: PackageFormat, path: &str) -> Call {
    match format {
        PackageFormat::Deb => Call::new("dpkg-deb", ["--show", "--showformat=${Package} ${Version}\\n", path]),
        PackageFormat::Rpm => Call::new(
            "rpm",
            [
                "--query",
                "--package",
                "--queryformat=%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n",
                path,
            ],
        ),
    }
}

/// The answer to that. What is in a file was written by others: only what is a name and a version counts.
fn named(answer: &Answer) -> Option<Named> {
    let (name, version) = answer.stdout.lines().next()?.trim().split_once(' ')?;
    let is_good = answer.succeeded() && is_package(name) && is_package(version);
    is_good.then(|| Named {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

impl Manager {
    /// Installs the package that is in a file, with what it needs; instead of another version, where one `is_there`, and perhaps a
    /// later one.
    fn install_file(self, root: Option<&str>, path: &str, is_there: bool, down: bool) -> Call {
        let call = self.call(root);
        match self {
            Self::Apt => call
                .with(is_there.then_some("--allow-change-held-packages"))
                .with(down.then_some("--allow-downgrades"))
                .with(["install", path]),
            Self::Dnf => call.with([if down { "downgrade" } else { "install" }, path]),
            Self::Zypper => call
                .with(["install"])
                // It came by an address or digest that somebody gave; few such files are signed by a key that a device knows.
                .with(["--allow-unsigned-rpm"])
                .with(down.then_some("--oldpackage"))
                .with([path]),
            Self::Pacman | Self::Apk => call.with(["install", path]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, stdout: &str, expected: Option<&str>) {
        let answer = Answer {
            code,
            stdout: stdout.to_owned(),
            ..Answer::default()
        };
        assert_eq!(named(&answer).map(|named| named.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_file_says_what_is_in_it() {
        check(0, "nginx 1.22.1-9\n", Some("nginx 1.22.1-9"));
        check(0, "mod-ssl 1:2.4.6-1.el9\n", Some("mod-ssl 1:2.4.6-1.el9"));
        check(1, "nginx 1.22.1-9\n", None);
        check(0, "", None);
        check(0, "nginx\n", None);
        check(0, "--yes 1\n", None);
        check(0, "nginx -y\n", None);
        check(0, "nginx 1 2\n", None);
    }

    #[test]
    fn a_file_is_installed_with_what_it_needs() {
        let typed = |manager: Manager, is_there, down| {
            let arguments = manager.install_file(None, "/a.x", is_there, down).arguments.join(" ");
            let at = arguments.find(" install").or(arguments.find(" downgrade"));
            at.map(|at| arguments[at + 1..].to_owned()).unwrap_or_default()
        };
        assert_eq!(typed(Manager::Apt, false, false), "install /a.x");
        assert_eq!(typed(Manager::Dnf, true, true), "downgrade /a.x");
        assert_eq!(typed(Manager::Dnf, true, false), "install /a.x");
        assert_eq!(
            typed(Manager::Zypper, false, false),
            "install --allow-unsigned-rpm /a.x"
        );
        assert_eq!(
            typed(Manager::Zypper, true, true),
            "install --allow-unsigned-rpm --oldpackage /a.x"
        );
        let down = Manager::Apt.install_file(None, "/a.x", true, true).arguments;
        assert!(down.contains(&"--allow-downgrades".to_owned()));
        assert!(down.contains(&"--allow-change-held-packages".to_owned()));
    }

    #[test]
    fn each_format_is_asked_by_its_own_program() {
        let typed = |format| {
            let call = question(format, "/a.x");
            format!("{} {}", call.program, call.arguments.join(" "))
        };
        assert_eq!(
            typed(PackageFormat::Deb),
            "dpkg-deb --show --showformat=${Package} ${Version}\\n /a.x"
        );
        assert_eq!(
            typed(PackageFormat::Rpm),
            "rpm --query --package --queryformat=%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n /a.x"
        );
    }
}
