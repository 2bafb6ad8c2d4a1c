//! The tree: management account, OUs, security account, members, delegated administration, users.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Member, OPT_OUT, Organization, Shape, Standing, call, text};
use crate::{Lab, LabError, accounts::fresh};

const GLOBAL: &str = "us-east-1";
/// What ordinary members are called; further ones are numbered.
const NAMES: [&str; 4] = ["payments", "orders", "search", "sandbox"];

/// What stands before anything is put into the accounts.
pub(super) struct Raised {
    pub management: String,
    pub security: String,
    pub members: Vec<Member>,
    pub extended: bool,
}

pub(super) async fn raise(lab: &Lab, shape: &Shape) -> Result<Raised, LabError> {
    let management = fresh();
    let ask = async |operation: &str, params: Value| call(&lab.hand, &management, GLOBAL, "organizations", operation, params).await;
    ask("create_organization", json!({"FeatureSet": "ALL"})).await?;
    let root = text(&ask("list_roots", json!({})).await?, "/Roots/0/Id")?;
    let unit = async |parent: &str, name: &str| {
        let made = ask("create_organizational_unit", json!({"ParentId": parent, "Name": name})).await?;
        text(&made, "/OrganizationalUnit/Id")
    };
    let workloads = unit(&root, "Workloads").await?;
    let (security_unit, production, development) =
        futures::try_join!(unit(&root, "Security"), unit(&workloads, "Production"), unit(&workloads, "Development"))?;

    let mut wanted = vec![("security".to_owned(), security_unit, "Root/Security", Standing::Ordinary)];
    for number in 0..shape.members {
        let left = shape.members - number;
        let standing = match left {
            1 if shape.without_role => Standing::WithoutRole,
            2 if shape.opted_out && shape.without_role => Standing::OptedOut,
            1 if shape.opted_out => Standing::OptedOut,
            _ => Standing::Ordinary,
        };
        let name = match standing {
            Standing::WithoutRole => "acquired".to_owned(),
            Standing::OptedOut => "laboratory".to_owned(),
            Standing::Ordinary => NAMES.get(number).map_or_else(|| format!("team-{number}"), |name| (*name).to_owned()),
        };
        let (unit, path) = if number % 3 == 2 || standing == Standing::OptedOut {
            (&development, "Root/Workloads/Development")
        } else {
            (&production, "Root/Workloads/Production")
        };
        wanted.push((name, unit.clone(), path, standing));
    }

    let item = |(name, unit, _, standing): &(String, String, &str, Standing), id: &str| {
        let tags = match standing {
            Standing::OptedOut => json!([{"Key": OPT_OUT, "Value": "true"}]),
            _ => json!([{"Key": "owner", "Value": name}]),
        };
        json!({"AccountId": id, "AccountName": name, "Email": format!("{name}-{id}@example.com"), "ParentId": unit, "Tags": tags})
    };
    let mut ids: Vec<String> = wanted.iter().map(|_| fresh()).collect();
    let seeds: Vec<Value> = wanted.iter().zip(&ids).map(|(wanted, id)| item(wanted, id)).collect();
    let extended = lab.seed(&management, GLOBAL, "organizations-accounts", seeds).await.is_ok();
    if !extended {
        // Plain moto chooses the ids by itself.
        ids.clear();
        for (wanted, number) in wanted.iter().zip(0..) {
            let mut params = item(wanted, &format!("{management}-{number}"));
            let (unit, _) = (wanted.1.clone(), params.as_object_mut().map(|map| (map.remove("AccountId"), map.remove("ParentId"))));
            let id = text(&ask("create_account", params).await?, "/CreateAccountStatus/AccountId")?;
            ask("move_account", json!({"AccountId": id, "SourceParentId": root, "DestinationParentId": unit})).await?;
            ids.push(id);
        }
    }
    let mut members: Vec<Member> = wanted
        .into_iter()
        .zip(ids)
        .map(|((name, _, path, standing), account)| Member { account, name, path: path.to_owned(), standing, keys: Vec::new() })
        .collect();
    let security = members.remove(0).account;
    for service in ["guardduty.amazonaws.com", "securityhub.amazonaws.com"] {
        let made = ask("register_delegated_administrator", json!({"AccountId": security, "ServicePrincipal": service})).await;
        // Plain moto knows only some services.
        if extended || service.starts_with("guardduty") {
            made?;
        }
    }
    Ok(Raised { management, security, members, extended })
}

impl Organization {
    /// Users with an access key each, in every member.
    pub(super) async fn make_users(&self, count: usize) -> Result<Vec<Vec<(String, String)>>, LabError> {
        let user = async |account: &str, number: usize| {
            let name = if number == 0 { "deploy".to_owned() } else { format!("deploy-{number}") };
            self.call(account, GLOBAL, "iam", "create_user", json!({"UserName": name})).await?;
            let key = self.call(account, GLOBAL, "iam", "create_access_key", json!({"UserName": name})).await?;
            Ok::<_, LabError>((name, text(&key, "/AccessKey/AccessKeyId")?))
        };
        let user = &user;
        let of = async |account: &str| try_join_all((0..count).map(|number| user(account, number))).await;
        let of = &of;
        try_join_all(self.members.iter().map(|member| of(&member.account))).await
    }
}
