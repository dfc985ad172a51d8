//! Why a command did not do what it should, and the exit code that says so.

use std::{fmt, io};

use serde_json::{Value, json};

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line or the request is wrong; the same one will fail again.
    Usage = 2,
    /// There is no such thing, or it is not for this user.
    NotFound = 3,
    /// The request contradicts the present state.
    Conflict = 4,
    /// The server cannot be reached or cannot serve now.
    Unreachable = 5,
    /// It was done, but failed on some devices.
    Devices = 6,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}

/// A failure: for people a text, for programs a stable code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    code: String,
    message: String,
    hint: Option<String>,
    /// The server's own problem document, shown as it is where JSON is asked for.
    problem: Option<Value>,
    silent: bool,
}

impl Failure {
    /// A failure of this program's own.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            hint: None,
            problem: None,
            silent: false,
        }
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The server cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, "unreachable", message)
    }

    /// Something came that no server of ours would send.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "answer.unexpected", message)
    }

    /// Everything there is to say was said already.
    pub fn silent(exit: Exit) -> Self {
        Self {
            silent: true,
            ..Self::new(exit, "", "")
        }
    }

    /// The failure that an answer of the server tells of.
    pub fn of_answer(status: u16, body: &[u8]) -> Self {
        let problem: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
        let text = |name: &str| {
            problem
                .as_ref()
                .and_then(|problem| problem[name].as_str())
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let code = text("code").unwrap_or_else(|| format!("http.{status}"));
        let mut message = text("detail")
            .or_else(|| text("title"))
            .unwrap_or_else(|| format!("the server answered with status {status}"));
        for error in problem
            .iter()
            .filter_map(|problem| problem["errors"].as_array())
            .flatten()
        {
            if let (Some(pointer), Some(what)) = (error["pointer"].as_str(), error["message"].as_str())
                && what != message
            {
                message.push_str(&format!("\n  {pointer}: {what}"));
            }
        }
        let hint = (status == 401).then(|| "sign in with `fleet login`".to_owned());
        Self {
            exit: exit_of_status(status),
            code,
            message,
            hint,
            problem,
            silent: false,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the exit code says.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What the server said of one member of the request.
    pub fn about(&self, pointer: &str) -> Option<&str> {
        let mut errors = self.problem.as_ref()?["errors"].as_array()?.iter();
        errors.find(|error| error["pointer"] == pointer)?["message"].as_str()
    }

    /// Whether there is nothing to print.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// For programs: the server's problem document, or one of the same shape.
    pub fn to_json(&self) -> Value {
        self.problem.clone().unwrap_or_else(|| {
            json!({
                "type": format!("urn:fleet:problem:{}", self.code),
                "code": self.code,
                "detail": self.message,
                "errors": [],
            })
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader has seen enough, as `head` has.
            return Self::silent(Exit::Failed);
        }
        Self::new(Exit::Failed, "io", error.to_string())
    }
}

/// The exit code of an HTTP status.
pub fn exit_of_status(status: u16) -> Exit {
    match status {
        400 | 428 => Exit::Usage,
        401 | 403 | 404 => Exit::NotFound,
        409 | 412 | 422 => Exit::Conflict,
        502..=504 => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_exit_code() {
        for (status, exit) in [
            (400, 2),
            (401, 3),
            (403, 3),
            (404, 3),
            (409, 4),
            (412, 4),
            (413, 1),
            (422, 4),
            (428, 2),
            (429, 1),
            (500, 1),
            (502, 5),
            (503, 5),
            (504, 5),
            (302, 1),
        ] {
            assert_eq!(exit_of_status(status) as u8, exit, "{status}");
        }
    }

    #[test]
    fn a_problem_is_told_with_its_fields() {
        let body = br#"{"code":"request.invalid","detail":"2 members are wrong","errors":[{"pointer":"/name","message":"too long"}]}"#;
        let failure = Failure::of_answer(400, body);
        assert_eq!(failure.to_string(), "2 members are wrong\n  /name: too long");
        assert_eq!((failure.code(), failure.exit()), ("request.invalid", Exit::Usage));
        assert_eq!(failure.to_json()["errors"][0]["pointer"], "/name");
    }

    #[test]
    fn an_answer_that_is_no_problem_is_told_by_its_status() {
        let failure = Failure::of_answer(502, b"<html>Bad Gateway</html>");
        assert_eq!(failure.to_string(), "the server answered with status 502");
        assert_eq!((failure.code(), failure.exit()), ("http.502", Exit::Unreachable));
        assert_eq!(failure.to_json()["code"], "http.502");
    }
}
