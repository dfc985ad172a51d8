//! A server that keeps secrets, as a device sees it.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowState, EscrowedSecretId},
    kernel::Timestamp,
    protocol::HeldSecret,
    work::{operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};

use tokio::sync::Notify;

use crate::escrow::{Deposit, Escrow, EscrowError};

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Deposit,
    Conclude,
    Current,
    CheckToken,
    UseToken,
    Tell,
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
    /// It does not begin with what is asked before the agent is gone.
    Hangs,
    /// It does what is asked, and the agent is gone before the answer comes.
    HangsAfter,
}

/// Keeps secrets in memory, by the states that the real one has.
#[derive(Debug, Default)]
pub(in crate::actions) struct Keeper {
    kept: Mutex<Kept>,
    /// That it hangs.
    hanging: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    secrets: Vec<(Deposit, EscrowState)>,
    /// Tokens by which passphrases are chosen, with the disks that they were used for.
    tokens: Vec<(String, Option<String>)>,
    /// Which keys of its own the device has told of, in order.
    told: Vec<String>,
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

    /// Makes a token.
    pub(super) fn allow(&self, token: &str) {
        self.lock().tokens.push((token.to_owned(), None));
    }

    /// How many tokens were used.
    pub(super) fn used(&self) -> usize {
        self.lock().tokens.iter().filter(|(_, used)| used.is_some()).count()
    }

    /// Which keys of its own the device has told of, in order.
    pub(super) fn told(&self) -> Vec<String> {
        self.lock().told.clone()
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
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_failure(&self, asked: Asked) -> Option<Failure> {
        let mut kept = self.lock();
        let (_, failure) = kept.fails.filter(|(at, _)| *at == asked)?;
        if kept.answers > 0 {
            kept.answers -= 1;
            return None;
        }
        kept.failed += 1;
        Some(failure)
    }

    /// Waits until it hangs.
    pub(super) async fn hangs(&self) {
        self.hanging.notified().await;
    }

    async fn ask<T>(
        &self,
        asked: Asked,
        answer: impl FnOnce(&mut Kept) -> Result<T, EscrowError> + Send,
    ) -> Result<T, EscrowError> {
        let failure = self.next_failure(asked);
        match failure {
            None => return answer(&mut self.lock()),
            Some(Failure::Forgets) => {
                let mut kept = self.lock();
                let before = (kept.secrets.clone(), kept.tokens.clone(), kept.told.clone());
                let answer = answer(&mut kept);
                (kept.secrets, kept.tokens, kept.told) = before;
                return answer;
            }
            Some(Failure::AnswerLost | Failure::HangsAfter) => drop(answer(&mut self.lock())),
            Some(Failure::Away | Failure::Hangs) => {}
        }
        if matches!(failure, Some(Failure::Hangs | Failure::HangsAfter)) {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
        Err(EscrowError::Unreachable("connection refused".into()))
    }
}

#[async_trait]
impl Escrow for Keeper {
    async fn deposit(&self, deposit: &Deposit) -> Result<EscrowState, EscrowError> {
        self.ask(Asked::Deposit, |kept| {
            kept.secrets.push((deposit.clone(), EscrowState::Offered));
            Ok(EscrowState::Offered)
        })
        .await
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
                Conclusion::InUse
                    if kept.secrets[at + 1..]
                        .iter()
                        .any(|later| later.1 == EscrowState::Current) =>
                {
                    EscrowState::Superseded
                }
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
        .await
    }

    async fn check_passphrase_token(&self, token: &SecretText) -> Result<(), EscrowError> {
        self.ask(Asked::CheckToken, |kept| {
            match kept.tokens.iter().find(|(known, _)| known == token.reveal()) {
                Some((_, None)) => Ok(()),
                Some((_, Some(_))) => Err(refused("disk_passphrase_token.used")),
                None => Err(refused("disk_passphrase_token.unknown")),
            }
        })
        .await
    }

    async fn use_passphrase_token(&self, token: &SecretText, disk: &str) -> Result<(), EscrowError> {
        self.ask(Asked::UseToken, |kept| {
            let known = kept.tokens.iter_mut().find(|(known, _)| known == token.reveal());
            let (_, used) = known.ok_or_else(|| refused("disk_passphrase_token.unknown"))?;
            match used {
                None => {
                    *used = Some(disk.to_owned());
                    kept.told.push("passphrase".into());
                    Ok(())
                }
                Some(before) if before == disk => Ok(()),
                Some(_) => Err(refused("disk_passphrase_token.used")),
            }
        })
        .await
    }

    async fn tell_disk_key(&self, _disk: &str, key: DeviceKey) -> Result<(), EscrowError> {
        self.ask(Asked::Tell, |kept| {
            if kept.told.last().is_none_or(|last| last != key.name()) {
                kept.told.push(key.name().into());
            }
            Ok(())
        })
        .await
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
        .await
    }
}

fn refused(code: &str) -> EscrowError {
    EscrowError::Refused {
        code: code.into(),
        message: "this token cannot be used".into(),
    }
}
