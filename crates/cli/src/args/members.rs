//! Arguments of `hambar members`.

use clap::{Args, Subcommand};

use super::ListArguments;

#[derive(Debug, Args)]
pub(crate) struct MembersArguments {
    #[command(subcommand)]
    pub(crate) command: MembersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// Add an organisation.
    AddOrg(AddOrganisationArguments),
    /// Make a token; it is shown once.
    AddToken(AddTokenArguments),
    /// Add somebody who logs in by OpenID Connect.
    AddPerson(AddPersonArguments),
    /// List organisations, tokens and people, revoked and expired ones included.
    List(ListArguments),
    /// Revoke a token, or end the membership of a person; every server refuses it within five seconds.
    Revoke(RevokeArguments),
    /// Show members of an organisation, or people without a token, only some rows of a table.
    SetPolicy(SetPolicyArguments),
    /// Take a row policy away.
    RemovePolicy(PolicyOf),
    /// Hide columns of a table from members of an organisation, or from people without a token.
    HideColumns(HideColumnsArguments),
    /// Show columns again that were hidden.
    ShowColumns(PolicyOf),
    /// List the policies of rows and columns.
    Policies(ListArguments),
    /// Set what the members of an organisation, or all people without a token, may use in a day (UTC) together.
    SetQuota(SetQuotaArguments),
    /// List the quotas and what was used of them today.
    Quotas(ListArguments),
}

// Whom a policy is for, and of which table.
#[derive(Debug, Args)]
pub(crate) struct PolicyOf {
    /// The organisation; `organisation/name` for one token, `anonymous` for people without one.
    #[arg(value_name = "ORGANISATION")]
    pub(crate) whom: String,
    /// The table.
    #[arg(value_name = "NAMESPACE.TABLE")]
    pub(crate) table: String,
    /// Only members with this role.
    #[arg(long)]
    pub(crate) role: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hambar members set-policy sofia trade.declarations \"reporter IN ('BG', 'RO')\"\n\nThe condition is SQL over the columns of the table, without subqueries and without functions \
that ask for the time or for chance. Rows for which it is not true are hidden. It is tried on the table before it is set, \
replaces the one that there is, and holds within five seconds, for the history, earlier versions and pages as well. Several \
policies that are for the same member hold together."
)]
pub(crate) struct SetPolicyArguments {
    #[command(flatten)]
    pub(crate) of: PolicyOf,
    /// What a row meets that they see.
    pub(crate) condition: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hambar members hide-columns sofia trade.declarations importer,exporter\n\nFor them the columns do not \
exist: in no list of columns, in no error, in no earlier version. The names replace those that were hidden from the same people \
before. A column that gets another name closes the table for them until this is set anew."
)]
pub(crate) struct HideColumnsArguments {
    #[command(flatten)]
    pub(crate) of: PolicyOf,
    /// The columns.
    #[arg(value_name = "COLUMN", required = true, value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What is not named is not limited; without any of them the quota is lifted. Servers refuse what is above it until \
the next midnight (UTC), with 429 and `Retry-After`."
)]
pub(crate) struct SetQuotaArguments {
    /// The organisation; `anonymous` for all people without a token together.
    pub(crate) organisation: String,
    /// Queries of a day.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) queries: Option<u64>,
    /// Rows of the answers of a day.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows: Option<u64>,
    /// Bytes of the answers of a day, as Arrow holds them.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AddOrganisationArguments {
    /// Its name in commands and logs.
    pub(crate) name: String,
    /// Its name for people.
    #[arg(long)]
    pub(crate) title: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AddTokenArguments {
    /// Whose it is.
    pub(crate) organisation: String,
    /// Who or what uses it.
    pub(crate) name: String,
    /// `reader`, `curator`, `operator` or `administrator`.
    #[arg(long, default_value = "reader")]
    pub(crate) role: String,
    /// The namespaces that it reaches; `*` is every one.
    #[arg(long, value_name = "NAMESPACE", required = true, value_delimiter = ',')]
    pub(crate) scope: Vec<String>,
    /// Days until it expires.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct AddPersonArguments {
    /// Whose member they become.
    pub(crate) organisation: String,
    /// What the provider calls them: the value of the claim in `server.oidc.member_claim`, by default their mail address.
    pub(crate) name: String,
    /// `reader`, `curator`, `operator` or `administrator`.
    #[arg(long, default_value = "reader")]
    pub(crate) role: String,
    /// The namespaces that they reach; `*` is every one.
    #[arg(long, value_name = "NAMESPACE", required = true, value_delimiter = ',')]
    pub(crate) scope: Vec<String>,
    /// Days until they can no longer log in; for ever when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The token's id, or `organisation/name`.
    pub(crate) token: String,
}
