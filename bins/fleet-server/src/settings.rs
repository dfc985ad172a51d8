//! Settings of the fleet that stand above the stored ones: from flags, environment and file.

use std::{collections::BTreeMap, ffi::OsString};

use anyhow::bail;
use fleet_core::{
    modules,
    settings::{Override, Overrides, SettingDefinition, SettingSource, handed_in},
};
use serde_json::Value as Json;

/// What variables begin with; `FLEET_SETTING_STORAGE_BACKUP_KEEP` is `storage.backup_keep`.
const PREFIX: &str = "FLEET_SETTING_";

/// The settings of the configuration file, by section and key.
pub(crate) type InFile = BTreeMap<String, BTreeMap<String, Json>>;

/// What is handed in, and what holds of it.
#[derive(Clone, Debug)]
pub(crate) struct HandedIn {
    pub(crate) overrides: Overrides,
    pub(crate) effective: BTreeMap<&'static str, (SettingSource, Json)>,
}

/// Puts the sources together. An unknown name and a value that is not allowed are refused, whatever stands above them.
pub(crate) fn collect(
    flags: &[String],
    environment: impl Iterator<Item = (OsString, OsString)>,
    file: InFile,
) -> anyhow::Result<HandedIn> {
    let definitions = modules::settings(&modules::built_in());
    let mut overrides = Overrides::new();
    for flag in flags {
        let Some((name, value)) = flag.split_once('=') else {
            bail!("--set {flag}: expected NAME=VALUE, such as storage.backup_keep=14");
        };
        let values = overrides.entry(name.trim().to_owned()).or_default();
        if !values.is_empty() {
            bail!("--set {name} is given twice");
        }
        values.push(Override::Flag(value.to_owned()));
    }
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(PREFIX)) else {
            continue;
        };
        let Some(name) = name_of(variable, &definitions) else {
            bail!("{variable} names no setting; `fleet settings list` says which there are");
        };
        let Ok(value) = value.into_string() else {
            bail!("{variable} is not in UTF-8");
        };
        let values = overrides.entry(name.to_owned()).or_default();
        values.push(Override::Environment(value));
    }
    for (section, keys) in file {
        for (key, value) in keys {
            let values = overrides.entry(format!("{section}.{key}")).or_default();
            values.push(Override::File(value));
        }
    }
    let effective = handed_in(definitions, &overrides).map_err(|error| anyhow::anyhow!(error.message().to_owned()))?;
    Ok(HandedIn { overrides, effective })
}

/// The setting that a variable means: point and underscore are one there.
fn name_of(variable: &str, definitions: &[SettingDefinition]) -> Option<&'static str> {
    let wanted = variable.strip_prefix(PREFIX)?;
    let names = definitions.iter().map(|definition| definition.name);
    names.into_iter().find(|name| in_environment(name) == wanted)
}

fn in_environment(name: &str) -> String {
    name.replace('.', "_").to_ascii_uppercase()
}

/// The source as people read it.
pub(crate) fn source_name(source: SettingSource) -> &'static str {
    match source {
        SettingSource::Flag => "flag",
        SettingSource::Environment => "environment",
        SettingSource::File => "file",
        SettingSource::Stored => "stored",
        SettingSource::Default => "default",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What holds of `storage.backup_keep`; or why it is refused.
    #[track_caller]
    fn check(flags: &[&str], environment: &[(&str, &str)], file: &str, expected: Result<(i64, SettingSource), &str>) {
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let file: InFile = toml::from_str(file).unwrap();
        let collected = collect(&flags, environment, file);
        match (collected, expected) {
            (Ok(collected), Ok((value, source))) => {
                let (found, json) = &collected.effective["storage.backup_keep"];
                assert_eq!((found, json), (&source, &Json::from(value)));
            }
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
        let file = "storage.backup_keep = 3";
        let variable = ("FLEET_SETTING_STORAGE_BACKUP_KEEP", "4");
        let flag = "storage.backup_keep=5";
        check(&[], &[], file, Ok((3, SettingSource::File)));
        check(&[], &[variable], file, Ok((4, SettingSource::Environment)));
        check(&[flag], &[variable], file, Ok((5, SettingSource::Flag)));
        check(&[flag], &[("PATH", "/bin")], "", Ok((5, SettingSource::Flag)));
    }

    #[test]
    fn what_is_not_understood_is_refused_wherever_it_stands() {
        let flag = "storage.backup_keep=5";
        check(&["storage.backup_keep"], &[], "", Err("expected NAME=VALUE"));
        check(&[flag, flag], &[], "", Err("given twice"));
        check(
            &["storage.keep=5"],
            &[],
            "",
            Err("there is no setting storage.keep, which the command line names"),
        );
        check(
            &[flag],
            &[("FLEET_SETTING_STORAGE_KEEP", "5")],
            "",
            Err("FLEET_SETTING_STORAGE_KEEP names no setting"),
        );
        check(
            &[flag],
            &[],
            "storage.keep = 5",
            Err("which the configuration file names"),
        );
        check(
            &["storage.backup_keep=0"],
            &[],
            "",
            Err("from the command line is not allowed: 1 to 400"),
        );
        check(
            &[flag],
            &[],
            "storage.backup_keep = 'many'",
            Err("from the configuration file is not allowed"),
        );
    }

    #[test]
    fn no_two_settings_have_one_variable() {
        let definitions = modules::settings(&modules::built_in());
        let variables: BTreeSet<_> = definitions
            .iter()
            .map(|definition| in_environment(definition.name))
            .collect();
        assert_eq!(variables.len(), definitions.len());
    }
}
