//! What a session may set. A setting that would change nothing here can only be set to what holds anyway: nobody is told
//! that something is so when it is not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::refusal::Refusal;

/// The version that clients are told, so that they know which catalogue to expect.
const SERVER_VERSION: &str = concat!("15.0 (Hambar ", env!("CARGO_PKG_VERSION"), ")");
/// Bytes of a setting's value.
const VALUE_BYTES_MAX: usize = 1024;

/// What may be done with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Any value is kept and changes nothing but itself.
    Free,
    /// Only values that mean what holds anyway.
    Only(&'static [&'static str]),
    /// Nobody sets it.
    Told,
    /// A time in milliseconds, or with a unit; 0 is the server's own limit.
    Time,
}

/// Names, values at first, rules, and whether clients are told them when they connect.
const KNOWN: &[(&str, &str, Rule, bool)] = &[
    ("application_name", "", Rule::Free, true),
    ("bytea_output", "hex", Rule::Only(&["hex"]), false),
    ("client_encoding", "UTF8", Rule::Only(&["utf8", "utf-8", "unicode"]), true),
    ("client_min_messages", "notice", Rule::Free, false),
    ("DateStyle", "ISO, YMD", Rule::Only(&["iso", "iso, ymd", "iso, mdy", "iso, dmy", "ymd"]), true),
    ("default_transaction_isolation", "read committed", Rule::Only(&["read committed", "read uncommitted"]), false),
    ("default_transaction_read_only", "on", Rule::Only(&["on", "true", "yes", "1"]), true),
    ("extra_float_digits", "1", Rule::Free, false),
    ("idle_in_transaction_session_timeout", "0", Rule::Free, false),
    ("idle_session_timeout", "0", Rule::Free, false),
    ("in_hot_standby", "off", Rule::Told, true),
    ("integer_datetimes", "on", Rule::Told, true),
    ("IntervalStyle", "postgres", Rule::Only(&["postgres"]), true),
    ("is_superuser", "off", Rule::Told, true),
    ("lc_collate", "C", Rule::Told, false),
    ("lc_ctype", "C", Rule::Told, false),
    ("lock_timeout", "0", Rule::Free, false),
    ("max_identifier_length", "63", Rule::Told, false),
    ("row_security", "on", Rule::Only(&["on"]), false),
    // Tools set it to where they are at work. It completes no names here: one without its namespace is an error.
    ("search_path", "", Rule::Free, false),
    ("server_encoding", "UTF8", Rule::Told, true),
    ("server_version", SERVER_VERSION, Rule::Told, true),
    ("server_version_num", "150000", Rule::Told, false),
    ("session_authorization", "", Rule::Told, true),
    ("standard_conforming_strings", "on", Rule::Only(&["on", "true", "yes", "1"]), true),
    ("statement_timeout", "0", Rule::Time, false),
    ("synchronize_seqscans", "on", Rule::Free, false),
    ("TimeZone", "UTC", Rule::Only(&["utc", "gmt", "etc/utc", "z", "0", "+00", "+00:00", "zulu"]), true),
    ("transaction_isolation", "read committed", Rule::Only(&["read committed", "read uncommitted"]), false),
    ("transaction_read_only", "on", Rule::Only(&["on", "true", "yes", "1"]), false),
];

/// The settings of one session.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, String>,
    member: String,
}

fn known(name: &str) -> Option<(&'static str, &'static str, Rule)> {
    let found = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    found.map(|(name, first, rule, _)| (*name, *first, *rule))
}

fn unknown(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::new("42704", format!("there is no setting `{shown}` here"))
}

impl Settings {
    /// The settings of `member`'s session with what came along when it was opened. Drivers send there what the machine
    /// of their user is set to; what does not hold here is not taken over, and they are told what holds.
    pub(super) fn new(member: String, sent: &[(String, String)]) -> Self {
        let mut settings = Self { values: BTreeMap::new(), member };
        for (name, value) in sent {
            if name == "options" {
                settings.take_options(value);
            } else if let Err(refusal) = settings.set(name, Some(value)) {
                tracing::debug!(%name, code = refusal.code, "setting not taken over");
            }
        }
        settings
    }

    /// `-c name=value -c name=value`
    fn take_options(&mut self, options: &str) {
        for option in options.split("-c").map(str::trim) {
            if let Some((name, value)) = option.trim_start_matches('-').split_once('=') {
                let _ = self.set(name.trim(), Some(value.trim()));
            }
        }
    }

    /// Sets a setting; without a value, to what it was at first. Returns its name as clients know it.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<&'static str, Refusal> {
        let (name, _, rule) = known(name).ok_or_else(|| unknown(name))?;
        let Some(value) = value.filter(|value| !value.eq_ignore_ascii_case("default")) else {
            self.values.remove(name);
            return Ok(name);
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(Refusal::new("22023", format!("`{name}` has more than {VALUE_BYTES_MAX} bytes")));
        }
        match rule {
            Rule::Told => return Err(Refusal::new("55P02", format!("`{name}` cannot be set"))),
            Rule::Only(allowed) => {
                if !allowed.contains(&value.trim().to_lowercase().as_str()) {
                    let holds = self.get(name).unwrap_or_default();
                    let shown: String = value.chars().take(64).collect();
                    let refusal = Refusal::new("0A000", format!("`{name}` cannot be `{shown}` here"));
                    return Err(refusal.hint(format!("it is `{holds}`")));
                }
                return Ok(name);
            }
            Rule::Time => {
                milliseconds(value).ok_or_else(|| Refusal::new("22023", format!("`{name}` is not a time")))?;
            }
            Rule::Free => {}
        }
        self.values.insert(name, value.to_owned());
        Ok(name)
    }

    /// Sets everything to what it was at first.
    pub(super) fn reset(&mut self) {
        self.values.clear();
    }

    pub(super) fn get(&self, name: &str) -> Result<String, Refusal> {
        let (name, first, _) = known(name).ok_or_else(|| unknown(name))?;
        if name == "session_authorization" {
            return Ok(self.member.clone());
        }
        Ok(self.values.get(name).cloned().unwrap_or_else(|| first.to_owned()))
    }

    /// Returns what clients are told when they connect, and whenever it changes.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let told = KNOWN.iter().filter(|(.., is_told)| *is_told);
        told.map(|(name, ..)| (*name, self.get(name).unwrap_or_default())).collect()
    }

    /// Says whether clients are told when it changes.
    pub(super) fn is_told(name: &str) -> bool {
        KNOWN.iter().any(|(known, .., is_told)| *known == name && *is_told)
    }

    /// Returns the time that a statement may take, where the session has set one.
    pub(super) fn statement_time_max(&self) -> Option<Duration> {
        let value = self.values.get("statement_timeout")?;
        milliseconds(value).filter(|time| !time.is_zero())
    }
}

/// `500`, `500ms`, `2s`, `1min`, `1h`
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let length = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(length);
    let count: u64 = digits.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(count.checked_mul(factor)?))
}

#[cfg(test)]
mod tests {
    use hambar_query::POSTGRES_SETTINGS;

    use super::*;

    #[test]
    fn settings_are_those_of_the_catalogue() {
        for (name, value) in POSTGRES_SETTINGS {
            match known(name) {
                Some((known, first, _)) => assert_eq!((known, first), (name, value)),
                None => assert_eq!(name, "default_table_access_method"),
            }
        }
    }

    #[test]
    fn only_what_holds_can_be_set() {
        let mut settings = Settings::new("tests/ana".to_owned(), &[("TimeZone".to_owned(), "Europe/Sofia".to_owned())]);
        assert_eq!(settings.get("timezone").unwrap(), "UTC");
        assert_eq!(settings.set("timezone", Some("Europe/Sofia")).unwrap_err().code, "0A000");
        assert!(settings.set("TIMEZONE", Some("utc")).is_ok());
        assert_eq!(settings.set("is_superuser", Some("on")).unwrap_err().code, "55P02");
        assert_eq!(settings.set("datafusion.runtime.memory_limit", Some("1K")).unwrap_err().code, "42704");
        assert_eq!(settings.get("session_authorization").unwrap(), "tests/ana");
        assert!(settings.set("application_name", Some("x")).is_ok());
        assert_eq!(settings.get("Application_Name").unwrap(), "x");
        settings.reset();
        assert_eq!(settings.get("application_name").unwrap(), "");
    }

    #[test]
    fn times_have_units() {
        let mut settings =
            Settings::new(String::new(), &[("options".to_owned(), "-c statement_timeout=2s".to_owned())]);
        assert_eq!(settings.statement_time_max(), Some(Duration::from_secs(2)));
        for (text, wanted) in [("500", Some(500)), ("1min", Some(60_000)), ("0", None)] {
            settings.set("statement_timeout", Some(text)).unwrap();
            assert_eq!(settings.statement_time_max(), wanted.map(Duration::from_millis));
        }
        for wrong in ["-1", "x", "5 days", "99999999999999999999"] {
            assert!(settings.set("statement_timeout", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
