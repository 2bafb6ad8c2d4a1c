use super::{block_source_in_nacl, close_open_ingress, record_all};
use crate::{
    action::*,
    limits::{Limits, Rates},
    session::{SessionSettings, Sessions},
};
use aws_sdk_ec2::types::*;
use cordon_shared::{
    clock::SystemClock,
    evidence::{Evidence, EvidenceError, Item},
    id::{CellId, IncidentId},
    plan::{ChangeKey, StepKey, Verdict},
};
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
#[derive(Debug, Default)]
struct Mem(Mutex<Vec<Item>>);
impl Evidence for Mem {
    fn put(&self, item: Item) -> BoxFuture<'_, Result<String, EvidenceError>> {
        self.0.lock().unwrap().push(item);
        Box::pin(async { Ok("x".into()) })
    }
}
fn show(what: &str, v: &impl std::fmt::Debug) {
    println!("== {what}\n{v:#?}");
}
async fn state(c: &aws_sdk_ec2::Client, g: &str) -> Vec<String> {
    let mut v: Vec<String> = close_open_ingress::scratch_rules(c, g).await;
    v.sort();
    v
}
#[tokio::test]
async fn scratch() {
    let Ok(url) = std::env::var("CORDON_MOTO_URL") else { return };
    let account: cordon_shared::id::AccountId = "123456789012".parse().unwrap();
    let region: cordon_shared::id::Region = "us-east-1".parse().unwrap();
    let sessions = Sessions::at_endpoint(
        SessionSettings::new(account.clone(), region.clone()),
        Limits::new(Rates::default()),
        Arc::new(SystemClock),
        &url,
    )
    .unwrap();
    let clients = sessions.hub(&region);
    let c = clients.ec2();
    let cell = CellId::new(account, region);
    let mem = Mem::default();
    let step = StepKey::first("s");
    let cx = Cx {
        cell: &cell,
        read: &clients,
        clock: &SystemClock,
        evidence: &mem,
        run: IncidentId::from_u128(1),
        step: &step,
        opt_out_key: "cordon:opt-out",
        known: &[],
        logs: &[],
        window: (None, None),
    };
    let vpc =
        c.create_vpc().cidr_block("10.0.0.0/16").amazon_provided_ipv6_cidr_block(true).send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let s1 = c.create_subnet().vpc_id(&vpc).cidr_block("10.0.1.0/24").send().await.unwrap().subnet.unwrap().subnet_id.unwrap();
    let s2 = c.create_subnet().vpc_id(&vpc).cidr_block("10.0.2.0/24").send().await.unwrap().subnet.unwrap().subnet_id.unwrap();
    let g = c.create_security_group().vpc_id(&vpc).group_name(format!("g{vpc}")).description("d").send().await.unwrap().group_id.unwrap();
    let p = |proto: &str, a: i32, b: i32| IpPermission::builder().ip_protocol(proto).from_port(a).to_port(b);
    let r4 = |cidr: &str| IpRange::builder().cidr_ip(cidr).description("it's mine").build();
    c.authorize_security_group_ingress()
        .group_id(&g)
        .ip_permissions(p("tcp", 0, 65535).ip_ranges(r4("0.0.0.0/0")).ipv6_ranges(Ipv6Range::builder().cidr_ipv6("::/0").build()).build())
        .ip_permissions(p("tcp", 22, 22).ip_ranges(r4("10.0.0.0/8")).build())
        .ip_permissions(IpPermission::builder().ip_protocol("-1").ip_ranges(r4("0.0.0.0/1")).build())
        .ip_permissions(p("tcp", 443, 443).ip_ranges(r4("0.0.0.0/0")).build())
        .send()
        .await
        .unwrap();
    let i = c
        .run_instances()
        .image_id("ami-12c6146b")
        .min_count(1)
        .max_count(1)
        .subnet_id(&s1)
        .security_group_ids(&g)
        .send()
        .await
        .unwrap()
        .instances
        .unwrap()[0]
        .instance_id
        .clone()
        .unwrap();
    let eni = c
        .create_network_interface()
        .subnet_id(&s2)
        .groups(&g)
        .send()
        .await
        .unwrap()
        .network_interface
        .unwrap()
        .network_interface_id
        .unwrap();
    c.attach_network_interface().network_interface_id(&eni).instance_id(&i).device_index(1).send().await.unwrap();
    let found = record_all::RecordAll.run(cx, &record_all::Params { instance: Some(i.clone()), group: None }).await.unwrap();
    show("record", &found.outcome);
    for item in mem.0.lock().unwrap().iter() {
        println!("{} {} {}", item.kind, item.about, item.bytes.len());
    }
    let found = record_all::RecordAll.run(cx, &record_all::Params { instance: None, group: Some(g.clone()) }).await.unwrap();
    show("record group", &found.outcome);
    let found =
        record_all::RecordAll.run(cx, &record_all::Params { instance: Some("i-0123456789abcdef0".into()), group: None }).await.unwrap();
    show("record nothing", &found.outcome);

    let with = close_open_ingress::Params {
        instance: Some(i.clone()),
        group: None,
        protocol: "TCP".into(),
        ports: Some(vec![22]),
        except: None,
        max_interfaces: None,
    };
    let with2 = close_open_ingress::Params { ports: Some(vec![3389]), ..with.clone() };
    let at_first = state(&c, &g).await;
    show("rules", &at_first);
    let action = close_open_ingress::CloseOpenIngress;
    let Plan::Ready { before, plan } = action.plan(cx, &with).await.unwrap() else { panic!() };
    show("plan", &plan);
    let json = serde_json::to_value(&before).unwrap();
    let before: close_open_ingress::Before = serde_json::from_value(json).unwrap();
    show("verify first", &action.verify(cx, &with, &before).await.unwrap());
    show("apply", &close_open_ingress::scratch_apply(&c, &before).await.unwrap());
    close_open_ingress::scratch_apply(&c, &before).await.unwrap();
    show("rules", &state(&c, &g).await);
    assert_eq!(action.verify(cx, &with, &before).await.unwrap(), Verdict::InEffect);
    let Plan::Ready { before: b2, plan: p2 } = action.plan(cx, &with2).await.unwrap() else { panic!() };
    show("plan 2 changes", &p2.changes.iter().map(|c| &c.attribute).collect::<Vec<_>>());
    close_open_ingress::scratch_apply(&c, &b2).await.unwrap();
    show("rules", &state(&c, &g).await);
    let Plan::Ready { plan: p3, .. } = action.plan(cx, &with).await.unwrap() else { panic!() };
    assert!(p3.changes.is_empty() && p3.already.len() == 2);
    assert_eq!(p3.already.iter().map(|c| c.key()).collect::<Vec<_>>(), plan.changes.iter().map(|c| c.key()).collect::<Vec<_>>());
    let keys: Vec<ChangeKey> = plan.changes.iter().map(|c| c.key()).collect();
    let keys2: Vec<ChangeKey> = p2.changes.iter().map(|c| c.key()).collect();
    show("undo 1", &close_open_ingress::scratch_undo(cx, &c, &with, &before, &keys).await.unwrap());
    show("rules", &state(&c, &g).await);
    show("undo 2", &close_open_ingress::scratch_undo(cx, &c, &with2, &b2, &keys2).await.unwrap());
    show("rules", &state(&c, &g).await);
    show("undo 1 again", &close_open_ingress::scratch_undo(cx, &c, &with, &before, &keys).await.unwrap());
    assert_eq!(state(&c, &g).await, at_first);
    // quota
    let g2 =
        c.create_security_group().vpc_id(&vpc).group_name(format!("full{vpc}")).description("d").send().await.unwrap().group_id.unwrap();
    for n in 0..58 {
        c.authorize_security_group_ingress()
            .group_id(&g2)
            .ip_permissions(p("tcp", 1000 + n, 1000 + n).ip_ranges(r4("10.0.0.0/8")).build())
            .send()
            .await
            .unwrap();
    }
    c.authorize_security_group_ingress()
        .group_id(&g2)
        .ip_permissions(p("tcp", 0, 65535).ip_ranges(r4("0.0.0.0/0")).build())
        .send()
        .await
        .unwrap();
    let full = state(&c, &g2).await;
    let with3 = close_open_ingress::Params { instance: None, group: Some(g2.clone()), ..with.clone() };
    let Plan::Ready { before: b3, plan: p3 } = action.plan(cx, &with3).await.unwrap() else { panic!() };
    show("full notes", &p3.notes);
    show("full", &close_open_ingress::scratch_apply(&c, &b3).await.unwrap_err());
    assert_eq!(state(&c, &g2).await, full);
    // prefix list
    let pl = c
        .create_managed_prefix_list()
        .prefix_list_name("w")
        .max_entries(2)
        .address_family("IPv4")
        .entries(AddPrefixListEntry::builder().cidr("0.0.0.0/0").build())
        .send()
        .await
        .unwrap()
        .prefix_list
        .unwrap()
        .prefix_list_id
        .unwrap();
    let g3 = c.create_security_group().vpc_id(&vpc).group_name(format!("pl{vpc}")).description("d").send().await.unwrap().group_id.unwrap();
    c.authorize_security_group_ingress()
        .group_id(&g3)
        .ip_permissions(p("tcp", 20, 30).prefix_list_ids(PrefixListId::builder().prefix_list_id(&pl).build()).build())
        .send()
        .await
        .unwrap();
    let with4 = close_open_ingress::Params { instance: None, group: Some(g3.clone()), ..with.clone() };
    let Plan::Ready { before: b4, plan: p4 } = action.plan(cx, &with4).await.unwrap() else { panic!() };
    show("prefix list", &p4);
    show("prefix list applied", &close_open_ingress::scratch_apply(&c, &b4).await.unwrap());
    show("rules", &state(&c, &g3).await);

    let with = block_source_in_nacl::Params {
        instance: i.clone(),
        sources: ["203.0.113.9", "10.0.0.7", "2001:db8::5", "::ffff:198.51.100.7"].iter().map(|a| a.parse().unwrap()).collect(),
        protocol: "tcp".into(),
        port: 22,
    };
    let action = block_source_in_nacl::BlockSourceInNacl;
    let Plan::Ready { before, plan } = action.plan(cx, &with).await.unwrap() else { panic!() };
    show("nacl plan", &plan);
    let before: block_source_in_nacl::Before = serde_json::from_value(serde_json::to_value(&before).unwrap()).unwrap();
    show("nacl apply", &block_source_in_nacl::scratch_apply(&c, &before).await.unwrap());
    block_source_in_nacl::scratch_apply(&c, &before).await.unwrap();
    assert_eq!(action.verify(cx, &with, &before).await.unwrap(), Verdict::InEffect);
    let Plan::Ready { plan: again, .. } = action.plan(cx, &with).await.unwrap() else { panic!() };
    assert!(again.changes.is_empty(), "{again:#?}");
    let keys: Vec<ChangeKey> = plan.changes.iter().map(|c| c.key()).collect();
    assert!(keys.iter().all(|k| again.already.iter().any(|c| c.key() == *k)));
    for n in 10..16 {
        let with = block_source_in_nacl::Params { sources: vec![format!("203.0.113.{n}").parse().unwrap()], ..with.clone() };
        let Plan::Ready { before, .. } = action.plan(cx, &with).await.unwrap() else { panic!() };
        show("evict", &block_source_in_nacl::scratch_apply(&c, &before).await.unwrap());
        assert_eq!(action.verify(cx, &with, &before).await.unwrap(), Verdict::InEffect);
    }
    show("nacl undo", &block_source_in_nacl::scratch_undo(cx, &c, &before, &keys).await.unwrap());
    let _ = BTreeMap::<u8, u8>::new();
}
