use std::{fs, path::PathBuf};

use cordon_shared::clock::ManualClock;

use super::*;

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cordon-playbooks-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn playbooks(&self) -> Result<Vec<Arc<Playbook>>, SetupError> {
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let text = "[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\"]\n[playbooks]\ndir = \".\"\n";
        let (config, _) = Config::parse(text, "cordon.toml", &self.0, &clock).unwrap();
        playbooks(&config, &registry().unwrap())
    }

    fn errors(&self) -> String {
        match self.playbooks() {
            Err(error @ SetupError::Playbooks(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const HEAD: &str = "title = \"T\"\nsubject = \"instance\"\n[[match]]\ntype = [\"x\"]\n";

#[test]
fn a_playbook_of_the_folder_takes_the_place_of_the_one_of_its_files_name_and_others_come_after() {
    let folder = Folder::new("place");
    let step = "[[steps]]\nid = \"a\"\naction = \"ec2.record-all\"\nwith = { instance = \"${subject.id}\" }\n";
    folder.put("ec2-brute-force.toml", &format!("name = \"ec2-brute-force\"\n{HEAD}{step}"));
    folder.put("zz-own.toml", &format!("name = \"own\"\n{HEAD}{step}"));
    folder.put("notes.txt", "no playbook");
    let found = folder.playbooks().unwrap();
    let built_in = built_in(&registry().unwrap()).unwrap();
    assert_eq!(found.len(), built_in.len() + 1);
    let place = |playbooks: &[Arc<Playbook>], name: &str| playbooks.iter().position(|playbook| playbook.name == name);
    assert_eq!(place(&found, "ec2-brute-force"), place(&built_in, "ec2-brute-force"));
    assert_eq!(found.iter().find(|playbook| playbook.name == "ec2-brute-force").unwrap().steps.len(), 1);
    assert_eq!(place(&found, "own"), Some(built_in.len()));
}

#[test]
fn everything_wrong_in_the_folder_is_drawn_at_its_place_file_by_file() {
    let folder = Folder::new("wrong");
    folder.put(
        "ec2-brute-force.toml",
        &format!(
            "name = \"ec2-brute-force\"\n{HEAD}[[steps]]\nid = \"a\"\naction = \"ec2.recrd-all\"\n[[steps]]\nid = \"b\"\naction = \"ec2.block-source-in-nacl\"\nwith = {{ instance = \"i\", sorces = [] }}\n"
        ),
    );
    folder.put(
        "own.toml",
        &format!(
            "name = \"own\"\n{HEAD}[[turns]]\nwhen = \"steps.c.outcome.x == 1\"\nrole = \"ACTORS\"\nwhy = \"w\"\n[[steps]]\nid = \"a\"\naction = \"ec2.record-all\"\nneeds = [\"b\"]\nafter = \"soon\"\n[[steps]]\nid = \"b\"\naction = \"ec2.record-all\"\nphase = \"containing\"\nregion = \"${{findin.cell.region}}\"\nwen = \"true\"\n"
        ),
    );
    let drawn = folder.errors();
    for (place, what) in [
        ("ec2-brute-force.toml:8:10", "there is no action `ec2.recrd-all`"),
        ("ec2-brute-force.toml:12:26", "has no parameter `sorces`"),
        ("ec2-brute-force.toml:12:8", "needs `port`, `sources`"),
        ("own.toml:7:9", "there is no step `c`"),
        ("own.toml:8:8", "`ACTORS` is not known here"),
        ("own.toml:13:10", "these steps wait for one another and would never start"),
        ("own.toml:14:9", "`soon` is not a duration"),
        ("own.toml:18:9", "`containing` is not known here"),
        ("own.toml:19:13", "`findin`"),
        ("own.toml:20:1", "unknown key `wen`"),
    ] {
        assert!(drawn.contains(&format!("--> {place}\n")) && drawn.contains(what), "{place}: {what}\n{drawn}");
    }
    assert_eq!(drawn.matches("error: ").count(), 10, "{drawn}");
    assert!(drawn.matches('^').count() > 10, "{drawn}");
}

#[tokio::test]
async fn sessions_can_be_made_with_a_narrow_role_of_the_hub() {
    let text =
        "[hub]\naccount = \"222222222222\"\nregions = [\"us-east-1\"]\naction_role = \"arn:aws:iam::222222222222:role/ops/CordonNotes\"\n";
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let (config, _) = Config::parse(text, "cordon.toml", std::path::Path::new("."), &clock).unwrap();
    let settings = session_settings(&config);
    assert_eq!(settings.hub_role.as_deref(), Some("ops/CordonNotes"));
    let made = Sessions::at_endpoint(settings, Limits::new(Rates::default()), Arc::new(clock), "http://127.0.0.1:1");
    assert!(made.is_ok(), "{made:?}");
}
