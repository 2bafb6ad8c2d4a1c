//! Scratch.
use cordon_lab::*;
#[tokio::main]
async fn main() {
    let t = std::time::Instant::now();
    let say = |what: &str| eprintln!("{:6.2} {what}", t.elapsed().as_secs_f64());
    let lab = Lab::start(LabOptions {
        plain: std::env::args().any(|a| a == "plain"),
        gateway: GatewayOptions { enforcement: gateway::Enforcement::all(), throttle: None },
    })
    .unwrap();
    say("lab");
    let org = Organization::build(&lab, &Shape::default()).await.unwrap();
    say("org");
    let m = org.ordinary(0).unwrap().clone();
    let i = org.instance(&m.account, "us-east-1", &organization::InstanceShape::named("web-1")).await.unwrap();
    org.log_attack(&i, "198.51.100.23", None).await.unwrap();
    say("instance");
    println!("{:#?}\n{:#}", org.members, org.state(&i).await.unwrap());
    println!("{i:?}");
    let dir = tempfile::tempdir().unwrap();
    let mut s = Settings::acting(dir.path());
    s = if org.extended { s } else { s.plain() };
    let c = Cordon::new(&lab, &org, dir.path(), &s).await.unwrap().with("CORDON_LOG", "cordon_hub=trace,cordon_spoke=trace,warn");
    say("cordon");
    let native = organization::finding::brute_force(&i, "198.51.100.23", organization::finding::Part::Target);
    if org.extended {
        org.know(&native).await.unwrap();
    }
    let e = organization::finding::event(&org.security, &native);
    let o = c.run(&["playbook", "list"], "").await.unwrap();
    println!("{}\n{}\n{:?}", o.stdout, o.stderr, o.code);
    let o = tokio::time::timeout(std::time::Duration::from_secs(15), async {
        std::fs::write("/tmp/e.json", e.to_string()).unwrap();
        let mut r = c.spawn(&["respond", "/tmp/e.json", "--format", "json"]).unwrap();
        r.wait(std::time::Duration::from_secs(10)).await;
        println!("{:?}\n{}", r.lines(), r.log());
        for call in lab.gateway.ledger().all() {
            println!(
                "{} {} {} {:?} {:?} {:?}",
                call.at,
                call.account,
                call.permission(),
                call.outcome,
                call.took_ms,
                call.decision.as_ref().map(|d| d.reason.clone())
            );
        }
        c.run(&["incident", "list"], "").await.unwrap()
    })
    .await
    .unwrap();
    say("respond");
    println!("{}\n{}\n{:?}", o.stdout, o.stderr, o.code);
    println!(
        "open {:?} passes {:?}",
        org.open_groups_of(&i, 22).await.unwrap(),
        org.passes(&i, "198.51.100.23".parse().unwrap(), 22).await.unwrap()
    );
    for call in lab.gateway.ledger().all() {
        if !call.succeeded() {
            println!("{} {} {:?} {:?}", call.account, call.permission(), call.outcome, call.decision.as_ref().map(|d| d.reason.clone()));
        }
    }
    say("end");
}
