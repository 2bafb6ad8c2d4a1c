use proptest::prelude::*;

use super::*;

const DATA: &str = r#"<Data Name="TargetUserSid">S-1-5-21-1</Data><Data Name='TargetUserName'>USER</Data><Data Name="TargetDomainName">HOST</Data>
  <Data Name="SubStatus">0xC000006A</Data><Data Name="LogonType">10</Data><Data Name="LmPackageName"/><Data Name="IpAddress">203.0.113.9</Data><Data Name="IpPort">50123</Data>"#;

fn xml(id: u32, user: &str) -> String {
    let data = DATA.replace("USER", user);
    format!(
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Security-Auditing' Guid='{{5}}'/><EventID>{id}</EventID><Channel>Security</Channel></System><EventData>{data}</EventData></Event>"
    )
}

fn event(text: &str) -> Event {
    parse(text).unwrap_or_else(|| panic!("not read: {text}")).event
}

fn address() -> Source {
    Source::Address("203.0.113.9".parse().unwrap())
}

fn logged_on(user: &str) -> Event {
    Event::LoginOk { user: user.to_owned(), from: address(), port: Some(50123), method: Method::Windows { logon_type: 10 } }
}

fn rendered(id: u32, section: &str, user: &str, source: &str) -> String {
    format!(
        "[Security] [INFORMATION] [{id}] [Microsoft-Windows-Security-Auditing] [HOST] [Something happened.\r\n\r\nSubject:\r\n\tSecurity ID:\t\tS-1-0-0\r\n\tAccount Name:\t\t-\r\n\r\nLogon Type:\t\t\t10\r\n\r\n{section}:\r\n\tSecurity ID:\t\tS-1-5-21-1\r\n\tAccount Name:\t\t{user}\r\n\r\nNetwork Information:\r\n\tSource Network Address:\t{source}\r\n\tSource Port:\t\t50123\r\n\r\nThis event is generated.]"
    )
}

#[test]
fn reads_logons_of_every_shape_alike() {
    let fields = serde_json::json!({"TargetUserName": "bob", "LogonType": "10", "IpAddress": "203.0.113.9", "IpPort": "50123"});
    let list: Vec<_> = fields.as_object().unwrap().iter().map(|(name, value)| serde_json::json!({"@Name": name, "#text": value})).collect();
    let pairs: Vec<_> = fields.as_object().unwrap().iter().map(|(name, value)| serde_json::json!({ name: value })).collect();
    let provider = "Microsoft-Windows-Security-Auditing";
    for text in [
        xml(4624, "bob"),
        format!("- {}", xml(4624, "bob")),
        serde_json::json!({"message": xml(4624, "bob")}).to_string(),
        rendered(4624, "New Logon", "bob", "203.0.113.9"),
        serde_json::json!({"winlog": {"event_id": 4624, "provider_name": provider, "channel": "Security", "event_data": fields}}).to_string(),
        serde_json::json!({"Event": {"System": {"EventID": 4624, "Provider": {"@Name": provider}}, "EventData": {"Data": list}}}).to_string(),
        serde_json::json!({"Event": {"System": {"EventID": {"#text": "4624"}, "Provider": {"#attributes": {"Name": provider}}}, "EventData": fields}}).to_string(),
        serde_json::json!({"event_id": {"id": 4624}, "provider": {"name": provider}, "channel": "Security", "event_data": {"data": pairs}}).to_string(),
        serde_json::json!({"EventID": 4624, "ProviderName": provider, "TargetUserName": "bob", "LogonType": 10, "IpAddress": "203.0.113.9", "IpPort": 50123}).to_string(),
        serde_json::json!({"EventID": 4624, "Channel": "Security", "Message": rendered(4624, "New Logon", "bob", "203.0.113.9")}).to_string(),
    ] {
        assert_eq!(event(&text), logged_on("bob"), "{text}");
    }
}

#[test]
fn reads_failures_explicit_credentials_and_lockouts() {
    let Event::LoginFailed { user, from, invalid_user, method, .. } = event(&xml(4625, "bob")) else { panic!() };
    assert_eq!((user.as_deref(), from, invalid_user, method), (Some("bob"), address(), false, Some(Method::Windows { logon_type: 10 })));
    let unknown = xml(4625, "bob").replace("0xC000006A", "0xc0000064");
    assert!(matches!(event(&unknown), Event::LoginFailed { invalid_user: true, .. }));
    assert!(
        matches!(event(&rendered(4625, "Account For Which Logon Failed", "bob", "203.0.113.9")), Event::LoginFailed { from, .. } if from == address())
    );
    assert_eq!(event(&xml(4648, "bob")), Event::ExplicitCredentials { user: "bob".into(), from: address() });
    assert_eq!(event(&xml(4740, "bob")), Event::AccountLocked { user: "bob".into(), caller: Some("HOST".into()) });
    assert_eq!(event(&xml(4688, "bob")), Event::Other);
}

#[test]
fn a_dash_is_no_address_and_a_mapped_address_is_the_ipv4_one() {
    let with = |address: &str| event(&xml(4624, "bob").replace("203.0.113.9", address));
    assert!(matches!(with("-"), Event::LoginOk { from: Source::Unknown, .. }));
    assert!(matches!(with("::ffff:203.0.113.9"), Event::LoginOk { from, .. } if from == address()));
    assert!(matches!(with("fe80::1%4"), Event::LoginOk { from: Source::Address(_), .. }));
}

#[test]
fn a_null_session_is_no_login() {
    assert_eq!(event(&xml(4624, "ANONYMOUS LOGON")), Event::Other);
    assert_eq!(event(&xml(4624, "bob").replace("S-1-5-21-1", "S-1-5-7")), Event::Other);
    assert_eq!(event(&rendered(4624, "New Logon", "ANONYMOUS LOGON", "203.0.113.9")), Event::Other);
}

#[test]
fn only_the_security_log_is_believed() {
    for provider in ["Contoso-App", "Microsoft-Windows-Sysmon"] {
        assert_eq!(parse(&xml(4624, "bob").replace("Microsoft-Windows-Security-Auditing", provider)), None);
        assert_eq!(
            parse(&rendered(4624, "New Logon", "bob", "203.0.113.9").replace("Microsoft-Windows-Security-Auditing", provider)),
            None
        );
    }
    assert_eq!(
        parse(&serde_json::json!({"EventID": 4624, "TargetUserName": "bob", "LogonType": 10, "IpAddress": "203.0.113.9"}).to_string()),
        None
    );
}

#[test]
fn reads_openssh_for_windows() {
    let text = "<Event><System><Provider Name='OpenSSH' Guid='{c}'/><EventID>4</EventID></System><EventData><Data Name='process'>sshd</Data><Data Name='payload'>Accepted password for bob from 203.0.113.9 port 5 ssh2</Data></EventData></Event>";
    assert!(matches!(event(text), Event::LoginOk { method: Method::Password, .. }));
    assert_eq!(parse(&text.replace(">sshd<", ">other<")), None);
    let text = "[OpenSSH/Operational] [INFORMATION] [4] [OpenSSH] [HOST] [sshd: Accepted password for bob from 203.0.113.9 port 5 ssh2]";
    assert!(matches!(event(text), Event::LoginOk { method: Method::Password, .. }));
}

#[test]
fn a_forged_account_name_forges_no_address() {
    let forged = "x</Data><Data Name=\"IpAddress\">1.2.3.4";
    let escaped = forged.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let Event::LoginFailed { user, from, .. } = event(&xml(4625, &escaped)) else { panic!() };
    assert_eq!((user.as_deref(), from), (Some(forged), address()));
    // Not escaped, a name would come twice: nothing of it is believed.
    assert!(matches!(event(&xml(4625, forged)), Event::LoginFailed { user: None, from: Source::Unknown, .. }));
    let lines = "x\r\n\tSource Network Address:\t1.2.3.4";
    let text = rendered(4625, "Account For Which Logon Failed", lines, "203.0.113.9");
    assert!(matches!(event(&text), Event::LoginFailed { from: Source::Ambiguous(_), .. }));
}

proptest! {
    #[test]
    fn any_escaped_account_name_comes_back_with_the_true_address(name in "\\PC{0,40}") {
        let escaped = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if let Event::LoginOk { user, from, .. } = event(&xml(4624, &escaped)) {
            prop_assert_eq!(user, name);
            prop_assert_eq!(from, address());
        } else {
            prop_assert!(name.is_empty() || name == "-");
        }
    }
}
