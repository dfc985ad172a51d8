//! A server that keeps secrets, as a device sees it.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowState, EscrowedSecretId},
    kernel::Timestamp,
    protocol::HeldSecret,
};

use crate::escrow::{Deposit, Escrow, EscrowError};

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Deposit,
    Conclude,
    Current,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The question does not arrive.
    Away,
    /// It does what is asked, and the answer is lost.
    AnswerLost,
    /// It says that it has done what is asked, and has not.
    Forgets,
}

/// Keeps secrets in memory, by the states that the real one has.
#[derive(Debug, Default)]
pub(in crate::actions) struct Keeper(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    secrets: Vec<(Deposit, EscrowState)>,
    fails: Option<(Asked, Failure)>,
    /// How many questions of that sort it still answers.
    answers: usize,
    failed: usize,
}

impl Keeper {
    /// From here on it fails so.
    pub(super) fn fail(&self, fails: Option<(Asked, Failure)>) {
        self.fail_after(0, fails);
    }

    /// The same, after so many questions of that sort.
    pub(super) fn fail_after(&self, answers: usize, fails: Option<(Asked, Failure)>) {
        let mut kept = self.lock();
        (kept.fails, kept.answers, kept.failed) = (fails, answers, 0);
    }

    /// Whether it has failed since it was told how.
    pub(super) fn has_failed(&self) -> bool {
        self.lock().failed > 0
    }

    /// All that was deposited, in order, with how it stands.
    pub(super) fn all(&self) -> Vec<(Deposit, EscrowState)> {
        self.lock().secrets.clone()
    }

    /// The same in a line each: whose, how it stands, and why it was made.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = |(deposit, state): &(Deposit, EscrowState)| {
            format!("{} {} {:?}", deposit.subject, state.name(), deposit.reason).to_lowercase()
        };
        self.lock().secrets.iter().map(lines).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(&self, asked: Asked, answer: impl FnOnce(&mut Kept) -> Result<T, EscrowError>) -> Result<T, EscrowError> {
        let mut kept = self.lock();
        let mut failure = kept.fails.filter(|(at, _)| *at == asked).map(|(_, failure)| failure);
        if failure.is_some() && kept.answers > 0 {
            kept.answers -= 1;
            failure = None;
        }
        kept.failed += usize::from(failure.is_some());
        let away = || Err(EscrowError::Unreachable("connection refused".into()));
        match failure {
            Some(Failure::Away) => away(),
            Some(Failure::AnswerLost) => answer(&mut kept).and_then(|_| away()),
            Some(Failure::Forgets) => {
                let before = kept.secrets.clone();
                let answer = answer(&mut kept);
                kept.secrets = before;
                answer
            }
            None => answer(&mut kept),
        }
    }
}

#[async_trait]
impl Escrow for Keeper {
    async fn deposit(&self, deposit: &Deposit) -> Result<EscrowState, EscrowError> {
        self.ask(Asked::Deposit, |kept| {
            kept.secrets.push((deposit.clone(), EscrowState::Offered));
            Ok(EscrowState::Offered)
        })
    }

    async fn conclude(&self, id: EscrowedSecretId, conclusion: Conclusion) -> Result<EscrowState, EscrowError> {
        self.ask(Asked::Conclude, |kept| {
            let Some(at) = kept.secrets.iter().position(|(deposit, _)| deposit.id == id) else {
                return Err(EscrowError::Refused {
                    code: "escrowed_secret.not_found".into(),
                    message: "there is no such secret".into(),
                });
            };
            let (kind, subject) = (kept.secrets[at].0.kind, kept.secrets[at].0.subject.clone());
            let state = match conclusion {
                Conclusion::Abandoned => EscrowState::Abandoned,
                Conclusion::InUse => {
                    for (deposit, state) in &mut kept.secrets {
                        if *state == EscrowState::Current && (deposit.kind, &deposit.subject) == (kind, &subject) {
                            *state = EscrowState::Superseded;
                        }
                    }
                    EscrowState::Current
                }
            };
            kept.secrets[at].1 = state;
            Ok(state)
        })
    }

    async fn current(&self, kind: EscrowKind, subject: &str) -> Result<Vec<HeldSecret>, EscrowError> {
        self.ask(Asked::Current, |kept| {
            let found = kept.secrets.iter().rev().filter(|(deposit, state)| {
                (deposit.kind, deposit.subject.as_str()) == (kind, subject) && state.may_be_in_use()
            });
            let held = found.map(|(deposit, state)| HeldSecret {
                id: deposit.id,
                state: *state,
                offered_at: Timestamp::EPOCH,
                secret: deposit.secret.clone(),
            });
            Ok(held.collect())
        })
    }
}
