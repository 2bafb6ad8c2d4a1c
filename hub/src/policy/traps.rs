//! What goes wrong with policies: mistakes that must be told at their place, and policies that fail when they are asked.

use std::fs;

use cordon_shared::gate::PolicyVerdict;

use super::{
    Keeper, LoadError,
    tests::{case, load, with},
};
use crate::{journal::testing::TempDir, setup::registry};

fn wrong(file: &str, text: &str) -> String {
    match load(&[(file, text)]) {
        Err(error @ LoadError::Invalid(_)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is sound: {text}"),
    }
}

#[test]
fn a_misspelt_attribute_is_rejected_with_its_place() {
    let text = "// careful\n@id(\"two\")\nforbid (principal is Playbook, action in Action::\"change\", resource)\nwhen { context.aprovals < 2 };\n";
    let told = wrong("careful.cedar", text);
    assert!(told.starts_with("error: ") && told.contains("--> careful.cedar:4:"), "{told}");
    assert!(told.contains("aprovals") && told.contains("4 | when { context.aprovals < 2 };"), "{told}");
    assert!(told.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^')), "{told}");
}

/// A policy of people meets ten kinds of request.
#[test]
fn what_is_wrong_for_several_kinds_of_request_is_said_once_and_shipped_policies_warn_of_nothing() {
    let told = wrong("left.cedar", "forbid (principal is Person, action, resource)\nwhen { context.houre > 3 };");
    assert_eq!(told.matches("error: ").count(), 1, "{told}");
    assert!(told.contains("`houre` in context for Action::\"approve\" and 9 more kinds of request not found"), "{told}");
    assert!(told.contains("did you mean `hour`?") && told.contains("--> left.cedar:2:"), "{told}");
    // Two mistakes in one place of one policy are two.
    let told =
        wrong("left.cedar", "forbid (principal is Person, action, resource)\nwhen { context.houre > 3 || context.weekdy == \"Monday\" };");
    assert_eq!(told.matches("error: ").count(), 2, "{told}");
    assert!(with(&[]).warnings.is_empty());
    let impossible =
        load(&[("never.cedar", "forbid (principal is Person, action == Action::\"approve\", resource) when { false };")]).unwrap();
    assert_eq!(impossible.warnings.len(), 1, "{:?}", impossible.warnings);
}

#[test]
fn what_is_no_policy_is_rejected_with_its_place() {
    let told = wrong("broken.cedar", "permit (principal, action, resource)\n\nforbid (principal, action, resource);");
    assert!(told.contains("--> broken.cedar:3:8"), "{told}");
}

#[test]
fn unknown_actions_types_tags_without_a_look_and_annotations_are_mistakes() {
    for (text, word) in [
        ("permit (principal, action == Action::\"ec2.isolate-instanse\", resource);", "ec2.isolate-instanse"),
        ("permit (principal is Playbok, action, resource);", "Playbok"),
        ("forbid (principal, action, resource) when { resource.getTag(\"team\") == \"a\" };", "team"),
        ("forbid (principal, action, resource) when { context.part == \"ACTOR\" };", "part"),
        ("forbid (principal, action, resource) when { context.hour == \"night\" };", "night"),
        ("@whi(\"because\")\nforbid (principal, action, resource);", "@whi"),
        ("permit (principal == ?principal, action, resource);", "template"),
        ("@id(\"a\")\npermit (principal, action, resource);\n@id(\"a\")\nforbid (principal, action, resource);", "already"),
    ] {
        let told = wrong("p.cedar", text);
        assert!(told.contains(word) && told.contains("--> p.cedar:"), "{text}\n{told}");
    }
    let told = wrong("p.cedar", "@whi(\"because\")\nforbid (principal, action, resource);");
    assert!(told.contains("did you mean `@why`?"), "{told}");
}

/// Cedar leaves a policy out that cannot be evaluated. One that would forbid must not be lost like that.
#[test]
fn a_policy_that_cannot_be_evaluated_is_a_no_though_everything_is_permitted() {
    let policies = with(&[
        ("all.cedar", "permit (principal, action, resource);"),
        (
            "overflow.cedar",
            "@id(\"overflow\")\nforbid (principal, action in Action::\"change\", resource)\nwhen { (context.finding_age + 9223372036854775807) > 0 };",
        ),
    ]);
    let answer = policies.judge(&case("ec2.close-open-ingress"));
    assert_eq!((answer.verdict, answer.policies.as_slice()), (PolicyVerdict::Failed, ["overflow".to_owned()].as_slice()));
    assert!(
        answer.why.contains("policy `overflow` (overflow.cedar) cannot be evaluated") && answer.why.contains("overflow"),
        "{}",
        answer.why
    );
    assert_eq!(answer.refusal().unwrap().code, "policy-error");
    assert_eq!(policies.judge(&case("ec2.find-instance")).verdict, PolicyVerdict::Allow, "it is not about probes");
}

#[test]
fn what_does_not_fit_the_schema_is_a_no() {
    let policies = with(&[("all.cedar", "permit (principal, action, resource);")]);
    let answer = policies.judge(&case("ec2.drop-everything"));
    assert_eq!(answer.verdict, PolicyVerdict::Failed);
    assert!(answer.why.contains("ec2.drop-everything"), "{}", answer.why);
}

#[test]
fn a_file_of_a_built_in_name_takes_its_place_and_others_come_beside_it() {
    let folder = TempDir::new();
    fs::write(folder.path().join("disruptive.cedar"), "permit (principal, action in Action::\"disruptive\", resource);").unwrap();
    fs::write(folder.path().join("more.cedar"), "forbid (principal, action, resource) when { context.hour == 3 };").unwrap();
    fs::write(folder.path().join("notes.txt"), "not a policy").unwrap();
    let keeper = Keeper::load(Some(folder.path()), &registry().unwrap()).unwrap();
    let policies = keeper.in_force();
    let names: Vec<&str> = policies.iter().map(|known| known.name.as_str()).collect();
    let others = ["approvers", "four-eyes", "operators", "people", "question-new-opt-outs"];
    let names: Vec<&str> = names.into_iter().filter(|name| !others.contains(name)).collect();
    assert_eq!(names, ["destructive", "destructive-asks-two", "disruptive", "more", "probes", "reversible"]);
    assert!(keeper.look().is_none(), "nothing has changed");
}

#[test]
fn a_broken_set_leaves_the_last_sound_one_in_force_and_is_told_once() {
    let folder = TempDir::new();
    let file = folder.path().join("mine.cedar");
    fs::write(&file, "forbid (principal, action in Action::\"change\", resource);").unwrap();
    let keeper = Keeper::load(Some(folder.path()), &registry().unwrap()).unwrap();
    let change = case("ec2.close-open-ingress");
    let verdict = || keeper.in_force().judge(&change).verdict;
    let first = keeper.in_force().digest.clone();
    assert_eq!(verdict(), PolicyVerdict::Deny);
    fs::write(&file, "forbid (principal, action in Action::\"change\", resource) when { context.our == 3 };").unwrap();
    let told = keeper.look().unwrap().unwrap_err().to_string();
    assert!(told.contains("--> mine.cedar:1:"), "{told}");
    assert_eq!((verdict(), keeper.in_force().digest == first), (PolicyVerdict::Deny, true));
    assert!(keeper.look().is_none(), "it was said");
    fs::write(&file, "forbid (principal, action in Action::\"change\", resource) when { context.hour == 3 };").unwrap();
    assert_ne!(keeper.look().unwrap().unwrap().digest, first);
    assert_eq!(verdict(), PolicyVerdict::Allow);
    drop(folder);
    assert!(matches!(keeper.look(), Some(Err(LoadError::Folder { .. }))), "a folder that is gone is a broken set");
    assert!(keeper.look().is_none());
    assert_eq!(verdict(), PolicyVerdict::Allow);
}
