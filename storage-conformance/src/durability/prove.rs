//! What a trace proves.

use std::{collections::HashMap, path::Path};

use super::{Call, Trace, What};

/// How many tasks of the process write at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One: at an acknowledgement *everything* written before it is synchronised.
    One,
    /// Several: at an acknowledgement the write that brought its marker is; what others have written may still wait.
    Many,
}

/// What must hold.
pub struct Rule<'r> {
    /// Whether a file belongs to what the store keeps; lock files and other stores do not.
    pub counts: &'r dyn Fn(&str) -> bool,
    /// For a line that acknowledges something: a text that the store's files hold of it, and of nothing earlier.
    pub acknowledged: &'r dyn Fn(&str) -> Option<String>,
    /// How many write at once.
    pub writers: Writers,
}

impl std::fmt::Debug for Rule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("writers", &self.writers)
            .finish_non_exhaustive()
    }
}

/// What was proven, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Acknowledgements, each after its synchronisation.
    pub acknowledged: usize,
    /// Writes to the store's files.
    pub writes: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Synchronisations of them that succeeded.
    pub syncs: usize,
}

/// An acknowledgement that came too early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Nothing that was written before it holds it.
    #[error("{line:?} was said, and nothing written before it holds {marker:?}")]
    NeverWritten {
        /// What was said.
        line: String,
        /// What should have been written.
        marker: String,
    },
    /// It was written, and no synchronisation of the file that began after that had ended.
    #[error("{line:?} was said while bytes of {file} that it stands on were not synchronised")]
    NotSynced {
        /// What was said.
        line: String,
        /// Where the bytes are.
        file: String,
    },
    /// The file is new, and its folder was not synchronised since it was made.
    #[error("{line:?} was said while the name of the new file {file} was not synchronised with its folder")]
    NameNotSynced {
        /// What was said.
        line: String,
        /// The new file.
        file: String,
    },
}

/// A write to a file of the store.
struct Written<'t> {
    file: &'t str,
    ended: usize,
    /// Lossy, which keeps what markers are made of, and can be searched quickly.
    text: String,
    len: usize,
}

impl Trace {
    /// Whether each acknowledgement followed a synchronisation of what it stands on; the first that did not.
    pub fn prove(&self, rule: &Rule<'_>) -> Result<Proof, Breach> {
        let facts = Facts::of(self, rule);
        let mut proof = Proof {
            acknowledged: 0,
            writes: facts.written.len(),
            bytes: facts.written.iter().map(|written| written.len).sum(),
            syncs: facts.syncs.values().map(Vec::len).sum(),
        };
        for Call { begun, what, .. } in &self.calls {
            let What::Write {
                standard_output: true,
                bytes,
                ..
            } = what
            else {
                continue;
            };
            for line in String::from_utf8_lossy(bytes).lines() {
                if let Some(marker) = (rule.acknowledged)(line) {
                    facts.check(rule.writers, line, marker, *begun)?;
                    proof.acknowledged += 1;
                }
            }
        }
        Ok(proof)
    }
}

struct Facts<'t> {
    written: Vec<Written<'t>>,
    /// Of each file and folder: when a synchronisation began and ended.
    syncs: HashMap<&'t str, Vec<(usize, usize)>>,
    /// When a file was first made or opened to be made.
    made: HashMap<&'t str, usize>,
}

impl<'t> Facts<'t> {
    fn of(trace: &'t Trace, rule: &Rule<'_>) -> Self {
        let mut facts = Self {
            written: Vec::new(),
            syncs: HashMap::new(),
            made: HashMap::new(),
        };
        let folders: Vec<&Path> = trace
            .calls
            .iter()
            .filter_map(|call| match &call.what {
                What::Create { file } if (rule.counts)(file) => Path::new(file).parent(),
                _ => None,
            })
            .collect();
        for Call { begun, ended, what } in &trace.calls {
            let Some(ended) = *ended else { continue };
            match what {
                What::Write {
                    standard_output: false,
                    file,
                    bytes,
                } if (rule.counts)(file) => facts.written.push(Written {
                    file,
                    ended,
                    text: String::from_utf8_lossy(bytes).into_owned(),
                    len: bytes.len(),
                }),
                What::Sync { file } if (rule.counts)(file) || folders.contains(&Path::new(file)) => {
                    facts.syncs.entry(file).or_default().push((*begun, ended));
                }
                What::Create { file } if (rule.counts)(file) => drop(facts.made.entry(file).or_insert(ended)),
                _ => {}
            }
        }
        facts
    }

    /// Whether a file was synchronised between two moments.
    fn synced(&self, file: &str, after: usize, before: usize) -> bool {
        self.syncs
            .get(file)
            .is_some_and(|syncs| syncs.iter().any(|(begun, ended)| *begun > after && *ended < before))
    }

    fn check(&self, writers: Writers, line: &str, marker: String, said: usize) -> Result<(), Breach> {
        let before = || self.written.iter().filter(|written| written.ended < said);
        // The first write that holds it is the one that brought it: pages and snapshots are written again later.
        let Some(brought) = before().find(|written| written.text.contains(&marker)) else {
            return Err(Breach::NeverWritten {
                line: line.to_owned(),
                marker,
            });
        };
        let not_synced = match writers {
            Writers::Many => (!self.synced(brought.file, brought.ended, said)).then_some(brought),
            Writers::One => before().find(|written| !self.synced(written.file, written.ended, said)),
        };
        if let Some(Written { file, .. }) = not_synced {
            return Err(Breach::NotSynced {
                line: line.to_owned(),
                file: (*file).to_owned(),
            });
        }
        if let Some(made) = self.made.get(brought.file) {
            let folder = Path::new(brought.file)
                .parent()
                .and_then(Path::to_str)
                .unwrap_or_default();
            if !self.synced(folder, *made, said) {
                return Err(Breach::NameNotSynced {
                    line: line.to_owned(),
                    file: brought.file.to_owned(),
                });
            }
        }
        Ok(())
    }
}
