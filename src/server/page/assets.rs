//! The page's files: embedded, compressed once, and named by a version that is the hash of all of them.

use std::io::Write;
use std::sync::LazyLock;

use axum::http::HeaderValue;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

macro_rules! embedded {
    ($($name:literal),* $(,)?) => { &[$(($name, include_bytes!(concat!("assets/", $name)) as &[u8])),*] };
}

const INDEX: &str = include_str!("assets/index.html");
/// Stands in the index for the place of the others.
const PLACE: &str = "{{assets}}";
/// All others.
const FILES: &[(&str, &[u8])] = embedded![
    "icon.svg",
    "theme.css",
    "layout.css",
    "panels.css",
    "theme.js",
    "main.js",
    "stream.js",
    "beat.js",
    "counts.js",
    "numbers.js",
    "feed.js",
    "row.js",
    "filters.js",
    "race.js",
    "year.js",
    "top.js",
    "version.js",
    "strip.js",
    "text.js",
    "uplot.min.css",
    "uplot.min.js",
];

/// The files, made ready at the first request.
pub static SITE: LazyLock<Site> = LazyLock::new(Site::new);

/// One file.
pub struct Asset {
    pub content_type: &'static str,
    /// Weak: both encodings have it.
    pub etag: HeaderValue,
    pub plain: Bytes,
    pub gzip: Bytes,
}

/// The whole page.
pub struct Site {
    /// The page itself.
    pub index: Asset,
    version: String,
    assets: Vec<(&'static str, Asset)>,
}

impl Site {
    fn new() -> Self {
        let mut hash = Xxh3::new();
        FILES.iter().for_each(|(name, content)| {
            hash.update(name.as_bytes());
            hash.update(content);
        });
        let version = format!("{:016x}", hash.digest());
        let index = INDEX.replace(PLACE, &format!("assets/{version}"));
        let assets =
            FILES.iter().map(|(name, content)| (*name, Asset::new(name, Bytes::from_static(content))));
        Self { index: Asset::new("index.html", index.into()), assets: assets.collect(), version }
    }

    /// The file `name`, and whether it is that of `version`.
    pub fn asset(&self, version: &str, name: &str) -> Option<(&Asset, bool)> {
        let (_, asset) = self.assets.iter().find(|(known, _)| *known == name)?;
        Some((asset, version == self.version))
    }
}

impl Asset {
    fn new(name: &str, plain: Bytes) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes all that is written to it.
        let _ = encoder.write_all(&plain);
        let gzip = encoder.finish().unwrap_or_default().into();
        let etag = HeaderValue::from_str(&format!("W/\"{:016x}\"", xxh3_64(&plain)));
        Self {
            content_type: content_type(name),
            etag: etag.unwrap_or_else(|_| HeaderValue::from_static("W/\"\"")),
            plain,
            gzip,
        }
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded_and_the_page_stays_small() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/page/assets");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        let embedded: BTreeSet<String> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(there, embedded);
        let site = Site::new();
        let bytes: usize = site.assets.iter().map(|(_, asset)| asset.gzip.len()).sum();
        assert!(bytes + site.index.gzip.len() < 150 << 10, "{bytes} bytes");
    }

    #[test]
    fn what_the_page_and_its_modules_name_is_there() {
        let names: BTreeSet<&str> = FILES.iter().map(|(name, _)| *name).collect();
        let in_page = INDEX.split("{{assets}}/").skip(1).map(|rest| rest.split('"').next().unwrap());
        let modules = FILES.iter().filter(|(name, _)| name.ends_with(".js") && *name != "uplot.min.js");
        let modules: Vec<&str> = modules.map(|(_, text)| std::str::from_utf8(text).unwrap()).collect();
        let imported = modules
            .iter()
            .flat_map(|text| text.split(" from \"./").skip(1).map(|rest| rest.split('"').next().unwrap()));
        let named: BTreeSet<&str> = in_page.chain(imported).collect();
        assert!(named.is_subset(&names), "{:?}", named.difference(&names));
        assert_eq!(names.difference(&named).collect::<Vec<_>>(), Vec::<&&str>::new(), "embedded for nobody");
    }

    #[test]
    fn what_others_wrote_is_what_they_published() {
        let notice = include_str!("../../../THIRD-PARTY.md");
        for name in ["uplot.min.js", "uplot.min.css"] {
            let (_, content) = FILES.iter().find(|(known, _)| *known == name).unwrap();
            let digest = ring::digest::digest(&ring::digest::SHA256, content);
            let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(notice.contains(&format!("`{name}` {digest}")), "{name} {digest}");
        }
    }
}
