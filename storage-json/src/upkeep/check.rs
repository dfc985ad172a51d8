//! Compares the files with what the manifest says of them.

use std::path::Path;

use fleet_core::store::{Error, Finding, Result, Severity};

use crate::{files::Files, journal::scan, layout::MANIFEST, manifest::Manifest, snapshot::read_lines};

/// Looks at every file that counts. Nothing may be removed meanwhile; the journal may grow.
pub(crate) fn check(files: &dyn Files, root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut found = |subject: String, error: Error| -> Result<()> {
        match error {
            Error::Corrupt(problem) => findings.push(Finding {
                severity: Severity::Damage,
                subject,
                problem,
            }),
            other => return Err(other),
        }
        Ok(())
    };
    let manifest = match Manifest::read(files, root) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            found(MANIFEST.to_owned(), Error::Corrupt("the file is missing".to_owned()))?;
            return Ok(findings);
        }
        Err(error) => {
            found(MANIFEST.to_owned(), error)?;
            return Ok(findings);
        }
    };
    for listed in &manifest.files {
        if let Err(error) = read_lines(files, root, listed) {
            found(listed.file.clone(), error)?;
        }
    }
    if let Err(error) = scan(files, root, manifest.journal) {
        found("journal".to_owned(), error)?;
    }
    Ok(findings)
}
