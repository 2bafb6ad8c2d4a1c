//! The HTTP API: commands from another computer, and what is not proven.

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
};

use cordon_lab::{organization::UserShape, slack::send};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A world whose service listens, and where.
pub(crate) async fn listening() -> (World, String) {
    let mut world = asking().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.set(|settings| {
        settings.more.push_str(&format!(
            "\n[api]\nlisten = \"127.0.0.1:{port}\"\n\n[[budgets]]\nscope = \"account\"\nwindow = \"1h\"\nresources = 9\n"
        ));
    });
    (world, format!("http://127.0.0.1:{port}"))
}

/// The same person at another computer, which has the API's address and no state folder.
pub(crate) fn from_afar(world: &World, cordon: &Cordon, url: &str) -> Cordon {
    let role = format!("role = \"{}\"\n", world.organization.hub_role());
    let text =
        world.organization.config_toml(&cordon_lab::Settings { state_dir: world.folder.path().join("nowhere"), ..world.settings.clone() });
    let config = world.folder.path().join("afar.toml");
    fs::write(&config, text.replace(&role, &format!("{role}api = \"{url}\"\n"))).unwrap();
    let mut far = cordon.clone();
    far.config = config;
    far
}

pub(crate) async fn service(world: &World, url: &str) -> Running {
    let service = serving(world).await;
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(url.strip_prefix("http://").unwrap()).is_err() {
        assert!(Instant::now() < until, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service
}

#[tokio::test]
async fn freeze_approval_incident_and_budget_commands_talk_to_the_running_service() {
    let (mut world, url) = listening().await;
    let instance = world.instance("web").await;
    let ann = person(&mut world, "Ann", &["approver", "operator"]).await;
    let run = id(&world.one(&world.attack(&instance)).await);

    // A service that hangs keeps no command waiting that does not need it.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", hanging.local_addr().unwrap());
    let accounts = from_afar(&world, &world.cordon, &at).run(&["account", "list"], "").await.unwrap();
    assert!(accounts.code == Some(0) && accounts.stderr.contains("not known: no answer within 3 s"), "{accounts:?}");

    // Nobody is there: who freezes is told what to do instead.
    let far = from_afar(&world, &ann, &url);
    let silent = far.run(&["freeze", "--why", "x"], "").await.unwrap();
    assert!(silent.code == Some(1) && silent.stderr.contains(&url) && silent.stderr.contains("--here"), "{silent:?}");

    let mut service = service(&world, &url).await;
    let json = async |arguments: &[&str]| {
        let output = far.run(&[arguments, &["--format", "json"]].concat(), "").await.unwrap();
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        output.objects()
    };
    let listed = json(&["incident", "list"]).await;
    assert_eq!((listed.len(), listed[0]["run"].as_str()), (1, Some(run.as_str())), "{listed:#?}");
    assert!(json(&["incident", "list", "--state", "closed"]).await.is_empty());
    assert_eq!(json(&["incident", "show", &run]).await, world.cordon(&["incident", "show", &run, "--format", "json"], "").await.objects());
    let report = far.run(&["incident", "report", &run], "").await.unwrap();
    assert_eq!(report.stdout, world.cordon(&["incident", "report", &run], "").await.stdout);
    assert!(far.run(&["incident", "report", &run, "--html"], "").await.unwrap().stdout.starts_with("<!doctype html>"));

    let asked = json(&["approval", "list"]).await;
    assert_eq!((asked.len(), asked[0]["step"].as_str()), (1, Some("close-ingress")), "{asked:#?}");
    let wrong = far.run(&["approval", "grant", &run, "--digest", "0000000000000000", "--yes"], "").await.unwrap();
    assert!(wrong.code == Some(2) && wrong.stderr.contains("look at it again"), "{wrong:?}");
    assert!(world.open(&instance, 22).await);

    // Frozen from afar, the yes is taken and the step held.
    let frozen = json(&["freeze", "full", "--account", &world.account, "--why", "a drill"]).await;
    assert_eq!((frozen[0]["by"].as_str(), frozen[0]["level"].as_str()), (Some("Ann"), Some("full")), "{frozen:#?}");
    let granted = json(&["approval", "grant", &run, "--step", "close-ingress", "--yes"]).await;
    assert_eq!(step(&granted[0], "close-ingress")["state"], "held", "{granted:#?}");
    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    let told = far.run(&["incident", "show", &run], "").await.unwrap();
    assert!(told.stderr.contains("frozen: account") && told.stderr.contains("a drill"), "{told:?}");
    assert_eq!(json(&["freeze", "list"]).await.len(), 1);
    let refused = far.run(&["thaw", "--account", &world.account], "y\n").await.unwrap();
    assert!(refused.code == Some(2) && refused.stderr.contains("--yes"), "{refused:?}");
    json(&["thaw", "--account", &world.account, "--yes"]).await;
    assert!(json(&["freeze", "list"]).await.is_empty());
    let until = Instant::now() + PATIENCE;
    while world.open(&instance, 22).await {
        assert!(Instant::now() < until, "{:#?}\n{}", json(&["incident", "show", &run]).await, service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let spent = json(&["budget", "show"]).await;
    assert!(spent.iter().any(|row| row["spent"].as_u64() > Some(0) && row["most"] == 9), "{spent:#?}");

    while !json(&["approval", "list"]).await.iter().any(|asked| asked["step"] == "block-source") {
        assert!(Instant::now() < until, "{:#?}\n{}", json(&["incident", "show", &run]).await, service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let denied = json(&["approval", "deny", &run, "--step", "block-source", "--why", "our own scanner"]).await;
    assert_eq!(step(&denied[0], "block-source")["state"], "skipped", "{denied:#?}");
    let preview = json(&["incident", "undo", &run, "--step", "close-ingress", "--plan"]).await;
    assert_eq!(
        (preview[0]["schema"].as_str(), preview[0]["incident"].as_str()),
        (Some("cordon.undo-preview/1"), Some(run.as_str())),
        "{preview:#?}"
    );
    assert!(!world.open(&instance, 22).await, "a preview changes nothing");
    let undone = json(&["incident", "undo", &run, "--step", "close-ingress", "--yes"]).await;
    assert_eq!(step(&undone[0], "close-ingress")["state"], "undone", "{undone:#?}");
    assert!(world.open(&instance, 22).await);
    for (command, said) in [("release", "nothing is held"), ("retry", "nothing has failed")] {
        let no = far.run(&["incident", command, &run], "").await.unwrap();
        assert!(no.code == Some(2) && no.stderr.contains(said), "{command}: {no:?}");
    }
    json(&["incident", "close", &run, "--why", "a drill"]).await;
    let over = far.run(&["approval", "grant", &run, "--step", "close-ingress", "--yes"], "").await.unwrap();
    assert_eq!(over.code, Some(2), "{over:?}");
    let away = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.stdout;
    assert!(away.contains("nothing is held") && away.contains("Ann"), "{away}");
    let unknown = far.run(&["incident", "show", "zzz"], "").await.unwrap();
    assert!(unknown.code == Some(2) && unknown.stderr.contains("zzz"), "{unknown:?}");
    assert!(!world.folder.path().join("nowhere").exists(), "nothing is written on the other computer");

    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(0), "{}", service.log());
}

/// A proof that the makers' own code for Python signs.
pub(crate) async fn signed(world: &World, keys: &cordon_lab::hand::Credentials, purpose: &str, seconds: i64, also: &str) -> String {
    let source = "import base64, datetime, json, os, botocore.auth\n\
        from botocore.awsrequest import AWSRequest\n\
        from botocore.credentials import Credentials\n\
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=int(os.environ['SECONDS_OFF']))\n\
        class Then(datetime.datetime):\n\
        \x20   @classmethod\n\
        \x20   def utcnow(cls): return now.replace(tzinfo=None)\n\
        \x20   @classmethod\n\
        \x20   def now(cls, tz=None): return now\n\
        if hasattr(botocore.auth, 'get_current_datetime'): botocore.auth.get_current_datetime = lambda *a, **k: now\n\
        else: botocore.auth.datetime.datetime = Then\n\
        url = os.environ['STS'] + '/'\n\
        headers = {'content-type': 'application/x-www-form-urlencoded', 'x-cordon-request': os.environ['PURPOSE']}\n\
        request = AWSRequest(method='POST', url=url, data='Action=GetCallerIdentity&Version=2011-06-15', headers=headers)\n\
        botocore.auth.SigV4Auth(Credentials(os.environ['KEY'], os.environ['SECRET']), 'sts', 'us-east-1').add_auth(request)\n\
        kept = {name.lower(): value for name, value in request.headers.items()}\n\
        if os.environ['ALSO']: kept[os.environ['ALSO']] = 'not signed'\n\
        print(base64.urlsafe_b64encode(json.dumps({'url': url, 'headers': kept}).encode()).decode().rstrip('='))";
    let off = seconds.to_string();
    let endpoint = world.lab.endpoint();
    let environment = [
        ("KEY", keys.access_key.as_str()),
        ("SECRET", keys.secret_key.as_str()),
        ("PURPOSE", purpose),
        ("SECONDS_OFF", off.as_str()),
        ("STS", endpoint.as_str()),
        ("ALSO", also),
    ];
    let output = world.lab.python.run(source, "http://127.0.0.1:9", &environment).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn hexed(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the documentation says it.
pub(crate) fn bound(account: &str, path: &str, body: &str) -> String {
    hexed(format!("cordon-api/1\n{account}\nPOST {path}\n{}", hexed(body.as_bytes())).as_bytes())
}

#[tokio::test]
async fn a_call_that_is_not_proven_is_refused_and_remembered_and_a_proof_counts_once() {
    let (mut world, url) = listening().await;
    let security = world.organization.security.clone();
    let ann = world.organization.user(&security, &UserShape::default()).await.unwrap();
    let stranger = world.organization.user(&security, &UserShape::default()).await.unwrap();
    let carol = world.organization.user(&security, &UserShape::default()).await.unwrap();
    let who = |name: &str, roles: &str, arn: &str| format!("\n[[people]]\nname = \"{name}\"\nroles = [{roles}]\naws = [\"{arn}\"]\n");
    let people = who("Ann", "\"operator\"", &ann.arn) + &who("Carol", "", &carol.arn);
    world.set(|settings| settings.more.push_str(&people));
    let _service = service(&world, &url).await;

    let body = "{\"scope\":\"organization\",\"level\":\"full\",\"why\":\"a drill\"}";
    let purpose = bound(&security, "/v1/freeze", body);
    let call = async |path: &str, body: &str, proof: Option<&str>| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(proof.map(|proof| ("cordon-proof", proof)));
        send(&format!("{url}{path}"), &headers, body.to_owned()).await.unwrap()
    };
    let key = &ann.keys[0];
    assert_eq!(call("/v1/freeze", body, None).await, 401, "missing");
    assert_eq!(call("/v1/freeze", body, Some("e30")).await, 401, "no proof");
    let old = signed(&world, key, &purpose, -400, "").await;
    assert_eq!(call("/v1/freeze", body, Some(&old)).await, 401, "old");
    let future = signed(&world, key, &purpose, 400, "").await;
    assert_eq!(call("/v1/freeze", body, Some(&future)).await, 401, "of the future");
    let loose = signed(&world, key, &purpose, 0, "user-agent").await;
    assert_eq!(call("/v1/freeze", body, Some(&loose)).await, 401, "a header that is not signed");
    let good = signed(&world, key, &purpose, 0, "").await;
    assert_eq!(call("/v1/freeze", &body.replace("a drill", "A drill"), Some(&good)).await, 401, "another body");
    assert_eq!(call("/v1/thaw", body, Some(&good)).await, 401, "another call");
    let nobody = signed(&world, &stranger.keys[0], &purpose, 0, "").await;
    assert_eq!(call("/v1/freeze", body, Some(&nobody)).await, 403, "somebody whom nobody knows");
    let thaw = "{\"scope\":\"organization\"}";
    let may_not = signed(&world, &carol.keys[0], &bound(&security, "/v1/thaw", thaw), 0, "").await;
    assert_eq!(call("/v1/thaw", thaw, Some(&may_not)).await, 403, "somebody who may not");
    let list = async || world.cordon(&["freeze", "list", "--format", "json"], "").await.objects();
    assert!(list().await.is_empty(), "nothing was changed");

    assert_eq!(call("/v1/freeze", body, Some(&good)).await, 200);
    assert_eq!(call("/v1/freeze", body, Some(&good)).await, 401, "the same again");
    let frozen = list().await;
    assert_eq!((frozen.len(), frozen[0]["by"].as_str()), (1, Some("Ann")), "{frozen:#?}");
    let junk = "{\"scope\":\"organization\",\"level\":\"off\",\"why\":\"\"}";
    let proof = signed(&world, key, &bound(&security, "/v1/freeze", junk), 0, "").await;
    assert_eq!(call("/v1/freeze", junk, Some(&proof)).await, 400);
    let proof = signed(&world, key, &bound(&security, "/v1/nothing", "{}"), 0, "").await;
    assert_eq!(call("/v1/nothing", "{}", Some(&proof)).await, 404);

    let away: Vec<Value> = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    let whys: Vec<&str> = away.iter().rev().filter(|entry| entry["door"] == "api").map(|entry| entry["why"].as_str().unwrap()).collect();
    let wanted = [
        "no header",
        "holds no proof",
        "five minutes",
        "five minutes",
        "not signed",
        "another request",
        "another request",
        "no person",
        "may not thaw",
        "before",
    ];
    assert_eq!(whys.len(), wanted.len(), "{away:#?}");
    for (why, wanted) in whys.iter().zip(wanted) {
        assert!(why.contains(wanted), "{why}: {wanted}");
    }
    let shown = serde_json::to_string(&away).unwrap();
    assert!(!shown.contains(&key.secret_key) && shown.contains(&stranger.arn) && shown.contains("Carol"), "{shown}");
}

#[tokio::test]
async fn a_freeze_that_would_stop_nothing_is_refused_or_said_by_the_api_as_on_the_command_line() {
    let (mut world, url) = listening().await;
    let security = world.organization.security.clone();
    let instance = world.instance("web").await;
    let ann = person(&mut world, "Ann", &["approver", "operator"]).await;
    let bob = registered(&mut world, "Bob", &["operator"]).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let far = from_afar(&world, &ann, &url);
    let _service = service(&world, &url).await;
    let call = async |name: &str, body: Value| {
        let (path, body) = (format!("/v1/{name}"), body.to_string());
        let proof = signed(&world, &bob.keys[0], &bound(&security, &path, &body), 0, "").await;
        send(&format!("{url}{path}"), &[("content-type", "application/json"), ("cordon-proof", &proof)], body).await.unwrap()
    };
    let list = async |more: &[&str]| world.cordon(&[&["freeze", "list", "--format", "json"], more].concat(), "").await.objects();

    let long = "x".repeat(1_001);
    for wrong in [
        json!({"scope": "playbook", "of": "ec2-brute-farce", "level": "full", "why": "x"}),
        json!({"scope": "account", "of": "12345", "level": "full", "why": "x"}),
        json!({"scope": "ou", "of": " // ", "level": "full", "why": "x"}),
        json!({"scope": "ou", "of": "Workloads//Production", "level": "full", "why": "x"}),
        json!({"scope": "organization", "level": "full", "why": "\u{1b}\n \u{200b}"}),
        json!({"scope": "organization", "level": "full", "why": long}),
        json!({"scope": "account", "of": world.account, "level": "full", "why": "x", "hard": true}),
    ] {
        assert_eq!(call("freeze", wrong.clone()).await, 400, "{wrong}");
    }
    assert_eq!(call("thaw", json!({"scope": "playbook", "of": "ec2-brute-farce"})).await, 400);
    assert_eq!(list(&["--all"]).await, Vec::<Value>::new(), "nothing is written, and nobody told of a freeze that there is not");
    let mistyped = far.run(&["freeze", "--playbook", "ec2-brute-farce", "--why", "x"], "").await.unwrap();
    assert!(mistyped.code == Some(2) && mistyped.stderr.contains("there are ec2-brute-force"), "{mistyped:?}");

    // However the path is written, it is the OU; whoever froze wrote a line and nothing but that.
    let ou = json!({"scope": "ou", "of": "/Workloads/", "level": "full", "why": "a drill\u{1b}[2J\nfrozen: \u{202e}nothing"});
    assert_eq!(call("freeze", ou).await, 200);
    let frozen = list(&[]).await;
    assert_eq!((text(&frozen[0], "/of"), text(&frozen[0], "/why")), ("Workloads", "a drill [2J frozen: nothing"), "{frozen:#?}");
    let granted = one(&far.run(&["approval", "grant", &run, "--step", "close-ingress", "--yes", "--format", "json"], "").await.unwrap());
    assert_eq!(text(hold(&granted, "frozen"), "/release"), "cordon thaw --ou Workloads", "{granted:#}");
    assert!(world.open(&instance, 22).await);
    let again = far.run(&["freeze", "--ou", "Workloads/", "--why", "x"], "").await.unwrap();
    assert!(again.code == Some(0) && !again.stderr.contains("warning"), "{again:?}");

    // An OU that there is not, and an organization that cannot be read: frozen, and said, at both doors.
    let denied = Match { operation: Some("ListRoots".to_owned()), ..Match::default() };
    for (door, name) in [(&far, "Wrkloads/Far"), (&world.cordon, "Wrkloads/Here")] {
        let output = door.run(&["freeze", "--ou", name, "--why", "x"], "").await.unwrap();
        assert_eq!(output.code, Some(0), "{output:?}");
        for part in [&format!("there is no OU `{name}`"), "stops nothing", "cordon account list", &format!("cordon thaw --ou {name}")] {
            assert!(output.stderr.contains(part), "{part}: {output:?}");
        }
        world.gateway().faults().add(Fault::new(denied.clone(), Action::Deny { code: None, status: None }).times(1));
        let name = format!("{name}/Unread");
        let output = door.run(&["freeze", "--ou", &name, "--why", "x"], "").await.unwrap();
        assert!(output.code == Some(0) && output.stderr.contains("could not be looked up"), "{output:?}");
        assert!(!output.stderr.contains("stops nothing"), "not known is not that there is none: {output:?}");
    }
    let names: Vec<String> = list(&[]).await.iter().map(|line| text(line, "/of").to_owned()).collect();
    assert_eq!(names, ["Workloads", "Workloads", "Wrkloads/Far", "Wrkloads/Far/Unread", "Wrkloads/Here", "Wrkloads/Here/Unread"]);
    assert_eq!(call("thaw", json!({"scope": "ou", "of": "/Workloads", "why": ""})).await, 200, "thawed as it was frozen");
    assert!(!list(&[]).await.iter().any(|line| text(line, "/of") == "Workloads"));
}

#[tokio::test]
async fn whoever_signs_with_a_wrong_secret_is_refused_by_aws_and_remembered_and_nothing_is_changed() {
    let (mut world, url) = listening().await;
    let instance = world.instance("web").await;
    let ann = registered(&mut world, "Ann", &["approver"]).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let mut stolen = ann.keys[0].clone();
    stolen.secret_key = stolen.secret_key.chars().rev().collect();
    let asked = world.lab.hand.at(&world.lab.endpoint()).with(&stolen).call("", HOME, "sts", "get_caller_identity", json!({})).await;
    assert_eq!(asked.unwrap_err().code, "SignatureDoesNotMatch");

    let _service = service(&world, &url).await;
    let grant = ["approval", "grant", run.as_str(), "--step", "close-ingress", "--yes", "--format", "json"];
    let far = from_afar(&world, &world.cordon, &url);
    let refused = far.clone().as_person(&stolen).run(&grant, "").await.unwrap();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in ["it is not proven who you are", "AWS does not take its signature", "SignatureDoesNotMatch"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // Signed by others' code, for a call that changes something at once; and on the state folder.
    let body = "{\"scope\":\"organization\",\"level\":\"full\",\"why\":\"a drill\"}";
    let purpose = bound(&world.organization.security, "/v1/freeze", body);
    let proof = signed(&world, &stolen, &purpose, 0, "").await;
    let headers = [("content-type", "application/json"), ("cordon-proof", proof.as_str())];
    assert_eq!(send(&format!("{url}/v1/freeze"), &headers, body.to_owned()).await.unwrap(), 401);
    let here = world.cordon.clone().as_person(&stolen).run(&grant, "").await.unwrap();
    assert!(here.code == Some(2) && here.stderr.contains("SignatureDoesNotMatch"), "{here:?}");

    assert!(world.open(&instance, 22).await && world.writes().is_empty());
    assert!(world.cordon(&["freeze", "list", "--all", "--format", "json"], "").await.objects().is_empty());
    let away: Vec<Value> = world.cordon(&["audit", "turned-away", "--format", "json"], "").await.objects();
    let at_the_api: Vec<&Value> = away.iter().filter(|entry| entry["door"] == "api").collect();
    assert_eq!(at_the_api.len(), 2, "{away:#?}");
    assert!(at_the_api.iter().all(|entry| text(entry, "/why").contains("AWS does not take its signature")), "{away:#?}");
    let granted = far.as_person(&ann.keys[0]).run(&grant, "").await.unwrap();
    assert_eq!(granted.code, Some(0), "{granted:?}");
    assert!(!world.open(&instance, 22).await);
}

/// Half a request of a stranger's, and half a header.
#[tokio::test]
async fn a_stalled_request_keeps_no_service_from_ending_and_the_lease_is_given_back() {
    let (world, url) = listening().await;
    let mut service = service(&world, &url).await;
    let address = url.strip_prefix("http://").unwrap();
    let stalled: Vec<TcpStream> = ["POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", "POST /v1/x HTTP/1.1\r\n", ""]
        .iter()
        .map(|text| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    let journal = rusqlite::Connection::open(world.settings.state_dir.join("journal.db")).unwrap();
    let expires = || -> i64 { journal.query_row("SELECT expires FROM lease", [], |row| row.get(0)).unwrap() };
    assert!(expires() > 0);
    let begun = Instant::now();
    service.terminate();
    assert_eq!(service.wait(Duration::from_secs(15)).await, Some(0), "{}", service.log());
    assert_eq!(expires(), i64::MIN, "{:?}", begun.elapsed());
    drop(stalled);

    // It is told that its time is over, where the service goes on.
    let mut service = self::service(&world, &url).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    // Who asks twice does not wait.
    let mut half = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut half, b"POST /v1/x HTTP/1.1\r\n").unwrap();
    // Those that came before one that is answered were let in.
    assert_eq!(send(&format!("{url}/v1/x"), &[], String::new()).await.unwrap(), 401);
    service.terminate();
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(service.is_running());
    service.terminate();
    assert_eq!(service.wait(PATIENCE).await, Some(130), "{}", service.log());
}

/// Its proof is still with AWS when the service is told to end.
#[tokio::test]
async fn a_yes_that_a_service_takes_at_its_end_is_said_to_stand_and_counts_once_it_runs_again() {
    let (mut world, url) = listening().await;
    let instance = world.instance("web").await;
    let ann = registered(&mut world, "Ann", &["approver"]).await;
    let run = id(&world.one(&world.attack(&instance)).await);
    let asked = world.cordon(&["approval", "list", "--format", "json"], "").await.objects().remove(0);
    let body = json!({"request": "grant", "run": run, "step": "close-ingress", "digest": asked["digest"]}).to_string();
    let mut first = service(&world, &url).await;
    let proof = signed(&world, &ann.keys[0], &bound(&world.organization.security, "/v1/request", &body), 0, "").await;
    let matching = Match { operation: Some("GetCallerIdentity".to_owned()), ..Match::default() };
    world.gateway().faults().add(Fault::new(matching, Action::Delay { ms: 2_500 }).times(1));
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let call = format!("POST /v1/request HTTP/1.1\r\nhost: x\r\ncordon-proof: {proof}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(call.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.terminate();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("the request stands"), "{answer}");
    assert!(answer.contains(&format!("cordon incident show {run}")), "{answer}");
    assert_eq!(first.wait(PATIENCE).await, Some(0), "{}", first.log());
    assert!(world.open(&instance, 22).await);

    let again = service(&world, &url).await;
    let until = Instant::now() + PATIENCE;
    while world.open(&instance, 22).await {
        assert!(Instant::now() < until, "{}", again.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
