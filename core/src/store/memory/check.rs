//! Looks for damage. In memory there is little that can break; a backend that loads a state from a disk needs it.

use super::State;
use crate::store::{ChainWalk, Finding, Severity};

impl State {
    /// See [`Backend::check`](crate::store::Backend::check).
    pub fn check(&self) -> Vec<Finding> {
        let (mut findings, mut chains) = (Vec::new(), Vec::new());
        let mut found = |severity, subject: String, problem: String| {
            findings.push(Finding {
                severity,
                subject,
                problem,
            });
        };
        for (kind, table) in &self.kinds {
            for (id, stored) in &table.docs {
                match table.schema.index(&stored.body) {
                    Ok(index) if index == stored.index => {}
                    Ok(_) => found(
                        Severity::Repairable,
                        format!("{kind}/{id}"),
                        "index values differ from the body".into(),
                    ),
                    Err(error) => found(Severity::Damage, format!("{kind}/{id}"), error.to_string()),
                }
            }
            if !table.index_is_sound() {
                found(
                    Severity::Repairable,
                    (*kind).to_owned(),
                    "an index differs from the documents".into(),
                );
            }
        }
        for (name, lane) in &self.lanes {
            for stored in lane.rows.values() {
                let subject = || format!("{name}/{}/{}/{}", stored.row.stream, stored.row.at, stored.row.n);
                match lane.schema.index(&stored.row.body) {
                    Ok(index) if index == stored.row.index => {}
                    Ok(_) => found(
                        Severity::Repairable,
                        subject(),
                        "index values differ from the body".into(),
                    ),
                    Err(error) => found(Severity::Damage, subject(), error.to_string()),
                }
            }
            if !lane.index_is_sound() {
                found(
                    Severity::Repairable,
                    (*name).to_owned(),
                    "an index differs from the rows".into(),
                );
            }
            if lane.schema.chained {
                let mut chain: Vec<_> = lane.rows.values().collect();
                chain.sort_by_key(|stored| stored.link.map(|link| link.number));
                let mut walk = ChainWalk::default();
                chain.iter().for_each(|stored| walk.row(&stored.row, stored.link));
                chains.extend(walk.findings(name, lane.head));
            }
        }
        findings.extend(chains);
        findings
    }
}
