//! `package.repository`: the device's package manager knows this package repository, or does not know it.

use serde::{Deserialize, Serialize};

use super::{
    Presence, armor,
    common::{action, action_params, is_false, is_true, read, yes},
    names,
};
use crate::{
    access::Permission,
    work::operations::{OperationKind, Risk, Subject, Upkeep},
};

/// Decide which package repositories devices install from.
pub const REPOSITORY_RUN: Permission = Permission::new("operations.package.repository:run");
/// The name of the kind.
pub const NAME: &str = "package.repository";

/// The most components, and architectures, of a repository.
const MAX_WORDS: usize = 20;
/// Names that managers give to their own settings.
const RESERVED: [&str; 2] = ["main", "options"];
/// What pacman is told about signatures (pacman.conf(5)).
const SIG_LEVELS: [&str; 5] = ["Never", "Optional", "Required", "TrustedOnly", "TrustAll"];

/// The parameters of `package.repository`: what each manager is told. Only the section for the manager of a device counts on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RepositoryParams {
    /// Whether it is to be known. To be rid of it, the name alone is enough.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Its name: letters, digits, `.`, `_` and `-`, at most 128. Files are called after it, and dnf, zypper and pacman know it by it.
    pub name: String,
    /// What apt is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apt: Option<AptRepository>,
    /// What dnf is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnf: Option<DnfRepository>,
    /// What zypper is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zypper: Option<ZypperRepository>,
    /// What pacman is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacman: Option<PacmanRepository>,
}

/// A key by which what comes from a repository is judged: `text`, or `url` with `sha256`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// The public key itself, as `gpg --armor --export` writes it: one block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where it is fetched from, by https or http; as text or as bytes, at most 10 MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-256 of what is there, in 64 hexadecimal digits: whoever could give another key decides over the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A repository of Debian packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AptRepository {
    /// Its address: https, http or file, without a password in it.
    pub url: String,
    /// Its distribution, such as `bookworm`; or a folder that ends with `/`, where there is none.
    pub distribution: String,
    /// Its components, such as `main`; none where `distribution` is a folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// For which architectures, such as `amd64`; for those of the device when nobody says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// The key that has to have signed it, and no other; when nobody says, one of those that the device trusts for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SigningKey>,
    /// Whether its packages are installed without any signature. Whoever can answer in its place then owns the device.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trusted: bool,
    /// Whether this section counts nowhere: devices with apt are left as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// A repository that dnf reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DnfRepository {
    /// Its address: https, http or file, without a password in it; `$releasever` and `$basearch` stand for the device's.
    pub baseurl: String,
    /// What people read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether packages are installed from it without asking for it by name; yes when nobody says.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// Whether packages have to be signed; yes when nobody says. Without, whoever can answer in its place owns the device.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub gpgcheck: bool,
    /// The key that signs its packages. The device trusts it from then on for packages from anywhere: rpm knows no other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SigningKey>,
    /// Whether its packages are seen although a module hides them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub module_hotfixes: bool,
    /// Whether this section counts nowhere: devices with dnf are left as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// A repository that zypper reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ZypperRepository {
    /// Its address: https, http or file, without a password in it; `$releasever` and `$basearch` stand for the device's.
    pub url: String,
    /// What people read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether packages are installed from it; yes when nobody says.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// Whether zypper reads it anew by itself; yes when nobody says.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub autorefresh: bool,
    /// Whether it has to be signed; yes when nobody says. Without, whoever can answer in its place owns the device.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub gpgcheck: bool,
    /// The key that signs it. The device trusts it from then on for packages from anywhere: rpm knows no other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SigningKey>,
    /// How it is laid out; found out by zypper when nobody says.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub layout: Option<ZypperLayout>,
    /// Whether this section counts nowhere: devices with zypper are left as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// How a repository for zypper is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ZypperLayout {
    /// With `repodata`, as today's are.
    RpmMd,
    /// As on installation media.
    Yast2,
    /// A folder of packages, without an index.
    Plaindir,
}

impl ZypperLayout {
    /// Its name, as zypper writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RpmMd => "rpm-md",
            Self::Yast2 => "yast2",
            Self::Plaindir => "plaindir",
        }
    }
}

/// A repository that pacman reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PacmanRepository {
    /// Its address: https, http or file, without a password in it; `$repo` and `$arch` stand for its name and the device's architecture.
    pub server: String,
    /// What has to be signed, such as `Required DatabaseOptional`; as for all others when nobody says. With `Never` or `TrustAll` whoever can
    /// answer in its place owns the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_level: Option<String>,
    /// Whether this section counts nowhere: devices with pacman are left as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
}

/// What an address of a repository begins with.
const SCHEMES: [&str; 3] = ["https", "http", "file"];

impl RepositoryParams {
    /// Manager and name, for each manager that is told something. To be rid of it, all are.
    fn known_as(&self) -> Vec<String> {
        let sections = [
            ("apt", self.apt.as_ref().map(|apt| apt.disabled)),
            ("dnf", self.dnf.as_ref().map(|dnf| dnf.disabled)),
            ("zypper", self.zypper.as_ref().map(|zypper| zypper.disabled)),
            ("pacman", self.pacman.as_ref().map(|pacman| pacman.disabled)),
        ];
        let told = sections
            .into_iter()
            .filter(|(_, disabled)| self.state.is_absent() || *disabled == Some(false));
        told.map(|(manager, _)| format!("{manager}/{}", self.name)).collect()
    }

    fn check(&self) -> Result<(), String> {
        let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        let begins = self.name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || self.name.len() > 128 || !self.name.bytes().all(good) || RESERVED.contains(&self.name.as_str()) {
            return Err(format!(
                "name: {:.140?} is none; take 1 to 128 letters, digits and . _ -, beginning with a letter or digit, and not {}",
                self.name,
                RESERVED.join(" or ")
            ));
        }
        let has_section = self.apt.is_some() || self.dnf.is_some() || self.zypper.is_some() || self.pacman.is_some();
        if self.state.is_present() && !has_section {
            return Err("apt, dnf, zypper, pacman: say at least for one of them what the repository is".into());
        }
        let within = |section: &'static str| move |problem: String| format!("{section}.{problem}");
        self.apt
            .as_ref()
            .map_or(Ok(()), AptRepository::check)
            .map_err(within("apt"))?;
        if let Some(dnf) = &self.dnf {
            names::url("baseurl", &dnf.baseurl, &SCHEMES)
                .and_then(|()| names::line("description", dnf.description.as_deref().unwrap_or_default(), 255))
                .and_then(|()| dnf.key.as_ref().map_or(Ok(()), SigningKey::check))
                .map_err(within("dnf"))?;
        }
        if let Some(zypper) = &self.zypper {
            names::url("url", &zypper.url, &SCHEMES)
                .and_then(|()| names::line("description", zypper.description.as_deref().unwrap_or_default(), 255))
                .and_then(|()| zypper.key.as_ref().map_or(Ok(()), SigningKey::check))
                .map_err(within("zypper"))?;
        }
        self.pacman
            .as_ref()
            .map_or(Ok(()), PacmanRepository::check)
            .map_err(within("pacman"))
    }
}

impl AptRepository {
    fn check(&self) -> Result<(), String> {
        names::url("url", &self.url, &SCHEMES)?;
        word("distribution", &self.distribution)?;
        match (self.distribution.ends_with('/'), self.components.is_empty()) {
            (true, false) => {
                return Err("components: a distribution that ends with / is a folder, which has none".into());
            }
            (false, true) => {
                return Err(
                    "components: say which, such as main; or let distribution end with /, if it is a folder".into(),
                );
            }
            _ => {}
        }
        for (member, words) in [("components", &self.components), ("architectures", &self.architectures)] {
            if words.len() > MAX_WORDS {
                return Err(format!("{member}: at most {MAX_WORDS}"));
            }
            words.iter().try_for_each(|text| word(member, text))?;
        }
        match &self.key {
            Some(_) if self.trusted => Err("trusted: with it no signature counts; leave it out, or the key".into()),
            key => key.as_ref().map_or(Ok(()), SigningKey::check),
        }
    }
}

impl PacmanRepository {
    fn check(&self) -> Result<(), String> {
        names::url("server", &self.server, &SCHEMES)?;
        let Some(level) = &self.sig_level else {
            return Ok(());
        };
        let known = |word: &str| {
            let word = word
                .strip_prefix("Package")
                .or(word.strip_prefix("Database"))
                .unwrap_or(word);
            SIG_LEVELS.contains(&word)
        };
        match level.len() <= 200 && !level.is_empty() && level.split(' ').all(known) {
            true => Ok(()),
            false => Err(format!(
                "sig_level: {level:.100?} is none; take words of {}, each alone or after Package or Database, with one space between",
                SIG_LEVELS.join(", ")
            )),
        }
    }
}

impl SigningKey {
    fn check(&self) -> Result<(), String> {
        match (&self.text, &self.url, &self.sha256) {
            (Some(text), None, None) => {
                names::content("key.text", text)?;
                armor::dearmored(text)
                    .map(drop)
                    .map_err(|problem| format!("key.text: {problem}"))
            }
            (None, Some(url), Some(digest)) => {
                names::url("key.url", url, &["https", "http"])?;
                names::sha256("key.sha256", digest)
            }
            _ => Err("key: say its text, or its url with sha256".into()),
        }
    }
}

/// A word of a file that apt reads.
fn word(member: &str, text: &str) -> Result<(), String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._+~/-".contains(&c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/');
    match begins && text.len() <= 255 && text.bytes().all(good) {
        true => Ok(()),
        false => Err(format!(
            "{member}: {text:.100?} is none; take 1 to 255 letters, digits and . _ + ~ / -"
        )),
    }
}

action_params!(RepositoryParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| {
        read(params).map_or_else(Vec::new, |params: RepositoryParams| params.known_as())
    })),
    timeout_seconds: 1_800,
    ..action::<RepositoryParams>(
        NAME,
        "keep a package repository known, or away",
        REPOSITORY_RUN,
        Risk::High,
        Upkeep::Kept,
    )
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(params: Value, fits: bool) {
        let got = KIND.check_params(params.clone());
        assert_eq!(got.is_ok(), fits, "{params}: {got:?}");
    }

    fn digest() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn a_repository_is_told_to_at_least_one_manager_and_forgotten_by_its_name() {
        let apt = json!({"url": "https://example.org/debian", "distribution": "bookworm", "components": ["main"]});
        let dnf = json!({"baseurl": "https://example.org/$releasever/$basearch"});
        let zypper = json!({"url": "https://example.org/leap", "type": "rpm-md", "autorefresh": false});
        let pacman = json!({"server": "https://example.org/$repo/$arch", "sig_level": "Required DatabaseOptional"});
        check(
            json!({"name": "example", "apt": apt, "dnf": dnf, "zypper": zypper, "pacman": pacman}),
            true,
        );
        check(json!({"name": "example", "apt": apt, "surprise": 1}), false);
        check(json!({"name": "example"}), false);
        check(json!({"name": "example", "state": "absent"}), true);
        for name in [
            "",
            "-a",
            "a b",
            "a/b",
            "../a",
            "a\nb",
            "main",
            "options",
            &"x".repeat(129),
        ] {
            check(json!({"name": name, "apt": apt}), false);
        }
    }

    #[test]
    fn apt_is_told_words_and_nothing_that_reads_as_another_line() {
        let apt = |member: &str, value: Value| {
            let mut apt = json!({"url": "https://example.org/", "distribution": "bookworm", "components": ["main"]});
            apt[member] = value;
            json!({"name": "example", "apt": apt})
        };
        check(apt("components", json!(["main", "updates/main"])), true);
        check(apt("architectures", json!(["amd64"])), true);
        check(apt("url", json!("file:/srv/mirror")), true);
        check(apt("trusted", json!(true)), true);
        check(apt("components", json!([])), false);
        check(apt("components", json!(["main\nTrusted: yes"])), false);
        check(apt("components", vec!["main"; 21].into()), false);
        check(apt("distribution", json!("./")), false);
        check(apt("distribution", json!("book worm")), false);
        check(apt("url", json!("https://ana:secret@example.org/")), false);
        check(
            json!({"name": "example", "apt": {"url": "file:/srv", "distribution": "./"}}),
            true,
        );
    }

    #[test]
    fn a_key_is_a_text_or_an_address_with_its_digest() {
        let with = |key: Value| json!({"name": "example", "dnf": {"baseurl": "https://example.org/", "key": key}});
        check(
            with(json!({"url": "https://example.org/key", "sha256": digest()})),
            true,
        );
        check(with(json!({"url": "https://example.org/key"})), false);
        check(with(json!({"text": "hello"})), false);
        check(with(json!({})), false);
        let both = json!({"url": "https://example.org/", "distribution": "a", "components": ["b"], "trusted": true,
            "key": {"url": "https://example.org/key", "sha256": digest()}});
        check(json!({"name": "example", "apt": both}), false);
    }

    #[test]
    fn pacman_knows_these_levels_of_signatures() {
        let with = |level: &str| json!({"name": "example", "pacman": {"server": "file:/srv", "sig_level": level}});
        check(with("Never"), true);
        check(with("PackageRequired DatabaseTrustedOnly"), true);
        for level in [
            "",
            "required",
            "Required  Never",
            "Required\nServer",
            "PackageDatabaseNever",
        ] {
            check(with(level), false);
        }
    }

    #[test]
    fn what_is_so_anyway_is_left_out_of_the_normal_form() {
        let params =
            json!({"name": "a", "dnf": {"baseurl": "https://example.org/", "enabled": true, "gpgcheck": false}});
        assert_eq!(
            KIND.check_params(params).unwrap(),
            json!({"name": "a", "dnf": {"baseurl": "https://example.org/", "gpgcheck": false}})
        );
    }
}
