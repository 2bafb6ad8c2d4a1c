//! An organization of a test's own, Cordon in it, and what a test says to both.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::OnceLock,
};

use cordon_lab::{
    Cordon, Gateway, GatewayOptions, Lab, LabError, LabOptions, Organization, Settings, Shape,
    cordon::Output,
    gateway::{Call, Enforcement},
    organization::{
        Instance, InstanceShape,
        finding::{Part, brute_force, event},
    },
    shared,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const HOME: &str = "us-east-1";
pub(crate) const AWAY: &str = "eu-west-1";
pub(crate) const ATTACKER: &str = "198.51.100.7";
/// Somebody who attacks nobody.
pub(crate) const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 200));

/// A moto as it is, without the extension; one for all tests.
fn plain() -> &'static Lab {
    static PLAIN: OnceLock<Result<Lab, LabError>> = OnceLock::new();
    PLAIN.get_or_init(|| Lab::start(LabOptions { plain: true, ..LabOptions::default() })).as_ref().unwrap()
}

/// An organization, Cordon configured for it, and a gateway between them that nobody else uses.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) organization: Organization,
    /// The first ordinary member.
    pub(crate) account: String,
    pub(crate) settings: Settings,
    pub(crate) cordon: Cordon,
    pub(crate) folder: TempDir,
}

impl World {
    /// One member in one Region; the gateway enforces what AWS enforces; findings are taken at their word.
    pub(crate) async fn new() -> Self {
        Self::with(Shape::small(), |settings| settings).await
    }

    /// The same in another shape, with other settings.
    pub(crate) async fn with(shape: Shape, change: impl FnOnce(Settings) -> Settings) -> Self {
        let gateway = GatewayOptions { enforcement: Enforcement::all(), ..GatewayOptions::default() };
        Self::over(shared().unwrap(), gateway, shape, |settings| change(Settings { confirm_findings: false, ..settings })).await
    }

    /// One member account, with this playbook in the place of the one built in.
    pub(crate) async fn with_playbook(name: &str, text: &str, change: impl FnOnce(Settings) -> Settings) -> Self {
        let more = "\n[playbooks]\ndir = \"playbooks\"\n".to_owned();
        let world = Self::with(members(1, &[HOME]), |settings| change(Settings { more, ..settings })).await;
        let playbooks = world.folder.path().join("playbooks");
        std::fs::create_dir(&playbooks).unwrap();
        std::fs::write(playbooks.join(name).with_extension("toml"), text).unwrap();
        world
    }

    /// Over a moto without the extension, whose organization only its management account sees. Nothing is enforced.
    pub(crate) async fn plain(shape: Shape) -> Self {
        Self::over(plain(), GatewayOptions::default(), shape, Settings::plain).await
    }

    async fn over(lab: &Lab, gateway: GatewayOptions, shape: Shape, change: impl FnOnce(Settings) -> Settings) -> Self {
        let lab = lab.beside(gateway).unwrap();
        let organization = Organization::build(&lab, &shape).await.unwrap();
        let folder = TempDir::new().unwrap();
        let settings = change(Settings::acting(&folder.path().join("state")));
        let cordon = Cordon::new(&lab, &organization, folder.path(), &settings).await.unwrap();
        let account = organization.ordinary(0).unwrap().account.clone();
        Self { lab, organization, account, settings, cordon, folder }
    }

    /// Other settings from now on.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.cordon = self.cordon.configured(&self.organization.config_toml(&self.settings)).unwrap();
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.lab.gateway
    }

    /// An instance in the first member.
    pub(crate) async fn instance(&self, name: &str) -> Instance {
        self.shaped(&InstanceShape::named(name)).await
    }

    pub(crate) async fn shaped(&self, shape: &InstanceShape) -> Instance {
        self.organization.instance(&self.account, HOME, shape).await.unwrap()
    }

    /// GuardDuty's event of an attack on an instance.
    pub(crate) fn attack(&self, instance: &Instance) -> String {
        self.event(&brute_force(instance, ATTACKER, Part::Target))
    }

    pub(crate) fn event(&self, native: &Value) -> String {
        event(&self.organization.security, native).to_string()
    }

    /// A command to its end. It never panics, whatever it is told.
    pub(crate) async fn cordon(&self, arguments: &[&str], input: &str) -> Output {
        let output = self.cordon.run(arguments, input).await.unwrap();
        assert_no_panic(&output);
        output
    }

    /// `cordon respond -`, in JSON.
    pub(crate) async fn respond(&self, input: &str) -> Output {
        self.cordon(&["respond", "-", "--format", "json"], input).await
    }

    /// The one incident of one finding, which ended with exit code 0.
    pub(crate) async fn one(&self, input: &str) -> Value {
        let output = self.respond(input).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        one(&output)
    }

    /// A command about an incident, in JSON, and what it shows; it ends with exit code 0.
    pub(crate) async fn incident(&self, arguments: &[&str]) -> Value {
        let output = self.cordon(&[arguments, &["--format", "json"]].concat(), "").await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        one(&output)
    }

    /// All that Cordon could have changed about an instance. The order of a rule's ranges means nothing.
    pub(crate) async fn state(&self, instance: &Instance) -> Value {
        sorted(self.organization.state(instance).await.unwrap())
    }

    /// Whether a port is open to the world in a group of the instance.
    pub(crate) async fn open(&self, instance: &Instance, port: u16) -> bool {
        !self.organization.open_groups_of(instance, port).await.unwrap().is_empty()
    }

    /// Whether the attacker is denied port 22 and replies, and everybody else let through as before.
    pub(crate) async fn blocked(&self, instance: &Instance) -> bool {
        let look = async |address: IpAddr, port: u16| self.organization.passes(instance, address, port).await.unwrap();
        let attacker = ATTACKER.parse().unwrap();
        let denied = look(attacker, 22).await;
        let (other_port, neighbour) = (look(attacker, 443).await, look(NEIGHBOUR, 22).await);
        assert!(other_port.inward && neighbour.inward && neighbour.outward, "{other_port:?} {neighbour:?}");
        !denied.inward && !denied.outward
    }

    /// All calls that would have changed something, but for notes on findings.
    pub(crate) fn writes(&self) -> Vec<Call> {
        self.gateway().ledger().find(|call| call.write && call.service != "securityhub")
    }

    /// A call of boto3 in an account.
    pub(crate) async fn hand(&self, account: &str, service: &str, operation: &str, params: Value) -> Value {
        let answer = self.lab.hand.call(account, HOME, service, operation, params).await;
        answer.unwrap_or_else(|error| panic!("{service} {operation}: {error}"))
    }

    /// Somebody makes our entry against the attacker another one, under the same number.
    pub(crate) async fn seize_block(&self, instance: &Instance) {
        let entries = self.organization.entries(&instance.account, HOME, &instance.acl).await.unwrap();
        let ours = entries.iter().find(|entry| entry["CidrBlock"] == "198.51.100.7/32" && entry["Egress"] == false).unwrap();
        let theirs = json!({
            "NetworkAclId": instance.acl, "RuleNumber": ours["RuleNumber"], "Egress": false, "Protocol": "-1", "RuleAction": "deny",
            "CidrBlock": "198.51.100.7/32"
        });
        self.hand(&instance.account, "ec2", "replace_network_acl_entry", theirs).await;
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::Object(map) => map.into_iter().map(|(name, item)| (name, sorted(item))).collect(),
        other => other,
    }
}

pub(crate) fn assert_no_panic(output: &Output) {
    let panicked = output.stderr.contains("panicked at") || output.stderr.contains("RUST_BACKTRACE") || output.code == Some(101);
    assert!(!panicked, "{output:?}");
}

/// The lines that are incidents.
pub(crate) fn incidents(output: &Output) -> Vec<Value> {
    output.objects().into_iter().filter(|line| line["schema"] == "cordon.incident/1").collect()
}

/// The one incident of an output.
pub(crate) fn one(output: &Output) -> Value {
    let mut found = incidents(output);
    assert_eq!(found.len(), 1, "{output:?}");
    found.remove(0)
}

/// The incident of an instance.
pub(crate) fn of(output: &Output, instance: &Instance) -> Value {
    let found: Vec<Value> = incidents(output).into_iter().filter(|incident| incident["subject"] == instance.arn.as_str()).collect();
    assert_eq!(found.len(), 1, "{output:?}");
    found[0].clone()
}

pub(crate) fn id(incident: &Value) -> String {
    incident["incident"].as_str().unwrap().to_owned()
}

pub(crate) fn state(incident: &Value) -> &str {
    incident["state"].as_str().unwrap()
}

/// A step of an incident; nothing where it has none of that name.
pub(crate) fn step<'a>(incident: &'a Value, id: &str) -> &'a Value {
    let steps = incident["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {incident:#}"))
}

/// The states of the steps, those of the playbook's own holds left out.
pub(crate) fn steps(incident: &Value) -> Vec<(&str, &str)> {
    let steps = incident["steps"].as_array().unwrap().iter().filter(|step| step["action"] != "hold");
    steps.map(|step| (step["id"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

/// The hold with this code.
pub(crate) fn hold<'a>(incident: &'a Value, code: &str) -> &'a Value {
    let found = incident["holds"].as_array().unwrap().iter().find(|hold| hold["code"] == code);
    found.unwrap_or_else(|| panic!("no hold {code} in {incident:#}"))
}

/// The text of a field.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value:#}"))
}

/// So many ordinary members and no more, in these Regions.
pub(crate) fn members(members: usize, regions: &[&str]) -> Shape {
    Shape { members, regions: regions.iter().map(|region| (*region).to_owned()).collect(), ..Shape::small() }
}
