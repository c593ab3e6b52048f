//! A GraphQL API like GitHub's: it knows pull requests by node id and by name, counts points, and can be made to fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pulsehub::clock::SystemClock;
use pulsehub::domain::github::details::Stub;
use pulsehub::enrich::github::GitHubEnricher;
use pulsehub::shutdown::{self, Trigger};
use pulsehub::source::github::{GitHubSettings, PollInterval, Priority};
use serde_json::{Value, json};
use tokio::sync::watch;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::{TestApp, shared};

/// What it knows of a pull request.
#[derive(Debug, Clone)]
pub struct Known {
    pub repo: u64,
    pub name: String,
    pub number: u64,
    pub additions: u64,
    pub deletions: u64,
    pub language: Option<String>,
}

/// Pull requests by their number across GitHub.
pub type PullRequests = BTreeMap<u64, Known>;

/// What recorded pull requests of an hour of 2016-01-01 were.
pub fn recorded(hour: u8) -> PullRequests {
    let file = shared(&format!("data/trimmed/2016-01-01-{hour}.pull-requests.json"));
    let all: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let known = |of: Value| Known {
        repo: number(&of["repo_id"]),
        name: of["repo"].as_str().unwrap().to_owned(),
        number: number(&of["number"]),
        additions: number(&of["additions"]),
        deletions: number(&of["deletions"]),
        language: of["language"].as_str().map(str::to_owned),
    };
    all.into_iter().map(|(id, of)| (id.parse().unwrap(), known(of))).collect()
}

/// So many invented ones, from 1 on.
pub fn invented(count: u64) -> PullRequests {
    let known = |id| Known {
        repo: 1_000 + id % 7,
        name: format!("owner/repo-{}", id % 7),
        number: id,
        additions: id * 10,
        deletions: id,
        language: (id % 3 > 0).then(|| "Rust".to_owned()),
    };
    (1..=count).map(|id| (id, known(id))).collect()
}

/// The stub that an event of a pull request has.
pub fn stub(id: u64, known: &Known) -> Stub {
    Stub {
        pull_request: id,
        number: Some(known.number),
        repo: known.repo,
        repo_name: known.name.clone(),
        created_at: 1_451_617_200,
    }
}

/// Those of all of them.
pub fn stubs(all: &PullRequests) -> Vec<Stub> {
    all.iter().map(|(id, known)| stub(*id, known)).collect()
}

/// A query as the API saw it.
#[derive(Debug, Clone)]
pub struct Query {
    /// The node ids of a query by node, empty for one by name.
    pub ids: Vec<String>,
    /// Repository and number of each of a query by name.
    pub names: Vec<(String, u64)>,
    /// The header.
    pub authorization: String,
}

impl Query {
    fn read(request: &Request) -> Self {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let ids = body["variables"]["ids"].as_array().into_iter().flatten();
        let ids = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        let query = body["query"].as_str().unwrap();
        let between = |text: &str, before: &str, after: &str| -> String {
            text.split_once(before).unwrap().1.split_once(after).unwrap().0.to_owned()
        };
        let name = |part: &str| {
            let repo = format!("{}/{}", between(part, "owner:\"", "\""), between(part, "name:\"", "\""));
            (repo, between(part, "pullRequest(number:", ")").parse().unwrap())
        };
        let names = query.split(":repository(").skip(1).map(name).collect();
        let authorization = request.headers.get("authorization").map(|value| value.to_str().unwrap());
        Self { ids, names, authorization: authorization.unwrap_or_default().to_owned() }
    }

    /// Pull requests that were asked for.
    pub fn len(&self) -> usize {
        self.ids.len() + self.names.len()
    }
}

/// What a script makes of a query before it is answered; `None` answers it.
type Script = Box<dyn Fn(usize, &Query) -> Option<ResponseTemplate> + Send + Sync>;
/// What is done to an answer.
type Change = Box<dyn Fn(&mut Value) + Send + Sync>;

#[derive(Default)]
struct Inner {
    pull_requests: PullRequests,
    ids: HashMap<(String, u64), u64>,
    queries: Mutex<Vec<Query>>,
    script: Mutex<Option<Script>>,
    change: Mutex<Option<Change>>,
    delay: Mutex<Option<Box<dyn Fn() -> Duration + Send + Sync>>>,
    /// Points that are left, and when there are more.
    quota: Mutex<Option<(u64, Timestamp)>>,
    /// Queries that came when no point was left.
    overdrawn: AtomicUsize,
}

/// The API.
pub struct GraphQl {
    server: MockServer,
    inner: Arc<Inner>,
}

impl Drop for GraphQl {
    /// What panics while it answers is lost, so that it looks afterwards.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let asked: Vec<_> =
                self.queries().iter().map(|query| (query.ids.len(), query.names.len())).collect();
            let fit = asked.iter().all(|&(ids, names)| ids <= 100 && names <= 50);
            assert!(fit, "more in a query than GitHub takes, or than is wise: {asked:?}");
        }
    }
}

struct Responder(Arc<Inner>);

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let query = Query::read(request);
        let number = {
            let mut queries = self.0.queries.lock().unwrap();
            queries.push(query.clone());
            queries.len() - 1
        };
        let scripted = self.0.script.lock().unwrap().as_ref().and_then(|script| script(number, &query));
        let answer = scripted.unwrap_or_else(|| self.0.answer(&query));
        match self.0.delay.lock().unwrap().as_ref() {
            Some(delay) => answer.set_delay(delay()),
            None => answer,
        }
    }
}

impl Inner {
    fn answer(&self, query: &Query) -> ResponseTemplate {
        let (mut data, mut errors) = (json!({}), Vec::new());
        let missing =
            |path: Value| json!({"type": "NOT_FOUND", "path": path, "message": "Could not resolve to it"});
        if !query.ids.is_empty() {
            let nodes = query.ids.iter().enumerate().map(|(place, id)| {
                let known = unpack(id).and_then(|(repo, id)| Some((id, self.pull_requests.get(&id)?, repo)));
                match known.filter(|(_, known, repo)| known.repo == *repo) {
                    Some((_, known, _)) => node(id, known),
                    None => {
                        errors.push(missing(json!(["nodes", place])));
                        Value::Null
                    }
                }
            });
            data["nodes"] = nodes.collect();
        }
        for (place, name) in query.names.iter().enumerate() {
            let alias = format!("p{place}");
            let known = self.ids.get(name).map(|id| (*id, &self.pull_requests[id]));
            data[&alias] = match known {
                Some((id, known)) => {
                    json!({"databaseId": known.repo, "pullRequest": node(&pack(known.repo, id), known)})
                }
                None => {
                    errors.push(missing(json!([alias])));
                    Value::Null
                }
            };
        }
        let (remaining, reset_at) = {
            let mut quota = self.quota.lock().unwrap();
            let hour = Timestamp::now() + jiff::SignedDuration::from_secs(3_600);
            let (remaining, reset_at) = quota.get_or_insert((5_000, hour));
            if *reset_at <= Timestamp::now() {
                (*remaining, *reset_at) = (5_000, hour);
            }
            if *remaining == 0 {
                self.overdrawn.fetch_add(1, Ordering::SeqCst);
                let limited = json!({"type": "RATE_LIMITED", "message": "API rate limit exceeded"});
                return ResponseTemplate::new(200).set_body_json(json!({"errors": [limited]}));
            }
            *remaining -= 1;
            (*remaining, *reset_at)
        };
        data["rateLimit"] = json!({"cost": 1, "remaining": remaining, "resetAt": reset_at.to_string()});
        let mut answer = json!({"data": data});
        if !errors.is_empty() {
            answer["errors"] = errors.into();
        }
        if let Some(change) = self.change.lock().unwrap().as_ref() {
            change(&mut answer);
        }
        ResponseTemplate::new(200).set_body_json(answer)
    }
}

fn node(id: &str, known: &Known) -> Value {
    let language = known.language.as_ref().map(|name| json!({"name": name}));
    json!({
        "id": id, "additions": known.additions, "deletions": known.deletions,
        "baseRepository": {"primaryLanguage": language},
    })
}

/// A node id's repository and pull request, read as MessagePack by itself.
fn unpack(id: &str) -> Option<(u64, u64)> {
    let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix("PR_")?).ok()?;
    let [0x93, 0x00, rest @ ..] = &bytes[..] else { return None };
    let (repo, rest) = unpack_number(rest)?;
    let (pull_request, rest) = unpack_number(rest)?;
    rest.is_empty().then_some((repo, pull_request))
}

fn unpack_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&mark, rest) = bytes.split_first()?;
    let width = match mark {
        0..=0x7f => return Some((mark.into(), rest)),
        0xcc..=0xcf => 1 << (mark - 0xcc),
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(width)?;
    Some((number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

/// The longest form of the same, which is what an API may call a node however it is asked for.
fn pack(repo: u64, pull_request: u64) -> String {
    let mut bytes = vec![0x93, 0x00];
    for number in [repo, pull_request] {
        bytes.push(0xcf);
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    format!("PR_{}", URL_SAFE_NO_PAD.encode(bytes))
}

impl GraphQl {
    /// An API that knows these, on a free port.
    pub async fn knowing(pull_requests: PullRequests) -> Self {
        let ids = pull_requests.iter().map(|(id, known)| ((known.name.clone(), known.number), *id)).collect();
        let inner = Arc::new(Inner { pull_requests, ids, ..Inner::default() });
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(Responder(inner.clone())).mount(&server).await;
        Self { server, inner }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}/graphql", self.server.uri())
    }

    /// Makes something else of queries, told by their number and what they ask.
    pub fn script(&self, script: impl Fn(usize, &Query) -> Option<ResponseTemplate> + Send + Sync + 'static) {
        *self.inner.script.lock().unwrap() = Some(Box::new(script));
    }

    /// Answers again.
    pub fn recover(&self) {
        *self.inner.script.lock().unwrap() = None;
        *self.inner.change.lock().unwrap() = None;
    }

    /// Changes answers.
    pub fn change(&self, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        *self.inner.change.lock().unwrap() = Some(Box::new(change));
    }

    /// How long each answer takes.
    pub fn delay(&self, delay: impl Fn() -> Duration + Send + Sync + 'static) {
        *self.inner.delay.lock().unwrap() = Some(Box::new(delay));
    }

    /// Points that are left until a moment.
    pub fn grant(&self, points: u64, until: Timestamp) {
        *self.inner.quota.lock().unwrap() = Some((points, until));
    }

    /// Points that were spent of 5,000.
    pub fn points(&self) -> u64 {
        self.inner.quota.lock().unwrap().map_or(0, |(remaining, _)| 5_000 - remaining)
    }

    /// Queries that came when no point was left.
    pub fn overdrawn(&self) -> usize {
        self.inner.overdrawn.load(Ordering::SeqCst)
    }

    /// All queries so far.
    pub fn queries(&self) -> Vec<Query> {
        self.inner.queries.lock().unwrap().clone()
    }

    /// Makes a pipeline ask it.
    pub fn configure(&self, app: &mut TestApp) {
        app.config.github.tokens = vec!["a-token".into()];
        app.config.github.graphql_url = Some(self.url().into());
    }

    /// Somebody who asks it.
    pub fn enricher(&self) -> Asking {
        self.enricher_with(&["a-token"])
    }

    /// The same with these tokens.
    pub fn enricher_with(&self, tokens: &[&str]) -> Asking {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, settings) = watch::channel(settings(tokens));
        let (enricher, collector) =
            GitHubEnricher::new(&self.url(), settings, Arc::new(SystemClock)).unwrap();
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(collector.run(shutdown));
        Asking { enricher: Arc::new(enricher), settings: sender, trigger }
    }
}

/// As whom GitHub is asked.
pub fn settings(tokens: &[&str]) -> GitHubSettings {
    GitHubSettings {
        tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
        timeout: Duration::from_secs(5),
        break_: Duration::from_secs(1),
        poll_interval: PollInterval::Adaptive,
        priority: Priority::PullRequests,
    }
}

/// An enricher with its task, which ends with it.
pub struct Asking {
    pub enricher: Arc<GitHubEnricher>,
    pub settings: watch::Sender<GitHubSettings>,
    #[expect(dead_code, reason = "dropping it ends the task")]
    trigger: Trigger,
}
