//! Units of systemd, asked of `systemctl`.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use fleet_core::devices::inventory::{MAX_TEXT_BYTES, Section, SectionBody, Service, Services, clean_text};

use super::{CollectContext, CollectError, Collector, program::Program};

const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_OUTPUT: u64 = 8 << 20;
/// What people start, stop and wait for; devices, mounts, slices and scopes have sections of their own or say nothing.
const TYPES: &str = "--type=service,socket,timer,path";

#[derive(Debug)]
pub(super) struct SystemdCollector;

#[async_trait]
impl Collector for SystemdCollector {
    fn section(&self) -> Section {
        Section::Services
    }

    fn timeout(&self) -> Duration {
        2 * TIMEOUT + Duration::from_secs(5)
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        // The test of sd_booted(3).
        let reason = if !context.path("/run/systemd/system").is_dir() {
            Some("systemd does not run here")
        } else if !context.is_device() {
            Some("not asked")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Ok(SectionBody::Services(Services {
                reason: Some(reason.into()),
                ..Services::default()
            }));
        }
        let mut parser = Parser::default();
        systemctl("list-units", |line| parser.unit(line)).await?;
        systemctl("list-unit-files", |line| parser.unit_file(line)).await?;
        Ok(SectionBody::Services(parser.finish()))
    }
}

async fn systemctl(verb: &str, each: impl FnMut(&str) + Send) -> Result<(), CollectError> {
    let program = Program {
        name: "systemctl",
        args: &[verb, "--all", "--full", "--plain", "--no-legend", "--no-pager", TYPES],
        timeout: TIMEOUT,
        max_output: MAX_OUTPUT,
    };
    program.for_each_line(each).await
}

#[derive(Debug, Default)]
struct Parser {
    units: BTreeMap<String, Service>,
    left_out: u64,
}

impl Parser {
    /// A line of `systemctl list-units`: unit, load, active, sub, description.
    fn unit(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(load), Some(active), Some(sub)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        let description = words.collect::<Vec<_>>().join(" ");
        self.add(Service {
            name: clean_text(name, 256),
            load_state: clean_text(load, 64),
            active_state: clean_text(active, 64),
            sub_state: clean_text(sub, 64),
            enabled: None,
            description: Some(clean_text(&description, MAX_TEXT_BYTES)).filter(|text| !text.is_empty()),
        });
    }

    /// A line of `systemctl list-unit-files`: unit, state, preset. A service that is installed but not loaded is listed too:
    /// it is what people look for when they want to start it.
    fn unit_file(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(state)) = (words.next(), words.next()) else {
            return;
        };
        let (name, state) = (clean_text(name, 256), clean_text(state, 64));
        if let Some(unit) = self.units.get_mut(&name) {
            unit.enabled = Some(state);
        } else if name.ends_with(".service") && !name.contains("@.") && state != "alias" {
            self.add(Service {
                load_state: "unloaded".into(),
                active_state: "inactive".into(),
                sub_state: "dead".into(),
                enabled: Some(state),
                description: None,
                name,
            });
        } else if let Some((template, _)) = name.split_once("@.") {
            // A unit made from a template has no file of its own.
            let stem = format!("{template}@");
            for (_, unit) in self
                .units
                .range_mut(stem.clone()..)
                .take_while(|(name, _)| name.starts_with(&stem))
            {
                unit.enabled.get_or_insert_with(|| state.clone());
            }
        }
    }

    fn add(&mut self, unit: Service) {
        if self.units.len() < Section::Services.max_items() {
            self.units.insert(unit.name.clone(), unit);
        } else {
            self.left_out += 1;
        }
    }

    fn finish(self) -> Services {
        Services {
            available: true,
            reason: None,
            items: self.units.into_values().collect(),
            truncated: self.left_out > 0,
            left_out: self.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(units: &str, unit_files: &str) -> Services {
        let mut parser = Parser::default();
        units.lines().for_each(|line| parser.unit(line));
        unit_files.lines().for_each(|line| parser.unit_file(line));
        parser.finish()
    }

    #[test]
    fn units_and_their_files_are_put_together() {
        let services = parse(
            include_str!("../../tests/fixtures/systemctl/list-units.SYNTHETIC"),
            include_str!("../../tests/fixtures/systemctl/list-unit-files"),
        );
        insta::assert_json_snapshot!(services);
    }

    #[test]
    fn foreign_lines_are_passed_over() {
        assert_eq!(parse("\n \na b c\n", "\na\n").items, []);
        assert_eq!(parse("a.service loaded active running", "").items[0].description, None);
    }

    #[test]
    fn the_list_is_bounded() {
        let text: String = (0..5_010)
            .map(|n| format!("u{n}.service loaded active running d\n"))
            .collect();
        let services = parse(&text, "");
        assert_eq!((services.items.len(), services.left_out), (5_000, 10));
    }
}
