//! What this device does not do, whatever its server says: the local policy file.
//!
//! ```toml
//! # /etc/fleet/agent-policy.toml: of root, and writable by nobody else
//! allow_kinds = ["inventory.*", "packages.*", "shell"]   # only these; all when it is left out
//! forbid_kinds = ["packages.remove"]                     # not these, even if allowed above
//! allow_users = ["deploy"]                               # only as one of these; as anybody when it is left out
//! forbid_users = ["root"]                                # not as one of these
//! forbid_paths = ["/boot", "/etc/shadow"]                # no parameter names one of these, or something below
//!
//! [[windows]]                                            # a kind that windows name begins within one of them only
//! kinds = ["packages.*"]
//! days = ["saturday", "sunday"]                          # all days when it is left out
//! from = "22:00"                                         # by the device's own time zone
//! until = "05:00"                                        # of the next day, where it is not after `from`
//! ```
//!
//! A pattern is the name of an operation kind, or a prefix with `.*` for all kinds below it, or `*` for all. Without a file
//! all is allowed; a file that cannot be understood, or that others could write, must stop the agent, not open it.
//!
//! ```text
//! file.rs     reading the file, and whether only its owner could have written it
//! rules.rs    what it says, and what speaks against a run (pure)
//! windows.rs  times of the week (pure)
//! ```
//!
//! The policy confines what the *server* may ask for. It is no sandbox: a script that may run does what its user may do.

mod file;
mod rules;
#[cfg(test)]
mod tests;
mod windows;

use fleet_core::kernel::{Class, Code};

pub use file::device_zone;
pub use rules::{Policy, Refusal};

/// The local policy forbids the run.
pub const POLICY_FORBIDS: Code = Code::new("policy.forbidden", Class::Denied);
/// The policy file cannot be read or understood, or others could have written it.
pub const POLICY_INVALID: Code = Code::new("policy.invalid", Class::Invalid);

/// Where the policy is by default.
pub const POLICY_PATH: &str = "/etc/fleet/agent-policy.toml";
