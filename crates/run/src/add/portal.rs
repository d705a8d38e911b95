//! CKAN portals: what an address on one means, and the pipelines for its catalogue, a file, or a table of its
//! datastore. Pure.

use hambar_connect::ckan::{PortalDataset, PortalResource};
use url::Url;

use super::{Conclusion, quoted};

/// File formats that can be read, as portals spell them.
const READABLE: [&str; 17] = [
    "csv", "tsv", "txt", "json", "geojson", "ndjson", "jsonl", "parquet", "arrow", "xlsx", "xls", "ods", "zip", "gz",
    "excel", "csv.zip", "tab",
];

/// What an address on a CKAN portal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CkanAddress {
    /// The portal's list of datasets.
    Catalogue {
        /// The portal.
        portal: String,
    },
    /// A dataset, or one of its resources.
    Dataset {
        /// The portal.
        portal: String,
        /// The dataset's name or id.
        dataset: String,
        /// The resource's id.
        resource: Option<String>,
    },
    /// A table of the datastore.
    Datastore {
        /// The portal.
        portal: String,
        /// The resource's id.
        resource: String,
    },
}

/// Reads an address the way CKAN makes them. Only the portal itself can say whether it is one.
pub fn ckan_address(url: &Url) -> Option<CkanAddress> {
    let origin = url.origin().ascii_serialization();
    let path = url.path();
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if let Some((before, action)) = path.split_once("/api/3/action/").or_else(|| path.split_once("/api/action/")) {
        let portal = format!("{origin}{}", before.trim_end_matches('/'));
        return match action.trim_matches('/') {
            "package_show" => Some(CkanAddress::Dataset { portal, dataset: parameter("id")?, resource: None }),
            "datastore_search" => Some(CkanAddress::Datastore { portal, resource: parameter("resource_id")? }),
            "package_search" | "package_list" | "current_package_list_with_resources" => {
                Some(CkanAddress::Catalogue { portal })
            }
            _ => None,
        };
    }
    let (before, rest) = path.split_once("/dataset/")?;
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let (dataset, resource) = match parts.as_slice() {
        [dataset] => (*dataset, None),
        [dataset, "resource", resource, ..] => (*dataset, Some((*resource).to_owned())),
        _ => return None,
    };
    // Behind a language there is the same portal: `/en/dataset/…`.
    let before = match before.trim_matches('/') {
        language if language.len() == 2 => "",
        _ => before,
    };
    Some(CkanAddress::Dataset { portal: format!("{origin}{before}"), dataset: dataset.to_owned(), resource })
}

/// Says whether a resource is of a kind that can be read, as far as the portal's word goes.
pub fn is_readable(resource: &PortalResource) -> bool {
    let format = resource.format.trim().trim_start_matches('.').to_ascii_lowercase();
    let path = resource.url.split(['?', '#']).next().unwrap_or_default();
    let ending =
        path.rsplit('/').next().and_then(|file| file.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    READABLE.contains(&format.as_str())
        || (format.is_empty() && ending.is_some_and(|ending| READABLE.contains(&ending.as_str())))
}

/// The pipeline file of a portal's catalogue: one row for each dataset. The columns are CKAN's own, so that they do not
/// depend on which datasets come first.
pub fn ckan_listing(portal: &str, filter: Option<&str>, datasets: usize, licence: Option<&str>) -> String {
    let mut text = format!(
        "# The datasets of {portal}, {datasets} when this was written. Please review the licence of the catalogue itself.\nversion = 1\n"
    );
    text.push_str("# What a portal adds to a dataset's description beyond these columns is left out.\nignore = [\"*\"]\n\n[source]\nkind = \"ckan\"\n");
    text.push_str(&format!("portal = {}\nread = \"datasets\"\n", quoted(portal)));
    if let Some(filter) = filter {
        text.push_str(&format!("filter = {}\n", quoted(filter)));
    }
    text.push_str("\n[format]\nkind = \"json\"\n");
    for (name, kind, more) in [
        ("id", "string", "required = true\n"),
        ("name", "string", ""),
        ("title", "string", ""),
        ("notes", "string", ""),
        ("license_id", "string", ""),
        ("license_title", "string", ""),
        ("metadata_created", "string", ""),
        ("metadata_modified", "string", ""),
        ("num_resources", "int64", ""),
    ] {
        text.push_str(&format!("\n[[columns]]\nname = \"{name}\"\ntype = \"{kind}\"\n{more}"));
    }
    let host = portal.split("://").nth(1).unwrap_or(portal);
    text.push_str("\n[write]\nmode = \"snapshot\"\nkey = [\"id\"]\n\n[origin]\n");
    text.push_str(&format!("provider = {}\ntitle = {}\n", quoted(host), quoted(&format!("Datasets of {host}"))));
    text.push_str(&format!(
        "citation = {}\nlanding_page = {}\n",
        quoted(&format!("{host}, catalogue")),
        quoted(portal)
    ));
    text.push_str("# Read the portal's terms; `hambar check` fails until this is filled in.\n");
    text.push_str(&format!("licence = {}\nredistribution = \"forbidden\"\n", quoted(licence.unwrap_or_default())));
    text
}

/// How a file of a dataset is asked for.
pub fn dataset_file(portal: &str, dataset: &PortalDataset, resource: &PortalResource) -> Conclusion {
    let source = vec![
        "kind = \"ckan\"".to_owned(),
        format!("portal = {}", quoted(portal)),
        "read = \"files\"".to_owned(),
        format!("dataset = {}", quoted(&dataset.name)),
        format!("resource = {{ id = {} }}", quoted(&resource.id)),
    ];
    let reasons = vec![
        format!("{portal} is a CKAN portal: it knows the dataset `{}`", dataset.name),
        format!("its resource `{}` ({}) is a file at {}", resource.name, resource.format, resource.url),
    ];
    Conclusion { source, comment: Some(licence_words(dataset)), reasons, warnings: Vec::new() }
}

/// How a table of the datastore is asked for.
pub fn datastore(portal: &str, resource: &str) -> Conclusion {
    let source = vec![
        "kind = \"ckan\"".to_owned(),
        format!("portal = {}", quoted(portal)),
        "read = \"datastore\"".to_owned(),
        format!("resource_id = {}", quoted(resource)),
    ];
    let reasons = vec![
        format!("{portal} is a CKAN portal: `{resource}` is a table of its datastore"),
        "types are those of its first rows; the others are asked for page by page, up to the announced total"
            .to_owned(),
    ];
    Conclusion { source, reasons, ..Conclusion::default() }
}

fn licence_words(dataset: &PortalDataset) -> String {
    match (dataset.license_title.as_str(), dataset.license_id.as_str()) {
        ("", "") => "The portal says nothing about the licence.".to_owned(),
        (title, id) => format!("The portal says: licence `{title}` (`{id}`)."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let dataset = |portal: &str, dataset: &str, resource: Option<&str>| CkanAddress::Dataset {
            portal: portal.to_owned(),
            dataset: dataset.to_owned(),
            resource: resource.map(str::to_owned),
        };
        let store = |portal: &str, resource: &str| CkanAddress::Datastore {
            portal: portal.to_owned(),
            resource: resource.to_owned(),
        };
        for (url, expected) in [
            ("https://a.org/dataset/rain", Some(dataset("https://a.org", "rain", None))),
            ("https://a.org/en/dataset/rain", Some(dataset("https://a.org", "rain", None))),
            ("https://a.org/data/dataset/rain/resource/7-8", Some(dataset("https://a.org/data", "rain", Some("7-8")))),
            ("https://a.org/dataset/r/resource/7/download/x.csv", Some(dataset("https://a.org", "r", Some("7")))),
            ("https://a.org//api/3/action/package_show?id=rain", Some(dataset("https://a.org", "rain", None))),
            ("https://a.org/api/3/action/datastore_search?resource_id=7&limit=5", Some(store("https://a.org", "7"))),
            (
                "https://a.org/api/action/package_search?q=x",
                Some(CkanAddress::Catalogue { portal: "https://a.org".to_owned() }),
            ),
            ("https://a.org/api/3/action/datastore_search", None),
            ("https://a.org/dataset/rain/edit", None),
            ("https://a.org/files/x.csv", None),
        ] {
            assert_eq!(ckan_address(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn readable_resources_are_known_by_format_or_ending() {
        let resource = |format: &str, url: &str| {
            let text = serde_json::json!({ "format": format, "url": url });
            serde_json::from_value::<PortalResource>(text).unwrap()
        };
        for (format, url, expected) in [
            ("CSV", "", true),
            (".XLSX", "", true),
            ("", "https://a.org/x.csv?y=1", true),
            ("PDF", "https://a.org/x.csv", false),
            ("", "https://a.org/x", false),
            ("HTML", "https://a.org/", false),
        ] {
            assert_eq!(is_readable(&resource(format, url)), expected, "{format} {url}");
        }
    }
}
