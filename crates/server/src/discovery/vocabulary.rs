//! The words of the catalogue: namespaces, and the values of the European Union's lists that DCAT-AP asks for.

/// Namespaces with the prefixes under which they are written.
pub(super) const PREFIXES: [(&str, &str); 13] = [
    ("rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
    ("rdfs", "http://www.w3.org/2000/01/rdf-schema#"),
    ("xsd", "http://www.w3.org/2001/XMLSchema#"),
    ("dcat", "http://www.w3.org/ns/dcat#"),
    ("dcatap", "http://data.europa.eu/r5r/"),
    ("dct", "http://purl.org/dc/terms/"),
    ("foaf", "http://xmlns.com/foaf/0.1/"),
    ("vcard", "http://www.w3.org/2006/vcard/ns#"),
    ("skos", "http://www.w3.org/2004/02/skos/core#"),
    ("prov", "http://www.w3.org/ns/prov#"),
    ("adms", "http://www.w3.org/ns/adms#"),
    ("spdx", "http://spdx.org/rdf/terms#"),
    ("owl", "http://www.w3.org/2002/07/owl#"),
];

/// Media types as resources.
pub(super) const MEDIA_TYPES: &str = "https://www.iana.org/assignments/media-types/";
/// Kinds of files.
pub(super) const FILE_TYPES: &str = "http://publications.europa.eu/resource/authority/file-type/";
/// Who may have it.
pub(super) const ACCESS_RIGHTS: &str = "http://publications.europa.eu/resource/authority/access-right/";
/// For how long it will be there.
pub(super) const AVAILABILITY: &str = "http://publications.europa.eu/resource/authority/planned-availability/";
/// The list of themes.
pub(super) const THEMES: &str = "http://publications.europa.eu/resource/authority/data-theme";

/// The themes of the list with their names.
pub(super) const THEME_NAMES: [(&str, &str); 14] = [
    ("AGRI", "Agriculture, fisheries, forestry and food"),
    ("ECON", "Economy and finance"),
    ("EDUC", "Education, culture and sport"),
    ("ENER", "Energy"),
    ("ENVI", "Environment"),
    ("GOVE", "Government and public sector"),
    ("HEAL", "Health"),
    ("INTR", "International issues"),
    ("JUST", "Justice, legal system and public safety"),
    ("OP_DATPRO", "Provisional data"),
    ("REGI", "Regions and cities"),
    ("SOCI", "Population and society"),
    ("TECH", "Science and technology"),
    ("TRAN", "Transport"),
];

/// A form in which the rows of a table can be had: ending, media type, kind of file, name.
pub(super) const FORMS: [(&str, &str, &str, &str); 4] = [
    ("csv", "text/csv", "CSV", "CSV"),
    ("parquet", "application/vnd.apache.parquet", "PARQUET", "Apache Parquet"),
    ("ndjson", "application/x-ndjson", "JSON", "JSON, one object a line"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "XLSX", "Excel workbook"),
];

/// Returns the codes of the themes that a namespace may have.
pub fn theme_codes() -> impl Iterator<Item = &'static str> {
    THEME_NAMES.iter().map(|(code, _)| *code)
}
