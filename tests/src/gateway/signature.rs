//! Whether a request was signed with the secret of its access key, and when
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{HeaderMap, http::request::Parts};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::Offset};
use sha2::{Digest as _, Sha256};

use super::wire::AwsError;

/// How far from the server's time a request may be signed.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Checks a request that holds its signature in its headers.
///
/// # Errors
/// What STS says of it.
pub fn check(parts: &Parts, body: &[u8], secret: &str, now: Timestamp) -> Result<(), AwsError> {
    let wrong = |why: &str| AwsError::new(403, "SignatureDoesNotMatch", why);
    let no_match = || {
        wrong(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
             method. Consult the service documentation for details.",
        )
    };
    let (credential, names, signature) = authorization(&parts.headers).ok_or_else(|| wrong("the Authorization header cannot be read"))?;
    let date = value(&parts.headers, "x-amz-date").unwrap_or_default();
    let signed = moment(&date).ok_or_else(|| wrong("x-amz-date cannot be read"))?;
    let scope: Vec<&str> = credential.split('/').skip(1).collect();
    let [day, region, service, "aws4_request"] = scope.as_slice() else { return Err(wrong("the credential has no scope")) };
    if !date.starts_with(day) {
        return Err(wrong("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"));
    }
    let mut canonical = format!("{}\n{}\n{}\n", parts.method, parts.uri.path(), query(parts.uri.query().unwrap_or_default()));
    for name in names.split(';') {
        let value = value(&parts.headers, name).ok_or_else(no_match)?;
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    canonical.push_str(&format!("\n{names}\n{}", hex::encode(Sha256::digest(body))));
    let text = format!("{ALGORITHM}\n{date}\n{}\n{}", scope.join("/"), hex::encode(Sha256::digest(canonical.as_bytes())));
    let first = format!("AWS4{secret}").into_bytes();
    let key = [*day, *region, *service, "aws4_request"].iter().try_fold(first, |key, part| mac(&key, part)).ok_or_else(no_match)?;
    if mac(&key, &text).map(hex::encode).as_deref() != Some(signature) {
        return Err(no_match());
    }
    if now.duration_since(signed).abs() > WINDOW {
        return Err(wrong(&format!("Signature expired: {date} is more than 15 min. from {}", now.strftime("%Y%m%dT%H%M%SZ"))));
    }
    Ok(())
}

/// Credential, signed headers and signature.
fn authorization(headers: &HeaderMap) -> Option<(&str, &str, &str)> {
    let rest = headers.get("authorization")?.to_str().ok()?.strip_prefix(ALGORITHM)?;
    let part = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name));
    Some((part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?))
}

/// A header as it is signed: its values with commas between them, spaces as one.
fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().ok());
    let values: Option<Vec<String>> =
        values.map(|value| value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))).collect();
    values.filter(|values| !values.is_empty()).map(|values| values.join(","))
}

/// The parameters in their order; they are encoded as they have to be.
fn query(text: &str) -> String {
    let mut pairs: Vec<&str> = text.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

fn moment(text: &str) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?).ok()
}

fn mac(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}
