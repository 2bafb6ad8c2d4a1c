use std::{collections::BTreeSet, fs};

use cordon_shared::clock::ManualClock;

use super::*;
use crate::report::fixture::golden;

const FULL: &str = r#"
[hub]
account = "222222222222"
regions = ["us-east-1", "eu-west-1"]
home_region = "us-east-1"
state_dir = "cordon-state"
mode = "observe"
confirm_findings = true
role = ""
action_role = ""
[org]
read_role = ""
[spoke]
role_name = "CordonSpoke"
external_id = "{account}"
[opt_out]
tag_key = "cordon:opt-out"
[findings]
stale_after = "168h"
act_on_products = []
[caps]
changes_per_account_hour = 5
changes_per_organization_hour = 25
[limits]
organization_slots = 64
account_slots = 8
cell_slots = 4
attempt_timeout = "10s"
[approval]
question_lasts = "4h"
[queue]
url = ""
dead_letter_url = ""
receivers = 2
[poll]
every = "5m"
[playbooks]
dir = ""
[policy]
dir = ""
time_zone = "UTC"
[owner]
tag_key = "owner"
from = ""
slack = false
domains = []
contact = ""
"#;

fn clock() -> ManualClock {
    ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap())
}

fn read(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    Config::parse(text, "cordon.toml", Path::new("/etc/cordon"), &clock())
}

fn with(extra: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    read(&format!("{SMALLEST}{extra}"))
}

fn wrong(text: &str) -> String {
    match read(text) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("this was taken:\n{text}"),
    }
}

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let one_region = FULL.replace(r#"["us-east-1", "eu-west-1"]"#, r#"["us-east-1"]"#);
    let (config, warnings) = with("").unwrap();
    assert_eq!((config.clone(), warnings), read(&one_region).unwrap());
    assert_eq!(config.hub.mode, Mode::Observe);
    assert_eq!(config.hub.state_dir, Path::new("/etc/cordon/cordon-state"));
    assert_eq!((config.queue, config.poll_every, config.playbooks_dir), (None, Some(SignedDuration::from_mins(5)), None));
    assert_eq!(config.spoke.external_id_for(&config.hub.account), "222222222222");
    assert_eq!(config.spoke.role_arn("aws", &config.hub.account), "arn:aws:iam::222222222222:role/CordonSpoke");
}

#[test]
fn where_nobody_may_answer_it_is_said() {
    let told = |extra: &str| with(extra).unwrap().1.iter().map(ToString::to_string).collect::<String>();
    assert!(told("mode = \"act\"").contains("nobody may answer a question"), "{}", told("mode = \"act\""));
    let person = "mode = \"ask\"\n[[people]]\nname = \"Ann\"\n";
    assert!(told(&format!("{person}roles = [\"approver\"]")).contains("no person has a role and an identity"));
    assert!(told(&format!("{person}aws = [\"arn:aws:iam::222222222222:user/ann\"]")).contains("no person has a role and an identity"));
    assert_eq!(told(&format!("{person}roles = [\"approver\"]\naws = [\"arn:aws:iam::222222222222:user/ann\"]")), "");
    assert_eq!(told(""), "", "what only observes asks nobody");
}

#[test]
fn everything_can_be_set() {
    let (config, warnings) = with(
        r#"
        mode = "act"
        state_dir = "/var/lib/cordon"
        action_role = "arn:aws:iam::222222222222:role/path/CordonHub"
        [queue]
        url = "https://sqs.us-east-1.amazonaws.com/222222222222/findings"
        dead_letter_url = "http://localhost:5000/222222222222/dead"
        [poll]
        every = "0s"
        [playbooks]
        dir = "playbooks"
        [[known]]
        cidr = "198.51.100.0/24"
        until = "2026-12-31"
        why = "quarterly penetration test"
        [[known]]
        cidr = "::ffff:203.0.113.0/120"
        until = "2026-11-24"
        why = "ends today"
        [[logs]]
        kind = "auth"
        group = "/var/log/secure"
        [[logs]]
        kind = "auth"
        group = "/hosts/{account}"
        stream = ""
        [[logs]]
        kind = "cloudtrail"
        group = "trail"
        [[people]]
        name = "Ann"
        roles = ["approver"]
        aws = ["arn:aws:iam::222222222222:user/ann"]
        "#,
    )
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((config.hub.mode, config.poll_every), (Mode::Act, None));
    assert_eq!(config.hub.state_dir, Path::new("/var/lib/cordon"));
    assert_eq!(config.playbooks_dir.as_deref(), Some(Path::new("/etc/cordon/playbooks")));
    assert_eq!(config.known_nets().iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.0/24", "203.0.113.0/24"]);
    let streams: Vec<_> = config.logs.iter().map(|logs| logs.stream.as_deref()).collect();
    assert_eq!(streams, [Some("{instance}"), None, None]);
    assert_eq!(config.queue.unwrap().dead_letter_url.as_deref(), Some("http://localhost:5000/222222222222/dead"));
}

#[test]
fn a_typo_is_shown_at_its_place_with_what_was_meant() {
    assert_eq!(
        wrong("[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\"]\nmoed = \"act\"\n"),
        "error: there is no key `moed` here\n --> cordon.toml:4:1\n  |\n4 | moed = \"act\"\n  | ^^^^\n  = help: did you mean `mode`?"
    );
    assert_eq!(
        wrong("[hub]\naccount = \"222222222222\"\nregions = [\"us-est-1\"]\nmode = \"obserf\"\n"),
        "error: `us-est-1` is not an AWS Region\n --> cordon.toml:3:12\n  |\n3 | regions = [\"us-est-1\"]\n  |            ^^^^^^^^^^\n  = help: did you mean `us-east-1`?\n\n\
         error: `obserf` is no mode\n --> cordon.toml:4:8\n  |\n4 | mode = \"obserf\"\n  |        ^^^^^^^^\n  = help: did you mean `observe`?"
    );
}

#[test]
fn a_text_that_is_no_toml_says_where() {
    let text = wrong("[hub]\naccount = 2222 22\n");
    assert!(text.contains("--> cordon.toml:2:"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    assert!(wrong("").contains("`hub` is missing"));
    let text = wrong("[hub]\naccount = \"222222222222\"\n");
    assert!(text.contains("`regions` is missing") && text.contains("regions = [\"us-east-1\""), "{text}");
    assert!(wrong("[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\", \"eu-west-1\"]").contains("`home_region` must be named"));
}

#[test]
fn each_wrong_value_is_refused_for_its_reason() {
    let known = |cidr: &str, until: &str| format!("[[known]]\ncidr = \"{cidr}\"\nuntil = \"{until}\"\nwhy = \"x\"");
    let slack = |keys: &str| format!("[slack]\n{keys}");
    let budget = |scope: &str, window: &str, rest: &str| format!("[[budgets]]\nscope = \"{scope}\"\nwindow = \"{window}\"\n{rest}");
    let cases: Vec<(String, &str)> = vec![
        ("home_region = \"eu-west-1\"".into(), "not among `regions`"),
        ("home_region = \"global\"".into(), "`global` is no Region"),
        ("state_dir = \"\"".into(), "`state_dir` is empty"),
        ("action_role = \"arn:aws:iam::111111111111:role/x\"".into(), "of another account"),
        ("role = \"arn:aws:iam::111111111111:role/x\"".into(), "of another account"),
        ("role = \"CordonHub\"".into(), "is not an ARN"),
        ("[org]\nread_role = \"reader\"".into(), "is not an ARN"),
        ("[org]\nread_role = \"arn:aws:iam::111111111111:user/x\"".into(), "not the ARN of an IAM role"),
        ("[org]\nread_role = \"arn:aws:sts::111111111111:assumed-role/x/y\"".into(), "not the ARN of an IAM role"),
        ("[spoke]\nrole_name = \"a/b\"".into(), "no name of an IAM role"),
        ("[spoke]\nrole_name = \"\"".into(), "no name of an IAM role"),
        ("[spoke]\nexternal_id = \"\"".into(), "no external id"),
        ("[spoke]\nexternal_id = \"a b\"".into(), "no external id"),
        ("[spoke]\nexternal_id = \"{acount}\"".into(), "did you mean `{account}`?"),
        ("[opt_out]\ntag_key = \"aws:x\"".into(), "AWS's own"),
        ("[opt_out]\ntag_key = \"a|b\"".into(), "no tag key"),
        ("[findings]\nstale_after = \"7d\"".into(), "not a duration"),
        ("[findings]\nstale_after = \"5m\"".into(), "out of range"),
        ("[findings]\nact_on_products = [\"scanner\"]".into(), "not the ARN of a Security Hub product"),
        ("[findings]\nact_on_products = [\"arn:aws:securityhub:{regoin}:1:product/x/y\"]".into(), "did you mean `{region}`?"),
        ("[findings]\nact_on_products = [\"arn:aws:securityhub:{region}::product/aws/guardduty\"]".into(), "AWS's own products need not"),
        ("[caps]\nchanges_per_account_hour = 0".into(), "mode = \"observe\""),
        ("[caps]\nchanges_per_organization_hour = -1".into(), "out of range"),
        ("[caps]\nchanges_per_organization_hour = \"5\"".into(), "invalid type"),
        (budget("acount", "1h", "resources = 1"), "did you mean `account`?"),
        (budget("everything", "1h", "resources = 1"), "an OU's"),
        (budget("ou-prod", "1h", "resources = 1"), "not the id of an OU"),
        (budget("OU-ab12-34cd56ef", "1h", "resources = 1"), "no scope of a budget"),
        (budget("11112222333", "1h", "resources = 1"), "no scope of a budget"),
        (budget("account", "1 day", "resources = 1"), "not a duration"),
        (budget("account", "0s", "resources = 1"), "out of range"),
        (budget("account", "2400h", "resources = 1"), "out of range"),
        (budget("account", "1h", ""), "limits nothing"),
        (budget("account", "1h", "resources = -1"), "out of range"),
        (budget("account", "1h", "in_service_percent = 101"), "out of range"),
        (budget("account", "1h", "instanses = 1"), "did you mean `instances`?"),
        ("[[budgets]]\nwindow = \"1h\"\nresources = 1".into(), "`scope` is missing"),
        ("[limits]\ncell_slots = 9".into(), "`cell_slots` (9) is greater than `account_slots` (8)"),
        ("[limits]\norganization_slots = 1".into(), "`account_slots` (8) is greater than `organization_slots` (1)"),
        ("[limits]\nattempt_timeout = \"0s\"".into(), "out of range"),
        ("[limits]\nattempt_timeout = \"soon\"".into(), "not a duration"),
        ("[approval]\nquestion_lasts = \"8d\"".into(), "not a duration"),
        ("[approval]\nquestion_lasts = \"200h\"".into(), "out of range"),
        ("[policy]\ntime_zone = \"Europe/Berlln\"".into(), "did you mean `Europe/Berlin`?"),
        ("[policy]\ntime_zone = \"tomorrow o'clock\"".into(), "is no time zone"),
        ("[queue]\nurl = \"findings\"".into(), "not the URL of a queue"),
        ("[queue]\nurl = \"https://q/1/a\"\ndead_letter_url = \"https://q/1/a\"".into(), "the queue itself"),
        ("[queue]\nreceivers = 33".into(), "out of range"),
        ("[poll]\nevery = \"1s\"".into(), "out of range"),
        (known("0.0.0.0/0", "2026-12-31"), "too wide"),
        (known("10.0.0.0/7", "2026-12-31"), "too wide"),
        (known("::/0", "2026-12-31"), "too wide"),
        (known("2000::/15", "2026-12-31"), "too wide"),
        (known("::ffff:0:0/96", "2026-12-31"), "too wide"),
        (known("0::/16", "2026-12-31"), "too wide"),
        (known("198.51.100.7/24", "2026-12-31"), "did you mean `198.51.100.0/24`"),
        (known("198.51.100.7", "2026-12-31"), "write `198.51.100.7/32`"),
        (known("scanner", "2026-12-31"), "not a network"),
        (known("198.51.100.0/24", "2027-02-23"), "too far away"),
        (known("198.51.100.0/24", "soon"), "not a date"),
        ("[[known]]\ncidr = \"198.51.100.0/24\"\nuntil = 2026-12-31\nwhy = \"x\"".into(), "put the date in quotes"),
        ("[[known]]\ncidr = \"198.51.100.0/24\"\nuntil = \"2026-12-31\"\nwhy = \" \"".into(), "`why` is empty"),
        ("[[known]]\ncidr = \"198.51.100.0/24\"\nwhy = \"x\"".into(), "`until` is missing"),
        ("[[logs]]\nkind = \"auht\"\ngroup = \"g\"".into(), "did you mean `auth`?"),
        ("[[logs]]\nkind = \"auth\"\ngroup = \"\"".into(), "no name of a log group"),
        ("[[logs]]\nkind = \"auth\"\ngroup = \"g\"\nstream = \"{instnace}\"".into(), "did you mean `{instance}`?"),
        ("[[logs]]\nkind = \"auth\"\ngroup = \"g\"\nstream = \"a:b\"".into(), "no name of a log stream"),
        ("[hubs]\n".into(), "there is no key `hubs`"),
        ("[slack]\nchannel = \"C0123\"".into(), "there is no `[slack] token`"),
        (slack("token = \"xoxbSecretItself\""), "does not say where a secret is kept"),
        (slack("token = \"file:relative\""), "does not say where a secret is kept"),
        (slack("token = \"env:T\"\nchannel = \"#incidents\""), "no id of a Slack channel"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\npages = \"#alarms\""), "no id of a Slack channel"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\npage_mention = \"@channel\""), "calls nobody in Slack"),
        (
            slack("token = \"env:T\"\nchannel = \"C0123\"\npage_mention = \"<!channel> see <https://evil.example|here>\""),
            "calls nobody in Slack",
        ),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\npage_mention = \"<!subteam^U0123>\""), "calls nobody in Slack"),
        (slack("pages = \"C0123\""), "there is no `[slack] token`"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\nlisten = \"8443\"\nsigning_secret = \"env:S\""), "no address with a port"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\nlisten = \"127.0.0.1:8443\""), "cannot be checked without `signing_secret`"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\napi_url = \"http://slack.com/api\""), "cannot be posted to"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\napi_url = \"http://127.0.0.1.evil.example/\""), "cannot be posted to"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\n[[slack.route]]\nou = \"Root//A\"\nchannel = \"C0123\""), "no path of OUs"),
        (slack("token = \"env:T\"\nchannel = \"C0123\"\n[[slack.route]]\nseverity = 101\nchannel = \"C0123\""), "0 to 100"),
        ("[[people]]\nname = \"A\"\n[[people]]\nname = \"A\"".into(), "one could answer as two"),
        ("[[people]]\nname = \"A\"\nroles = [\"Approver \"]".into(), "is no role"),
        ("[[people]]\nname = \"A\"\nslack = \"@alice\"".into(), "no id of a Slack user"),
        ("[[people]]\nname = \"A\"\nslack = \"U01\"\n[[people]]\nname = \"B\"\nslack = \"U01\"".into(), "somebody else already"),
        ("[[webhook]]\nname = \"p\"\nurl = \"https://a@b.example\"\nsecret = \"env:S\"".into(), "cannot be posted to"),
        ("[owner]\nfrom = \"cordon\"\ncontact = \"#security\"".into(), "`cordon` is no e-mail address"),
        ("[owner]\nfrom = \"Cordon <c@example.com>\"\ncontact = \"#security\"".into(), "one address without a name"),
        ("[owner]\nfrom = \"c@example.com\"".into(), "`contact` is missing"),
        ("[owner]\nfrom = \"c@example.com\"\ncontact = \"a\\nb\"".into(), "more than one line"),
        ("[owner]\nslack = true\ncontact = \"#security\"".into(), "there is no `[slack] token` to tell owners by"),
        ("[owner]\nfrom = \"c@example.com\"\ncontact = \"x\"\ndomains = [\"*.example.com\"]".into(), "`*.example.com` is no domain"),
        ("[owner]\ntag_key = \"aws:owner\"".into(), "AWS's own"),
        ("[owner]\ncontatc = \"x\"".into(), "did you mean `contact`?"),
        ("[[sns]]\ntopic = \"arn:aws:sqs:us-east-1:222222222222:q\"".into(), "not the ARN of an SNS topic"),
    ];
    for (extra, expected) in cases {
        let text = wrong(&format!("{SMALLEST}{extra}\n"));
        assert!(text.contains(expected), "{extra}\n{text}");
        assert!(text.contains("--> cordon.toml:"), "{extra}\n{text}");
    }
    assert!(wrong("[hub]\naccount = \"22222222222\"\nregions = [\"us-east-1\"]").contains("12 digits"));
    assert!(wrong("[hub]\naccount = \"222222222222\"\nregions = []").contains("no Region is named"));
    assert!(wrong("[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\", \"us-east-1\"]").contains("named twice"));
    assert!(
        wrong("[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\", \"cn-north-1\"]\nhome_region = \"us-east-1\"")
            .contains("another partition")
    );
}

#[test]
fn a_secret_that_stands_in_the_configuration_is_not_shown_again() {
    let text = wrong(&format!("{SMALLEST}[slack]\ntoken = \"xoxbSecretItself\"\nchannel = \"C0123\"\n"));
    assert!(text.contains("`[slack] token` does not say") && !text.contains("xoxbSecretItself"), "{text}");
}

#[test]
fn the_last_day_of_a_known_source_is_at_most_90_days_away_and_counts_whole() {
    let until = |day: &str| with(&format!("[[known]]\ncidr = \"198.51.100.0/24\"\nuntil = \"{day}\"\nwhy = \"x\""));
    assert_eq!(until("2027-02-22").unwrap().0.known.len(), 1);
    assert!(until("2027-02-23").is_err());
    assert_eq!(until("2026-11-24").unwrap().0.known.len(), 1);
    let (config, warnings) = until("2026-11-23").unwrap();
    assert!(config.known.is_empty());
    assert!(warnings.first().is_some_and(|warning| warning.text().contains("expired")));
    assert!(warnings.first().is_some_and(|warning| warning.to_string().starts_with("warning: the known source")));
}

#[test]
fn a_budget_is_one_limit_for_each_kind_that_it_names_and_zero_is_one() {
    use cordon_shared::{gate::budget::Scope, plan::Counts};
    let text = "[[budgets]]\nscope = \"ou-ab12-34cd56ef\"\nwindow = \"24h\"\nresources = 0\nin_service_percent = 25\n\
                [[budgets]]\nscope = \"444455556666\"\nwindow = \"1h\"\ncredentials = 2\n";
    let budgets = with(text).unwrap().0.budgets;
    let short: Vec<_> = budgets.iter().map(|budget| (budget.scope.to_string(), budget.counts, budget.most)).collect();
    let unit = || Scope::Unit("ou-ab12-34cd56ef".to_owned()).to_string();
    assert_eq!(
        short,
        [(unit(), Counts::Resources, 0), (unit(), Counts::InService, 25), ("account 444455556666".to_owned(), Counts::Credentials, 2)]
    );
}

#[test]
fn odd_values_are_warned_of() {
    let (_, warnings) = with("[caps]\nchanges_per_account_hour = 50").unwrap();
    assert!(warnings.first().is_some_and(|warning| warning.text().contains("above that of the whole organization")));
    let (config, warnings) = with("[queue]\ndead_letter_url = \"https://q/1/dead\"").unwrap();
    assert!(config.queue.is_none() && warnings.len() == 1);
    let (config, warnings) = with("[owner]\ncontact = \"#security\"").unwrap();
    assert!(config.notify.owner.is_none() && warnings[0].text().contains("no owner is told"));
}

#[test]
fn an_owner_is_told_by_each_way_that_is_configured_and_by_none_without() {
    let targets = |text: &str| {
        let (config, warnings) = with(text).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        crate::notify::targets(&config.notify, true).into_iter().map(|target| (target.name, target.audience)).collect::<Vec<_>>()
    };
    use cordon_shared::notice::Audience::{Owner, Team};
    assert_eq!(targets(""), []);
    let mail = "[owner]\nfrom = \"c@example.com\"\ncontact = \"#security\"\n";
    assert_eq!(targets(mail), [("owner:e-mail".to_owned(), Owner)]);
    let slack = "[slack]\ntoken = \"env:T\"\nchannel = \"C0123\"\n";
    assert_eq!(targets(&format!("{slack}{mail}")), [("slack".to_owned(), Team), ("owner:e-mail".to_owned(), Owner)]);
    let both = format!("{slack}{mail}slack = true\ndomains = [\"Example.com\"]\n");
    assert_eq!(targets(&both).len(), 3);
    assert_eq!(with(&both).unwrap().0.notify.owner.unwrap().domains, ["example.com"]);
}

#[test]
fn a_missing_file_shows_the_smallest_one_that_works() {
    let folder = std::env::temp_dir().join(format!("cordon-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("cordon.toml");
    let error = Config::load(Some(&path), &clock()).unwrap_err().to_string();
    let smallest: String = error.lines().filter_map(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    fs::write(&path, &smallest).unwrap();
    let (config, _) = Config::load(Some(&path), &clock()).unwrap();
    assert_eq!(config.hub.state_dir, folder.join("cordon-state"));

    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Config::load(Some(&path), &clock()).unwrap_err().to_string().contains("not UTF-8"));
    assert!(matches!(Config::load(Some(&folder), &clock()), Err(ConfigError::Unreadable { .. })));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_code() {
    golden("../docs/config.schema.json", &serde_json::to_string_pretty(&Config::schema()).unwrap());
}

#[test]
fn the_documentation_names_every_key_and_default() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md")).unwrap();
    let schema = Config::schema();
    let mut keys = BTreeSet::new();
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for (key, described) in tables.filter_map(|table| table["properties"].as_object()).flatten() {
        keys.insert(key.clone());
        let default = described.get("default").filter(|default| !default.is_object() && !default.is_array());
        if let Some(default) = default {
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| `{key}` |"))).collect();
            let said = rows.iter().any(|row| row.contains(&format!("`{default}`")));
            assert!(said, "the default {default} of `{key}` is not in a row of it: {rows:?}");
        }
    }
    for key in keys {
        let named = text.contains(&format!("`{key}`")) || text.contains(&format!("[{key}]"));
        assert!(named, "docs/configuration.md does not mention `{key}`");
    }
}

#[test]
fn the_example_in_the_documentation_is_read() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md")).unwrap();
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        if let Err(error) = read(example) {
            panic!("{error}");
        }
    }
}

#[test]
fn pages_go_to_the_channel_and_call_all_of_it_unless_it_is_said_otherwise() {
    let slack = |more: &str| {
        let text = format!("{SMALLEST}[slack]\ntoken = \"env:T\"\nchannel = \"C0123\"\n{more}");
        let slack = read(&text).unwrap().0.notify.slack.unwrap();
        (slack.pages, slack.page_mention)
    };
    assert_eq!(slack(""), ("C0123".to_owned(), "<!channel>".to_owned()));
    for mention in ["", "<!here>", "<!subteam^S0123456789>", "<@U0123456789>"] {
        let told = slack(&format!("pages = \"C0ALARMS\"\npage_mention = \"{mention}\"\n"));
        assert_eq!(told, ("C0ALARMS".to_owned(), mention.to_owned()));
    }
}
