//! What licences ask for, and what they ask of something that is made from several inputs. Only licences in the table
//! of [`known`] are judged: the duties of any other are said to be unknown, never guessed. None of this is legal advice.

mod known;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::origin::Redistribution;
pub use known::{KNOWN, KnownLicence, known};

/// What a licence asks of whoever passes on the work, or something made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Name the source.
    Attribution,
    /// Pass on what is made from it under the same licence only.
    ShareAlike,
    /// Do not use it commercially.
    NonCommercial,
    /// Do not pass on what is made from it.
    NoDerivatives,
    /// Do not pass it on at all.
    NoRedistribution,
}

impl Duty {
    /// Returns the duty's name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attribution => "attribution",
            Self::ShareAlike => "share-alike",
            Self::NonCommercial => "non-commercial",
            Self::NoDerivatives => "no-derivatives",
            Self::NoRedistribution => "no-redistribution",
        }
    }
}

/// One input of something derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LicensedInput<'a> {
    /// Its name in what is said.
    pub name: &'a str,
    /// Its licence, where one is declared.
    pub licence: Option<&'a str>,
    /// Whether its values may be given to people outside the cluster.
    pub redistribution: Redistribution,
}

/// Whether something derived may be given to people outside the cluster, under the duties said beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassingOn {
    /// It may.
    Allowed,
    /// An input forbids it, or two of them contradict each other.
    Forbidden,
    /// The terms of an input are not known here: read them.
    Unknown,
}

impl PassingOn {
    /// Returns the word that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Forbidden => "forbidden",
            Self::Unknown => "unknown",
        }
    }
}

/// The terms of something that is made from several inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedTerms {
    /// The licence that it must carry, or the only one of its inputs; absent where no single one follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub licence: Option<String>,
    /// The duties of all inputs together.
    pub duties: BTreeSet<Duty>,
    /// Whether it may be passed on.
    pub passing_on: PassingOn,
    /// Licences whose duties are not known here, with the inputs that have them; an input without any is under `none declared`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unknown: BTreeMap<String, BTreeSet<String>>,
    /// Why inputs may not be passed on together.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conflicts: Vec<String>,
}

/// Stands for the licence of an input that has none.
const NONE_DECLARED: &str = "none declared";

/// Works out the terms of what is made from `inputs`, taken to be an adaptation of each. The order does not matter.
pub fn derive(inputs: &[LicensedInput<'_>]) -> DerivedTerms {
    let mut duties = BTreeSet::new();
    let mut unknown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Each licence once, with the first input by name that has it.
    let mut judged: BTreeMap<&'static str, (&'static KnownLicence, &str)> = BTreeMap::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for input in inputs {
        if input.redistribution == Redistribution::Forbidden {
            duties.insert(Duty::NoRedistribution);
        }
        let declared = input.licence.unwrap_or(NONE_DECLARED);
        let Some(licence) = known(declared) else {
            named.insert(declared);
            unknown.entry(declared.to_owned()).or_default().insert(input.name.to_owned());
            continue;
        };
        named.insert(licence.spdx);
        duties.extend(licence.duties);
        let first = judged.entry(licence.spdx).or_insert((licence, input.name));
        first.1 = first.1.min(input.name);
    }
    let judged: Vec<(&KnownLicence, &str)> = judged.into_values().collect();
    let conflicts = conflicts(&judged);
    let passing_on = passing_on(&duties, &conflicts, &unknown, named.len());
    let licence = result_licence(&judged, &named, &conflicts, &unknown);
    DerivedTerms { licence, duties, passing_on, unknown, conflicts }
}

fn conflicts(judged: &[(&KnownLicence, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, one) in judged.iter().enumerate() {
        for other in &judged[index + 1..] {
            found.extend(conflict(*one, *other));
        }
    }
    found
}

/// Why what is made from these two may not be passed on.
fn conflict(one: (&KnownLicence, &str), other: (&KnownLicence, &str)) -> Option<String> {
    let said = |(licence, name): (&KnownLicence, &str)| format!("{} (`{name}`)", licence.spdx);
    if let Some((strict, free)) = either(one, other, |(licence, _)| licence.asks(Duty::NoDerivatives)) {
        return Some(format!("{} forbids passing on what is made from it and {}", said(strict), said(free)));
    }
    let shares = |licence: &KnownLicence| licence.asks(Duty::ShareAlike);
    if shares(one.0) && shares(other.0) {
        let is_same = one.0.family == other.0.family;
        return (!is_same).then(|| {
            format!("{} and {} each ask that the result be under itself and no other", said(one), said(other))
        });
    }
    let (sharing, rest) = either(one, other, |(licence, _)| shares(licence))?;
    let is_commercial = !sharing.0.asks(Duty::NonCommercial);
    (is_commercial && rest.0.asks(Duty::NonCommercial)).then(|| {
        format!("{} asks that the result be open to commercial use, which {} forbids", said(sharing), said(rest))
    })
}

type Judged<'a> = (&'a KnownLicence, &'a str);

/// The two with the one first that `holds` is true of.
fn either<'a>(
    one: Judged<'a>,
    other: Judged<'a>,
    holds: impl Fn(Judged<'a>) -> bool,
) -> Option<(Judged<'a>, Judged<'a>)> {
    if holds(one) {
        return Some((one, other));
    }
    holds(other).then_some((other, one))
}

fn passing_on(
    duties: &BTreeSet<Duty>,
    conflicts: &[String],
    unknown: &BTreeMap<String, BTreeSet<String>>,
    licences: usize,
) -> PassingOn {
    let is_forbidden = duties.contains(&Duty::NoRedistribution) || duties.contains(&Duty::NoDerivatives);
    if is_forbidden || !conflicts.is_empty() {
        return PassingOn::Forbidden;
    }
    // Somebody declared that the values of an input with terms of its own may be passed on; what those terms say to
    // its being mixed with others, nobody did.
    let is_open = !unknown.is_empty() && (licences > 1 || unknown.contains_key(NONE_DECLARED));
    if is_open { PassingOn::Unknown } else { PassingOn::Allowed }
}

fn result_licence(
    judged: &[(&KnownLicence, &str)],
    named: &BTreeSet<&str>,
    conflicts: &[String],
    unknown: &BTreeMap<String, BTreeSet<String>>,
) -> Option<String> {
    if named.len() == 1 {
        return named.first().filter(|name| **name != NONE_DECLARED).map(|name| (*name).to_owned());
    }
    if !conflicts.is_empty() || !unknown.is_empty() {
        return None;
    }
    // Of several versions of one family, the newest: earlier ones allow it, later ones do not allow the earlier.
    let sharing = judged.iter().filter(|(licence, _)| licence.asks(Duty::ShareAlike));
    let newest = sharing.max_by_key(|(licence, _)| licence.spdx).map(|(licence, _)| licence.spdx.to_owned());
    let is_free = judged.iter().all(|(licence, _)| licence.duties.is_empty());
    newest.or_else(|| (is_free && !judged.is_empty()).then(|| "CC0-1.0".to_owned()))
}

impl DerivedTerms {
    /// Returns the terms as one sentence for people.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        match (&self.licence, self.duties.is_empty(), self.unknown.is_empty()) {
            (Some(licence), ..) => parts.push(format!("licence {licence}")),
            (None, true, true) => parts.push("no input asks for anything".to_owned()),
            (None, ..) => parts.push("no single licence follows from the inputs".to_owned()),
        }
        if !self.duties.is_empty() {
            let names: Vec<&str> = self.duties.iter().map(|duty| duty.name()).collect();
            parts.push(format!("duties: {}", names.join(", ")));
        }
        for (licence, inputs) in &self.unknown {
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            parts.push(format!("the duties of {licence} ({}) are not known here", inputs.join(", ")));
        }
        parts.extend(self.conflicts.iter().cloned());
        parts.push(format!("passing on: {}", self.passing_on.name()));
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs are `name=licence`, with `!` at the end where redistribution is forbidden.
    fn check(inputs: &str, expected: &str) {
        let parsed: Vec<(&str, Option<&str>, Redistribution)> = inputs
            .split_whitespace()
            .map(|input| {
                let (input, redistribution) = match input.strip_suffix('!') {
                    Some(input) => (input, Redistribution::Forbidden),
                    None => (input, Redistribution::Allowed),
                };
                let (name, licence) = input.split_once('=').unwrap();
                (name, Some(licence).filter(|licence| !licence.is_empty()), redistribution)
            })
            .collect();
        let forward: Vec<LicensedInput<'_>> = parsed
            .iter()
            .map(|(name, licence, redistribution)| LicensedInput {
                name,
                licence: *licence,
                redistribution: *redistribution,
            })
            .collect();
        let backward: Vec<LicensedInput<'_>> = forward.iter().rev().copied().collect();
        assert_eq!(derive(&forward).sentence(), expected, "{inputs}");
        assert_eq!(derive(&forward), derive(&backward), "{inputs}");
    }

    #[test]
    fn the_terms_of_one_input_are_its_own() {
        check("a=CC0-1.0", "licence CC0-1.0; passing on: allowed");
        check("a=CC-BY-4.0", "licence CC-BY-4.0; duties: attribution; passing on: allowed");
        check("a=ODbL-1.0", "licence ODbL-1.0; duties: attribution, share-alike; passing on: allowed");
        check("a=CC-BY-ND-4.0", "licence CC-BY-ND-4.0; duties: attribution, no-derivatives; passing on: forbidden");
        check("a=CC-BY-4.0!", "licence CC-BY-4.0; duties: attribution, no-redistribution; passing on: forbidden");
    }

    #[test]
    fn what_is_not_known_is_said_and_not_guessed() {
        check(
            "a=LicenseRef-Eurostat",
            "licence LicenseRef-Eurostat; the duties of LicenseRef-Eurostat (a) are not known here; passing on: allowed",
        );
        check(
            "a=LicenseRef-Eurostat b=CC-BY-4.0",
            "no single licence follows from the inputs; duties: attribution; the duties of LicenseRef-Eurostat (a) are \
             not known here; passing on: unknown",
        );
        check(
            "a=",
            "no single licence follows from the inputs; the duties of none declared (a) are not known here; passing on: unknown",
        );
        check("a=CC-BY-9.9", "licence CC-BY-9.9; the duties of CC-BY-9.9 (a) are not known here; passing on: allowed");
    }

    #[test]
    fn duties_add_up_and_share_alike_wins() {
        check("a=CC0-1.0 b=PDDL-1.0", "licence CC0-1.0; passing on: allowed");
        check(
            "a=CC-BY-4.0 b=OGL-UK-3.0",
            "no single licence follows from the inputs; duties: attribution; passing on: allowed",
        );
        check(
            "a=CC-BY-4.0 b=CC-BY-SA-4.0",
            "licence CC-BY-SA-4.0; duties: attribution, share-alike; passing on: allowed",
        );
        check(
            "a=CC-BY-SA-3.0 b=CC-BY-SA-4.0",
            "licence CC-BY-SA-4.0; duties: attribution, share-alike; passing on: allowed",
        );
        check(
            "a=CC-BY-NC-4.0 b=CC-BY-NC-SA-4.0",
            "licence CC-BY-NC-SA-4.0; duties: attribution, share-alike, non-commercial; passing on: allowed",
        );
    }

    #[test]
    fn contradictions_are_said() {
        check(
            "a=ODbL-1.0 b=CC-BY-SA-4.0",
            "no single licence follows from the inputs; duties: attribution, share-alike; CC-BY-SA-4.0 (`b`) and \
             ODbL-1.0 (`a`) each ask that the result be under itself and no other; passing on: forbidden",
        );
        check(
            "a=CC-BY-NC-4.0 b=CC-BY-SA-4.0",
            "no single licence follows from the inputs; duties: attribution, share-alike, non-commercial; CC-BY-SA-4.0 \
             (`b`) asks that the result be open to commercial use, which CC-BY-NC-4.0 (`a`) forbids; passing on: forbidden",
        );
        check(
            "a=CC-BY-ND-4.0 b=CC0-1.0",
            "no single licence follows from the inputs; duties: attribution, no-derivatives; CC-BY-ND-4.0 (`a`) \
             forbids passing on what is made from it and CC0-1.0 (`b`); passing on: forbidden",
        );
    }

    #[test]
    fn nothing_is_free() {
        assert_eq!(derive(&[]).sentence(), "no input asks for anything; passing on: allowed");
    }
}
