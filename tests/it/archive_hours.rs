//! Hours that are fetched from an archive server: resumed, checked, kept within a bound, or left out by name.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use flate2::{Compression, write::GzEncoder};
use pulsehub::app::Source;
use pulsehub::source::generate::{Generator, PayloadForm};
use pulsehub::source::replay::{ReplayOptions, Speed, Summary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::TestApp;

const CACHE: u64 = 100 << 20;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

fn text(seed: u64, first_id: u64, events: usize) -> String {
    let mut generator = Generator::new(seed, first_id, PayloadForm::Full);
    (0..events).map(|second| format!("{}\n", generator.event(1_795_000_000 + second as i64))).collect()
}

fn hour(seed: u64, first_id: u64, events: usize) -> Vec<u8> {
    gzip(text(seed, first_id, events).as_bytes())
}

async fn replay_from(app: &TestApp, url: String, hours: &[&str], cache_bytes: u64) -> Summary {
    let options = ReplayOptions {
        sources: hours.iter().map(|&hour| hour.to_owned()).collect(),
        speed: Speed::Max,
        rebase: false,
        archive_url: url,
        downloads: app.directory().join("archive-cache"),
        cache_bytes,
    };
    let mut running = app.start(Source::Replay(options)).await;
    let summary = running.replayed().await.unwrap().unwrap();
    running.stop().await;
    summary
}

async fn replay(app: &TestApp, server: &MockServer, hours: &[&str]) -> Summary {
    replay_from(app, format!("{}/", server.uri()), hours, 0).await
}

fn kept(app: &TestApp) -> Vec<String> {
    let entries = std::fs::read_dir(app.directory().join("archive-cache")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_fetched_counted_and_not_kept_where_nothing_is_to_be_kept() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(1, 0, 200));
    Mock::given(method("GET")).and(path("/2026-11-18-5.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-05"]).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (200, 1, 0));
    assert_eq!(kept(&app), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_was_kept_is_not_asked_for_again() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(1, 0, 200));
    Mock::given(path("/2026-11-18-5.json.gz")).respond_with(answer).expect(1).mount(&server).await;
    let url = format!("{}/", server.uri());
    let first = replay_from(&app, url.clone(), &["2026-11-18-5"], CACHE).await;
    assert_eq!(kept(&app), ["2026-11-18-5.json.gz"]);
    let second = replay_from(&app, url, &["2026-11-18-5"], CACHE).await;
    assert_eq!((first.submitted.published, second.submitted.published), (200, 0));
    assert_eq!((second.submitted.duplicates, second.files), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_hour_is_named_and_the_others_are_counted() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(2, 0, 50));
    Mock::given(path("/2026-11-18-7.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-6", "2026-11-18-7"]).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (50, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_archive_is_asked_again() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let failure = Mock::given(path("/2026-11-18-8.json.gz")).respond_with(ResponseTemplate::new(503));
    failure.up_to_n_times(1).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(3, 0, 30));
    Mock::given(path("/2026-11-18-8.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-8"]).await;
    assert_eq!((summary.submitted.published, summary.bad_files), (30, 0));
}

/// An archive that answers each connection with prepared bytes and then hangs up, whatever it has promised.
struct Weary {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Weary {
    /// `answer` is given how many came before, and the first byte that is asked for.
    async fn start(answer: impl Fn(usize, u64) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let heard = requests.clone();
        tokio::spawn(async move {
            for before in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap().to_lowercase();
                let from = request.split("range: bytes=").nth(1).and_then(|range| range.split_once('-'));
                let from = from.map_or(0, |(from, _)| from.parse().unwrap());
                heard.lock().unwrap().push(request);
                stream.write_all(&answer(before, from)).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Of each request the ranges that it asked for.
    fn ranges(&self) -> Vec<Vec<String>> {
        let is_range = |line: &&str| line.starts_with("range:") || line.starts_with("if-range:");
        let ranges = |request: &String| {
            let mut lines: Vec<_> = request.lines().filter(is_range).map(str::to_owned).collect();
            lines.sort_unstable_by(|a, b| b.cmp(a));
            lines
        };
        self.requests.lock().unwrap().iter().map(ranges).collect()
    }
}

/// The file from `from` on, of which `sent` bytes come before the connection ends.
fn part(file: &[u8], tag: &str, from: u64, sent: usize) -> Vec<u8> {
    let rest = &file[usize::try_from(from).unwrap()..];
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", file.len() - 1, file.len()),
    };
    let head = format!("HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n", rest.len());
    [head.as_bytes(), &rest[..sent.min(rest.len())]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let file = hour(4, 0, 300);
    let half = file.len() / 2;
    let answered = file.clone();
    let archive = Weary::start(move |_, from| part(&answered, "\"a\"", from, half)).await;
    let app = TestApp::new();
    let summary = replay_from(&app, archive.url(), &["2026-11-18-9"], CACHE).await;
    assert_eq!((summary.submitted.published, summary.bad_files), (300, 0));
    let ranges = archive.ranges();
    assert_eq!(ranges[0], [""; 0]);
    assert_eq!(ranges[1], [format!("range: bytes={half}-"), "if-range: \"a\"".to_owned()]);
    let whole = std::fs::read(app.directory().join("archive-cache/2026-11-18-9.json.gz")).unwrap();
    assert_eq!((whole, kept(&app).len()), (file, 1), "nothing is left of its parts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let (old, new) = (hour(5, 0, 300), hour(6, 1_000, 200));
    let half = old.len() / 2;
    // By `If-Range` the server sees that the part is of another file, and sends all of the new one.
    let archive = Weary::start(move |before, _| match before {
        0 => part(&old, "\"old\"", 0, half),
        _ => part(&new, "\"new\"", 0, usize::MAX),
    })
    .await;
    let app = TestApp::new();
    let summary = replay_from(&app, archive.url(), &["2026-11-18-10"], 0).await;
    assert_eq!((summary.submitted.published, summary.bad_files), (200, 0));
    assert_eq!(archive.ranges()[1][1], "if-range: \"old\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_on_its_way_is_fetched_anew() {
    let file = hour(7, 0, 300);
    let archive = Weary::start(move |before, _| {
        let mut sent = file.clone();
        if before == 0 {
            let middle = sent.len() / 2;
            sent[middle..middle + 32].fill(0xff);
        }
        part(&sent, "\"a\"", 0, usize::MAX)
    })
    .await;
    let summary = replay_from(&TestApp::new(), archive.url(), &["2026-11-18-11"], 0).await;
    assert_eq!((summary.submitted.published, summary.bad_files), (300, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_the_archive_has_only_in_part_is_counted_in_part_and_not_kept() {
    let file = hour(8, 0, 300);
    let archive = Weary::start(move |_, _| part(&file[..file.len() - 2_000], "\"a\"", 0, usize::MAX)).await;
    let app = TestApp::new();
    let summary = replay_from(&app, archive.url(), &["2026-11-18-12"], CACHE).await;
    assert_eq!((summary.files, summary.bad_files), (0, 1));
    assert!((100..300).contains(&summary.submitted.published), "{summary:?}");
    assert_eq!((kept(&app), archive.ranges().len()), (Vec::new(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_gzip_is_left_out_and_never_kept() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answers = [
        ("/2026-11-18-16.json.gz", Vec::new()),
        ("/2026-11-18-17.json.gz", text(13, 0, 5).into_bytes()),
        ("/2026-11-18-18.json.gz", hour(14, 0, 40)),
    ];
    for (name, body) in answers {
        let answer = ResponseTemplate::new(200).set_body_bytes(body);
        Mock::given(path(name)).respond_with(answer).expect(1).mount(&server).await;
    }
    // Kept by an earlier version.
    let cache = app.directory().join("archive-cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("2026-11-18-18.json.gz"), "").unwrap();
    let hours = ["2026-11-18-16", "2026-11-18-17", "2026-11-18-18"];
    let summary = replay_from(&app, format!("{}/", server.uri()), &hours, CACHE).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (40, 1, 2));
    assert_eq!(kept(&app), ["2026-11-18-18.json.gz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_hour_that_turns_out_too_large() {
    let file = hour(15, 0, 300);
    let half = file.len() / 2;
    let archive = Weary::start(move |before, from| match before {
        0 => part(&file, "\"a\"", 0, half),
        _ => {
            let total = 3_u64 << 30;
            let range = format!("bytes {from}-{}/{total}", total - 1);
            format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n\r\n").into_bytes()
        }
    })
    .await;
    let app = TestApp::new();
    let summary = replay_from(&app, archive.url(), &["2026-11-18-19"], CACHE).await;
    assert_eq!((summary.files, summary.bad_files, archive.ranges().len()), (0, 1, 2));
    assert_eq!(kept(&app), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_sends_one_in_circles_is_given_up() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let round = ResponseTemplate::new(302).insert_header("location", "/2026-11-18-20.json.gz");
    Mock::given(path("/2026-11-18-20.json.gz")).respond_with(round).expect(4).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-20"]).await;
    assert_eq!((summary.files, summary.bad_files), (0, 1));
}

/// 8 GiB of spaces behind an event, in eight megabytes.
fn bomb() -> Vec<u8> {
    let member = gzip(&vec![b' '; 64 << 20]);
    [gzip(text(9, 0, 1).as_bytes()), member.repeat(128)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_stopped_and_its_neighbour_is_counted() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    for (name, body) in [("/2026-11-18-13.json.gz", bomb()), ("/2026-11-18-14.json.gz", hour(10, 50, 40))] {
        let answer = ResponseTemplate::new(200).set_body_bytes(body);
        Mock::given(path(name)).respond_with(answer).expect(1).mount(&server).await;
    }
    let began = std::time::Instant::now();
    let summary =
        replay_from(&app, format!("{}/", server.uri()), &["2026-11-18-13", "2026-11-18-14"], CACHE).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (40, 1, 1));
    assert_eq!(kept(&app), ["2026-11-18-14.json.gz"]);

    // As a file of the operator's: what stands before the bomb is used.
    let file = app.directory().join("bomb.json.gz");
    std::fs::write(&file, bomb()).unwrap();
    let summary = app.replay([crate::support::text(&file)]).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (1, 0, 1));
    // All of it would take tens of seconds.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_is_held_twice_and_out_of_order_counts_once() {
    let lines = text(11, 0, 400);
    let mut lines: Vec<&str> = lines.lines().collect();
    fastrand::Rng::with_seed(1).shuffle(&mut lines);
    let twice = format!("{0}\n{0}\n", lines.join("\n"));
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer =
        ResponseTemplate::new(200).set_body_bytes([gzip(twice.as_bytes()), gzip(twice.as_bytes())].concat());
    Mock::given(path("/2026-11-18-15.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-15"]).await;
    assert_eq!((summary.submitted.published, summary.submitted.duplicates), (400, 1_200));
    let file = app.directory().join("ordered.json");
    std::fs::write(&file, text(11, 0, 400)).unwrap();
    let expected = crate::known_answers::recount(2026, [crate::support::text(&file)]).await;
    let stats = app.stats(2026).await;
    assert_eq!((&stats["daily"], &stats["sum"]), (&expected["daily"], &expected["sum"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_the_pace_of_its_events_times_the_speed() {
    let app = TestApp::new();
    let file = app.directory().join("paced.json");
    // One event a second for two minutes.
    std::fs::write(&file, text(12, 0, 121)).unwrap();
    let Source::Replay(options) = app.replay_of([crate::support::text(&file)]) else { unreachable!() };
    let options = ReplayOptions { speed: Speed::Times(60.0), ..options };
    let began = std::time::Instant::now();
    let mut running = app.start(Source::Replay(options)).await;
    let summary = running.replayed().await.unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    running.stop().await;
    assert_eq!(summary.submitted.published, 121);
    // Exactly two seconds between the first and the last, and what the machine adds.
    assert!((2.0..6.0).contains(&took), "{took}");
}
