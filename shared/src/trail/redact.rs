//! A record as evidence: whole, but for what must not be kept.
//!
//! What a call was asked and answered differs by service, and no list of fields to keep would be whole. So names and shapes decide what is
//! taken out: names that mean a secret at any depth, and texts that look like a session token, a secret key or a private key wherever they
//! stand. Too much is taken rather than too little.

use serde_json::{Map, Value};

/// What stands in place of what was taken out.
pub const REMOVED: &str = "(removed by Cordon)";
/// What stands for what is too deep or too long.
const SHORTENED: &str = "(left out by Cordon: too long)";

/// How deep a record is followed.
const DEPTH: usize = 40;
/// Longest text that is kept.
const TEXT: usize = 8 << 10;
/// Most of a record that is kept, by its texts.
const RECORD: usize = 96 << 10;

/// Names that mean a secret, without their case and marks, wherever they are part of a name.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secretaccesskey",
    "secretkey",
    "secretstring",
    "secretbinary",
    "clientsecret",
    "sharedsecret",
    "sessiontoken",
    "securitytoken",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "identitytoken",
    "signintoken",
    "tokencode",
    "tokenvalue",
    "presharedkey",
    "privatekey",
    "keymaterial",
    "plaintext",
    "userdata",
    "samlassertion",
    "authorization",
    "authenticationcode",
    "credentialdata",
    "secretvalue",
    "apikeyvalue",
    "parametervalue",
    "templatebody",
    "environment",
    "xamzsignature",
    "certificatebody",
];

/// A copy of a record without its secrets.
#[must_use]
pub fn redact(document: &Value) -> Value {
    let mut left = RECORD;
    clean(document, DEPTH, &mut left)
}

fn clean(value: &Value, depth: usize, left: &mut usize) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => Value::String(SHORTENED.to_owned()),
        Value::Object(map) => {
            let mut kept = Map::new();
            for (name, value) in map {
                *left = left.saturating_sub(name.len() + 8);
                if *left == 0 {
                    kept.insert("cordon".to_owned(), Value::String(SHORTENED.to_owned()));
                    break;
                }
                let value = if is_secret(name) && !matches!(value, Value::Bool(_) | Value::Null) {
                    Value::String(REMOVED.to_owned())
                } else {
                    clean(value, depth - 1, left)
                };
                kept.insert(name.clone(), value);
            }
            Value::Object(kept)
        }
        Value::Array(items) => {
            let mut kept = Vec::new();
            for item in items {
                *left = left.saturating_sub(4);
                if *left == 0 {
                    kept.push(Value::String(SHORTENED.to_owned()));
                    break;
                }
                kept.push(clean(item, depth - 1, left));
            }
            Value::Array(kept)
        }
        Value::String(text) if looks_secret(text) => Value::String(REMOVED.to_owned()),
        Value::String(text) if text.len() > TEXT || text.len() >= *left => Value::String(SHORTENED.to_owned()),
        Value::String(text) => {
            *left -= text.len();
            value.clone()
        }
        other => other.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.iter().any(|secret| plain.contains(secret))
}

/// Whether a text has the look of a secret: a session token (base64, from 200 characters), a secret access key (40 characters of base64 that
/// are no SHA-1), a private key.
fn looks_secret(text: &str) -> bool {
    let base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    if text.contains("PRIVATE KEY-----") || text.contains("X-Amz-Security-Token=") {
        return true;
    }
    // A secret may stand among other words.
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '(' | ')' | '&' | '\\')).any(|word| {
        let word = word.rsplit_once(':').map_or(word, |(_, rest)| rest);
        let key = |word: &str| {
            word.len() == 40
                && word.bytes().all(|c| base64(c) && c != b'=')
                && word.bytes().any(|c| c.is_ascii_uppercase())
                && word.bytes().any(|c| c.is_ascii_lowercase())
                && word.bytes().any(|c| c.is_ascii_digit())
        };
        (word.len() >= 200 && word.bytes().all(base64)) || key(word) || word.split_once('=').is_some_and(|(_, value)| key(value))
    })
}
