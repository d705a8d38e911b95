//! Names: parsed once where they enter, then carried as types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest identifier in bytes; S3 keys and Postgres (63) are happy with it.
pub const IDENT_BYTES_MAX: usize = 63;

/// A column, table or namespace name: `[a-z_][a-z0-9_]*`, at most [`IDENT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ident(Box<str>);

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text breaks the form of an identifier.
    #[error("`{text}` is not a name: use a to z, 0 to 9 and `_`, not starting with a digit, at most 63 bytes")]
    Ident {
        /// The text as given, shortened to 80 characters.
        text: String,
    },
    /// The text is not `namespace.table`.
    #[error("`{text}` is not a table name: write `namespace.table`")]
    Table {
        /// The text as given, shortened to 80 characters.
        text: String,
    },
}

impl Ident {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name from any text a provider uses for a column: lower case, everything else to `_`,
    /// runs of `_` folded, a leading digit prefixed with `_`, cut to [`IDENT_BYTES_MAX`] bytes.
    /// Deterministic; never empty (`column` stands for a text without any letter or digit).
    pub fn from_source(text: &str) -> Self {
        let mut name = String::new();
        for character in text.trim().chars() {
            for lower in character.to_lowercase() {
                let plain = transliterate(lower);
                if plain.is_empty() {
                    if !name.ends_with('_') && !name.is_empty() {
                        name.push('_');
                    }
                } else {
                    name.push_str(&plain);
                }
            }
        }
        let mut name = name.trim_end_matches('_').to_owned();
        if name.is_empty() {
            name.push_str("column");
        }
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            name.insert(0, '_');
        }
        name.truncate(IDENT_BYTES_MAX);
        Self(name.into_boxed_str())
    }
}

/// Latin letters with marks lose them, Bulgarian Cyrillic follows the country's 2009 transliteration law,
/// ASCII letters and digits stay, everything else is empty.
fn transliterate(lower: char) -> String {
    let text = match lower {
        'a'..='z' | '0'..='9' => return lower.to_string(),
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'é' | 'è' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'í' | 'ì' | 'î' | 'ï' | 'ī' | 'į' | 'ı' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' | 'ō' | 'ő' => "o",
        'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ţ' | 'ț' => "t",
        'ú' | 'ù' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ž' | 'ż' => "z",
        'а' => "a",
        'б' => "b",
        'в' => "v",
        'г' => "g",
        'д' => "d",
        'е' => "e",
        'ж' => "zh",
        'з' => "z",
        'и' => "i",
        'й' => "y",
        'к' => "k",
        'л' => "l",
        'м' => "m",
        'н' => "n",
        'о' => "o",
        'п' => "p",
        'р' => "r",
        'с' => "s",
        'т' => "t",
        'у' => "u",
        'ф' => "f",
        'х' => "h",
        'ц' => "ts",
        'ч' => "ch",
        'ш' => "sh",
        'щ' => "sht",
        'ъ' => "a",
        'ь' => "y",
        'ю' => "yu",
        'я' => "ya",
        _ => "",
    };
    text.to_owned()
}

impl FromStr for Ident {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let first_is_right = bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
        let rest_is_right = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if first_is_right && rest_is_right && text.len() <= IDENT_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Ident { text: shortened(text) })
        }
    }
}

impl TryFrom<String> for Ident {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Ident> for String {
    fn from(name: Ident) -> Self {
        name.0.into_string()
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `namespace.table`, for instance `worldbank.gdp_per_capita`. The name of a pipeline is the name of its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    /// The folder in `pipelines/`, the schema in SQL.
    pub namespace: Ident,
    /// The file's stem in `pipelines/`, the table in SQL.
    pub table: Ident,
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((namespace, table)) = text.split_once('.') else {
            return Err(NameError::Table { text: shortened(text) });
        };
        Ok(Self { namespace: namespace.parse()?, table: table.parse()? })
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.namespace, self.table)
    }
}

/// Names one execution of a pipeline; a UUID v7 as text, so that ids sort by start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_texts_become_names() {
        for (source, name) in [
            ("Country Name", "country_name"),
            ("geo\\TIME_PERIOD", "geo_time_period"),
            ("2010 [YR2010]", "_2010_yr2010"),
            ("Област", "oblast"),
            ("% of GDP", "of_gdp"),
            ("  ", "column"),
            ("Año", "ano"),
        ] {
            assert_eq!(Ident::from_source(source).as_str(), name, "{source}");
        }
    }

    #[test]
    fn bad_names_are_refused_by_name() {
        assert!("Gdp".parse::<Ident>().is_err());
        assert!("1gdp".parse::<Ident>().is_err());
        assert!("".parse::<Ident>().is_err());
        assert!("../x.y".parse::<TableName>().is_err());
        assert_eq!("a.b".parse::<TableName>().unwrap().to_string(), "a.b");
    }
}
