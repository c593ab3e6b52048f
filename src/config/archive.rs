//! Sections on archives, and on how much of the feed is seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use super::address::{Address, base_url, optional_text};

/// The archive that past hours are fetched from, and the one that is written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    /// Root of the archive; a missing slash at its end is added. Default <https://data.gharchive.org/>.
    #[serde(deserialize_with = "base_url")]
    pub base_url: Address,
    /// MiB of fetched hours that are kept under `storage.path`, 0 for none. Default 512.
    #[schemars(range(max = 1_048_576))]
    pub cache: u32,
    /// Whether what is seen is written as hourly files. Default false.
    pub write: bool,
    /// Directory of these files. Default: `archive` under `storage.path`.
    #[serde(default, deserialize_with = "optional_text")]
    pub path: Option<String>,
    /// How long these files are kept. Default 168h.
    pub keep: Span,
}

/// How much of the feed is seen.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coverage {
    /// Percent of the pull request events below which people are told, 0 for never. Default 80.
    #[schemars(range(max = 100))]
    pub alert_below: u32,
}
