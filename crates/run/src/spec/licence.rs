//! The form of a licence identifier: one of the SPDX identifiers that data is published under, or `LicenseRef-…`.

use super::problem::nearest;

/// The identifiers of <https://spdx.org/licenses/> that open data and its software come under.
const KNOWN: &[&str] = &[
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "C-UDA-1.0",
    "CC-BY-1.0",
    "CC-BY-2.0",
    "CC-BY-2.5",
    "CC-BY-3.0",
    "CC-BY-3.0-DE",
    "CC-BY-3.0-IGO",
    "CC-BY-3.0-US",
    "CC-BY-4.0",
    "CC-BY-NC-3.0",
    "CC-BY-NC-3.0-IGO",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-3.0",
    "CC-BY-NC-SA-3.0-IGO",
    "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-3.0-IGO",
    "CC-BY-SA-4.0",
    "CC-PDDC",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "DL-DE-BY-2.0",
    "DL-DE-ZERO-2.0",
    "etalab-2.0",
    "EUPL-1.2",
    "GFDL-1.3-only",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "IODL-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "NLOD-1.0",
    "NLOD-2.0",
    "ODbL-1.0",
    "ODC-By-1.0",
    "OGL-Canada-2.0",
    "OGL-UK-1.0",
    "OGL-UK-2.0",
    "OGL-UK-3.0",
    "OGC-1.0",
    "PDDL-1.0",
    "TU-Berlin-1.0",
    "Unlicense",
];

/// Returns what is wrong with `licence` and how to mend it, if anything is.
pub(super) fn licence_problem(licence: &str) -> Option<(String, String)> {
    let own = "or `LicenseRef-` and a name for the provider's own terms, for instance `LicenseRef-WorldBank-Terms`";
    if licence.is_empty() {
        let help = format!("read the provider's terms and write the SPDX identifier, for instance `CC-BY-4.0`, {own}");
        return Some(("`origin.licence` is empty".to_owned(), help));
    }
    if let Some(name) = licence.strip_prefix("LicenseRef-") {
        let is_right =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let help = "after `LicenseRef-` only letters, digits, `-` and `.` may stand".to_owned();
        return (!is_right).then(|| (format!("`{licence}` is not a licence identifier"), help));
    }
    if KNOWN.contains(&licence) {
        return None;
    }
    let help = match nearest(licence, KNOWN.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Else see https://spdx.org/licenses/, {own}"),
        None => format!("see https://spdx.org/licenses/, {own}"),
    };
    Some((format!("`{licence}` is not a licence identifier that is known here"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_own_licences_pass() {
        for licence in ["CC-BY-4.0", "CC0-1.0", "LicenseRef-Eurostat-2011.12"] {
            assert_eq!(licence_problem(licence), None, "{licence}");
        }
    }

    #[test]
    fn others_are_refused_with_advice() {
        for (licence, advice) in [
            ("", "read the provider's terms"),
            ("cc-by-4.0", "did you mean `CC-BY-4.0`?"),
            ("CC BY 4.0", "did you mean `CC-BY-4.0`?"),
            ("public", "see https://spdx.org"),
            ("LicenseRef-", "only letters"),
            ("LicenseRef-a b", "only letters"),
        ] {
            let (_, help) = licence_problem(licence).unwrap();
            assert!(help.contains(advice), "{licence}: {help}");
        }
    }
}
