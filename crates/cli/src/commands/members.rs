//! `hambar members`: organisations, tokens, policies of rows and columns, and quotas, changed in the store itself. Whoever may write there
//! administers.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use hambar_core::system::{Cell, system_batch};
use hambar_core::{SystemTable, TableName, TableStore};
use hambar_lake::{Access, Lake};
use hambar_query::{Policies, Policy, Question, Visibility};
use hambar_server::{Members, NewToken, Person, Quota, Role, Scope, Used, Whom, used_today};
use jiff::{SignedDuration, Timestamp};

use super::query;
use crate::args::ListArguments;
use crate::args::members::{
    AddOrganisationArguments, AddPersonArguments, AddTokenArguments, HideColumnsArguments, MembersArguments,
    MembersCommand, PolicyOf, SetPolicyArguments, SetQuotaArguments,
};
use crate::context::Context;
use crate::output;

/// Hours of a day, as tokens count them.
const DAY_HOURS: i64 = 24;

/// `hambar members`
pub(crate) async fn members(context: &Context, arguments: &MembersArguments) -> Result<()> {
    match &arguments.command {
        MembersCommand::AddOrg(arguments) => add_organisation(context, arguments).await,
        MembersCommand::AddToken(arguments) => add_token(context, arguments).await,
        MembersCommand::AddPerson(arguments) => add_person(context, arguments).await,
        MembersCommand::List(arguments) => list(context, arguments).await,
        MembersCommand::Revoke(arguments) => revoke(context, &arguments.token).await,
        MembersCommand::SetPolicy(arguments) => set_policy(context, arguments).await,
        MembersCommand::RemovePolicy(arguments) => remove_policy(context, arguments).await,
        MembersCommand::HideColumns(arguments) => hide_columns(context, arguments).await,
        MembersCommand::ShowColumns(arguments) => show_columns(context, arguments).await,
        MembersCommand::Policies(arguments) => policies(context, arguments).await,
        MembersCommand::SetQuota(arguments) => set_quota(context, arguments).await,
        MembersCommand::Quotas(arguments) => quotas(context, arguments).await,
    }
}

async fn add_organisation(context: &Context, arguments: &AddOrganisationArguments) -> Result<()> {
    let (lake, members) = open(context).await?;
    let title = arguments.title.as_deref().unwrap_or(&arguments.name);
    members.add_organisation(&arguments.name, title).await?;
    record(context, &lake, "organisation added", &arguments.name, None).await?;
    println!("organisation `{}` added", arguments.name);
    Ok(())
}

async fn add_token(context: &Context, arguments: &AddTokenArguments) -> Result<()> {
    let expires_at = in_days(context, arguments.days)?;
    let wanted = NewToken {
        organisation: arguments.organisation.clone(),
        name: arguments.name.clone(),
        role: arguments.role.parse::<Role>().map_err(anyhow::Error::msg)?,
        scopes: scopes(&arguments.scope)?,
        expires_at: Some(expires_at),
    };
    let (lake, members) = open(context).await?;
    let (token, secret) = members.add_token(&wanted).await?;
    eprintln!(
        "token `{}` of {}/{}, valid until {expires_at}; it is shown once:",
        token.id, token.organisation, token.name
    );
    // Before it is written down: a token that is made and never shown is of no use to anybody.
    println!("{}", secret.reveal());
    record(context, &lake, "token added", &format!("{}/{}", token.organisation, token.name), Some(&token.id)).await
}

async fn add_person(context: &Context, arguments: &AddPersonArguments) -> Result<()> {
    let wanted = NewToken {
        organisation: arguments.organisation.clone(),
        name: arguments.name.clone(),
        role: arguments.role.parse::<Role>().map_err(anyhow::Error::msg)?,
        scopes: scopes(&arguments.scope)?,
        expires_at: arguments.days.map(|days| in_days(context, days)).transpose()?,
    };
    let (lake, members) = open(context).await?;
    let person = members.add_person(&wanted).await?;
    let name = format!("{}/{}", person.organisation, person.name);
    record(context, &lake, "person added", &name, Some(&person.id)).await?;
    println!("{name} may log in");
    Ok(())
}

fn scopes(texts: &[String]) -> Result<BTreeSet<Scope>> {
    texts.iter().map(|text| text.parse::<Scope>().map_err(anyhow::Error::msg)).collect()
}

fn in_days(context: &Context, days: u32) -> Result<Timestamp> {
    let lifetime = SignedDuration::from_hours(i64::from(days) * DAY_HOURS);
    context.clock.now().checked_add(lifetime).context("the token would end after all calendars")
}

async fn revoke(context: &Context, token: &str) -> Result<()> {
    let (lake, members) = open(context).await?;
    members.revoke(token).await?;
    record(context, &lake, "token revoked", token, None).await?;
    println!("token `{token}` revoked; servers refuse it within five seconds");
    Ok(())
}

async fn list(context: &Context, arguments: &ListArguments) -> Result<()> {
    let (_, members) = open(context).await?;
    let state = members.state().await?;
    let now = context.clock.now();
    let mut rows: Vec<[String; 8]> = Vec::new();
    for token in &state.tokens {
        let status = match (token.revoked_at, token.is_valid(now)) {
            (Some(at), _) => format!("revoked {at}"),
            (None, true) => "valid".to_owned(),
            (None, false) => "expired".to_owned(),
        };
        let scopes: Vec<String> = token.scopes.iter().cloned().map(String::from).collect();
        let end = token.expires_at.map(|at| at.to_string()).unwrap_or_default();
        let (organisation, name) = (token.organisation.clone(), token.name.clone());
        let kind = match token.person {
            None => "token",
            Some(Person::Added) => "person",
            Some(Person::Granted) => "person, by their groups",
        };
        let (kind, role) = (kind.to_owned(), token.role.to_string());
        rows.push([organisation, name, token.id.clone(), kind, role, scopes.join(", "), end, status]);
    }
    let with_token: BTreeSet<&str> = state.tokens.iter().map(|token| token.organisation.as_str()).collect();
    for organisation in state.organisations.iter().filter(|known| !with_token.contains(known.name.as_str())) {
        let mut row: [String; 8] = Default::default();
        row[0].clone_from(&organisation.name);
        rows.push(row);
    }
    rows.sort();
    let names = ["organisation", "name", "token", "kind", "role", "scopes", "expires", "status"];
    print(names, &rows, arguments.format)
}

/// Prints rows of texts; empty ones are NULL.
fn print<const N: usize>(names: [&str; N], rows: &[[String; N]], format: output::Format) -> Result<()> {
    let columns = names.iter().enumerate().map(|(place, name)| {
        let cells = rows.iter().map(|row| row.get(place).filter(|cell| !cell.is_empty()).cloned());
        (*name, Arc::new(StringArray::from_iter(cells)) as ArrayRef, true)
    });
    output::print(&RecordBatch::try_from_iter_with_nullable(columns)?, format)
}

/// Whom a policy is for, and of which table.
fn parsed(of: &PolicyOf) -> Result<(TableName, Whom)> {
    let table = of.table.parse::<TableName>()?;
    let role = of.role.as_ref().map(|role| role.parse::<Role>().map_err(anyhow::Error::msg)).transpose()?;
    Ok((table, Whom::of(&of.whom, role)))
}

async fn set_policy(context: &Context, arguments: &SetPolicyArguments) -> Result<()> {
    let SetPolicyArguments { of, condition } = arguments;
    let (table, whom) = parsed(of)?;
    let (lake, members) = open(context).await?;
    let policy = Policy { conditions: [condition.clone()].into(), ..Policy::default() };
    let seen = rows_seen(context, &table, policy).await.context("the policy was not set")?;
    members.set_policy(&whom, &table, condition).await?;
    record_policy(context, &lake, "policy set", &whom, (&table, condition)).await?;
    println!("of table `{table}`, {whom} sees {seen} rows by this policy; servers follow within five seconds");
    Ok(())
}

/// Counts the rows that a policy shows, and so finds out whether it fits its table.
async fn rows_seen(context: &Context, table: &TableName, policy: Policy) -> Result<String> {
    let question = Question {
        visibility: Visibility::all().with_policies(Policies::from([(table.clone(), policy)])),
        ..Question::new(format!("SELECT CAST(count(*) AS VARCHAR) AS seen FROM {table}"), context.query_limits())
    };
    let batches: Vec<RecordBatch> = query::ask(context, &question).await?.try_collect().await?;
    let counted = batches.iter().find_map(|batch| Some(batch.column(0).as_string_opt::<i32>()?.value(0).to_owned()));
    counted.context("the rows of the table were not counted")
}

async fn remove_policy(context: &Context, of: &PolicyOf) -> Result<()> {
    let (table, whom) = parsed(of)?;
    let (lake, members) = open(context).await?;
    members.remove_policy(&whom, &table).await?;
    record_policy(context, &lake, "policy removed", &whom, (&table, "")).await?;
    println!("policy of {whom} on `{table}` removed; servers follow within five seconds");
    Ok(())
}

async fn hide_columns(context: &Context, arguments: &HideColumnsArguments) -> Result<()> {
    let HideColumnsArguments { of, columns } = arguments;
    let (table, whom) = parsed(of)?;
    let (lake, members) = open(context).await?;
    let hidden: BTreeSet<String> = columns.iter().map(|name| name.trim().to_owned()).collect();
    let names = hidden.iter().cloned().collect::<Vec<_>>().join(", ");
    let policy = Policy { hidden: hidden.clone(), ..Policy::default() };
    rows_seen(context, &table, policy).await.context("no column was hidden")?;
    members.hide_columns(&whom, &table, &hidden).await?;
    record_policy(context, &lake, "columns hidden", &whom, (&table, &names)).await?;
    println!("of table `{table}`, {whom} does not see: {names}; servers follow within five seconds");
    Ok(())
}

async fn show_columns(context: &Context, of: &PolicyOf) -> Result<()> {
    let (table, whom) = parsed(of)?;
    let (lake, members) = open(context).await?;
    members.show_columns(&whom, &table).await?;
    record_policy(context, &lake, "columns shown", &whom, (&table, "")).await?;
    println!("all columns of `{table}` are shown to {whom}; servers follow within five seconds");
    Ok(())
}

async fn policies(context: &Context, arguments: &ListArguments) -> Result<()> {
    let (_, members) = open(context).await?;
    let state = members.state().await?;
    let row = |whom: &Whom, table: &TableName, [condition, hidden]: [&str; 2], set_at: Timestamp| {
        let role = whom.role.map(|role| role.to_string()).unwrap_or_default();
        let texts = [condition.to_owned(), hidden.to_owned(), set_at.to_string()];
        let [condition, hidden, set_at] = texts;
        [whom.whose(), role, table.to_string(), condition, hidden, set_at]
    };
    let of_rows = state.policies.iter();
    let of_rows = of_rows.map(|policy| row(&policy.whom, &policy.table, [&policy.condition, ""], policy.set_at));
    let of_columns = state.column_policies.iter().map(|policy| {
        let hidden = policy.hidden.iter().cloned().collect::<Vec<_>>().join(", ");
        row(&policy.whom, &policy.table, ["", &hidden], policy.set_at)
    });
    let mut rows: Vec<[String; 6]> = of_rows.chain(of_columns).collect();
    rows.sort();
    print(["organisation", "role", "table", "rows_where", "columns_hidden", "set"], &rows, arguments.format)
}

async fn set_quota(context: &Context, arguments: &SetQuotaArguments) -> Result<()> {
    let SetQuotaArguments { organisation, queries, rows, bytes } = arguments;
    let quota = Quota { queries: *queries, rows: *rows, bytes: *bytes };
    let (lake, members) = open(context).await?;
    members.set_quota(organisation, quota).await?;
    let limits: Vec<String> =
        quota.limits(&Used::default()).map(|(measure, limit, _)| format!("{limit} {measure}")).collect();
    let said = if limits.is_empty() { "no limit".to_owned() } else { limits.join(", ") };
    record(context, &lake, &format!("quota set: {said}"), organisation, None).await?;
    println!("`{organisation}` may use in a day: {said}; servers follow within five seconds");
    Ok(())
}

async fn quotas(context: &Context, arguments: &ListArguments) -> Result<()> {
    let (lake, members) = open(context).await?;
    let state = members.state().await?;
    let used = used_today(lake.object_store().as_ref(), context.clock.now()).await?;
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (whose, quota) in state.quotas() {
        let used = used.get(whose).copied().unwrap_or_default();
        for (measure, limit, used) in quota.limits(&used) {
            rows.push([whose.to_owned(), measure.to_string(), used.to_string(), limit.to_string()]);
        }
    }
    print(["organisation", "measure", "used_today", "daily_quota"], &rows, arguments.format)
}

async fn open(context: &Context) -> Result<(Lake, Members)> {
    let lake = context.lake(Access::ReadWrite).await?;
    let members = Members::new(&lake, Arc::clone(&context.clock));
    Ok((lake, members))
}

/// Writes a change down in `system.audit`.
async fn record(context: &Context, lake: &Lake, what: &str, whom: &str, token: Option<&str>) -> Result<()> {
    write(context, lake, what, whom, vec![("token", token.map(str::to_owned).into())]).await
}

/// Writes a change of a policy down.
async fn record_policy(
    context: &Context,
    lake: &Lake,
    what: &str,
    whom: &Whom,
    (table, said): (&TableName, &str),
) -> Result<()> {
    let tables = serde_json::Value::from(vec![table.to_string()]).to_string();
    let outcome = if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") };
    write(context, lake, &outcome, &whom.to_string(), vec![("tables", tables.into())]).await
}

async fn write(context: &Context, lake: &Lake, what: &str, whom: &str, more: Vec<(&'static str, Cell)>) -> Result<()> {
    let mut row: Vec<(&'static str, Cell)> = vec![
        ("started_at", context.clock.now().into()),
        ("event", "member".into()),
        ("member", whom.into()),
        ("protocol", "command".into()),
        ("outcome", what.into()),
    ];
    row.extend(more);
    let written = lake.append_system(SystemTable::Audit, system_batch(SystemTable::Audit, &[row])).await;
    written.context("the change was made, but could not be written to `system.audit`")
}
