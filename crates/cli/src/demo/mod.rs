//! `hambar demo`: the whole path on a built-in provider. Collects, collects again, publishes a revised release, collects
//! once more, and asks five questions. What it leaves behind is an ordinary store with ordinary pipeline files.

mod messages;
mod pipelines;
mod provider;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use hambar_core::CommitOutcome;
use hambar_run::{Pipeline, RunOutcome};

use crate::args::DemoArguments;
use crate::commands::{maintain, query, run};
use crate::context::Context;
use crate::output::Format;
use provider::Provider;

/// Where the demo works when no folder is named.
const FOLDER: &str = "hambar-demo";

/// Runs the demo.
pub(crate) async fn demo(context: &Context, arguments: &DemoArguments) -> Result<()> {
    let provider = Provider::start().await?;
    if arguments.serve {
        println!("the demo's provider is at {}; Ctrl-C stops it", provider.base());
        tokio::signal::ctrl_c().await.context("listen for Ctrl-C")?;
        return Ok(());
    }
    let started = Instant::now();
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
    let demo = context.for_demo(&prepare(&folder, &provider.base())?)?;
    println!(
        "A provider of real figures runs at {} on this machine. Everything is kept in `{}`.\n",
        provider.base(),
        folder.display()
    );

    println!("1. Collect from four protocols: World Bank API, SDMX REST, CKAN, a file.");
    collect(&demo).await?;
    println!(
        "\n2. Collect again. Nothing changed: no version is written, and where a provider sends validators nothing is downloaded."
    );
    let before = provider.counts();
    collect(&demo).await?;
    let after = provider.counts();
    println!(
        "   The provider saw {} requests and answered {} of them with 304.",
        after.0 - before.0,
        after.1 - before.1
    );
    println!("\n3. The provider publishes a revised release of one dataset, without a word. Collect again.");
    let instant = demo.clock.now();
    provider.publish_revision();
    collect(&demo).await?;

    println!("\n4. Ask.");
    for (question, sql) in questions(&instant.to_string()) {
        println!("\n{question}\n\n  {}\n", sql.replace('\n', "\n  "));
        query::print(&demo, &sql, Format::Table).await?;
    }
    println!("\nDone in {:.1} s. Go on with this store:\n", started.elapsed().as_secs_f64());
    let shown = folder.display();
    println!("  hambar --store {shown}/store sql");
    println!("  hambar --store {shown}/store describe demo.electricity");
    println!("  hambar --store {shown}/store history demo.electricity");
    println!("  hambar --store {shown}/store fsck");
    println!(
        "\nThe same commands work on live providers: `pipelines/` of the repository declares the World Bank, USGS and Crossref;"
    );
    println!(
        "`hambar run worldbank.gdp_per_capita` asks the real one. Set `fetch.contact` first, so that they know who asks."
    );
    Ok(())
}

/// Writes pipeline files and settings; refuses a folder that holds something else.
fn prepare(folder: &Path, base: &str) -> Result<PathBuf> {
    let marker = folder.join("hambar.toml");
    if folder.exists() && !marker.exists() && std::fs::read_dir(folder)?.next().is_some() {
        bail!("`{}` is not empty and not of an earlier demo; name another folder with --folder", folder.display());
    }
    let store = folder.join("store");
    if store.exists() {
        std::fs::remove_dir_all(&store)
            .with_context(|| format!("remove the store of an earlier demo in `{}`", store.display()))?;
    }
    let write = |path: PathBuf, text: &str| -> Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make the folder `{}`", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
    };
    write(
        marker,
        "[store]\nurl = \"store\"\n\n[fetch]\ncontact = \"demo@example.org\"\nallow_hosts = [\"127.0.0.1\"]\n",
    )?;
    for (name, text) in pipelines::all(base) {
        write(folder.join("pipelines/demo").join(format!("{name}.toml")), &text)?;
    }
    Ok(folder.to_path_buf())
}

async fn collect(context: &Context) -> Result<()> {
    let mut pipelines =
        Pipeline::load_all(&context.config.pipelines.folder).map_err(|problems| crate::context::told(&problems))?;
    let (runner, lake) = run::runner(context).await?;
    let cancel = run::cancel_on_signal();
    for pipeline in &mut pipelines {
        run::adjust(context, pipeline);
        let report = runner.run(pipeline, &cancel).await;
        print!("   ");
        run::tell(&report);
        match report.outcome {
            RunOutcome::Stored(CommitOutcome::Committed { .. } | CommitOutcome::Unchanged) => {}
            other => bail!("the demo's run of `{}` ended as {}", pipeline.name, other.name()),
        }
    }
    maintain::tidy(&lake, &lake.tables().await?).await;
    Ok(())
}

fn questions(before_revision: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "GDP per head, R&D share and scientific output of eleven South-East European countries:",
            "SELECT g.country_name AS country, round(g.value) AS gdp_per_head_2018, r.rd_share AS rd_share_2015, r.articles AS articles_2013\n\
             FROM demo.gdp_per_head g LEFT JOIN demo.research r ON r.country = g.country_name\n\
             WHERE g.year = 2018 ORDER BY g.value DESC"
                .to_owned(),
        ),
        (
            "How do Bulgaria's regions do against the richest region of each neighbour?",
            "SELECT geo AS region, period AS year, value AS euro_per_inhabitant, flag\n\
             FROM demo.regional_gdp WHERE period = '2021' AND (geo LIKE 'BG__' OR geo IN ('RO32', 'EL30', 'RS11', 'MK00'))\n\
             ORDER BY value DESC"
                .to_owned(),
        ),
        (
            "What was revised in the electricity figures, and by how much?",
            "SELECT country, count(*) AS values_revised, round(avg(new - old), 1) AS mean_change_kwh, round(max(abs(new / old - 1)) * 100, 1) AS largest_change_pct\n\
             FROM (SELECT country, CAST(old_value AS DOUBLE) AS old, CAST(new_value AS DOUBLE) AS new\n\
             \x20     FROM revisions('demo.electricity') WHERE change = 'revised' AND \"column\" = 'kwh_per_head')\n\
             GROUP BY country ORDER BY values_revised DESC, country"
                .to_owned(),
        ),
        (
            "The same table as it was known before the revision, and now:",
            format!(
                "SELECT n.country, n.year, b.kwh_per_head AS known_before, n.kwh_per_head AS known_now\n\
                 FROM demo.electricity n LEFT JOIN demo.electricity FOR SYSTEM_TIME AS OF '{before_revision}' b\n\
                 \x20 ON b.country = n.country AND b.year = n.year\n\
                 WHERE n.year >= 2019 AND n.country IN ('Bulgaria', 'Bosnia and Herzegovina', 'Albania') ORDER BY 1, 2"
            ),
        ),
        (
            "And what did all this cost the provider?",
            "SELECT pipeline, count(*) AS requests, count(*) FILTER (WHERE status = 304) AS not_modified, sum(bytes_wire) AS bytes\n\
             FROM system.fetches GROUP BY pipeline ORDER BY pipeline"
                .to_owned(),
        ),
    ]
}
