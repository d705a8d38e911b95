//! `/operations`: what whoever looks after the centre wants to see at once. The numbers come from the same tables that
//! they could ask themselves; a part that their token does not reach says so.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axum::extract::State as Shared;
use axum::response::Response;
use futures::TryStreamExt as _;
use http::StatusCode;
use maud::{Markup, html};

use super::cells::Rows;
use super::error;
use super::looks::Looks;
use super::numbers;
use super::rows;
use super::search::{Entry, Library};
use super::shell::{Place, shell};
use super::texts::filled;
use super::visitor::Visitor;
use crate::access::{Measure, Quota, Role, Used};
use crate::front::{AskedLimits, FrontError, Load, RunningQuery};
use crate::rest::State;
use crate::rest::problem::Problem;

/// Seconds after which scripts look again.
const LOOK_AGAIN_SECONDS: u32 = 10;
/// Tables whose size is listed.
const TABLES_MAX: usize = 25;

/// The newest runs.
const RUNS: &str = "SELECT pipeline, outcome, started_at, finished_at, version, rows_committed, rows_rejected, requests, \
    bytes_wire FROM system.runs ORDER BY started_at DESC LIMIT 40";
/// The newest failures.
const FAILURES: &str = "SELECT pipeline, started_at, error_class, error FROM system.runs WHERE outcome = 'failed' \
    ORDER BY started_at DESC LIMIT 20";
/// How the providers did within a month.
const PROVIDERS: &str = "WITH declared AS (SELECT dataset, provider FROM (SELECT dataset, provider, \
    row_number() OVER (PARTITION BY dataset ORDER BY recorded_at DESC) AS place FROM system.datasets) WHERE place = 1) \
    SELECT coalesce(d.provider, r.pipeline) AS provider, count(*) AS runs, \
    count(*) FILTER (WHERE r.outcome = 'failed') AS failures, \
    max(r.finished_at) FILTER (WHERE r.outcome IN ('committed', 'unchanged', 'already_applied')) AS last_good, \
    sum(r.requests) AS requests, sum(r.bytes_wire) AS bytes \
    FROM system.runs r LEFT JOIN declared d ON d.dataset = r.pipeline \
    WHERE r.started_at >= now() - INTERVAL '31 days' GROUP BY 1 ORDER BY failures DESC, provider LIMIT 100";
/// How their servers answered within a month.
const HOSTS: &str = "SELECT split_part(url, '/', 3) AS host, count(*) AS requests, \
    count(*) FILTER (WHERE status >= 400 OR error IS NOT NULL) AS refused, \
    CAST(avg(milliseconds) AS BIGINT) AS milliseconds, max(started_at) AS last_asked \
    FROM system.fetches WHERE started_at >= now() - INTERVAL '31 days' GROUP BY 1 ORDER BY refused DESC, host LIMIT 100";

type Answered = Result<(SchemaRef, Vec<RecordBatch>), Problem>;

/// Shows it to operators.
pub(super) async fn page(Shared(state): Shared<State>, visitor: Visitor) -> Response {
    if !visitor.is_operator() {
        let problem: Problem = FrontError::Role { what: "this page", needed: Role::Operator }.into();
        return error::page(&visitor.looks, Some(&visitor), &problem);
    }
    let library = match state.pages.librarian.library(state.front.catalogue()).await {
        Ok(library) => library,
        Err(failed) => return error::page(&visitor.looks, Some(&visitor), &FrontError::Query(failed).into()),
    };
    let ask = |sql: &'static str| ask(&state, &visitor, sql);
    // One after the other: whoever looks at this page has few turns, and members need theirs.
    let (runs, failures) = (ask(RUNS).await, ask(FAILURES).await);
    let (providers, hosts) = (ask(PROVIDERS).await, ask(HOSTS).await);
    let running = state.front.running(&visitor.principal);
    let quotas = match state.authenticator.quotas().await {
        Ok(quotas) => quotas,
        Err(failed) => return error::page(&visitor.looks, Some(&visitor), &failed.into()),
    };
    let quotas = quotas.into_iter().map(|(name, quota)| {
        let used = state.front.used(&name);
        (name, quota, used)
    });
    let quotas: Vec<(String, Quota, Used)> = quotas.collect();
    let (looks, t) = (&visitor.looks, visitor.looks.texts());
    let content = html! {
        h1 { (t.nav_operations) }
        hb-refresh data-seconds=(LOOK_AGAIN_SECONDS) {
            (load(looks, state.front.load(), &running))
            (daily(looks, &quotas))
            (store(&visitor, &library))
            section #failures { h2 { (t.failures) } (failed_runs(looks, &failures)) }
            section #runs { h2 { (t.runs) } (answered(looks, t.runs, &runs)) }
            section #providers { h2 { (t.providers) } (answered(looks, t.providers, &providers)) }
            section #hosts { h2 { (t.hosts) } (answered(looks, t.hosts, &hosts)) }
        }
    };
    looks.respond(StatusCode::OK, &shell(looks, Some(&visitor), Place::Operations, t.nav_operations, &content))
}

async fn ask(state: &State, visitor: &Visitor, sql: &str) -> Answered {
    let answer = state.front.query(visitor.ask(sql.to_owned(), AskedLimits::default())).await?;
    let schema = answer.schema();
    Ok((schema, answer.try_collect().await?))
}

fn load(looks: &Looks, load: Load<'_>, running: &[RunningQuery]) -> Markup {
    let t = looks.texts();
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for query in running {
        let organisation = query.member.split('/').next().unwrap_or_default();
        *of.entry(organisation).or_default() += 1;
    }
    let limits = load.limits;
    html! {
        section #queue {
            h2 { (t.queue) }
            dl.cards {
                (gauge(t.queries_running, load.running as u64, limits.running_max as u64))
                (gauge(t.queries_waiting, load.queued as u64, limits.queue_max as u64))
            }
            h3 { (t.quotas) }
            p.meta { (filled(t.per_member, &[("n", &limits.running_per_member_max.to_string())])) }
            @if of.is_empty() { p { (t.queries_none) } }
            dl.cards {
                @for (organisation, queries) in &of {
                    @match limits.running_per_organisation_max {
                        Some(most) => (gauge(organisation, *queries as u64, most as u64)),
                        None => div.card { dt { (organisation) } dd { (queries) } },
                    }
                }
            }
            @if !running.is_empty() {
                div.scroll tabindex="0" role="region" aria-label=(t.queue) {
                    table {
                        thead { tr {
                            th scope="col" { (t.member) } th scope="col" { (t.protocol) }
                            th scope="col" { (t.since) } th scope="col" { (t.statement) }
                        } }
                        tbody {
                            @for query in running {
                                tr {
                                    td { (query.member) } td { (query.protocol) } td { (query.started_at) }
                                    td { code { @match &query.sql {
                                        Some(sql) => (super::cells::shortened(sql)),
                                        // Somebody else's statement is known by its hash only.
                                        None => { (query.statement_sha256.get(..16).unwrap_or_default()) "…" }
                                    } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What organisations have used of their quotas.
fn daily(looks: &Looks, quotas: &[(String, Quota, Used)]) -> Markup {
    let t = looks.texts();
    let name = |measure: Measure| match measure {
        Measure::Queries => t.queue,
        Measure::Rows => t.rows,
        Measure::Bytes => t.bytes,
    };
    html! {
        section #quotas {
            h2 { (t.quotas_daily) }
            @if quotas.is_empty() { p { (t.none) } }
            dl.cards {
                @for (organisation, quota, used) in quotas {
                    @for (measure, limit, used) in quota.limits(used) {
                        (gauge(&format!("{organisation} · {}", name(measure)), used, limit))
                    }
                }
            }
        }
    }
}

fn gauge(name: &str, value: u64, most: u64) -> Markup {
    html! {
        div.card {
            dt { (name) }
            dd {
                (value) " / " (most) " "
                meter min="0" max=(most) value=(value) high=(most - most / 5) aria-label=(name) {}
            }
        }
    }
}

fn store(visitor: &Visitor, library: &Library) -> Markup {
    let (t, language) = (visitor.looks.texts(), visitor.looks.language);
    let mut entries: Vec<&Entry> = library.visible(visitor.principal.visibility()).collect();
    let figures = |entry: &Entry| entry.figures(visitor.principal.visibility());
    let bytes = |entry: &Entry| figures(entry).bytes.unwrap_or_default();
    let total: u64 = entries.iter().map(|entry| bytes(entry)).sum();
    let rows: u64 = entries.iter().filter_map(|entry| figures(entry).rows).sum();
    let all = entries.len() as u64;
    entries.sort_by_key(|entry| std::cmp::Reverse(bytes(entry)));
    html! {
        section #store {
            h2 { (t.store) }
            dl.cards {
                div.card { dt { (t.datasets) } dd { (numbers::count(language, all)) } }
                div.card { dt { (t.size) } dd { (numbers::bytes(language, total)) } }
                div.card { dt { (t.rows) } dd { (numbers::count(language, rows)) } }
            }
            p.note { (t.store_current) }
            div.scroll tabindex="0" role="region" aria-label=(t.store) {
                table {
                    thead { tr {
                        th scope="col" { (t.found_table) } th.num scope="col" { (t.size) } th.num scope="col" { (t.rows) }
                        th scope="col" { (t.changed) } th scope="col" { (t.verified) }
                    } }
                    tbody {
                        @for entry in entries.into_iter().take(TABLES_MAX) {
                            tr {
                                th scope="row" { a href=(format!("/tables/{}", entry.table)) { (entry.table) } }
                                td.num { (numbers::bytes(language, bytes(entry))) }
                                td.num { @if let Some(rows) = figures(entry).rows { (numbers::count(language, rows)) } }
                                td { @if let Some(at) = entry.freshness.changed_at { (numbers::instant(at)) } }
                                td { @if let Some(at) = entry.freshness.verified_at { (numbers::instant(at)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn answered(looks: &Looks, name: &str, answer: &Answered) -> Markup {
    let t = looks.texts();
    html! {
        @match answer {
            Ok((_, batches)) if batches.iter().all(|batch| batch.num_rows() == 0) => p { (t.none) },
            Ok((schema, batches)) => (rows::titled(name, &titles(looks, schema), schema, batches)),
            Err(problem) => p.note lang="en" { (problem.detail()) },
        }
    }
}

/// What the columns of the statements above are called.
fn titles(looks: &Looks, schema: &SchemaRef) -> Vec<String> {
    let t = looks.texts();
    let title = |name: &str| match name {
        "pipeline" => t.pipeline,
        "outcome" => t.outcome,
        "started_at" => t.since,
        "finished_at" => t.finished,
        "version" => t.version,
        "rows_committed" => t.rows,
        "rows_rejected" => t.rows_rejected,
        "requests" => t.requests,
        "bytes_wire" | "bytes" => t.bytes,
        "provider" => t.provider,
        "runs" => t.runs,
        "failures" => t.failures,
        "last_good" => t.last_good,
        "host" => t.host,
        "refused" => t.refused,
        "milliseconds" => t.milliseconds,
        "last_asked" => t.last_asked,
        _ => "",
    };
    let named = |name: &String| if title(name).is_empty() { name.clone() } else { title(name).to_owned() };
    schema.fields().iter().map(|field| named(field.name())).collect()
}

fn failed_runs(looks: &Looks, answer: &Answered) -> Markup {
    let t = looks.texts();
    let (_, batches) = match answer {
        Ok(answer) => answer,
        Err(problem) => return html! { p.note lang="en" { (problem.detail()) } },
    };
    let all = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    html! {
        @if all == 0 { p { (t.none) } }
        @for batch in batches {
            @let failures = Rows::of(batch);
            @for row in 0..batch.num_rows() {
                @let text = |column: usize| failures.at(column, row).unwrap_or_default();
                details {
                    summary { code { (text(0)) } " · " (text(1)) " · " span.chip { (text(2)) } }
                    // The chain of causes, one below the other, as the command line prints it.
                    pre lang="en" { (text(3).replace(": ", ":\n  ")) }
                }
            }
        }
    }
}
