//! What an SDMX-ML header declares of the structures of its data sets, and which attributes of a data set are no cells.

use super::xml::{Tag, attribute, attributes};

/// Structures that a header may declare.
const HEADER_STRUCTURES_MAX: usize = 1_000;

/// What the header says of one structure.
#[derive(Debug, Default)]
pub(super) struct HeaderStructure {
    pub(super) id: String,
    pub(super) dimension_at_observation: String,
    pub(super) has_explicit_measures: bool,
}

/// Takes a `Structure` element of the header.
pub(super) fn declare(structures: &mut Vec<HeaderStructure>, tag: &Tag<'_>) -> Result<(), String> {
    if structures.len() >= HEADER_STRUCTURES_MAX {
        return Err(format!("more than {HEADER_STRUCTURES_MAX} structures in the header"));
    }
    let dimension = attribute(tag, "dimensionAtObservation")?;
    structures.push(HeaderStructure {
        id: attribute(tag, "structureID")?.unwrap_or_default(),
        dimension_at_observation: dimension.unwrap_or_else(|| "TIME_PERIOD".to_owned()),
        has_explicit_measures: attribute(tag, "explicitMeasures")?.as_deref() == Some("true"),
    });
    Ok(())
}

/// Unprefixed attributes of `DataSet` that describe it and are no cells.
pub(super) const DATA_SET_PROPERTIES: &[&str] = &[
    "xmlns",
    "action",
    "structureRef",
    "dataScope",
    "setID",
    "datasetID",
    "keyFamilyURI",
    "type",
    "validFromDate",
    "validToDate",
    "reportingBeginDate",
    "reportingEndDate",
    "publicationYear",
    "publicationPeriod",
    "isMetadataSet",
    "dataProviderID",
    "dataProviderSchemeAgencyId",
    "dataProviderSchemeID",
    "dataflowAgencyID",
    "dataflowID",
];

/// Names the cells of a 3.0 `Atts` element: those with the same ones have the same key.
pub(super) fn attribute_names(tag: &Tag<'_>) -> Result<String, String> {
    let mut names = String::from("Atts");
    attributes(tag, |key, _| {
        names.push(' ');
        names.push_str(key);
        Ok(())
    })?;
    Ok(names)
}
