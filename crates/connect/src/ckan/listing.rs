//! What a portal says about its datasets and their resources.

use hambar_fetch::{Fetcher, Landed, Request};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use url::Url;

use super::spec::SEARCH_ROWS_MAX;
use crate::body;
use crate::client::Client;
use crate::error::ConnectError;

/// Bytes of one catalogue answer.
const CATALOGUE_BYTES_MAX: u64 = 64 * hambar_core::limits::MIB;
/// Datasets that one listing holds in memory.
pub const DATASETS_MAX: u64 = 50_000;

/// A dataset of a portal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PortalDataset {
    /// Its id.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its name in addresses.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Its title.
    #[serde(default, deserialize_with = "text")]
    pub title: String,
    /// Its description.
    #[serde(default, deserialize_with = "text")]
    pub notes: String,
    /// The portal's id of its licence.
    #[serde(default, deserialize_with = "text")]
    pub license_id: String,
    /// Its licence in words.
    #[serde(default, deserialize_with = "text")]
    pub license_title: String,
    /// When its description changed last.
    #[serde(default, deserialize_with = "text")]
    pub metadata_modified: String,
    /// Its files and tables.
    #[serde(default)]
    pub resources: Vec<PortalResource>,
}

/// A file or table of a dataset. Texts are empty where the portal says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PortalResource {
    /// Its id.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// Its format, as the portal spells it.
    #[serde(default, deserialize_with = "text")]
    pub format: String,
    /// Its address.
    #[serde(default, deserialize_with = "text")]
    pub url: String,
    /// When it changed last.
    #[serde(default, deserialize_with = "text")]
    pub last_modified: String,
    /// Its digest; which one, only its length tells.
    #[serde(default, deserialize_with = "text")]
    pub hash: String,
    /// Whether its rows are in the datastore.
    #[serde(default, deserialize_with = "truth")]
    pub datastore_active: bool,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Json::deserialize(deserializer)? {
        Json::String(text) => text,
        Json::Number(number) => number.to_string(),
        Json::Bool(truth) => truth.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => String::new(),
    })
}

fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Json::deserialize(deserializer)? {
        Json::Bool(truth) => truth,
        Json::String(text) => text.eq_ignore_ascii_case("true"),
        Json::Null | Json::Number(_) | Json::Array(_) | Json::Object(_) => false,
    })
}

/// The address of an action.
pub(crate) fn action(portal: &str, api_path: &str, name: &str) -> Result<Url, ConnectError> {
    let text = format!("{}{}/{name}", portal.trim_end_matches('/'), api_path.trim_end_matches('/'));
    body::web_url(&text).map_err(|what| ConnectError::Setting { setting: "portal".to_owned(), what })
}

/// Sends an action and returns its `result`. CKAN reports errors in the body, often with 404 or 409.
pub(crate) async fn ask(client: &Client, fetch: &Fetcher, url: Url) -> Result<Json, ConnectError> {
    let mut request = Request::get(url);
    request.headers.push(("accept".to_owned(), "application/json".to_owned()));
    request.body_bytes_max = Some(CATALOGUE_BYTES_MAX);
    request.accept_status = vec![400, 403, 404, 409];
    let landed = client.fresh(fetch, request).await?;
    result_of(&landed).await
}

async fn result_of(landed: &Landed) -> Result<Json, ConnectError> {
    let url = landed.meta.url.clone();
    let status = landed.meta.status.unwrap_or(200);
    let mut answer = match body::read_json(landed, CATALOGUE_BYTES_MAX).await {
        Ok(answer) => answer,
        Err(ConnectError::Protocol { .. }) if status != 200 => {
            let text = "the body is no JSON".to_owned();
            return Err(ConnectError::Reported { url, code: status.to_string(), text });
        }
        Err(error) => return Err(error),
    };
    if answer.get("success") == Some(&Json::Bool(true)) {
        return Ok(answer["result"].take());
    }
    let words = |place: &str| answer.pointer(place).and_then(Json::as_str).map(|text| text.chars().take(500).collect());
    let text = words("/error/message").or_else(|| words("/error")).unwrap_or_else(|| "no text".to_owned());
    let code: String = words("/error/__type").unwrap_or_else(|| format!("status {status}"));
    Err(ConnectError::Reported { url, code, text })
}

/// Asks a portal for one dataset, by name or id.
pub(crate) async fn package_show(
    client: &Client,
    (portal, api_path): (&str, &str),
    dataset: &str,
    fetch: &Fetcher,
) -> Result<(PortalDataset, String), ConnectError> {
    let mut url = action(portal, api_path, "package_show")?;
    url.query_pairs_mut().append_pair("id", dataset);
    let address = url.to_string();
    let result = ask(client, fetch, url).await?;
    let dataset = serde_json::from_value(result)
        .map_err(|error| ConnectError::Protocol { url: address.clone(), what: format!("at `/result`: {error}") })?;
    Ok((dataset, address))
}

/// Asks a portal for one dataset, by name or id.
///
/// # Errors
/// [`ConnectError::Reported`] where the portal does not know it; whatever an address answers that is no portal.
pub async fn show_dataset(portal: &str, dataset: &str, fetch: &Fetcher) -> Result<PortalDataset, ConnectError> {
    package_show(&Client::anonymous(), (portal, "/api/3/action"), dataset, fetch).await.map(|(dataset, _)| dataset)
}

/// Lists the datasets of a portal; `filter` is in Solr syntax (`organization:who`). The number of datasets is compared
/// with what the portal announces.
///
/// # Errors
/// [`ConnectError::Incomplete`] where datasets are missing, [`ConnectError::Limit`] beyond [`DATASETS_MAX`].
pub async fn list_datasets(
    portal: &str,
    filter: Option<&str>,
    fetch: &Fetcher,
) -> Result<Vec<PortalDataset>, ConnectError> {
    let client = Client::anonymous();
    let mut datasets: Vec<PortalDataset> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    let mut announced = None;
    loop {
        let mut url = action(portal, "/api/3/action", "package_search")?;
        url.query_pairs_mut()
            .append_pair("sort", "id asc")
            .append_pair("rows", &SEARCH_ROWS_MAX.to_string())
            .append_pair("start", &datasets.len().to_string());
        if let Some(filter) = filter {
            url.query_pairs_mut().append_pair("fq", filter);
        }
        let address = url.to_string();
        let protocol = |what: String| ConnectError::Protocol { url: address.clone(), what };
        let mut result = ask(&client, fetch, url).await?;
        let count = result["count"].as_u64().ok_or_else(|| protocol("no number at `/result/count`".to_owned()))?;
        if count > DATASETS_MAX {
            return Err(ConnectError::Limit { url: address, limit: "datasets of a listing", value: DATASETS_MAX });
        }
        let incomplete = |received: String| ConnectError::Incomplete {
            url: address.clone(),
            announced: format!("{count} datasets"),
            received,
        };
        if *announced.get_or_insert(count) != count {
            return Err(incomplete("another number on an earlier page: the portal changed meanwhile".to_owned()));
        }
        let page: Vec<PortalDataset> = serde_json::from_value(result["results"].take())
            .map_err(|error| protocol(format!("at `/result/results`: {error}")))?;
        if page.is_empty() && (datasets.len() as u64) < count {
            return Err(incomplete(format!("{} datasets", datasets.len())));
        }
        for dataset in page {
            if !known.insert(dataset.id.clone()) {
                return Err(ConnectError::Loop {
                    url: address,
                    page: datasets.len() as u64 / SEARCH_ROWS_MAX + 1,
                    what: format!("dataset `{}`", dataset.name),
                });
            }
            datasets.push(dataset);
        }
        if datasets.len() as u64 >= count {
            return Ok(datasets);
        }
    }
}
