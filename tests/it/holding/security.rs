//! What every answer tells browsers.

use pulsehub::app::Source;

use crate::process::get;
use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_both_listeners_has_the_headers_that_protect_browsers() {
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    let public = format!("http://{}", running.public.unwrap());
    let admin = format!("http://{}", running.admin);
    let mut answers = 0;
    for url in [
        format!("{public}/health"),
        format!("{public}/websocket/health"),
        format!("{public}/api/v1/status"),
        format!("{public}/no/such/path"),
        format!("{public}/sampling"),
        format!("{public}/sync-event"),
        format!("{admin}/metrics"),
        format!("{admin}/no/such/path"),
    ] {
        let answer = get(&url).await;
        let header = |name: &str| {
            let value = answer.headers().get(name).unwrap_or_else(|| panic!("{url} has no {name}"));
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|found| found == part), "{url}: {policy}");
        }
        let host = url.split('/').nth(2).unwrap();
        assert!(policy.ends_with(&format!("connect-src 'self' ws://{host} wss://{host}")), "{policy}");
        assert!(answer.headers().get("strict-transport-security").is_none(), "not encrypted");
        answers += 1;
    }
    assert_eq!(answers, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_no_upgrade_is_told_what_would_have_been_one() {
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    let url = format!("http://{}/sampling", running.public.unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |headers: &[(&'static str, &str)]| {
        let request = headers.iter().fold(client.get(&url), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    };
    let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    let plain = ask(&[]).await;
    assert_eq!(plain.status(), 426);
    assert_eq!(plain.headers()["upgrade"], "websocket");
    let old = ask(&[&upgrade[..], &[("sec-websocket-version", "8")]].concat()).await;
    assert_eq!((old.status().as_u16(), &old.headers()["sec-websocket-version"]), (426, &"13".parse().unwrap()));
    for key in ["", "short", "AAAAAAAAAAAAAAAAAAAAAAAAAA=="] {
        let version = [("sec-websocket-version", "13"), ("sec-websocket-key", key)];
        assert_eq!(ask(&[&upgrade[..], &version].concat()).await.status(), 400, "{key:?}");
    }
}
