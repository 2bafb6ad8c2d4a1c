//! The look for secrets sees what it is to see. That nothing is found is said by every test that runs Cordon: its folder is looked through
//! when the test ends, and all that it prints when it prints it.

use std::fs;

use cordon_lab::secrets;
use tempfile::TempDir;

#[test]
fn a_secret_that_is_left_behind_anywhere_is_found() {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY";
    secrets::remember_in(&serde_json::json!({"Credentials": [{"SecretAccessKey": secret, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}]}));
    assert!(secrets::known() > 0);
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("deep")).unwrap();
    fs::write(folder.path().join("clean"), b"nothing of that kind, and AKIAIOSFODNN7EXAMPLE is no secret").unwrap();
    assert_eq!(secrets::found_below(folder.path()).0, Vec::<std::path::PathBuf>::new());
    let planted = folder.path().join("deep/journal.db");
    // Beside other text of its kind, and within something binary.
    fs::write(&planted, [&[0_u8, 1, 2][..], b"x=prefix", secret.as_bytes(), b"suffix", &[255, 0]].concat()).unwrap();
    let (found, looked) = secrets::found_below(folder.path());
    assert_eq!(found, [planted]);
    assert!(looked > 50);
    assert_eq!(secrets::count_in(format!("{secret} {secret}").as_bytes()), 2);
    assert_eq!(secrets::count_in(secret.to_lowercase().as_bytes()), 0);
}
