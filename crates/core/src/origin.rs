//! Where a dataset comes from and what may be done with it (DCAT `publisher`, `license`, `landingPage`).

use serde::{Deserialize, Serialize};

/// Whether the values may be given to people outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redistribution {
    /// The licence allows to pass the data on.
    Allowed,
    /// The licence forbids it, or nobody has checked.
    Forbidden,
}

/// A licence: an SPDX identifier, or `LicenseRef-…` for a provider's own terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// SPDX identifier such as `CC-BY-4.0`; <https://spdx.org/licenses/>.
    pub spdx: String,
    /// Whether values may be redistributed.
    pub redistribution: Redistribution,
}

/// Who published a dataset, under which name, and how to cite it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The institution that publishes.
    pub provider: String,
    /// The dataset's title as the provider gives it.
    pub title: String,
    /// The sentence to cite it by.
    pub citation: String,
    /// The page that describes it.
    pub landing_page: Option<String>,
    /// Its licence.
    pub licence: Licence,
}
