//! The main job on a store in S3: every command that reads or writes the store, through http and through https with a
//! certificate authority of one's own.

use hambar_testkit::s3_server::{CA_PEM, Conditions, S3Server};
use tokio::runtime::Runtime;

use crate::support::{Provider, Workshop, background, now, snapshot_of};

/// A workshop whose store is in a bucket.
struct Bucket {
    workshop: Workshop,
    server: S3Server,
    _runtime: Runtime,
}

/// Whether the store is reached with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

impl Bucket {
    fn start(wire: Wire) -> Self {
        let runtime = background();
        let server = match wire {
            Wire::Plain => runtime.block_on(S3Server::start(Conditions::Kept)),
            Wire::Tls => runtime.block_on(S3Server::start_tls(Conditions::Kept)),
        };
        let workshop = Workshop::new();
        let bucket = Self { workshop, server, _runtime: runtime };
        bucket.configure(wire == Wire::Tls);
        bucket
    }

    /// Points the settings to the bucket.
    fn configure(&self, trusts_authority: bool) {
        let mut store = format!("[store]\nurl = \"{}\"\n", self.server.url("centre"));
        if trusts_authority {
            self.workshop.write("ca.pem", CA_PEM);
            store.push_str("ca_file = \"ca.pem\"\n");
        }
        store.push_str("[store.options]\n");
        for (name, value) in self.server.options() {
            if name == "secret_access_key" {
                self.workshop.write("secret", &value);
                store.push_str("secret_access_key = { file = \"secret\" }\n");
            } else {
                store.push_str(&format!("{name} = \"{value}\"\n"));
            }
        }
        let settings = std::fs::read_to_string(self.workshop.path().join("hambar.toml")).unwrap();
        let rest = settings.split_once("[pipelines]").unwrap().1;
        self.workshop.write("hambar.toml", &format!("{store}\n[pipelines]{rest}"));
    }
}

#[test]
fn the_main_job_works_on_a_bucket() {
    let (bucket, provider) = (Bucket::start(Wire::Plain), Provider::start());
    let workshop = &bucket.workshop;
    let columns = [("geo", "string"), ("year", "int64"), ("value", "int64")];
    let text =
        snapshot_of(&provider.url("/a.csv"), &columns, 2).replace("[write]", "[write]\npartition_by = [\"geo\"]");
    workshop.pipeline("test.a", &text);
    let releases =
        ["geo,year,value\nBG,1,1\nä/ö,1,2\n", "geo,year,value\nBG,1,7\nä/ö,1,2\nc=d,1,\n", "geo,year,value\nBG,1,7\n"];
    let mut instants = Vec::new();
    for release in releases {
        provider.publish("/a.csv", release);
        assert!(workshop.run("test.a").contains("committed version"));
        instants.push(now());
    }
    assert!(workshop.run("test.a").contains("unchanged"));
    let asked = |what: &str| workshop.rows(&format!("SELECT geo, year, value FROM test.a {what}"));
    assert_eq!(asked(""), ["BG,1,7"]);
    for (release, instant) in releases.iter().zip(&instants) {
        let mut expected: Vec<&str> = release.lines().skip(1).collect();
        expected.sort_unstable();
        assert_eq!(asked(&format!("FOR SYSTEM_TIME AS OF '{instant}'")), expected);
    }
    assert_eq!(asked("VERSION AS OF 1"), ["BG,1,1", "ä/ö,1,2"]);
    assert_eq!(workshop.rows("SELECT * FROM revisions('test.a')").len(), 2);
    let keys: Vec<_> = workshop_keys(&bucket, "tables/test/a");
    assert!(keys.iter().any(|key| key.contains("geo=%C3%A4%2F%C3%B6/part-")), "{keys:?}");
    let cited = workshop.hambar(&["cite", "test.a@2"]).ok();
    assert!(cited.contains("test.a, version 2"), "{cited}");
    for command in [
        &["optimize"][..],
        &["vacuum", "--dry-run", "--retention-days", "7"],
        &["vacuum", "--retention-days", "7"],
        &["replay", "test.a"],
        &["rebuild", "test.a"],
        &["tables"],
        &["describe", "test.a"],
        &["history", "test.a"],
        &["runs"],
    ] {
        let said = workshop.hambar(command).ok();
        assert!(!said.is_empty(), "{command:?}");
    }
    assert_eq!(asked("VERSION AS OF 2").len(), 3);
    workshop.fsck();
    assert!(!workshop.path().join("store").exists(), "nothing was written beside the bucket");
}

/// The keys in the bucket below a prefix of the store.
fn workshop_keys(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let (mut found, mut waiting) = (Vec::new(), vec![bucket.server.bucket_folder().join("centre").join(prefix)]);
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found
}

#[test]
fn a_bucket_behind_ones_own_authority_is_read_by_every_process() {
    let (bucket, provider) = (Bucket::start(Wire::Tls), Provider::start());
    let workshop = &bucket.workshop;
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &[("id", "int64")], 1));
    provider.publish("/a.csv", "id\n1\n2\n");
    workshop.run("test.a");
    assert_eq!(workshop.value("SELECT count(*) FROM test.a"), "2");
    workshop.fsck();
    bucket.configure(false);
    let refused = workshop.hambar(&["fsck"]);
    assert_ne!(refused.code(), Some(0), "an authority that is not trusted");
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    let refused = workshop.hambar(&["sql", "SELECT 1 FROM test.a"]);
    assert_ne!(refused.code(), Some(0), "{}", refused.stdout);
}

#[test]
fn wrong_settings_of_a_bucket_are_named() {
    let bucket = Bucket::start(Wire::Plain);
    let workshop = &bucket.workshop;
    let settings = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
    workshop.write("hambar.toml", &settings.replace("region =", "regoin ="));
    workshop.hambar(&["fsck"]).fails(18, &["`regoin` is not an option of object stores"]);
    workshop.write("hambar.toml", &settings.replace("[store]", "[store]\nca_file = \"nowhere.pem\""));
    workshop.hambar(&["fsck"]).fails(2, &["store.ca_file", "nowhere.pem"]);
    workshop.write("nothing.pem", "no certificate\n");
    workshop.write("hambar.toml", &settings.replace("[store]", "[store]\nca_file = \"nothing.pem\""));
    workshop.hambar(&["fsck"]).fails(18, &["certificate authorities"]);
    workshop.write("hambar.toml", &settings.replace("s3://", "ftp://"));
    workshop.hambar(&["fsck"]).fails(18, &["`ftp` is not a kind of store"]);
}
