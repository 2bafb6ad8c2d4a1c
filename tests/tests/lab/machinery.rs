//! Tests of the lab itself: the extension of moto, the hand, the gateway.

use cordon_lab::{accounts, shared};
use serde_json::json;

#[tokio::test]
async fn the_hand_acts_in_the_account_that_a_call_names() {
    let lab = shared().unwrap();
    let (one, two) = (accounts::fresh(), accounts::fresh());
    for account in [&one, &two] {
        let answer = lab.hand.call(account, "us-east-1", "sts", "get_caller_identity", json!({})).await.unwrap();
        assert_eq!(answer["Account"], json!(account));
    }
    let error = lab.hand.call(&one, "us-east-1", "ec2", "describe_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]})).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("InvalidInstanceID.NotFound", Some(400)));
}
