//! Log events that are JSON objects: journald's fields, what log forwarders make of syslog, and Windows events as
//! winlogbeat, the OpenTelemetry receiver, fluent-bit and `evtx` tools write them, and OCSF.

use serde_json::Value;

use super::{Event, Evidence, Family, Method, Parsed, Source, envelope, sshd, windows};

/// Reads one object.
pub(super) fn read(text: &str) -> Option<Parsed> {
    let record: Value = serde_json::from_str(text).ok()?;
    // The OpenTelemetry exporter writes what was collected as the record's body.
    let value = record.get("body").filter(|body| body.is_object()).unwrap_or(&record);
    if let Some(id) = windows_id(value) {
        return windows_event(value, id);
    }
    if value.get("class_uid").and_then(Value::as_u64) == Some(3002) {
        return ocsf(value);
    }
    syslog(value)
}

/// The first of these paths that holds a text or a number.
fn text(value: &Value, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| scalar(value.pointer(path)?))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// journald (<https://www.freedesktop.org/software/systemd/man/latest/systemd.journal-fields.html>) and forwarders. Names
/// that a process gives itself and names that journald vouches for (`_COMM`) must all be an SSH server's.
fn syslog(value: &Value) -> Option<Parsed> {
    let message = message(value)?;
    let claims = [
        "/SYSLOG_IDENTIFIER",
        "/_COMM",
        "/ident",
        "/program",
        "/appname",
        "/app_name",
        "/cmdName",
        "/syslogIdent",
        "/syslog/ident",
        "/process/name",
    ];
    let mut names = claims.iter().filter_map(|path| scalar(value.pointer(path)?)).filter(|name| !name.is_empty()).peekable();
    let unit = text(value, &["/_SYSTEMD_UNIT", "/systemdUnit", "/unit"]);
    let tagged = if names.peek().is_some() {
        names.all(|name| envelope::is_sshd(&name)).then_some(true)?
    } else if let Some(unit) = unit {
        is_ssh_unit(&unit).then_some(true)?
    } else {
        false
    };
    if !tagged {
        return super::read_text(message.trim());
    }
    let (event, times) = sshd::read(&message);
    let pid = text(value, &["/_PID", "/SYSLOG_PID", "/pid", "/procid", "/syslog/pid"]).and_then(|pid| pid.parse().ok());
    Some(Parsed { event, times, family: Family::Sshd, pid, tagged: true })
}

/// The message; journald writes an array of bytes where it is not UTF-8 or holds control characters.
fn message(value: &Value) -> Option<String> {
    let found = ["/MESSAGE", "/message", "/msg", "/log", "/Message", "/body"].iter().find_map(|path| value.pointer(path))?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        _ => None,
    }
}

/// `sshd.service`, Debian's `ssh.service`, and the socket-activated `sshd@….service`.
fn is_ssh_unit(unit: &str) -> bool {
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    matches!(name.split('@').next(), Some("ssh" | "sshd"))
}

fn windows_id(value: &Value) -> Option<u32> {
    let paths = [
        "/winlog/event_id",
        "/Event/System/EventID",
        "/Event/System/EventID/#text",
        "/Event/System/EventID/Value",
        "/System/EventID",
        "/System/EventID/#text",
        "/EventID",
        "/event_id",
        "/event_id/id",
        "/EventCode",
    ];
    let id = text(value, &paths)?.parse().ok()?;
    let provider = text(
        value,
        &[
            "/winlog/provider_name",
            "/Event/System/Provider/Name",
            "/Event/System/Provider/@Name",
            "/Event/System/Provider/#attributes/Name",
            "/System/Provider/Name",
            "/System/Provider/@Name",
            "/System/Provider/#attributes/Name",
            "/ProviderName",
            "/provider/name",
            "/Provider",
            "/provider",
            "/SourceName",
        ],
    );
    let channel = text(value, &["/winlog/channel", "/Event/System/Channel", "/System/Channel", "/Channel", "/channel", "/LogName"]);
    match provider {
        Some(provider) => (provider == windows::PROVIDER || provider == "Microsoft Windows security auditing.").then_some(id),
        None => (channel.as_deref() == Some("Security")).then_some(id),
    }
}

fn windows_event(value: &Value, id: u32) -> Option<Parsed> {
    let data = ["/winlog/event_data", "/Event/EventData", "/EventData", "/event_data"].iter().find_map(|path| value.pointer(path));
    let data = data.unwrap_or(value);
    let field = |name: &str| named(data, name);
    let event = windows::event(id, &field);
    let unread = match &event {
        Event::LoginFailed { user: None, from: Source::Unknown, .. } => true,
        event => *event == Event::Other,
    };
    if unread && let Some(message) = text(value, &["/Message", "/message", "/Event/RenderingInfo/Message"]) {
        return Some(windows::parsed(windows::described(id, &message)));
    }
    Some(windows::parsed(event))
}

/// A field of the event data: `{"Name": value}`, or a list of `{"@Name": "Name", "#text": value}` and relatives.
fn named(data: &Value, name: &str) -> Option<String> {
    if let Some(found) = data.get(name) {
        return scalar(found);
    }
    match ["Data", "data"].iter().find_map(|key| data.get(key))? {
        Value::Array(items) => items.iter().find_map(|item| {
            if let Some(found) = item.get(name) {
                return scalar(found);
            }
            let label = text(item, &["/@Name", "/Name", "/-Name", "/name", "/#attributes/Name"])?;
            (label == name).then(|| text(item, &["/#text", "/Text", "/Value", "/value", "/content"])).flatten()
        }),
        inner => scalar(inner.get(name)?),
    }
}

/// OCSF class Authentication (3002), activity Logon (1), of a Windows host
/// (<https://schema.ocsf.io/classes/authentication>).
fn ocsf(value: &Value) -> Option<Parsed> {
    let windows = text(value, &["/metadata/product/name", "/device/os/name"])?.contains("Windows");
    windows.then_some(())?;
    let number = |path: &str| value.pointer(path).and_then(Value::as_u64);
    let logon_type = number("/logon_type_id").and_then(|id| u32::try_from(id).ok());
    let user = text(value, &["/user/name"]).filter(|user| !matches!(user.as_str(), "" | "-"));
    let from = Source::read(text(value, &["/src_endpoint/ip"]).unwrap_or_default().trim());
    let port = number("/src_endpoint/port").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let method = logon_type.map(|logon_type| Method::Windows { logon_type });
    let event = match (number("/activity_id"), number("/status_id"), user, method) {
        (Some(1), Some(1), Some(user), Some(method)) if !user.eq_ignore_ascii_case("ANONYMOUS LOGON") => {
            Event::LoginOk { user, from, port, method }
        }
        (Some(1), Some(2), user, method) => {
            let invalid_user =
                text(value, &["/unmapped/Failure Information/Sub Status"]).is_some_and(|status| status.eq_ignore_ascii_case("0xC0000064"));
            Event::LoginFailed { user, from, port, invalid_user, method, evidence: Evidence::Attempt }
        }
        _ => Event::Other,
    };
    Some(windows::parsed(event))
}
