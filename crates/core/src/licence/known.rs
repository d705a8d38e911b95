//! The table of licences whose duties are known here, by SPDX identifier. Read it against the licences' own pages.

use super::Duty::{self, Attribution, NoDerivatives, NonCommercial, ShareAlike};

/// A licence of which it is known what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLicence {
    /// SPDX identifier.
    pub spdx: &'static str,
    /// What its versions have in common; a share-alike licence accepts later versions of its own family.
    pub family: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Its text.
    pub page: &'static str,
    /// What it asks for.
    pub duties: &'static [Duty],
}

impl KnownLicence {
    /// Says whether it asks for this.
    pub fn asks(&self, duty: Duty) -> bool {
        self.duties.contains(&duty)
    }
}

/// Returns what is known of a licence. SPDX identifiers are compared without regard to case, as SPDX says.
pub fn known(spdx: &str) -> Option<&'static KnownLicence> {
    KNOWN.iter().find(|licence| licence.spdx.eq_ignore_ascii_case(spdx))
}

/// The licences whose duties are known.
pub const KNOWN: &[KnownLicence] = &[
    KnownLicence {
        spdx: "CC0-1.0",
        family: "CC0",
        title: "Creative Commons Zero 1.0",
        page: "https://creativecommons.org/publicdomain/zero/1.0/",
        duties: &[],
    },
    KnownLicence {
        spdx: "PDDL-1.0",
        family: "PDDL",
        title: "Open Data Commons Public Domain Dedication and Licence 1.0",
        page: "https://opendatacommons.org/licenses/pddl/1-0/",
        duties: &[],
    },
    KnownLicence {
        spdx: "CC-PDDC",
        family: "PD",
        title: "Creative Commons Public Domain Dedication and Certification",
        page: "https://creativecommons.org/licenses/publicdomain/",
        duties: &[],
    },
    KnownLicence {
        spdx: "CC-BY-2.0",
        family: "CC-BY",
        title: "Creative Commons Attribution 2.0",
        page: "https://creativecommons.org/licenses/by/2.0/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CC-BY-2.5",
        family: "CC-BY",
        title: "Creative Commons Attribution 2.5",
        page: "https://creativecommons.org/licenses/by/2.5/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CC-BY-3.0",
        family: "CC-BY",
        title: "Creative Commons Attribution 3.0",
        page: "https://creativecommons.org/licenses/by/3.0/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CC-BY-3.0-IGO",
        family: "CC-BY",
        title: "Creative Commons Attribution 3.0 IGO",
        page: "https://creativecommons.org/licenses/by/3.0/igo/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CC-BY-4.0",
        family: "CC-BY",
        title: "Creative Commons Attribution 4.0",
        page: "https://creativecommons.org/licenses/by/4.0/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CC-BY-SA-2.0",
        family: "CC-BY-SA",
        title: "Creative Commons Attribution-ShareAlike 2.0",
        page: "https://creativecommons.org/licenses/by-sa/2.0/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "CC-BY-SA-2.5",
        family: "CC-BY-SA",
        title: "Creative Commons Attribution-ShareAlike 2.5",
        page: "https://creativecommons.org/licenses/by-sa/2.5/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "CC-BY-SA-3.0",
        family: "CC-BY-SA",
        title: "Creative Commons Attribution-ShareAlike 3.0",
        page: "https://creativecommons.org/licenses/by-sa/3.0/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "CC-BY-SA-3.0-IGO",
        family: "CC-BY-SA",
        title: "Creative Commons Attribution-ShareAlike 3.0 IGO",
        page: "https://creativecommons.org/licenses/by-sa/3.0/igo/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "CC-BY-SA-4.0",
        family: "CC-BY-SA",
        title: "Creative Commons Attribution-ShareAlike 4.0",
        page: "https://creativecommons.org/licenses/by-sa/4.0/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "CC-BY-NC-2.0",
        family: "CC-BY-NC",
        title: "Creative Commons Attribution-NonCommercial 2.0",
        page: "https://creativecommons.org/licenses/by-nc/2.0/",
        duties: &[Attribution, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-2.5",
        family: "CC-BY-NC",
        title: "Creative Commons Attribution-NonCommercial 2.5",
        page: "https://creativecommons.org/licenses/by-nc/2.5/",
        duties: &[Attribution, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-3.0",
        family: "CC-BY-NC",
        title: "Creative Commons Attribution-NonCommercial 3.0",
        page: "https://creativecommons.org/licenses/by-nc/3.0/",
        duties: &[Attribution, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-4.0",
        family: "CC-BY-NC",
        title: "Creative Commons Attribution-NonCommercial 4.0",
        page: "https://creativecommons.org/licenses/by-nc/4.0/",
        duties: &[Attribution, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-ND-2.0",
        family: "CC-BY-ND",
        title: "Creative Commons Attribution-NoDerivatives 2.0",
        page: "https://creativecommons.org/licenses/by-nd/2.0/",
        duties: &[Attribution, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-ND-2.5",
        family: "CC-BY-ND",
        title: "Creative Commons Attribution-NoDerivatives 2.5",
        page: "https://creativecommons.org/licenses/by-nd/2.5/",
        duties: &[Attribution, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-ND-3.0",
        family: "CC-BY-ND",
        title: "Creative Commons Attribution-NoDerivatives 3.0",
        page: "https://creativecommons.org/licenses/by-nd/3.0/",
        duties: &[Attribution, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-ND-4.0",
        family: "CC-BY-ND",
        title: "Creative Commons Attribution-NoDerivatives 4.0",
        page: "https://creativecommons.org/licenses/by-nd/4.0/",
        duties: &[Attribution, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-NC-SA-2.0",
        family: "CC-BY-NC-SA",
        title: "Creative Commons Attribution-NonCommercial-ShareAlike 2.0",
        page: "https://creativecommons.org/licenses/by-nc-sa/2.0/",
        duties: &[Attribution, ShareAlike, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-SA-2.5",
        family: "CC-BY-NC-SA",
        title: "Creative Commons Attribution-NonCommercial-ShareAlike 2.5",
        page: "https://creativecommons.org/licenses/by-nc-sa/2.5/",
        duties: &[Attribution, ShareAlike, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-SA-3.0",
        family: "CC-BY-NC-SA",
        title: "Creative Commons Attribution-NonCommercial-ShareAlike 3.0",
        page: "https://creativecommons.org/licenses/by-nc-sa/3.0/",
        duties: &[Attribution, ShareAlike, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-SA-3.0-IGO",
        family: "CC-BY-NC-SA",
        title: "Creative Commons Attribution-NonCommercial-ShareAlike 3.0 IGO",
        page: "https://creativecommons.org/licenses/by-nc-sa/3.0/igo/",
        duties: &[Attribution, ShareAlike, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-SA-4.0",
        family: "CC-BY-NC-SA",
        title: "Creative Commons Attribution-NonCommercial-ShareAlike 4.0",
        page: "https://creativecommons.org/licenses/by-nc-sa/4.0/",
        duties: &[Attribution, ShareAlike, NonCommercial],
    },
    KnownLicence {
        spdx: "CC-BY-NC-ND-2.0",
        family: "CC-BY-NC-ND",
        title: "Creative Commons Attribution-NonCommercial-NoDerivatives 2.0",
        page: "https://creativecommons.org/licenses/by-nc-nd/2.0/",
        duties: &[Attribution, NonCommercial, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-NC-ND-2.5",
        family: "CC-BY-NC-ND",
        title: "Creative Commons Attribution-NonCommercial-NoDerivatives 2.5",
        page: "https://creativecommons.org/licenses/by-nc-nd/2.5/",
        duties: &[Attribution, NonCommercial, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-NC-ND-3.0",
        family: "CC-BY-NC-ND",
        title: "Creative Commons Attribution-NonCommercial-NoDerivatives 3.0",
        page: "https://creativecommons.org/licenses/by-nc-nd/3.0/",
        duties: &[Attribution, NonCommercial, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-NC-ND-3.0-IGO",
        family: "CC-BY-NC-ND",
        title: "Creative Commons Attribution-NonCommercial-NoDerivatives 3.0 IGO",
        page: "https://creativecommons.org/licenses/by-nc-nd/3.0/igo/",
        duties: &[Attribution, NonCommercial, NoDerivatives],
    },
    KnownLicence {
        spdx: "CC-BY-NC-ND-4.0",
        family: "CC-BY-NC-ND",
        title: "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0",
        page: "https://creativecommons.org/licenses/by-nc-nd/4.0/",
        duties: &[Attribution, NonCommercial, NoDerivatives],
    },
    KnownLicence {
        spdx: "ODC-By-1.0",
        family: "ODC-By",
        title: "Open Data Commons Attribution License 1.0",
        page: "https://opendatacommons.org/licenses/by/1-0/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "ODbL-1.0",
        family: "ODbL",
        title: "Open Data Commons Open Database License 1.0",
        page: "https://opendatacommons.org/licenses/odbl/1-0/",
        duties: &[Attribution, ShareAlike],
    },
    KnownLicence {
        spdx: "OGL-UK-1.0",
        family: "OGL-UK",
        title: "Open Government Licence 1.0 (United Kingdom)",
        page: "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/1/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "OGL-UK-2.0",
        family: "OGL-UK",
        title: "Open Government Licence 2.0 (United Kingdom)",
        page: "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/2/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "OGL-UK-3.0",
        family: "OGL-UK",
        title: "Open Government Licence 3.0 (United Kingdom)",
        page: "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "OGL-Canada-2.0",
        family: "OGL-Canada",
        title: "Open Government Licence 2.0 (Canada)",
        page: "https://open.canada.ca/en/open-government-licence-canada",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "NLOD-1.0",
        family: "NLOD",
        title: "Norwegian Licence for Open Government Data 1.0",
        page: "https://data.norge.no/nlod/en/1.0",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "NLOD-2.0",
        family: "NLOD",
        title: "Norwegian Licence for Open Government Data 2.0",
        page: "https://data.norge.no/nlod/en/2.0",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "DL-DE-BY-2.0",
        family: "DL-DE-BY",
        title: "Data licence Germany, attribution, version 2.0",
        page: "https://www.govdata.de/dl-de/by-2-0",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "DL-DE-ZERO-2.0",
        family: "DL-DE-ZERO",
        title: "Data licence Germany, zero, version 2.0",
        page: "https://www.govdata.de/dl-de/zero-2-0",
        duties: &[],
    },
    KnownLicence {
        spdx: "etalab-2.0",
        family: "etalab",
        title: "Licence Ouverte 2.0 (France)",
        page: "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CDLA-Permissive-1.0",
        family: "CDLA-Permissive",
        title: "Community Data License Agreement, permissive, 1.0",
        page: "https://cdla.dev/permissive-1-0/",
        duties: &[Attribution],
    },
    KnownLicence {
        spdx: "CDLA-Sharing-1.0",
        family: "CDLA-Sharing",
        title: "Community Data License Agreement, sharing, 1.0",
        page: "https://cdla.dev/sharing-1-0/",
        duties: &[Attribution, ShareAlike],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_licence_is_there_once_and_the_name_tells_its_duties() {
        let mut seen = std::collections::BTreeSet::new();
        for licence in KNOWN {
            assert!(seen.insert(licence.spdx.to_lowercase()), "{}", licence.spdx);
            assert_eq!(known(&licence.spdx.to_uppercase()).map(|found| found.spdx), Some(licence.spdx));
            assert!(
                licence.page.starts_with("https://") && licence.spdx.starts_with(licence.family)
                    || licence.family == "PD"
            );
            if !licence.spdx.starts_with("CC-BY") {
                continue;
            }
            let says = |part: &str| licence.spdx.split('-').any(|piece| piece == part);
            for (part, duty) in [("BY", Attribution), ("SA", ShareAlike), ("NC", NonCommercial), ("ND", NoDerivatives)]
            {
                assert_eq!(says(part), licence.asks(duty), "{} {part}", licence.spdx);
            }
        }
        assert!(known("LicenseRef-CC-BY-4.0").is_none() && known("").is_none());
    }
}
