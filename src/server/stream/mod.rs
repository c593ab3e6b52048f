//! `/stream`: live events as JSON messages with cursors, over WebSocket or as Server-Sent Events. `docs/stream.md` has the
//! format, `asyncapi.yaml` the same for programs.

mod followed;
mod message;
mod params;
mod pulse;
mod reader;
mod refused;
mod sse;
mod subscription;
mod talk;

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use self::params::Params;
use self::pulse::Pulse;
use self::refused::{Code, Refused};
use self::talk::Talk;
use super::clients::{Clients, Endpoint, admit};
use super::connection::Peer;
use super::cross_origin;
use super::public::Public;
use super::ws;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::event::Day;
use crate::live::versions::{Counts, Versions, Window};
use crate::live::{Counters, FirstMessage, LanguageMap, Languages};
use crate::shutdown::Shutdown;
use crate::status::Status;

/// What the streams of all clients share.
pub struct Hub {
    counts: Arc<Versions<FirstMessage, Counts>>,
    languages: Arc<Versions<Arc<LanguageMap>, Window>>,
    pulse: Pulse,
}

impl Hub {
    /// That of a process; the language window has `window_seconds`.
    pub fn new(
        counters: &Counters,
        languages: &Languages,
        window_seconds: u32,
        status: Arc<Status>,
        clients: Arc<Clients>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let calendar = clock.clone();
        let counts = move |first: &FirstMessage| {
            // A clock that is set to no day at all shows the first one.
            let today = Day::of(calendar.unix_seconds()).unwrap_or(Day::first_of(1970));
            Counts::of(first, today)
        };
        let window = move |map: &Arc<LanguageMap>| Window { seconds: window_seconds, languages: map.clone() };
        Self {
            counts: Arc::new(Versions::new(counters.updates(), counts)),
            languages: Arc::new(Versions::new(languages.map(), window)),
            pulse: Pulse::new(status, clients, clock),
        }
    }

    /// Keeps what heartbeats tell, until shutdown.
    pub async fn run(&self, broker: Arc<dyn Broker>, shutdown: Shutdown) {
        self.pulse.run(broker, shutdown).await;
    }
}

/// The document that describes the stream for programs.
pub async fn asyncapi(State(public): State<Arc<Public>>, headers: HeaderMap) -> Response {
    let readable = cross_origin::headers(&headers, &public.access.borrow().origins);
    let kind = [(header::CONTENT_TYPE, "application/yaml")];
    (readable, kind, include_str!("asyncapi.yaml")).into_response()
}

/// Upgrades to a WebSocket, or answers with Server-Sent Events where these are accepted.
pub async fn connect(
    State(public): State<Arc<Public>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    handshake: Result<ws::Handshake, Response>,
) -> Response {
    let params = match query {
        Ok(Query(query)) => Params::of_query(query),
        Err(_) => return refuse(&Refused::whole(Code::Subscription, "the query cannot be read")),
    };
    let events = accepts_events(&headers);
    let endpoint = if events { Endpoint::StreamEvents } else { Endpoint::Stream };
    let mut talk = Talk::new(public.clone(), endpoint);
    let handshake = match handshake {
        Err(rejection) if !events => return rejection,
        handshake => handshake.ok(),
    };
    let readable = cross_origin::headers(&headers, &public.access.borrow().origins);
    let held = match admit(&headers, peer.map(|Extension(Peer(peer))| peer), &public, endpoint) {
        Ok(held) => held,
        Err(problem) => return (readable, problem).into_response(),
    };
    let params = if events { resumed(params, &headers) } else { params };
    // Server-Sent Events have no other way to subscribe.
    if (events || !params.is_empty())
        && let Err(refused) = talk.subscribe(None, params)
    {
        return (readable, refuse(&refused)).into_response();
    }
    match handshake.filter(|_| !events) {
        Some(handshake) => ws::talk(handshake, held, &public, endpoint, talk),
        None => (readable, sse::respond(talk, held, public.shutdown.clone())).into_response(),
    }
}

/// What a browser names as it comes again goes before what its page once asked for.
fn resumed(mut params: Params, headers: &HeaderMap) -> Params {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    if let Some(last) = last.filter(|last| !last.is_empty()) {
        params.set("since", last);
    }
    params
}

/// Whether `Accept` names Server-Sent Events.
fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(',')).filter_map(|item| item.split(';').next());
    types.map(str::trim).any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

/// A query that is no subscription: a problem that also names code and param.
fn refuse(refused: &Refused) -> Response {
    let mut body = refused.to_json();
    body["type"] = "about:blank".into();
    body["title"] = "Bad Request".into();
    body["status"] = StatusCode::BAD_REQUEST.as_u16().into();
    body["detail"] = body["message"].take();
    if let Some(members) = body.as_object_mut() {
        members.remove("message");
    }
    let headers = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
}
