//! One subscriber's stream as an answer.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, request::Parts},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use tokio::time::Instant;

use super::{Delivery, LiveEvent, Subscription};
use crate::problem::ApiError;

/// Times of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// A comment goes out after so long without an event, so that proxies keep the connection and a dead one is noticed.
    pub keep_alive: Duration,
    /// The stream ends after so long, and the browser comes back by itself: what its session may see is then asked anew.
    pub longest: Duration,
    /// How long a browser waits before it comes back.
    pub retry: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(15),
            longest: Duration::from_secs(30 * 60),
            retry: Duration::from_secs(3),
        }
    }
}

/// `Last-Event-ID`: the place that a returning subscriber was last told of. A text that is none of ours counts as a place
/// that is not known here, which means reading again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEventId(pub Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let value = parts.headers.get("last-event-id");
        Ok(Self(value.map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(u64::MAX)
        })))
    }
}

/// What an item means for one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is told this.
    Event(LiveEvent),
    /// It is none of its business.
    Nothing,
    /// Its stream ends after the commit; it may come back.
    End,
}

impl From<Option<LiveEvent>> for Told {
    fn from(event: Option<LiveEvent>) -> Self {
        event.map_or(Self::Nothing, Self::Event)
    }
}

/// Answers with what `subscription` is told, as far as `select` makes an event of it: scope and topics are decided there.
/// `held` is dropped with the stream, such as a [`super::Slot`].
pub fn answer<T, H, R>(
    subscription: Subscription<T>,
    limits: StreamLimits,
    held: H,
    select: impl Fn(&T) -> R + Send + Sync + 'static,
) -> Response
where
    T: Clone + Send + Sync + 'static,
    H: Send + 'static,
    R: Into<Told> + 'static,
{
    let keep_alive = KeepAlive::new().interval(limits.keep_alive);
    let mut response = Sse::new(events(subscription, limits, held, select))
        .keep_alive(keep_alive)
        .into_response();
    // The one proxy that holds a stream back unless it is told not to.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

struct Telling<T, H, F> {
    subscription: Subscription<T>,
    waiting: VecDeque<Event>,
    ends_at: Instant,
    /// Nothing more is told.
    over: bool,
    select: Arc<F>,
    _held: H,
}

fn events<T, H, F, R>(
    subscription: Subscription<T>,
    limits: StreamLimits,
    held: H,
    select: F,
) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    T: Clone + Send + Sync + 'static,
    H: Send + 'static,
    F: Fn(&T) -> R + Send + Sync + 'static,
    R: Into<Told> + 'static,
{
    let position = subscription.opened_at();
    // The id is what the subscriber knows, not where things stand: it may break off before it is told the rest.
    let ready = written(&LiveEvent::Ready { position })
        .id(subscription.told().to_string())
        .retry(limits.retry);
    let telling = Telling {
        subscription,
        waiting: VecDeque::from([ready]),
        ends_at: Instant::now() + limits.longest,
        over: false,
        select: Arc::new(select),
        _held: held,
    };
    stream::unfold(telling, |mut telling| async move {
        loop {
            if let Some(event) = telling.waiting.pop_front() {
                return Some((Ok(event), telling));
            }
            if telling.over {
                return None;
            }
            match tokio::time::timeout_at(telling.ends_at, telling.subscription.next()).await {
                Ok(Some(Delivery::Commit { position, items })) => {
                    let mut selected = Vec::new();
                    for item in items.iter() {
                        match (telling.select)(item).into() {
                            Told::Event(event) => selected.push(written(&event)),
                            Told::Nothing => {}
                            Told::End => telling.over = true,
                        }
                    }
                    // The id goes with the last event of a commit: who breaks off in the middle is told all of it again.
                    if let Some(last) = selected.pop() {
                        selected.push(last.id(position.to_string()));
                    }
                    telling.waiting.extend(selected);
                }
                Ok(Some(Delivery::Missed { position, reason })) => {
                    let event = written(&LiveEvent::Resync { reason });
                    telling.waiting.push_back(event.id(position.to_string()));
                }
                Ok(None) | Err(_) => return None,
            }
        }
    })
}

fn written(event: &LiveEvent) -> Event {
    // A LiveEvent has no part that JSON cannot write.
    let data = serde_json::to_string(event).unwrap_or_default();
    Event::default().data(data)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::live::{Happened, Hub, HubLimits, Slots};

    fn changed(n: &u64) -> Option<LiveEvent> {
        // Odd ones are out of scope.
        n.is_multiple_of(2).then(|| LiveEvent::Changed {
            resource: "devices".to_owned(),
            id: Uuid::nil(),
            revision: Some(*n),
        })
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 64 * 1024).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn data(n: u64) -> String {
        format!(
            "data: {{\"type\":\"changed\",\"resource\":\"devices\",\"id\":\"{}\",\"revision\":{n}}}\n",
            Uuid::nil()
        )
    }

    #[tokio::test]
    async fn a_stream_begins_with_ready_and_carries_what_is_in_scope() {
        let hub = Hub::new(4, HubLimits::default());
        let response = answer(hub.subscribe(None).unwrap(), StreamLimits::default(), (), changed);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        hub.publish(Happened::Commit(5, vec![1, 3]));
        hub.publish(Happened::Commit(6, vec![2, 3, 4]));
        hub.close();
        assert_eq!(
            text(response).await,
            format!(
                "data: {{\"type\":\"ready\",\"position\":4}}\nid: 4\nretry: 3000\n\n{}\n{}id: 6\n\n",
                data(2),
                data(4)
            )
        );
    }

    #[tokio::test]
    async fn a_stream_ends_after_the_commit_that_says_so() {
        let hub = Hub::new(0, HubLimits::default());
        let ends_at_3 = |n: &u64| match n {
            3 => Told::End,
            n => changed(n).into(),
        };
        let response = answer(hub.subscribe(None).unwrap(), StreamLimits::default(), (), ends_at_3);
        hub.publish(Happened::Commit(1, vec![3, 4]));
        hub.publish(Happened::Commit(2, vec![6]));
        // The hub is open: the stream ended by itself.
        let text = text(response).await;
        assert!(text.ends_with(&format!("{}id: 1\n\n", data(4))), "{text}");
        assert!(hub.subscribe(None).is_some());
    }

    #[tokio::test]
    async fn who_lags_is_told_to_read_again() {
        let hub = Hub::new(0, HubLimits { behind: 2, past: 2 });
        let response = answer(hub.subscribe(None).unwrap(), StreamLimits::default(), (), changed);
        for position in 1..=5 {
            hub.publish(Happened::Commit(position, vec![position * 2]));
        }
        hub.close();
        let text = text(response).await;
        assert!(
            text.contains("data: {\"type\":\"resync\",\"reason\":\"lagged\"}\nid: 0\n\n"),
            "{text}"
        );
        assert!(text.ends_with(&format!("{}id: 5\n\n", data(10))), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_streams_are_kept_alive_and_end_in_time() {
        let hub = Hub::<u64>::new(0, HubLimits::default());
        let slots = Slots::new(1, 1);
        let limits = StreamLimits {
            longest: Duration::from_secs(40),
            ..StreamLimits::default()
        };
        let response = answer(hub.subscribe(None).unwrap(), limits, slots.take("s").unwrap(), changed);
        assert!(slots.take("s").is_err());
        let text = text(response).await;
        assert_eq!(text.matches(":\n\n").count(), 2, "{text}");
        assert!(slots.take("s").is_ok());
    }

    #[tokio::test]
    async fn a_foreign_event_id_is_a_place_not_known_here() {
        for (given, expected) in [
            (None, None),
            (Some("17"), Some(17)),
            (Some("x"), Some(u64::MAX)),
            (Some("-1"), Some(u64::MAX)),
        ] {
            let mut request = axum::http::Request::builder();
            if let Some(given) = given {
                request = request.header("last-event-id", given);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let got = LastEventId::from_request_parts(&mut parts, &()).await.unwrap();
            assert_eq!(got, LastEventId(expected), "{given:?}");
        }
    }
}
