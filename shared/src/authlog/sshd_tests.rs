use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn event(line: &str) -> Event {
    parse(line).unwrap_or_else(|| panic!("not read: {line}")).event
}

fn source(text: &str) -> Source {
    Source::Address(text.parse().unwrap())
}

fn failed(line: &str) -> (Option<String>, Source, bool, Evidence) {
    match event(line) {
        Event::LoginFailed { user, from, invalid_user, evidence, .. } => (user, from, invalid_user, evidence),
        other => panic!("{line}: {other:?}"),
    }
}

fn ok(line: &str) -> (String, Source, Method) {
    match event(line) {
        Event::LoginOk { user, from, method, .. } => (user, from, method),
        other => panic!("{line}: {other:?}"),
    }
}

fn from(event: &Event) -> Option<IpAddr> {
    match event {
        Event::LoginOk { from, .. }
        | Event::LoginFailed { from, .. }
        | Event::KeyRefused { from, .. }
        | Event::Probe { from, .. }
        | Event::Connected { from, .. }
        | Event::Disconnected { from, .. }
        | Event::ExplicitCredentials { from, .. } => from.address(),
        _ => None,
    }
}

#[test]
fn reads_every_accepted_method_with_user_address_and_port() {
    let tail = "for alice from 203.0.113.9 port 51122 ssh2";
    for (message, method) in [
        (format!("Accepted password {tail}"), Method::Password),
        (format!("Accepted keyboard-interactive/pam {tail}"), Method::KeyboardInteractive),
        (format!("Accepted publickey {tail}: ED25519 SHA256:abc/+="), Method::PublicKey { fingerprint: Some("SHA256:abc/+=".into()) }),
        (
            format!("Accepted publickey {tail}: RSA-CERT SHA256:user ID alice@example (serial 7) CA RSA SHA256:ca"),
            Method::PublicKey { fingerprint: Some("SHA256:user".into()) },
        ),
        (format!("Accepted hostbased {tail}: RSA SHA256:abc, client user \"a\", client host \"b\""), Method::HostBased),
        (format!("Accepted gssapi-with-mic {tail}: alice@EXAMPLE.COM"), Method::Gssapi),
        (format!("Accepted none {tail}"), Method::Other { name: "none".into() }),
    ] {
        let line = format!("Nov 24 04:12:00 ip-10-0-0-5 sshd[812]: {message}");
        assert_eq!(ok(&line), ("alice".into(), source("203.0.113.9"), method), "{line}");
        let Event::LoginOk { port, .. } = event(&line) else { panic!() };
        assert_eq!(port, Some(51122));
    }
}

#[test]
fn reads_through_every_wrapping() {
    let message = "Accepted password for root from 203.0.113.9 port 5 ssh2";
    for line in [
        message.to_owned(),
        format!("sshd[1]: {message}"),
        format!("host sshd[1]: {message}"),
        format!("Nov  4 04:12:00 host sshd[1]: {message}"),
        format!("<38>Nov 24 04:12:00 host sshd[1]: {message}"),
        format!("Nov 24 04:12:00 sshd[1]: {message}"),
        format!("Nov 24 04:12:00 [sshd] {message}"),
        format!("Nov 24 04:12:00 [sshd]: {message}"),
        format!("Nov 24 2026 04:12:00 host sshd[1]: {message}"),
        format!("Nov 24 04:12:00 host auth.info sshd[1]: {message}"),
        format!("Nov 24 04:12:00.123456 host sshd-session[1]: {message}"),
        format!("Nov 24 04:12:00 host /usr/sbin/sshd[1]: {message}"),
        format!("Nov 24 04:12:00 host sshd-auth[1]: {message}\r\n"),
        format!("2026-11-24T04:12:00+0000 host sshd[1]: {message}"),
        format!("2026-11-24T04:12:00.738197+01:00 host sshd[1]: {message}"),
        format!("Tue 2026-11-24 04:12:00 UTC host sshd[1]: {message}"),
        format!("2026-11-24 04:12:00 host sshd[1]: {message}"),
        format!("[  970.699396] host sshd[1]: {message}"),
        format!("1795493520.123456 host sshd[1]: {message}"),
        format!("<38>1 2026-11-24T04:12:00Z host sshd 1 - - {message}"),
        format!("1 2026-11-24T04:12:00Z host sshd 1 - - {message}"),
        format!("<38>1 2026-11-24T04:12:00Z host sshd 1 - [meta a=\"]\\\"] x\" b=\"\"][x@1 y=\"[z]\"] \u{feff}{message}"),
        format!("Nov 24 04:12:00 host sshd[1]: [ID 800047 auth.info] {message}"),
        format!("host sshd[1]: kernel:[  970.699396]: {message}"),
        format!("host sshd[1]: kernel: [970.699396] {message}"),
        serde_json::json!({"MESSAGE": message, "_SYSTEMD_UNIT": "sshd.service"}).to_string(),
        serde_json::json!({"MESSAGE": message, "_SYSTEMD_UNIT": "ssh.service", "_COMM": "sshd", "SYSLOG_IDENTIFIER": "sshd", "_PID": "1"})
            .to_string(),
        serde_json::json!({"MESSAGE": message, "_SYSTEMD_UNIT": "session-3.scope", "_COMM": "sshd-session"}).to_string(),
        serde_json::json!({"MESSAGE": message.as_bytes(), "SYSLOG_IDENTIFIER": "sshd"}).to_string(),
        serde_json::json!({"message": message, "ident": "sshd", "pid": 1}).to_string(),
        serde_json::json!({"body": {"MESSAGE": message, "_SYSTEMD_UNIT": "sshd@1-10.0.0.5:22.service"}, "severity": 6}).to_string(),
        serde_json::json!({"log": format!("Nov 24 04:12:00 host sshd[1]: {message}")}).to_string(),
    ] {
        assert_eq!(ok(&line), ("root".into(), source("203.0.113.9"), Method::Password), "{line}");
    }
}

#[test]
fn another_process_is_never_read_as_sshd() {
    let message = "Accepted password for root from 203.0.113.9 port 5 ssh2";
    for line in [
        format!("Nov 24 04:12:00 host sudo: {message}"),
        format!("Nov 24 04:12:00 host sudo[7]: {message}"),
        format!("Nov 24 04:12:00 host CRON[7]: {message}"),
        format!("Nov 24 04:12:00 host httpd[7]: {message}"),
        format!("Nov 24 04:12:00 host notsshd[7]: {message}"),
        format!("Nov 24 04:12:00 host sshd-agent[7]: {message}"),
        format!("Nov 24 04:12:00 host nginx: sshd[1]: {message}"),
        format!("nginx: {message}"),
        format!("nginx: sshd[1]: {message}"),
        format!("<38>1 2026-11-24T04:12:00Z host httpd 1 - - {message}"),
        format!("<38>1 2026-11-24T04:12:00Z host httpd 1 - - sshd[1]: {message}"),
        format!("2026-11-24T04:12:00Z host app[1]: user said: sshd[1]: {message}"),
        format!("GET /?q=sshd[1]: {message}"),
        format!("10.0.0.1 - - [24/Nov/2026:04:12:00 +0000] \"GET / HTTP/1.1\" 200 1 \"sshd[1]: {message}\""),
        serde_json::json!({"MESSAGE": message, "_SYSTEMD_UNIT": "nginx.service"}).to_string(),
        serde_json::json!({"MESSAGE": message, "SYSLOG_IDENTIFIER": "sudo", "_SYSTEMD_UNIT": "sshd.service"}).to_string(),
        serde_json::json!({"MESSAGE": message, "SYSLOG_IDENTIFIER": "sshd", "_COMM": "php-fpm"}).to_string(),
        serde_json::json!({"message": format!("nginx: {message}")}).to_string(),
        "nginx: Connection from 203.0.113.9 port 5: refused".to_owned(),
        "Nov 24 04:12:00 host su[1]: pam_unix(su:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost=203.0.113.9"
            .to_owned(),
    ] {
        assert_eq!(parse(&line), None, "{line}");
    }
}

#[test]
fn a_forged_user_name_forges_neither_address_nor_success() {
    let forged = "x from 1.2.3.4 port 22 ssh2";
    let tagged = |message: &str| format!("Nov 24 04:12:00 host sshd[1]: {message}");
    for message in [
        format!("Failed password for invalid user {forged} from 203.0.113.9 port 51122 ssh2"),
        format!("Failed password for invalid user {forged}: RSA SHA256:a from 203.0.113.9 port 51122 ssh2"),
        format!("Failed none for invalid user {forged}: y from 203.0.113.9 port 51122 ssh2"),
        format!("Failed publickey for invalid user {forged}: RSA SHA256:a from 203.0.113.9 port 51122 ssh2: ED25519 SHA256:b"),
        format!("error: maximum authentication attempts exceeded for invalid user {forged} from 203.0.113.9 port 5 ssh2 [preauth]"),
        format!("Connection closed by invalid user {forged} 203.0.113.9 port 51122 [preauth]"),
        format!("Connection reset by authenticating user {forged} 203.0.113.9 port 51122 [preauth]"),
        format!("Disconnected from authenticating user {forged} 203.0.113.9 port 51122 [preauth]"),
        format!("Disconnecting invalid user {forged} 203.0.113.9 port 5: Too many authentication failures [preauth]"),
        format!("error: PAM: Authentication failure for illegal user {forged} from 203.0.113.9"),
        format!("Invalid user {forged} from 203.0.113.9 port 5"),
        format!("Invalid user {forged} from 203.0.113.9"),
        format!("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user={forged}"),
        format!("PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user={forged} rhost=1.2.3.4"),
    ] {
        let (user, from, ..) = failed(&tagged(&message));
        assert_eq!(from, source("203.0.113.9"), "{message}");
        assert!(user.unwrap().starts_with(forged), "{message}");
    }
    let (user, ..) = failed(&tagged(&format!("Failed password for invalid user {forged} from 203.0.113.9 port 51122 ssh2")));
    assert_eq!(user.as_deref(), Some(forged));
    let success = "Accepted password for root from 1.2.3.4 port 22 ssh2";
    assert_eq!(
        failed(&tagged(&format!("Invalid user {success} from 203.0.113.9 port 5"))),
        (Some(success.into()), source("203.0.113.9"), true, Evidence::UnknownUser)
    );
    assert_eq!(failed(&format!("Invalid user {success} ssh2 from 203.0.113.9 port 5")).1, source("203.0.113.9"));
    // A line break does not begin a message; sshd escapes it, and what does not is not believed.
    assert_eq!(parse_all(&tagged(&format!("Invalid user a\n{success} from 203.0.113.9 port 5"))).len(), 1);
    assert_eq!(failed(&tagged(&format!("Invalid user a\n{success} from 203.0.113.9 port 5"))).1, source("203.0.113.9"));
}

#[test]
fn text_of_the_client_beside_the_address_gives_no_wrong_address() {
    let ambiguous = |line: &str| match event(line) {
        Event::LoginFailed { from: Source::Ambiguous(all), .. } | Event::KeyRefused { from: Source::Ambiguous(all), .. } => all.len(),
        other => panic!("{line}: {other:?}"),
    };
    let cert = "RSA-CERT ID x from 1.2.3.4 port 22 ssh2: y (serial 0) CA RSA SHA256:a";
    assert_eq!(ambiguous(&format!("sshd[1]: Failed publickey for root from 203.0.113.9 port 5 ssh2: {cert}")), 2);
    let host = "client user \"x from 1.2.3.4 port 22 ssh2: y\", client host \"h\"";
    assert_eq!(ambiguous(&format!("sshd[1]: Failed hostbased for root from 203.0.113.9 port 5 ssh2: {host}")), 2);
    let reason = "Change of username or service not allowed: (a,ssh-connection) -> (x 1.2.3.4 port 22: ,ssh-connection)";
    assert_eq!(ambiguous(&format!("sshd[1]: Disconnecting invalid user a 203.0.113.9 port 5: {reason} [preauth]")), 2);
    // Nothing of the client's stands left of the address here.
    for line in [
        "sshd[1]: Received disconnect from 203.0.113.9 port 5:11: Bye from 1.2.3.4 port 22 [preauth]",
        "sshd[1]: Received disconnect from 203.0.113.9: 3: x from 1.2.3.4: Auth fail",
        "sshd[1]: Unable to negotiate with 203.0.113.9 port 5: no matching cipher found. Their offer: with 1.2.3.4 port 22: x",
        "sshd[1]: Bad protocol version identification 'x' from 1.2.3.4 port 22' from 203.0.113.9 port 5",
        "sshd[1]: refused connect from 1.2.3.4 (203.0.113.9)",
        "sshd[1]: fatal: Timeout before authentication for 203.0.113.9 port 5",
        "sshd[1]: Timeout before authentication for connection from 203.0.113.9 to 10.0.0.1, pid = 1",
        "sshd[1]: banner exchange: Connection from 203.0.113.9 port 5: invalid format",
        "sshd[1]: ssh_dispatch_run_fatal: Connection from authenticating user root 203.0.113.9 port 5: Broken pipe [preauth]",
        "sshd[1]: Disconnected from 203.0.113.9 port 5",
        "sshd[1]: Disconnected from user root 203.0.113.9 port 5",
        "sshd[1]: Connection closed by 203.0.113.9 [preauth]",
    ] {
        assert_eq!(from(&event(line)), Some("203.0.113.9".parse().unwrap()), "{line}");
        assert!(!matches!(event(line), Event::LoginFailed { .. } | Event::LoginOk { .. }), "{line}");
    }
}

#[test]
fn reads_addresses_of_every_shape() {
    let line = |host: &str| format!("sshd[1]: Failed password for root from {host} port 5 ssh2");
    assert_eq!(failed(&line("2001:db8::1")).1, source("2001:db8::1"));
    assert_eq!(failed(&line("fe80::1%eth0")).1, source("fe80::1"));
    assert_eq!(failed(&line("::ffff:203.0.113.9")).1, source("203.0.113.9"));
    assert_eq!(failed(&line("example.com")).1, Source::Name("example.com".into()));
    assert_eq!(failed(&line("192.030.0.6")).1, Source::Name("192.030.0.6".into()));
    assert_eq!(failed(&line("UNKNOWN")).1, Source::Unknown);
    assert_eq!(failed("sshd[1]: Failed password for root from 203.0.113.9 port 65536 ssh2").1, source("203.0.113.9"));
}

#[test]
fn repeated_messages_count_as_often_as_they_were() {
    let line = "Nov 24 04:12:00 host sshd[1]: message repeated 5 times: [ Failed password for root from 203.0.113.9 port 5 ssh2]";
    let parsed = parse(line).unwrap();
    assert_eq!((parsed.times, parsed.pid), (5, Some(1)));
    assert_eq!(failed(line).1, source("203.0.113.9"));
    let more = "sshd[1]: PAM 4 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root";
    assert_eq!(parse(more).unwrap().times, 4);
    let forged = "sshd[1]: Invalid user message repeated 9 times: [ x] from 203.0.113.9 port 5";
    assert_eq!(parse(forged).unwrap().times, 1);
    assert_eq!(failed(forged).1, source("203.0.113.9"));
}

#[test]
fn tells_failures_apart() {
    let kind = |message: &str| failed(&format!("sshd[1]: {message}")).3;
    assert_eq!(kind("Failed password for root from 203.0.113.9 port 5 ssh2"), Evidence::Attempt);
    assert_eq!(kind("Failed publickey for invalid user x from 203.0.113.9 port 5 ssh2: RSA SHA256:a"), Evidence::Attempt);
    assert_eq!(kind("User root from 203.0.113.9 not allowed because not listed in AllowUsers"), Evidence::Refused);
    assert_eq!(kind("ROOT LOGIN REFUSED FROM 203.0.113.9 port 5 [preauth]"), Evidence::Refused);
    assert_eq!(
        kind("Disconnecting authenticating user root 203.0.113.9 port 5: Too many authentication failures [preauth]"),
        Evidence::Refused
    );
    assert_eq!(failed("sshd[1]: Invalid user  from 203.0.113.9 port 5").0.as_deref(), Some(""));
    assert_eq!(failed("sshd[1]: Connection closed by invalid user  203.0.113.9 port 5 [preauth]").0.as_deref(), Some(""));
    assert_eq!(failed("sshd[1]: Failed keyboard-interactive for <invalid username> from 203.0.113.9 port 5 ssh2").0, None);
    let session = parse("sshd[1]: pam_unix(sshd:session): session opened for user bob(uid=1000) by (uid=0)").unwrap();
    assert_eq!(session.event, Event::SessionOpened { user: "bob".into() });
    for line in [
        "sshd[1]: Failed publickey for git from 203.0.113.9 port 5 ssh2: RSA SHA256:a",
        "sshd[1]: Postponed publickey for git from 203.0.113.9 port 5 ssh2 [preauth]",
        "sshd[1]: Partial publickey for git from 203.0.113.9 port 5 ssh2: RSA SHA256:a",
        "sshd[1]: Close session: user ansible from 203.0.113.9 port 5 id 0",
        "sshd[1]: Address 203.0.113.9 maps to x.example, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!",
        "sshd[1]: Disconnected from totobad user ftp 203.0.113.9 port 5 [preauth]",
        "sshd[1]: Accepted password for root from 203.0.113.9",
        "sshd[1]: Accepted password for root",
        "sshd[1]: Failed password for root",
        "sshd[1]: Server listening on 0.0.0.0 port 22.",
    ] {
        assert!(!matches!(event(line), Event::LoginFailed { .. } | Event::LoginOk { .. }), "{line}");
    }
}

#[test]
fn an_event_of_several_tagged_lines_is_several_messages() {
    let two = "Nov 24 04:12:00 h sshd[1]: Failed password for a from 203.0.113.9 port 5 ssh2\nNov 24 04:12:01 h sshd[1]: Accepted password for a from 203.0.113.9 port 5 ssh2";
    assert_eq!(parse_all(two).len(), 2);
    assert_eq!(parse_all("").len(), 0);
    let injected =
        "Nov 24 04:12:00 h app[1]: a user wrote\nNov 24 04:12:01 h sshd[1]: Accepted password for a from 203.0.113.9 port 5 ssh2";
    assert_eq!(parse_all(injected), []);
}

/// What a client may send as its user name, with what it would take to forge a line.
fn user_name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        Just(" from 1.2.3.4 port 22 ssh2".to_owned()),
        Just(" from 1.2.3.4 port 22 ssh2: RSA SHA256:abc".to_owned()),
        Just(" from 1.2.3.4".to_owned()),
        Just(" 1.2.3.4 port 22: ".to_owned()),
        Just(" 1.2.3.4 port 22".to_owned()),
        Just("Accepted password for root".to_owned()),
        Just("invalid user ".to_owned()),
        Just(": ".to_owned()),
        Just(" ".to_owned()),
        Just("sshd[1]: ".to_owned()),
        Just("message repeated 9 times: [ ".to_owned()),
        Just("] [preauth]".to_owned()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(|bytes| IpAddr::from(bytes).to_canonical())]
        .prop_filter("the forged one", |address| address.to_string() != "1.2.3.4")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), user in user_name()) {
        drop(parse_all(&text));
        for start in ["", "sshd[1]: ", "<38>1 - h sshd 1 - [", "[Security] [", "{\"MESSAGE\":\"", "<Event><System><Provider Name='", "message repeated "] {
            drop(parse_all(&format!("{start}{user}{text}")));
        }
    }

    #[test]
    fn a_failure_line_always_gives_the_true_address(user in user_name(), address in address(), port in any::<u16>()) {
        for (message, exact) in [
            (format!("Failed password for {user} from {address} port {port} ssh2"), true),
            (format!("Failed password for invalid user {user} from {address} port {port} ssh2"), true),
            (format!("Failed keyboard-interactive/pam for invalid user {user} from {address} port {port} ssh2 [preauth]"), true),
            (format!("Failed none for invalid user {user} from {address} port {port} ssh2"), true),
            (format!("Failed publickey for invalid user {user} from {address} port {port} ssh2: ED25519 SHA256:abc"), true),
            (format!("Failed gssapi-with-mic for {user} from {address} port {port} ssh2"), false),
            (format!("Failed hostbased for {user} from {address} port {port} ssh2: RSA SHA256:a, client user \"{user}\", client host \"{user}\""), false),
            (format!("Failed publickey for {user} from {address} port {port} ssh2: RSA-CERT ID {user} (serial 1) CA RSA SHA256:a"), false),
            (format!("Invalid user {user} from {address} port {port}"), true),
            (format!("Invalid user {user} from {address}"), true),
            (format!("error: maximum authentication attempts exceeded for invalid user {user} from {address} port {port} ssh2 [preauth]"), true),
            (format!("error: PAM: Authentication failure for illegal user {user} from {address}"), true),
            (format!("Connection closed by invalid user {user} {address} port {port} [preauth]"), true),
            (format!("Disconnected from authenticating user {user} {address} port {port} [preauth]"), true),
            (format!("Disconnecting invalid user {user} {address} port {port}: Too many authentication failures [preauth]"), true),
            (format!("Disconnecting invalid user {user} {address} port {port}: Change of username or service not allowed: ({user},ssh-connection) -> ({user},x) [preauth]"), false),
            (format!("pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"), true),
        ] {
            for line in [format!("Nov 24 04:12:00 host sshd[1]: {message}"), message] {
                let Some(parsed) = parse(&line) else { prop_assert!(false, "not read: {line}"); continue };
                prop_assert!(!matches!(parsed.event, Event::LoginOk { .. }), "{line}: {:?}", parsed.event);
                prop_assert_eq!(parsed.times, 1);
                match from(&parsed.event) {
                    Some(found) => prop_assert_eq!(found, address, "{}", line),
                    None => prop_assert!(!exact, "{line}: {:?}", parsed.event),
                }
            }
        }
    }

    #[test]
    fn a_success_line_always_gives_its_user_and_address(user in user_name(), address in address(), port in any::<u16>()) {
        for (message, method) in [
            (format!("Accepted password for {user} from {address} port {port} ssh2"), Method::Password),
            (format!("Accepted keyboard-interactive/pam for {user} from {address} port {port} ssh2"), Method::KeyboardInteractive),
            (format!("Accepted publickey for {user} from {address} port {port} ssh2: ED25519 SHA256:abc"), Method::PublicKey { fingerprint: Some("SHA256:abc".into()) }),
        ] {
            let line = format!("2026-11-24T04:12:00Z host sshd[1]: {message}");
            let expected = Event::LoginOk { user: user.clone(), from: Source::Address(address), port: Some(port), method };
            prop_assert_eq!(parse(&line).map(|parsed| parsed.event), Some(expected), "{}", line);
        }
    }
}
