//! Answers for people.

use fleet_core::{
    blobs::BlobTransfer,
    store::{
        Phase,
        migration::{Contents, Facts, Outcome, Plan, Report, Stage, Status, Verification},
    },
};

/// How far two stores are.
pub(crate) fn status(status: &Status) -> Vec<String> {
    let mut lines = vec![
        format!("source  {}  {}", status.source.name, standing(&status.source)),
        format!("target  {}  {}", status.target.name, standing(&status.target)),
    ];
    lines.extend(status.stage.as_ref().map(|stage| match stage {
        Stage::Apart => "nothing was begun; a move can begin".to_owned(),
        Stage::WayBack => "the target is where the source's data came from: the way back is open (`back`)".to_owned(),
        Stage::Filling(mark) | Stage::Frozen(mark) => {
            format!(
                "move {} is not complete: go on with `run --resume`, or `abandon` it",
                mark.id
            )
        }
        Stage::Moved(mark) => format!(
            "move {} is done: the target serves, the source is the point of return",
            mark.id
        ),
    }));
    for problem in &status.problems {
        lines.push(format!(
            "problem ({}): {}; {}",
            problem.side, problem.message, problem.remedy
        ));
    }
    lines
}

fn standing(facts: &Facts) -> String {
    let phase = match &facts.standing.phase {
        Phase::Serving => "serves".to_owned(),
        Phase::Filling(by) => format!("is being filled from {}", by.peer),
        Phase::Frozen(to) => format!("is frozen for {}", to.peer),
    };
    match facts.seq {
        Some(seq) => format!("{phase}, commit {seq}"),
        None => phase,
    }
}

/// What would be moved.
pub(crate) fn plan(plan: &Plan) -> Vec<String> {
    let mut lines = status(&plan.status);
    if let Some(contents) = &plan.contents {
        lines.extend(self::contents(contents));
    }
    lines
}

/// What would be copied of blobs; none when they stay where they are.
pub(crate) fn planned_blobs(blobs: Option<&BlobTransfer>) -> Vec<String> {
    let Some(blobs) = blobs else {
        return vec!["blobs   stay where they are; --blobs-from and --blobs-to move them too".to_owned()];
    };
    let mut lines = vec![format!(
        "blobs   {} of {}: {} to copy ({}), {} there already",
        blobs.blobs,
        size(blobs.bytes),
        blobs.copied,
        size(blobs.copied_bytes),
        blobs.present
    )];
    lines.extend(problems(blobs));
    lines
}

/// What became of the blobs of a move.
pub(crate) fn moved_blobs(blobs: &BlobTransfer, to: &str) -> Vec<String> {
    let mut lines = vec![format!(
        "blobs   {} copied ({}), {} were there already",
        blobs.copied,
        size(blobs.copied_bytes),
        blobs.present
    )];
    lines.extend(proved_blobs(blobs));
    lines.push(format!("        start the server with --blobs {to}"));
    lines
}

/// What was read of blobs.
pub(crate) fn proved_blobs(blobs: &BlobTransfer) -> Vec<String> {
    let mut lines = vec![format!(
        "blobs   {} of {} read back and right, {}",
        blobs.proved,
        blobs.blobs,
        size(blobs.bytes)
    )];
    lines.extend(problems(blobs));
    lines
}

fn problems(blobs: &BlobTransfer) -> Vec<String> {
    let named = blobs.problems.iter().map(|problem| format!("        {problem}"));
    let head = (blobs.damaged > 0).then(|| format!("problem {} blobs are damaged or missing:", blobs.damaged));
    head.into_iter().chain(named).collect()
}

fn contents(contents: &Contents) -> Vec<String> {
    let mut lines = vec![format!(
        "holds   {} records, {} of bodies, up to commit {}",
        contents.records,
        size(contents.bytes),
        contents.seq
    )];
    for count in &contents.names {
        lines.push(format!(
            "        {:<24} {:>10}  {:>10}",
            count.name,
            count.records,
            size(count.bytes)
        ));
    }
    lines.push(format!("digest  {}", contents.digest));
    lines
}

/// What a move did.
pub(crate) fn report(report: &Report) -> Vec<String> {
    let copied = &report.copied;
    let mut lines = vec![match report.outcome {
        Outcome::Moved => format!(
            "{} serves what {} held (move {})",
            report.target, report.source, report.id
        ),
        Outcome::AlreadyMoved => format!("{} serves already (move {})", report.target, report.id),
    }];
    if report.outcome == Outcome::Moved {
        lines.push(format!(
            "copied  {} new, {} replaced, {} removed, {} equal; {} in {:.1} s",
            copied.added,
            copied.replaced,
            copied.removed,
            copied.equal,
            size(copied.bytes),
            report.copying.as_secs_f64()
        ));
    }
    if let Some(found) = &report.contents {
        lines.push(format!(
            "proved  {} records read back and equal, digest {}",
            found.records, found.digest
        ));
    }
    if let Some(pause) = report.pause {
        lines.push(format!(
            "online  writers waited {} ms, at attempt {}",
            pause.as_millis(),
            report.attempts
        ));
    }
    let who = if report.online {
        "start every server with --storage and the target, since they are refused from now on"
    } else {
        "start the server with --storage and the target"
    };
    lines.push(format!("next    {who}; {} is the point of return", report.source));
    lines
}

/// How two stores compare.
pub(crate) fn verification(found: &Verification) -> Vec<String> {
    match &found.difference {
        None => vec![format!(
            "equal: {} records up to commit {}, digest {}",
            found.source.records, found.source.seq, found.source.digest
        )],
        Some(difference) => vec![
            format!("different: {difference}"),
            format!(
                "source  {} records, digest {}",
                found.source.records, found.source.digest
            ),
            format!(
                "target  {} records, digest {}",
                found.target.records, found.target.digest
            ),
        ],
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "a size is for people")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        for (bytes, expected) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
