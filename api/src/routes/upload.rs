//! Bodies that are files: as they arrive, within bounds of time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use fleet_core::kernel::Result;
use futures::{Stream, StreamExt as _, stream};
use tokio::time::timeout;

use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// How long an upload may take in all.
const UPLOAD: Duration = Duration::from_secs(3_600);
/// How long nothing of it may arrive.
const SILENCE: Duration = Duration::from_secs(60);

/// What is made of a body that arrives, if all of it does in time.
pub(super) async fn whole<T>(made: impl Future<Output = Result<T>>) -> ApiResult<T> {
    let made = timeout(UPLOAD, made).await;
    Ok(made.map_err(|_| ApiError::new(codes::BODY_UNREADABLE, "the body took longer than an hour to arrive"))??)
}

/// The parts of a body as they arrive. One that breaks off, or falls silent, ends with an error.
pub(super) fn parts(body: Body) -> impl Stream<Item = Result<Bytes>> + Send {
    let broken = |message: &str| codes::BODY_UNREADABLE.error(message);
    stream::unfold(Some(body.into_data_stream()), move |body| async move {
        let mut body = body?;
        match timeout(SILENCE, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(part))) => Some((Ok(part), Some(body))),
            Ok(Some(Err(_))) => Some((Err(broken("the body broke off")), None)),
            Err(_) => Some((Err(broken("nothing of the body arrived for a minute")), None)),
        }
    })
}
