//! Opens `s3://` stores. Unlike `object_store`'s own opening by URL, an unknown option is an error, and certificate
//! authorities of one's own can be trusted.

use std::collections::BTreeMap;

use hambar_core::{Chain, StoreError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStoreScheme};
use url::Url;

/// Option of [`crate::Lake::open`]: certificate authorities in PEM that are trusted besides the system's.
pub const OPTION_CA_CERTIFICATES: &str = "ca_certificates";

/// Opens the bucket that `url` names and returns the prefix in it.
pub(crate) fn open(
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<(object_store::aws::AmazonS3, Path), StoreError> {
    let unfit = |what: String| StoreError::Unfit { url: url.to_string(), what };
    let (_, prefix) = ObjectStoreScheme::parse(url).map_err(|error| unfit(format!("it cannot be opened: {error}")))?;
    // An error means that a provider is installed already. Every process that reads a store comes through here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = ClientOptions::new();
    if let Some(pem) = options.get(OPTION_CA_CERTIFICATES) {
        let authorities = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| unfit(format!("its certificate authorities cannot be read: {}", Chain(&error))))?;
        if authorities.is_empty() {
            return Err(unfit("the file of its certificate authorities holds none".to_owned()));
        }
        for authority in authorities {
            client = client.with_root_certificate(authority);
        }
    }
    // The client's options first: those that have names are added to them.
    let mut builder = AmazonS3Builder::new().with_client_options(client).with_url(url.as_str());
    for (name, value) in options.iter().filter(|(name, _)| name.as_str() != OPTION_CA_CERTIFICATES) {
        let key: AmazonS3ConfigKey = name
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| unfit(format!("`{name}` is not an option of object stores (see docs/configuration.md)")))?;
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| unfit(format!("it cannot be opened: {}", Chain(&error))))?;
    Ok((store, prefix))
}
