//! From what the provider says of somebody to a member's name, and to what they get by their groups.

use serde_json::{Map, Value};

use super::{Failed, LoginFailure, OidcSettings};
use crate::access::{Grant, is_name, person_name};

/// The claim that needs the provider's word for it.
const EMAIL: &str = "email";

/// Somebody whom the provider has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recognised {
    /// The name of the member that they are, if they are one.
    pub(crate) name: String,
    /// What they get by what the provider says of them.
    pub(crate) grant: Option<Grant>,
}

impl Recognised {
    /// Understands proven claims.
    pub(super) fn of(claims: &Map<String, Value>, settings: &OidcSettings) -> Result<Self, Failed> {
        let claim = &settings.member_claim;
        let named = find(claims, claim).and_then(Value::as_str).filter(|text| !text.is_empty());
        let named = named.ok_or_else(|| LoginFailure::Claim.because(format!("the ID token has no claim `{claim}`")))?;
        let is_said = |name: &str| {
            // Some providers write it as a text.
            claims.get(name).is_some_and(|value| value == &Value::Bool(true) || value == "true")
        };
        if claim == EMAIL && !is_said("email_verified") {
            return Err(LoginFailure::Unverified.because("`email_verified` is not true"));
        }
        if !is_name(named) {
            let why = format!("the claim `{claim}` holds what cannot be the name of a member");
            return Err(LoginFailure::Claim.because(why));
        }
        Ok(Self { name: person_name(named), grant: grant(claims, settings) })
    }
}

fn grant(claims: &Map<String, Value>, settings: &OidcSettings) -> Option<Grant> {
    let value = settings.groups_claim.as_ref().and_then(|claim| find(claims, claim));
    let has = |group: &str| match value {
        Some(Value::String(own)) => own == group,
        Some(Value::Array(own)) => own.iter().any(|own| own == group),
        _ => false,
    };
    let granted = settings.groups.iter().find(|(group, _)| has(group)).map(|(_, grant)| grant);
    granted.or(settings.everybody.as_ref()).cloned()
}

/// Finds a claim by its name, or by the names on the way to it with dots between them (`realm_access.roles`).
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::access::Role;
    use crate::oidc::tests::settings;

    fn recognised(settings: &OidcSettings, claims: Value) -> Result<(String, Option<String>), LoginFailure> {
        let found = Recognised::of(claims.as_object().unwrap(), settings);
        let shown = |grant: Grant| format!("{} {}", grant.organisation, grant.role);
        found.map(|found| (found.name, found.grant.map(shown))).map_err(|failed| failed.failure)
    }

    fn grant(organisation: &str, role: Role) -> Grant {
        Grant { organisation: organisation.to_owned(), role, scopes: BTreeSet::new() }
    }

    #[test]
    fn a_mail_address_counts_where_the_provider_vouches_for_it() {
        let settings = settings();
        let known = |claims: Value| recognised(&settings, claims);
        assert_eq!(known(json!({"email": "Ana@Uni.bg", "email_verified": true})), Ok(("ana@uni.bg".to_owned(), None)));
        assert!(known(json!({"email": "ana@uni.bg", "email_verified": "true"})).is_ok());
        for unproven in [json!(false), json!("false"), json!(1), json!(null)] {
            let claims = json!({"email": "ana@uni.bg", "email_verified": unproven});
            assert_eq!(known(claims), Err(LoginFailure::Unverified));
        }
        assert_eq!(known(json!({"email": "ana@uni.bg"})), Err(LoginFailure::Unverified));
        for nobody in [json!({}), json!({"email": ""}), json!({"email": 7}), json!({"email": ["a@b"]})] {
            assert_eq!(known(nobody), Err(LoginFailure::Claim));
        }
        let strange = json!({"email": "<script>@uni.bg", "email_verified": true});
        assert_eq!(known(strange), Err(LoginFailure::Claim));
        let long = json!({"email": "a".repeat(65), "email_verified": true});
        assert_eq!(known(long), Err(LoginFailure::Claim));
    }

    #[test]
    fn groups_say_what_somebody_gets_and_the_first_of_them_counts() {
        let settings = OidcSettings {
            member_claim: "preferred_username".to_owned(),
            groups_claim: Some("realm_access.roles".to_owned()),
            groups: vec![
                ("admins".to_owned(), grant("sofia", Role::Administrator)),
                ("staff".to_owned(), grant("sofia", Role::Curator)),
            ],
            ..settings()
        };
        let gets = |settings: &OidcSettings, roles: Value| {
            let claims = json!({"preferred_username": "Ana", "realm_access": {"roles": roles}});
            recognised(settings, claims).unwrap().1
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(gets(&settings, json!(["staff", "admins"])), is("sofia administrator"));
        assert_eq!(gets(&settings, json!("staff")), is("sofia curator"));
        assert_eq!(gets(&settings, json!(["Staff", 7, null, ["admins"]])), None);
        assert_eq!(recognised(&settings, json!({"preferred_username": "Ana"})), Ok(("Ana".to_owned(), None)));
        let flat = OidcSettings { groups_claim: Some("https://hambar/groups".to_owned()), ..settings.clone() };
        let claims = json!({"preferred_username": "ana", "https://hambar/groups": ["staff"]});
        assert_eq!(recognised(&flat, claims).unwrap().1, is("sofia curator"));
        let open = OidcSettings { everybody: Some(grant("guests", Role::Reader)), ..settings };
        assert_eq!(gets(&open, json!([])), is("guests reader"));
        assert_eq!(gets(&open, json!(["staff"])), is("sofia curator"));
    }
}
