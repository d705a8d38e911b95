//! `vacuum`: lets go what no declaration, citation, replay or rebuild needs: replaced files, superseded rows, raw bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::AsArray;
use futures::{StreamExt, TryStreamExt};
use hambar_core::{Lease, LeaseOutcome, StoreError, TableName, TableStore};
use hambar_lake::{Access, Ages, Lake};
use hambar_run::archive::StoreArchive;
use hambar_run::retention::{BodyHash, Claim, Claims, Need, TableCommits, body_hash, unnamed};
use hambar_run::spec::Retention;
use jiff::Timestamp;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{maintain, query};
use crate::args::VacuumArguments;
use crate::context::Context;

/// Days for which versions stay readable where neither the command nor the pipeline says so.
const VERSION_DAYS: u32 = 30;

/// What the pipelines declare, by table.
type Declared = BTreeMap<TableName, Retention>;

/// `hambar vacuum`
pub(crate) async fn vacuum(context: &Context, arguments: &VacuumArguments) -> Result<()> {
    let lake = context.lake(Access::ReadWrite).await?;
    let declared = declared(context)?;
    let ages = lake.ages().await?;
    for table in maintain::selected(&lake, &arguments.select.names).await? {
        let done = one(&lake, &ages, &table, &declared, arguments).await;
        maintain::unless_busy(done, &arguments.select.names)?;
    }
    if arguments.select.names.is_empty() {
        let done = raw(context, &lake, &ages, &declared, arguments.dry_run).await.context("look after raw bytes");
        maintain::unless_busy(done, &arguments.select.names)?;
    }
    Ok(())
}

async fn one(
    lake: &Lake,
    ages: &Ages,
    table: &TableName,
    declared: &Declared,
    arguments: &VacuumArguments,
) -> Result<()> {
    if let Some(retention) = declared.get(table) {
        expire(lake, ages, table, retention, arguments.dry_run).await?;
    }
    files(lake, ages, table, declared, arguments).await
}

/// What all pipeline files declare. One that cannot be read stops everything: it may be the one that keeps something.
fn declared(context: &Context) -> Result<Declared> {
    if !context.config.pipelines.folder.is_dir() {
        return Ok(Declared::new());
    }
    let pipelines = context.pipelines(&[], true)?;
    Ok(pipelines.into_iter().map(|pipeline| (pipeline.name, pipeline.retention)).collect())
}

fn verb(is_dry_run: bool) -> &'static str {
    if is_dry_run { "would go" } else { "removed" }
}

/// Removes the files of replaced versions. A pipeline's own retention is a promise: the longer of the two holds.
async fn files(
    lake: &Lake,
    ages: &Ages,
    table: &TableName,
    declared: &Declared,
    arguments: &VacuumArguments,
) -> Result<()> {
    let stem = table.table.as_str().trim_end_matches("__history").trim_end_matches("__rejects");
    let own = format!("{}.{stem}", table.namespace).parse::<TableName>().ok();
    let own = own.and_then(|name| declared.get(&name)).and_then(|retention| retention.version_days);
    let days = match (arguments.retention_days, own) {
        (Some(asked), Some(own)) => asked.max(own),
        (asked, own) => asked.or(own).unwrap_or(VERSION_DAYS),
    };
    let done = lake.vacuum_by(ages, table, days, &[], arguments.dry_run).await;
    let done = done.with_context(|| format!("vacuum `{table}`"))?;
    let verb = verb(arguments.dry_run);
    println!(
        "{table}: {} files {verb} ({} bytes), {} stay; versions are kept for {days} days",
        done.files.len(),
        done.bytes,
        done.kept
    );
    if arguments.dry_run {
        for file in &done.files {
            println!("  {file}");
        }
    }
    Ok(())
}

/// Removes superseded rows that the pipeline keeps no longer.
async fn expire(lake: &Lake, ages: &Ages, table: &TableName, retention: &Retention, is_dry_run: bool) -> Result<()> {
    let Some(days) = retention.history_days else { return Ok(()) };
    let may_break = retention.may_break_rebuild;
    let done = lake.expire_history_by(ages, table, days, is_dry_run || !may_break).await;
    let done = done.with_context(|| format!("let superseded rows of `{table}` go"))?;
    match done.since {
        Some(since) if may_break => println!(
            "{table}: {} superseded rows {}, {} stay: those superseded since {since} (`retention.history_days` = {days})",
            done.rows,
            verb(is_dry_run),
            done.kept
        ),
        Some(_) => println!(
            "{table}: {} superseded rows stay although older than `retention.history_days` = {days}: `hambar rebuild` would \
             not find them again; `retention.may_break_rebuild = true` lets them go",
            done.rows
        ),
        None => {}
    }
    Ok(())
}

/// Removes raw bodies that nothing needs, under the leases of all tables: a run may be about to use one.
async fn raw(context: &Context, lake: &Lake, ages: &Ages, declared: &Declared, is_dry_run: bool) -> Result<()> {
    if declared.values().all(|retention| retention.raw_days.is_none()) {
        return Ok(());
    }
    let mut tables: BTreeSet<TableName> = lake.tables().await?.into_iter().collect();
    tables.retain(|table| table.namespace.as_str() != "system");
    tables.extend(declared.keys().cloned());
    let mut leases = Vec::with_capacity(tables.len());
    for table in &tables {
        leases.push(held(lake, table).await?);
    }
    let swept = sweep(context, lake, ages, declared, &tables, is_dry_run).await;
    for lease in leases {
        lease.release().await?;
    }
    swept
}

async fn held(lake: &Lake, table: &TableName) -> Result<Box<dyn Lease>, StoreError> {
    match lake.lease(table, "hambar vacuum").await? {
        LeaseOutcome::Held(lease) => Ok(lease),
        LeaseOutcome::Busy { holder, since } => Err(StoreError::Busy { table: table.to_string(), holder, since }),
    }
}

/// A raw body with its age and what is claimed of it.
struct Body {
    object: ObjectMeta,
    arrived: Timestamp,
    claim: Claim,
}

async fn sweep(
    context: &Context,
    lake: &Lake,
    ages: &Ages,
    declared: &Declared,
    tables: &BTreeSet<TableName>,
    is_dry_run: bool,
) -> Result<()> {
    let objects = lake.object_store();
    let root = lake.local_root().map(std::path::Path::to_path_buf);
    let archive = StoreArchive::new(context.landing(lake)?, Arc::clone(&objects), root);
    let commits = commits(lake, declared, tables).await?;
    let claims = Claims::collect(objects.as_ref(), &archive, &commits).await?;
    let bodies = bodies(context, lake, objects.as_ref(), &claims, declared).await?;
    let mut kept: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut count, mut bytes) = (0_usize, 0);
    for body in bodies {
        let days = match body.claim {
            Claim::Needed(need) => {
                *kept.entry(need.text()).or_default() += 1;
                continue;
            }
            Claim::Days(days) => days,
        };
        if body.arrived >= ages.before(days) {
            *kept.entry("it is younger than its `retention.raw_days`").or_default() += 1;
            continue;
        }
        let place = &body.object.location;
        if is_dry_run {
            println!("  {place}: arrived {}, kept for {days} days, and nothing needs it", body.arrived);
        } else {
            remove(objects.as_ref(), place).await?;
        }
        count += 1;
        bytes += body.object.size;
    }
    let bodies = if count == 1 { "1 body".to_owned() } else { format!("{count} bodies") };
    println!("raw: {bodies} {} ({bytes} bytes)", verb(is_dry_run));
    for (why, count) in kept {
        println!("raw: {count} kept: {why}");
    }
    Ok(())
}

/// The bytes first: a body never lacks its record.
async fn remove(objects: &dyn ObjectStore, place: &ObjectPath) -> Result<()> {
    for path in [place.clone(), ObjectPath::parse(format!("{place}.json"))?] {
        match objects.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error).with_context(|| format!("delete `{path}`")),
        }
    }
    Ok(())
}

/// Where each table stands, what of it is cited, and what its pipeline declares.
async fn commits(lake: &Lake, declared: &Declared, tables: &BTreeSet<TableName>) -> Result<Vec<TableCommits>> {
    let citations = lake.citations().await?;
    let mut commits = Vec::with_capacity(tables.len());
    for table in tables {
        let (sequence, run) = match lake.snapshot(table, None).await {
            Ok(snapshot) => (snapshot.sequence, snapshot.run),
            Err(StoreError::Missing { .. }) => (0, None),
            Err(error) => return Err(error.into()),
        };
        let cited = citations.iter().filter(|citation| citation.table == *table).map(|citation| citation.sequence);
        let retention = declared.get(table).cloned();
        commits.push(TableCommits { table: table.clone(), sequence, run, cited: cited.collect(), retention });
    }
    Ok(commits)
}

/// All bodies of the landing zone with their claims; those that no manifest names belong to who fetched them.
async fn bodies(
    context: &Context,
    lake: &Lake,
    objects: &dyn ObjectStore,
    claims: &Claims,
    declared: &Declared,
) -> Result<Vec<Body>> {
    let root = ObjectPath::from("raw/sha256");
    let mut listed = objects.list(Some(&root));
    let (mut found, mut stray) = (Vec::new(), HashMap::<BodyHash, BTreeSet<TableName>>::new());
    while let Some(object) = listed.try_next().await.with_context(|| format!("list `{root}`"))? {
        let Some(hash) = object.location.filename().and_then(body_hash) else { continue };
        let arrived = Timestamp::from_millisecond(object.last_modified.timestamp_millis())?;
        let claim = claims.of(&hash);
        if claim.is_none() {
            stray.insert(hash, BTreeSet::new());
        }
        found.push((hash, Body { object, arrived, claim: claim.unwrap_or(Claim::Needed(Need::Undeclared)) }));
    }
    if !stray.is_empty() && lake.exists(&"system.fetches".parse()?).await? {
        fetched_by(context, &mut stray).await?;
    }
    for (hash, body) in &mut found {
        if let Some(owners) = stray.get(hash) {
            body.claim = unnamed(owners.iter().map(|owner| declared.get(owner)));
        }
    }
    Ok(found.into_iter().map(|(_, body)| body).collect())
}

/// Adds to each body the pipelines that `system.fetches` names for it.
async fn fetched_by(context: &Context, stray: &mut HashMap<BodyHash, BTreeSet<TableName>>) -> Result<()> {
    let sql = "SELECT DISTINCT sha256, pipeline FROM system.fetches WHERE sha256 IS NOT NULL AND pipeline IS NOT NULL";
    let mut rows = query::start(context, sql, &context.query_limits()).await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let texts = |column: usize| batch.column(column).as_string_opt::<i32>();
        let (Some(hashes), Some(pipelines)) = (texts(0), texts(1)) else {
            anyhow::bail!("system.fetches does not hold texts");
        };
        for (hash, pipeline) in hashes.iter().zip(pipelines) {
            if let (Some(hash), Some(Ok(pipeline))) = (hash.and_then(body_hash), pipeline.map(str::parse))
                && let Some(owners) = stray.get_mut(&hash)
            {
                owners.insert(pipeline);
            }
        }
    }
    if rows.is_truncated() {
        anyhow::bail!("system.fetches is too large to be read whole, and so nobody knows who fetched what");
    }
    Ok(())
}
