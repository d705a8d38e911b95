//! One text for a cell that holds several values or a text in several languages, the way SDMX-CSV 2.0 writes them, so
//! that all three formats give the same cell: `A;F`, `en:Gross;fr:Brut`.

/// Joins values with `;`. One of several that holds `;` or `"` is put in quotes.
pub(super) fn join_values(values: &[String]) -> String {
    if let [only] = values {
        return only.clone();
    }
    let quoted = values.iter().map(|value| {
        if value.contains([';', '"']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.clone() }
    });
    quoted.collect::<Vec<_>>().join(";")
}

/// Joins one text in several languages; a single text stays without its language.
pub(super) fn join_languages(texts: &[(String, String)]) -> String {
    if let [(_, only)] = texts {
        return only.clone();
    }
    let each: Vec<String> = texts.iter().map(|(language, text)| format!("{language}:{text}")).collect();
    join_values(&each)
}
