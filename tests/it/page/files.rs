//! How the page's files are served: versions, caching, compression, and what the browser may do with them.

use std::io::Read;

use pulsehub::app::{Running, Source};
use reqwest::{Response, StatusCode, header};

use crate::support::TestApp;

struct Site {
    running: Running,
    client: reqwest::Client,
    _app: TestApp,
}

impl Site {
    async fn start() -> Self {
        let app = TestApp::new();
        let running = app.start(Source::None).await;
        let client =
            reqwest::Client::builder().no_proxy().no_gzip().redirect(reqwest::redirect::Policy::none());
        Self { running, client: client.build().unwrap(), _app: app }
    }

    async fn get(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
        let url = format!("http://{}{path}", self.running.public.unwrap());
        let request =
            headers.iter().fold(self.client.get(url), |request, (name, value)| request.header(name, *value));
        request.send().await.unwrap()
    }

    /// The page, and the paths of the files that it names.
    async fn page(&self) -> (String, Vec<String>) {
        let text = self.get("/", &[]).await.text().await.unwrap();
        let names = text.split('"').filter(|part| part.starts_with("assets/"));
        let names = names.map(|name| format!("/{name}")).collect();
        (text, names)
    }
}

fn value(response: &Response, name: header::HeaderName) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_kept_for_ever_and_the_page_that_names_them_is_asked_for_again() {
    let site = Site::start().await;
    let (text, names) = site.page().await;
    assert!(names.len() > 5, "{names:?}");
    let page = site.get("/", &[]).await;
    assert_eq!(value(&page, header::CACHE_CONTROL), "no-cache");
    let etag = value(&page, header::ETAG);
    let strong = etag.strip_prefix("W/").expect("the same for two encodings");
    for etag in [etag.as_str(), strong] {
        let known = site.get("/", &[(header::IF_NONE_MATCH, &format!("\"other\", {etag}"))]).await;
        assert_eq!((known.status(), known.text().await.unwrap().as_str()), (StatusCode::NOT_MODIFIED, ""));
    }
    for name in names {
        let file = site.get(&name, &[]).await;
        assert_eq!(file.status(), StatusCode::OK, "{name}");
        assert_eq!(value(&file, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
        assert_eq!(value(&file, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let plain = file.bytes().await.unwrap();
        let packed = site.get(&name, &[(header::ACCEPT_ENCODING, "br, gzip")]).await;
        assert_eq!(value(&packed, header::CONTENT_ENCODING), "gzip");
        let mut unpacked = Vec::new();
        let packed = packed.bytes().await.unwrap();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain, "{name}");
        // A page that another instance served, of another version.
        let other = site.get(&name.replacen("assets/", "assets/0", 1), &[]).await;
        assert_eq!(value(&other, header::CACHE_CONTROL), "no-cache", "{name}");
        assert_eq!(other.bytes().await.unwrap(), plain, "{name}");
    }
    assert_eq!(site.get("/assets/0/other.js", &[]).await.status(), StatusCode::NOT_FOUND);
    assert!(!text.contains("{{"), "{text}");
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_may_run_its_own_files_only_and_nobody_may_frame_it() {
    let site = Site::start().await;
    let page = site.get("/", &[]).await;
    let policy = value(&page, header::CONTENT_SECURITY_POLICY);
    for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let (text, _) = site.page().await;
    assert!(!text.contains("style=") && !text.contains("<style") && !text.contains(" on"), "nothing inline");
    assert!(text.split("<script").skip(1).all(|script| script.contains("></script>")), "nothing inline");
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_base_path_the_page_is_at_a_path_with_a_slash() {
    let site = Site::start().await;
    let bare = site.get("/websocket", &[]).await;
    assert_eq!(
        (bare.status(), value(&bare, header::LOCATION).as_str()),
        (StatusCode::PERMANENT_REDIRECT, "websocket/")
    );
    let page = site.get("/websocket/", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    let text = page.text().await.unwrap();
    assert!(text.contains("\"assets/"), "relative: {text}");
    let name = text.split('"').find(|part| part.ends_with("main.js")).unwrap();
    assert_eq!(site.get(&format!("/websocket/{name}"), &[]).await.status(), StatusCode::OK);
    site.running.stop().await;
}
