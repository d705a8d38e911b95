//! The pipeline files of the demo, as a person would write them. `{base}` is the provider's address.

/// Names and texts.
pub(super) fn all(base: &str) -> Vec<(&'static str, String)> {
    let files = [
        ("gdp_per_head", GDP_PER_HEAD),
        ("regional_gdp", REGIONAL_GDP),
        ("research", RESEARCH),
        ("electricity", ELECTRICITY),
    ];
    files.into_iter().map(|(name, text)| (name, text.replace("{base}", base))).collect()
}

const GDP_PER_HEAD: &str = include_str!("pipelines/gdp_per_head.toml");
const REGIONAL_GDP: &str = include_str!("pipelines/regional_gdp.toml");
const RESEARCH: &str = include_str!("pipelines/research.toml");
const ELECTRICITY: &str = include_str!("pipelines/electricity.toml");
