//! `hambar members`: organisations and tokens, changed in the store itself. Whoever may write there administers.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use hambar_core::system::{Cell, system_batch};
use hambar_core::{SystemTable, TableStore};
use hambar_lake::{Access, Lake};
use hambar_server::{Members, NewToken, Role, Scope};
use jiff::SignedDuration;

use crate::args::{AddOrganisationArguments, AddTokenArguments, ListArguments, MembersArguments, MembersCommand};
use crate::context::Context;
use crate::output;

/// Hours of a day, as tokens count them.
const DAY_HOURS: i64 = 24;

/// `hambar members`
pub(crate) async fn members(context: &Context, arguments: &MembersArguments) -> Result<()> {
    match &arguments.command {
        MembersCommand::AddOrg(arguments) => add_organisation(context, arguments).await,
        MembersCommand::AddToken(arguments) => add_token(context, arguments).await,
        MembersCommand::List(arguments) => list(context, arguments).await,
        MembersCommand::Revoke(arguments) => revoke(context, &arguments.token).await,
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
    let parse = |text: &String| text.parse::<Scope>().map_err(anyhow::Error::msg);
    let scopes: BTreeSet<Scope> = arguments.scope.iter().map(parse).collect::<Result<_>>()?;
    let lifetime = SignedDuration::from_hours(i64::from(arguments.days) * DAY_HOURS);
    let expires_at = context.clock.now().checked_add(lifetime).context("the token would end after all calendars")?;
    let wanted = NewToken {
        organisation: arguments.organisation.clone(),
        name: arguments.name.clone(),
        role: arguments.role.parse::<Role>().map_err(anyhow::Error::msg)?,
        scopes,
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
    let mut rows: Vec<[String; 7]> = Vec::new();
    for token in &state.tokens {
        let status = match (token.revoked_at, token.is_valid(now)) {
            (Some(at), _) => format!("revoked {at}"),
            (None, true) => "valid".to_owned(),
            (None, false) => "expired".to_owned(),
        };
        let scopes: Vec<String> = token.scopes.iter().cloned().map(String::from).collect();
        let end = token.expires_at.map(|at| at.to_string()).unwrap_or_default();
        let (organisation, name) = (token.organisation.clone(), token.name.clone());
        rows.push([organisation, name, token.id.clone(), token.role.to_string(), scopes.join(", "), end, status]);
    }
    let with_token: BTreeSet<&str> = state.tokens.iter().map(|token| token.organisation.as_str()).collect();
    for organisation in state.organisations.iter().filter(|known| !with_token.contains(known.name.as_str())) {
        let mut row: [String; 7] = Default::default();
        row[0].clone_from(&organisation.name);
        rows.push(row);
    }
    rows.sort();
    let names = ["organisation", "name", "token", "role", "scopes", "expires", "status"];
    let columns = names.iter().enumerate().map(|(place, name)| {
        let cells = rows.iter().map(|row| row.get(place).filter(|cell| !cell.is_empty()).cloned());
        (*name, Arc::new(StringArray::from_iter(cells)) as ArrayRef, true)
    });
    output::print(&RecordBatch::try_from_iter_with_nullable(columns)?, arguments.format)
}

async fn open(context: &Context) -> Result<(Lake, Members)> {
    let lake = context.lake(Access::ReadWrite).await?;
    let members = Members::new(&lake, Arc::clone(&context.clock));
    Ok((lake, members))
}

/// Writes a change down in `system.audit`.
async fn record(context: &Context, lake: &Lake, what: &str, whom: &str, token: Option<&str>) -> Result<()> {
    let row: Vec<(&'static str, Cell)> = vec![
        ("started_at", context.clock.now().into()),
        ("event", "member".into()),
        ("member", whom.into()),
        ("token", token.map(str::to_owned).into()),
        ("protocol", "command".into()),
        ("outcome", what.into()),
    ];
    let written = lake.append_system(SystemTable::Audit, system_batch(SystemTable::Audit, &[row])).await;
    written.context("the change was made, but could not be written to `system.audit`")
}
