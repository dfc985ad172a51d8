//! How many files this process may have open: each connected agent is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than this are worth a word: it is what many systems give a process that does not ask.
const FEW: u64 = 4_096;

/// Takes as many as the system allows. Its default is for programs that still use `select`, and a fleet is larger.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum && setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!(?current, ?maximum, "the limit of open files could not be raised");
    }
    if let Some(most) = maximum
        && most < FEW
    {
        tracing::warn!(
            most,
            "few files may be open at once, and each connected agent is one; raise the hard limit (LimitNOFILE= in the unit)"
        );
    }
}
