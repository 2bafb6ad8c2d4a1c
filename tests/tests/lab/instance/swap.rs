//! `ec2.swap-instance-profile`.

use cordon_lab::{
    drill::{Drill, Ground},
    organization::{Exposure, InstanceShape},
};
use cordon_shared::plan::Verdict;
use cordon_spoke::action::{Plan, Undo};
use serde_json::{Value, json};

use super::{Place, SWAP, fault, noted, yard};

/// An instance with a profile, and the profile's ARN.
pub(super) async fn with_profile() -> (Place, String) {
    let place = Place::new().await;
    let shape =
        InstanceShape { interfaces: vec![Exposure::Port], ..InstanceShape::named(&format!("swap-{}", cordon_lab::accounts::fresh())) };
    let organization = &yard().await.organization;
    let instance = organization.instance(place.cell.account.as_str(), place.cell.region.as_str(), &shape).await.unwrap();
    (Place { id: instance.id, ..place }, instance.profile)
}

fn own(place: &Place) -> String {
    format!("cordon-{}", place.id)
}

fn trust(principal: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}).to_string()
}

async fn make_role(place: &Place, path: &str, trust: String, tags: Value) {
    let params = json!({"RoleName": own(place), "Path": path, "AssumeRolePolicyDocument": trust, "Tags": tags});
    place.ask("iam", "create_role", params).await;
}

fn ec2() -> String {
    trust(json!({"Service": "ec2.amazonaws.com"}))
}

fn tags(run: &str) -> Value {
    json!([{"Key": "cordon:run", "Value": run}, {"Key": "cordon:step", "Value": "swap-profile"}])
}

async fn profile_of(place: &Place) -> Value {
    place.described().await["IamInstanceProfile"]["Arn"].clone()
}

async fn roles(place: &Place) -> Vec<String> {
    let found = place.ask("iam", "list_roles", json!({"PathPrefix": "/cordon/"})).await;
    let roles = found["Roles"].as_array().unwrap().iter().map(|role| role["RoleName"].as_str().unwrap().to_owned());
    roles.filter(|name| *name == own(place)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_a_profile_has_no_credentials_to_cut() {
    let Plan::Moot { why } = Place::run(json!({})).await.plan(SWAP).await else { panic!() };
    assert!(why.contains("has no instance profile: there are no credentials to cut"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_our_name_that_is_not_as_we_make_it_is_never_used() {
    let denied = trust(json!({"Service": "ec2.amazonaws.com", "AWS": "*"}));
    for (path, trust, tags, policy, why) in [
        ("/", ec2(), tags("inc-1"), false, "stands at the path /"),
        ("/cordon/", ec2(), json!([]), false, "does not carry the tag cordon:run"),
        ("/cordon/", denied, tags("inc-1"), false, "is trusted by others than ec2.amazonaws.com"),
        ("/cordon/", ec2(), tags("inc-1"), true, "has the policy all"),
    ] {
        let (place, _) = with_profile().await;
        make_role(&place, path, trust, tags).await;
        if policy {
            let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
            let params = json!({"RoleName": own(&place), "PolicyName": "all", "PolicyDocument": all.to_string()});
            place.ask("iam", "put_role_policy", params).await;
        }
        let Plan::Refuse { code, why: said } = place.plan(SWAP).await else { panic!("{why}") };
        assert!(code == "foreign-role" && said.contains(why), "{code}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_an_earlier_incident_left_is_used_again_and_left_again() {
    let (place, profile) = with_profile().await;
    make_role(&place, "/cordon/", ec2(), tags("inc-earlier")).await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    let plan = drill.plan().await.unwrap();
    assert!(noted(&plan, "of inc-earlier is used again; an undo leaves it"), "{:?}", plan.notes);
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(changes) if changes.len() == 1));
    assert_eq!(profile_of(&place).await, json!(profile));
    assert_eq!(roles(&place).await, [own(&place)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ec2_is_asked_again_until_it_has_heard_of_the_profile() {
    let (place, profile) = with_profile().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    ground.lab.gateway.faults().add(fault("ReplaceIamInstanceProfileAssociation", "", "InvalidParameterValue").times(2));
    let outcome = drill.apply().await.unwrap().unwrap();
    let asked = ground.lab.gateway.ledger().of_operation("ec2", "ReplaceIamInstanceProfileAssociation").len();
    assert!(asked >= 3, "{asked}");
    let account = &place.cell.account;
    assert_eq!(outcome["was"]["profile"], json!(profile));
    assert_eq!(
        outcome["now"],
        json!({
            "profile": format!("arn:aws:iam::{account}:instance-profile/cordon/{}", own(&place)),
            "role": format!("arn:aws:iam::{account}:role/cordon/{}", own(&place)),
        })
    );
    assert!(outcome["association"].as_str().unwrap().starts_with("iip-assoc-"), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_is_made_has_no_rights_and_trusts_ec2_alone() {
    let (place, _) = with_profile().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    let named = json!({"RoleName": own(&place)});
    let role = place.ask("iam", "get_role", named.clone()).await["Role"].clone();
    assert_eq!(role["AssumeRolePolicyDocument"].to_string(), serde_json::from_str::<Value>(&ec2()).unwrap().to_string());
    assert!(role["Tags"].as_array().unwrap().iter().any(|tag| tag["Key"] == "cordon:run"), "{role}");
    assert_eq!(place.ask("iam", "list_role_policies", named.clone()).await["PolicyNames"], json!([]));
    assert_eq!(place.ask("iam", "list_attached_role_policies", named).await["AttachedPolicies"], json!([]));
}

/// Somebody gives the role rights afterwards: it is drift, the undo takes the instance away from it and leaves it to a person.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_somebody_gives_the_role_are_drift() {
    let (place, profile) = with_profile().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let params = json!({"RoleName": own(&place), "PolicyName": "backdoor", "PolicyDocument": all.to_string()});
    place.ask("iam", "put_role_policy", params).await;
    let Verdict::Drifted { detail } = drill.verify().await.unwrap() else { panic!() };
    assert!(detail.contains("has the policy backdoor"), "{detail}");
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!() };
    assert!(steps[0].contains("has the policy backdoor") && steps.last().unwrap().contains("nothing more to do"), "{steps:?}");
    assert_eq!(profile_of(&place).await, json!(profile));
    assert_eq!(roles(&place).await, [own(&place)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_was_deleted_since_is_made_again_by_a_person() {
    let (place, profile) = with_profile().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    let name = profile.rsplit('/').next().unwrap();
    place.ask("iam", "remove_role_from_instance_profile", json!({"InstanceProfileName": name, "RoleName": name})).await;
    place.ask("iam", "delete_instance_profile", json!({"InstanceProfileName": name})).await;
    let Undo::ByHand(steps) = drill.undo().await.unwrap().unwrap() else { panic!() };
    assert!(steps[0].contains("was deleted since") && steps[0].contains("replace-iam-instance-profile-association"), "{steps:?}");
    // Until then the instance keeps the profile without rights.
    assert!(profile_of(&place).await.as_str().unwrap().ends_with(&own(&place)));
    assert_eq!(roles(&place).await, [own(&place)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_an_instance_goes_with_it() {
    let (place, _) = with_profile().await;
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert_eq!(drill.recover().await.unwrap(), 0);
    place.terminate().await;
    assert!(matches!(drill.undo().await.unwrap().unwrap(), Undo::Restored(changes) if changes.is_empty()));
    assert_eq!(roles(&place).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_with_the_same_role_keeps_it() {
    let (place, profile) = with_profile().await;
    let params = json!({
        "ImageId": "ami-12c6146b", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "IamInstanceProfile": {"Arn": profile}
    });
    let made = place.ask("ec2", "run_instances", params).await;
    let neighbour =
        Place { id: made["Instances"][0]["InstanceId"].as_str().unwrap().to_owned(), cell: place.cell.clone(), even_if_managed: false };
    let ground = Ground::new(yard().await).unwrap();
    let mut drill = Drill::begin(&ground, &place, SWAP).await.unwrap();
    drill.plan().await.unwrap();
    drill.apply().await.unwrap().unwrap();
    assert!(profile_of(&place).await.as_str().unwrap().ends_with(&own(&place)));
    assert_eq!(profile_of(&neighbour).await, json!(profile));
    let name = profile.rsplit('/').next().unwrap();
    let kept = place.ask("iam", "get_instance_profile", json!({"InstanceProfileName": name})).await;
    assert_eq!(kept["InstanceProfile"]["Roles"][0]["RoleName"], json!(name));
}
