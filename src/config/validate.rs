//! What the kinds of values can't say: paths, URLs, and keys that need one another.

use super::check::quoted;
use super::sections::network;
use super::{Config, PulsarEnv, Secret, Server};

/// Ports from 1024 on that browsers refuse: "bad ports" of the Fetch standard, section 2.9.
const REFUSED_BY_BROWSERS: [u16; 19] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
];

/// Paths that pulsehub serves itself, with all below them.
const TAKEN: [&str; 8] =
    ["/sampling", "/language", "/stream", "/asyncapi.yaml", "/q", "/assets", "/api", "/webhooks"];

const HTTP: &[&str] = &["http", "https"];
const PULSAR: &[&str] = &["pulsar", "pulsar+ssl"];
const REDIS: &[&str] = &["redis", "rediss"];

/// A fault in a key, or between it and the keys that it is related to.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) message: String,
    pub(super) related: &'static [&'static str],
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Finding>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// Reports `problem`, if there is one.
    fn check(&mut self, path: &str, problem: Option<String>) {
        if let Some(message) = problem {
            self.faults.push(Finding { path: path.to_owned(), message, related: &[] });
        }
    }

    /// Reports a fault that comes from the values of `related` too.
    fn conflict(&mut self, path: &str, message: &str, related: &'static [&'static str]) {
        self.faults.push(Finding { path: path.to_owned(), message: message.to_owned(), related });
    }

    fn not_blank(&mut self, path: &str, text: &str) {
        self.check(path, text.trim().is_empty().then(|| "must not be empty".to_owned()));
    }
}

/// Checks a configuration whose values all have their right kind.
pub(super) fn validate(config: &Config) -> Findings {
    let mut findings = Findings::default();
    server(config, &mut findings);
    sources(config, &mut findings);
    webhooks(config, &mut findings);
    pulsar(config, &mut findings);
    stores(config, &mut findings);
    alerts(config, &mut findings);
    findings
}

fn server(config: &Config, findings: &mut Findings) {
    let server = &config.server;
    findings.check("server.host", host_problem(&server.host));
    findings.check("admin.host", host_problem(&config.admin.host));
    if REFUSED_BY_BROWSERS.contains(&server.port) {
        let port = server.port;
        findings.warnings.push(format!(
            "server.port: browsers refuse to connect to port {port}; use another, such as 8080"
        ));
    }
    if !server.base_path.is_empty() {
        let base_path = server.base_path.trim_end_matches('/');
        let taken = TAKEN.iter().any(|taken| is_at_or_below(base_path, taken));
        let taken = taken.then(|| "is a path of pulsehub's own".to_owned());
        findings.check("server.basePath", path_problem(&server.base_path).or(taken));
    }
    findings.check(
        "server.health",
        path_problem(&server.health).or_else(|| taken_problem(server, &server.health)),
    );
    findings.check(
        "server.syncEvent",
        path_problem(&server.sync_event).or_else(|| taken_problem(server, &server.sync_event)),
    );
    if below_prefix(server, &server.health) == below_prefix(server, &server.sync_event) {
        findings.conflict(
            "server.syncEvent",
            "must differ from server.health",
            &["server.health", "server.basePath"],
        );
    }
    for (index, origin) in server.origins.iter().enumerate() {
        let problem = url_problem(origin, HTTP).or_else(|| origin_problem(origin));
        findings.check(&format!("server.origins[{index}]"), problem);
    }
    for (index, text) in server.trusted_proxies.iter().enumerate() {
        let problem = network(text).is_none();
        let problem = problem
            .then(|| format!("must be an address or a network such as 10.0.0.0/8, found {:?}", quoted(text)));
        findings.check(&format!("server.trustedProxies[{index}]"), problem);
    }
    let tls = &server.tls;
    for (path, file, other) in [
        ("server.tls.certificate", &tls.certificate, &tls.key),
        ("server.tls.key", &tls.key, &tls.certificate),
    ] {
        findings.check(path, file.as_deref().and_then(file_problem));
        if file.is_none() && other.is_some() {
            findings.conflict(path, "is needed too", &["server.tls.certificate", "server.tls.key"]);
        }
    }
}

/// Focus feeds at most: each is remembered, and each takes its part of the budget.
const MAX_FOCUS: usize = 200;

fn github(config: &Config, findings: &mut Findings) {
    tokens("github.tokens", &config.github.tokens, findings);
    for (index, identity) in config.github.identities.iter().enumerate() {
        let path = format!("github.identities[{index}]");
        tokens(&format!("{path}.tokens"), &identity.tokens, findings);
        let both = identity.app.is_some() != identity.tokens.is_empty();
        findings.check(&path, both.then(|| "must have either tokens or app".to_owned()));
        let Some(app) = &identity.app else { continue };
        let given = |id: u64| (id == 0).then(|| "must be given".to_owned());
        findings.check(&format!("{path}.app.id"), given(app.id));
        findings.check(&format!("{path}.app.installation"), given(app.installation));
        findings.check(&format!("{path}.app.keyPath"), file_problem(&app.key_path));
    }
    for (index, entry) in config.github.focus.iter().enumerate() {
        let problem =
            (!is_focus(entry)).then(|| format!("must be owner/repo or owner, found {:?}", quoted(entry)));
        findings.check(&format!("github.focus[{index}]"), problem);
    }
    let many = config.github.focus.len() > MAX_FOCUS;
    findings.check("github.focus", many.then(|| format!("must not have more than {MAX_FOCUS} entries")));
}

/// Whether it names a repository or an owner: letters, digits and `-._` are what GitHub allows.
fn is_focus(entry: &str) -> bool {
    let is_name = |name: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        (1..=100).contains(&name.len()) && name.chars().all(allowed) && name.contains(|c: char| c != '.')
    };
    entry.split('/').count() <= 2 && entry.split('/').all(is_name)
}

fn tokens(path: &str, tokens: &[Secret], findings: &mut Findings) {
    for (index, token) in tokens.iter().enumerate() {
        let problem = match token.expose() {
            token if token.trim().is_empty() => Some("is an empty token; remove it"),
            token if token.contains(|c: char| !c.is_ascii_graphic()) => {
                Some("holds a character that no token has")
            }
            _ => None,
        };
        findings.check(&format!("{path}[{index}]"), problem.map(str::to_owned));
    }
}

fn sources(config: &Config, findings: &mut Findings) {
    let base_url = &config.github.base_url;
    let login = (base_url.masked() != base_url.as_str())
        .then(|| "must not hold a user or password; give a token in github.tokens".to_owned());
    findings.check("github.baseUrl", url_problem(base_url, HTTP).or(login));
    let graphql_url = config.github.graphql_url.as_ref().and_then(|url| {
        let login = (url.masked() != url.as_str())
            .then(|| "must not hold a user or password; give a token in github.tokens".to_owned());
        url_problem(url, HTTP).or(login)
    });
    findings.check("github.graphqlUrl", graphql_url);
    findings.check("archive.baseUrl", url_problem(&config.archive.base_url, HTTP));
    let keep = config.archive.keep;
    findings.check("archive.keep", keep.is_zero().then(|| "must be longer than 0s".to_owned()));
    github(config, findings);
    let interval = &config.interval;
    for (path, span) in [
        ("interval.yearCount", interval.year_count),
        ("interval.dayCount", interval.day_count),
        ("interval.daily", interval.daily),
        ("interval.latest", interval.latest),
    ] {
        findings.check(path, span.is_zero().then(|| "must be longer than 0s".to_owned()));
    }
}

/// Characters of a webhook's secret at least.
const LEAST_SECRET: usize = 16;

fn webhooks(config: &Config, findings: &mut Findings) {
    let secrets = &config.webhooks.secrets;
    for (index, secret) in secrets.iter().enumerate() {
        // HMAC takes any key, and anybody can try the short ones. A comma in a secret makes two, of which one may be short.
        let short = secret.expose().trim().chars().count() < LEAST_SECRET;
        let fault = || {
            format!(
                "has less than {LEAST_SECRET} characters; generate one, for example with openssl rand -hex 32"
            )
        };
        findings.check(&format!("webhooks.secrets[{index}]"), short.then(fault));
    }
    let many = secrets.len() > 2;
    findings.check(
        "webhooks.secrets",
        many.then(|| "must be one secret, or two while it is being changed".to_owned()),
    );
}

fn pulsar(config: &Config, findings: &mut Findings) {
    let pulsar = &config.pulsar;
    findings.check("pulsar.devHost", pulsar.dev_host.as_ref().and_then(|url| url_problem(url, PULSAR)));
    findings.check("pulsar.host", pulsar.host.as_ref().and_then(|url| url_problem(url, PULSAR)));
    findings.check("pulsar.adminUrl", pulsar.admin_url.as_ref().and_then(|url| url_problem(url, HTTP)));
    match pulsar.env {
        PulsarEnv::Dev if pulsar.dev_host.is_none() && pulsar.host.is_some() => {
            findings.conflict(
                "pulsar.devHost",
                "is what pulsar.env dev connects to, but only pulsar.host is set",
                &["pulsar.host", "pulsar.env"],
            );
        }
        PulsarEnv::Dev => {}
        PulsarEnv::Formal => {
            for (path, missing) in [
                ("pulsar.host", pulsar.host.is_none()),
                ("pulsar.audience", pulsar.audience.is_none()),
                ("pulsar.keypath", pulsar.keypath.is_none()),
            ] {
                if missing {
                    findings.conflict(path, "is needed where pulsar.env is formal", &["pulsar.env"]);
                }
            }
            findings.check("pulsar.keypath", pulsar.keypath.as_deref().and_then(file_problem));
        }
    }
    findings.not_blank("pulsar.producer.topic", &pulsar.producer.topic);
    findings.not_blank("pulsar.consumer.topic", &pulsar.consumer.topic);
    findings.not_blank("pulsar.consumer.name", &pulsar.consumer.name);
    live(config, findings);
}

fn live(config: &Config, findings: &mut Findings) {
    let Some(topic) = &config.live.topic else { return };
    findings.not_blank("live.topic", topic);
    if config.pulsar.url().is_none() {
        findings.conflict(
            "live.topic",
            "is a topic of Pulsar, which is not configured",
            &["pulsar.devHost", "pulsar.host"],
        );
    }
    let (consumed, produced) = (&config.pulsar.consumer.topic, &config.pulsar.producer.topic);
    let taken = [consumed, produced, &format!("{consumed}-retry"), &format!("{consumed}-dead-letter")];
    if taken.contains(&topic) {
        findings.conflict(
            "live.topic",
            "must differ from the topics of events, retries and dead letters",
            &["pulsar.producer.topic", "pulsar.consumer.topic"],
        );
    }
}

fn stores(config: &Config, findings: &mut Findings) {
    findings.not_blank("storage.path", &config.storage.path);
    findings.check("tls.ca", config.tls.ca.as_deref().and_then(file_problem));
    if config.history.write == Some(true) && config.tidb.host.is_none() {
        findings.warnings.push("history.write: has no effect without tidb.host".to_owned());
    }
    if let Some(host) = &config.redis.host
        && host.contains("://")
    {
        findings.check("redis.host", url_problem(host, REDIS));
    }
    if config.redis.host.is_some() && config.redis.settle_delay.get().as_secs() < 1 {
        findings.warnings.push(
            "redis.settleDelay: below 1s, a Redis before 7.2 that crashes can lose what was settled"
                .to_owned(),
        );
    }
    if let Some(host) = &config.tidb.host {
        findings.check("tidb.host", host_problem(host));
        findings.not_blank("tidb.user", &config.tidb.user);
        findings.not_blank("tidb.db", &config.tidb.db);
        findings.not_blank("tidb.sql.eventsDaily", &config.tidb.sql.events_daily);
        findings.not_blank("tidb.sql.yearly", &config.tidb.sql.yearly);
    }
}

fn alerts(config: &Config, findings: &mut Findings) {
    for (path, webhook) in [("lark.webhook", &config.lark.webhook), ("alert.webhook", &config.alert.webhook)]
    {
        let bad = !webhook.is_empty() && url_problem(webhook.expose(), HTTP).is_some();
        // Not the problem itself, which quotes the address.
        findings.check(path, bad.then(|| "must be a URL that starts with http:// or https://".to_owned()));
    }
    if config.lark.webhook.is_empty() && config.lark.sign_key != Secret::default() {
        findings.warnings.push("lark.signKey: has no effect without lark.webhook".to_owned());
    }
}

/// What is wrong with a host name or address, which has neither scheme nor port.
fn host_problem(host: &str) -> Option<String> {
    let name = host.trim();
    if name.is_empty() {
        return Some("must not be empty".to_owned());
    }
    // An IPv6 address has several colons, a host with a port one.
    let plain = !name.contains(['/', '@', ' ']) && name.matches(':').count() != 1 && !name.contains("]:");
    (!plain)
        .then(|| format!("must be a host name or address without scheme and port, found {:?}", quoted(name)))
}

/// What is wrong with a URL. Not its port: the predecessor's example holds `XXXX` there, in a key that isn't
/// used.
fn url_problem(url: &str, schemes: &[&str]) -> Option<String> {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"));
    let sound = rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !authority.is_empty() && !rest.contains(char::is_whitespace)
    });
    let wanted: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    (!sound)
        .then(|| format!("must be a URL that starts with {}, found {:?}", wanted.join(" or "), quoted(url)))
}

/// What is wrong with an origin, which is compared with what browsers send.
fn origin_problem(origin: &str) -> Option<String> {
    let Ok(url) = reqwest::Url::parse(origin) else {
        return Some(format!("must be an origin, found {:?}", quoted(origin)));
    };
    let sent = url.origin().ascii_serialization();
    (sent != origin).then(|| format!("must be as browsers send it, {sent:?}, found {:?}", quoted(origin)))
}

/// What is wrong with a path; characters that a route would take for a pattern are refused too.
fn path_problem(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("must start with /, found {:?}", quoted(path)));
    }
    let odd = path.chars().find(|c| !c.is_ascii_alphanumeric() && !"/-._~".contains(*c));
    odd.map(|c| format!("must not hold {c:?}"))
        .or_else(|| path.contains("//").then(|| "must not hold //".to_owned()))
}

/// Where a path leads on the server, which serves all below the extra prefix too.
fn below_prefix<'a>(server: &'a Server, path: &'a str) -> &'a str {
    let below = server.extra_prefix().and_then(|prefix| path.strip_prefix(prefix));
    match below {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

fn taken_problem(server: &Server, path: &str) -> Option<String> {
    let path = below_prefix(server, path);
    let taken = path == "/" || TAKEN.iter().any(|taken| is_at_or_below(path, taken));
    taken.then(|| "is a path of pulsehub's own".to_owned())
}

fn is_at_or_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why a file cannot be used.
fn file_problem(path: &str) -> Option<String> {
    std::fs::File::open(path).err().map(|error| format!("cannot be read: {error}"))
}
