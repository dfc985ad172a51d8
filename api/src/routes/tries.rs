//! How often one address may try what anybody may try.

use std::{fmt, marker::PhantomData, time::Duration};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{extract::RequestContext, limits::RateClass, problem::ApiError, state::ApiState};

/// What is tried.
pub(super) trait Try: Send + Sync + 'static {
    /// How often, for each address.
    const CLASS: RateClass;
    /// How often, for all addresses together, where that is bounded too.
    const OF_ALL: Option<RateClass> = None;
}

/// Claiming the first administrator. The token cannot be guessed; this keeps the audit free of a million refusals.
#[derive(Debug)]
pub(super) struct Claiming;

impl Try for Claiming {
    const CLASS: RateClass = RateClass {
        name: "bootstrap",
        burst: 10,
        every: Duration::from_secs(6),
    };
}

/// Signing in. Each try costs a password hash; guessing at one account is stopped by the domain's lockout, guessing at
/// many by this. An office behind one address still gets in.
#[derive(Debug)]
pub(super) struct SigningIn;

impl Try for SigningIn {
    const CLASS: RateClass = RateClass {
        name: "sign-in",
        burst: 30,
        every: Duration::from_secs(2),
    };
}

/// Enrolling a device. A site of a thousand devices behind one address enrols at once.
#[derive(Debug)]
pub(super) struct Enrolling;

impl Try for Enrolling {
    const CLASS: RateClass = RateClass {
        name: "enrolment",
        burst: 1_000,
        every: Duration::from_millis(20),
    };
}

/// Typing a PIN. One address gets five tries within the ten minutes that a PIN lives, so that it does not end the PINs of
/// others by itself; that a PIN cannot be guessed is seen to by the domain.
#[derive(Debug)]
pub(super) struct Guessing;

impl Try for Guessing {
    const CLASS: RateClass = RateClass {
        name: "pin",
        burst: 3,
        every: Duration::from_secs(300),
    };
    const OF_ALL: Option<RateClass> = Some(RateClass {
        name: "pin of all",
        burst: 30,
        every: Duration::from_secs(10),
    });
}

/// Asking for a certificate or for the authorities: a signature each, and for a certificate a commit.
#[derive(Debug)]
pub(super) struct Certifying;

impl Try for Certifying {
    const CLASS: RateClass = RateClass {
        name: "certificates",
        burst: 1_000,
        every: Duration::from_millis(20),
    };
}

/// One try, taken from the allowance of the client's address. Put it before the body, which is then not read in vain.
pub(super) struct Tried<T>(PhantomData<T>);

impl<T> fmt::Debug for Tried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tried")
    }
}

impl<T: Try> FromRequestParts<ApiState> for Tried<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Self::Rejection> {
        let context = RequestContext::from_request_parts(parts, state).await?;
        state.tries.take(T::CLASS, context.client)?;
        if let Some(class) = T::OF_ALL {
            state.tries.take(class, None)?;
        }
        Ok(Self(PhantomData))
    }
}
