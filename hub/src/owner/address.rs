//! What a text names: an e-mail address, an id of Slack, or only a name.

/// Where somebody can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// By e-mail, or as the Slack user with that address.
    Mail(String),
    /// In Slack: a user or a channel, by its id.
    Slack(String),
}

impl Address {
    /// As it is shown.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Mail(text) | Self::Slack(text) => text,
        }
    }
}

/// Reads a text of others. `None`: it is only a name.
#[must_use]
pub fn read(text: &str) -> Option<Address> {
    let text = text.trim();
    if is_mail(text) {
        return Some(Address::Mail(text.to_owned()));
    }
    is_slack(text).then(|| Address::Slack(text.to_owned()))
}

/// An address of RFC 5321 without quotes, comments or a name (section 4.1.2, `Dot-string "@" Domain`; lengths from 4.5.3.1). It holds no
/// character that means anything in a header. ASCII only, as SES wants it.
#[must_use]
pub fn is_mail(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c));
    text.len() <= 254 && local.len() <= 64 && local.split('.').all(atom) && is_domain(domain)
}

/// A domain of at least two labels (RFC 1035, section 2.3.1).
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

/// An id of a user (`U…`, `W…`) or a channel (`C…`, `G…`), as Slack makes them: nine or more capitals and digits. Shorter words in capitals
/// are names of teams.
fn is_slack(text: &str) -> bool {
    (9..=32).contains(&text.len())
        && text.starts_with(['U', 'W', 'C', 'G'])
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        && text.chars().any(|c| c.is_ascii_digit())
}

/// Whether an e-mail address is of one of these domains, given in small letters; of any where there are none.
#[must_use]
pub fn is_within(mail: &str, domains: &[String]) -> bool {
    let domain = mail.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase()).unwrap_or_default();
    domains.is_empty() || domains.contains(&domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_an_address_an_id_of_slack_or_only_a_name() {
        for mail in ["payments@example.com", " a.b+c@mail.example.co.uk ", "o'neil@example.com"] {
            assert_eq!(read(mail), Some(Address::Mail(mail.trim().to_owned())), "{mail}");
        }
        for id in ["U012AB3CD", "W012A3CDE", "C024BE91L", "G01234567890"] {
            assert_eq!(read(id), Some(Address::Slack(id.to_owned())), "{id}");
        }
        for name in ["", "payments", "WEB", "COMMERCE", "CUSTOMERCARE", "u012ab3cd", "Ana Beck", "#payments", "@ana"] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn what_could_mean_something_in_a_header_or_is_too_long_is_no_address() {
        let long = format!("{}@example.com", "a".repeat(65));
        let hostile = [
            "a@example.com\r\nBcc: evil@example.net",
            "a@example.com\nX: y",
            "a@example.com, b@example.com",
            "Ana <a@example.com>",
            "\"a b\"@example.com",
            "a@[198.51.100.1]",
            "a@localhost",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a@exa mple.com",
            "ä@example.com",
            "a@exämple.com",
            "a\u{202e}@example.com",
            "a\0@example.com",
            "@example.com",
            &long,
        ];
        for text in hostile {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_the_named_domains_and_not_those_below_or_beside_them_are_within() {
        let domains = ["example.com".to_owned()];
        assert!(is_within("a@EXAMPLE.com", &domains) && is_within("a@anywhere.net", &[]));
        for outside in ["a@example.com.evil.net", "a@evil-example.com", "a@sub.example.com", "example.com@evil.net"] {
            assert!(!is_within(outside, &domains), "{outside}");
        }
    }
}
