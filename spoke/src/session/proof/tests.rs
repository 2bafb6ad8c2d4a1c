use super::*;

const NOW: &str = "2026-11-29T10:11:12Z";
const SIGNATURE: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

fn proof(change: impl FnOnce(&mut BTreeMap<String, String>)) -> Proof {
    let signed = "content-type;host;x-amz-date;x-cordon-request";
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261129/us-east-1/sts/aws4_request, SignedHeaders={signed}, Signature={SIGNATURE}"
    );
    let mut headers: BTreeMap<String, String> = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-amz-date", "20261129T101112Z"),
        (BOUND, "abc"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    change(&mut headers);
    Proof { url: "https://sts.us-east-1.amazonaws.com/".to_owned(), headers }
}

fn checked(proof: &Proof) -> Result<(), Unproven> {
    proof.check("abc", NOW.parse().unwrap())
}

#[test]
fn a_proof_is_for_one_request_and_five_minutes() {
    let good = proof(|_| {});
    assert_eq!(checked(&good), Ok(()));
    assert_eq!(good.signature(), SIGNATURE);
    let own = proof(|headers| drop(headers.insert(BOUND.to_owned(), "abc.1f-2".to_owned())));
    assert_eq!((checked(&own), own.check("abc.1f-2", NOW.parse().unwrap())), (Ok(()), Err(Unproven::OtherRequest)));
    assert_eq!(good.check("other", NOW.parse().unwrap()), Err(Unproven::OtherRequest));
    for at in ["2026-11-29T10:16:13Z", "2026-11-29T10:06:11Z"] {
        assert_eq!(good.check("abc", at.parse().unwrap()), Err(Unproven::Old), "{at}");
    }
}

#[test]
fn what_is_not_signed_or_not_there_proves_nothing() {
    let added = proof(|headers| drop(headers.insert("user-agent".to_owned(), "else".to_owned())));
    assert_eq!(checked(&added), Err(Unproven::Strange("a header is not signed")));
    for name in ["x-amz-target", "Host", "transfer-encoding", "X-Cordon-Request"] {
        let strange = proof(|headers| drop(headers.insert(name.to_owned(), "else".to_owned())));
        assert_eq!(checked(&strange), Err(Unproven::Strange("it has a header that no such request has")), "{name}");
    }
    for gone in ["authorization", BOUND, "x-amz-date"] {
        let missing = proof(|headers| drop(headers.remove(gone)));
        assert!(matches!(checked(&missing), Err(Unproven::Strange(_))), "{gone}");
    }
    for (name, value) in [("authorization", "Bearer x"), ("x-amz-date", "soon"), ("content-type", &"x".repeat(LENGTH))] {
        let wrong = proof(|headers| drop(headers.insert(name.to_owned(), value.to_owned())));
        assert!(matches!(checked(&wrong), Err(Unproven::Strange(_))), "{name}");
    }
    // The purpose stands there, but is not signed.
    let loose = proof(|headers| {
        let text = headers["authorization"].replace(";x-cordon-request", "");
        headers.insert("authorization".to_owned(), text);
    });
    assert!(matches!(checked(&loose), Err(Unproven::Strange(_))));
}

#[test]
fn a_proof_prints_no_secret() {
    let told = format!("{:?}", proof(|headers| drop(headers.insert("x-amz-security-token".to_owned(), "TOKEN".to_owned()))));
    assert!(!told.contains("TOKEN") && !told.contains(SIGNATURE), "{told}");
}

/// Else the same proof would be another one, and count again.
#[test]
fn a_proof_has_one_text() {
    for change in [
        |text: &str| format!("{text} "),
        |text: &str| format!("{text}, SignedHeaders=host"),
        |text: &str| text.replace(", ", ","),
        |text: &str| text.to_uppercase(),
        |text: &str| text.replace("00ff", "00FF"),
        |text: &str| text.trim_end_matches('f').to_owned(),
    ] {
        let other = proof(|headers| {
            let text = change(&headers["authorization"]);
            headers.insert("authorization".to_owned(), text);
        });
        assert!(matches!(checked(&other), Err(Unproven::Strange(_))), "{other:?}");
    }
}
