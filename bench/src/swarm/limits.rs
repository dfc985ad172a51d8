//! Open files: the bound of connected agents.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a server and this process need beside their connections.
const SPARE: u64 = 500;

/// Raises the limit as far as the system allows, for this process and the server that it starts; fails when so many connections at
/// once do not fit.
pub fn make_room(connections: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is unlimited.
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    check(connections, maximum)
}

fn check(connections: u64, limit: Option<u64>) -> Result<()> {
    match limit {
        Some(limit) if connections + SPARE > limit => bail!(
            "{connections} connected agents need as many open files, and this system allows {limit} for a process; \
             take at most {} agents, raise the hard limit (`ulimit -Hn`), or let them --poll",
            limit.saturating_sub(SPARE)
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_agents_than_open_files_are_refused_with_the_number_that_fits() {
        assert!(check(19_500, Some(20_000)).is_ok());
        assert!(check(1_000_000, None).is_ok());
        let refused = check(19_501, Some(20_000)).unwrap_err().to_string();
        assert!(refused.contains("at most 19500 agents"), "{refused}");
    }
}
