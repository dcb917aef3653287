//! The unit of systemd: what it starts is understood, and what it says of exit codes and time is what Tidemill does.

use std::collections::BTreeMap;
use std::process::Command;

use tidemill::shutdown::GRACE;

use super::super::binary::Folder;
use super::{read, run};

/// Each section's settings; a setting that is there several times has all of its values.
fn settings() -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read("deploy/tidemill.service").lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty()) {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
        settings.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    settings
}

#[test]
fn the_unit_starts_what_tidemill_understands() {
    let settings = settings();
    let folder = Folder::with(
        "version: 1\nname: unit\nsources: { n: { from: { rate: { rows_per_second: 10 } } } }\n\
         queries: { q: { sql: SELECT value FROM n, to: { discard: {} } } }\n",
    );
    folder.write("token", "0123456789abcdefghijkl\n");
    let folder_text = folder.path(".").display().to_string();
    let started = settings["ExecStart"][0]
        .replace("${STATE_DIRECTORY}", &folder_text)
        .replace("${CREDENTIALS_DIRECTORY}", &folder_text)
        .replace("/etc/tidemill/pipeline.yaml", "pipeline.yaml");
    let words: Vec<&str> = started.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/tidemill");
    // Other ports than those of a Tidemill that runs on this machine.
    let words: Vec<&str> = words.iter().map(|word| if word.starts_with("127.0.0.1:") { "127.0.0.1:0" } else { word }).collect();
    let running = folder.start(&words[1..]);
    running.says("query started");
    let (status, _) = running.get("/queries");
    assert_eq!(status, 401, "the page asks for the token");
    running.stop();
    assert!(folder.path("checkpoint").exists(), "{:?}", folder.names());
    assert_eq!(settings["LoadCredential"], ["token:/etc/tidemill/token"]);
}

#[test]
fn the_unit_leaves_to_a_person_what_only_a_person_can_mend() {
    let settings = settings();
    let one = |name: &str| settings.get(name).map(|values| values.join(" ")).unwrap_or_default();
    assert_eq!((one("Restart").as_str(), one("RestartPreventExitStatus").as_str()), ("on-failure", "1 2"));
    let folder = Folder::new();
    assert_eq!(folder.run(&["run", "nothing.yaml"]).code, 2, "a wrong file is not tried again");
    let stop: u64 = one("TimeoutStopSec").parse().unwrap();
    assert!(stop >= GRACE.as_secs() + 10, "Tidemill takes up to 30 s");
    assert_eq!((one("KillSignal").as_str(), one("LimitCORE").as_str()), ("SIGTERM", "0"));
    for (name, value) in [
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("StateDirectory", "tidemill"),
        ("SystemCallFilter", "@system-service ~@privileged @resources"),
    ] {
        assert_eq!(one(name), value, "{name}");
    }
}

/// Where systemd is, it has looked at the unit too.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("there is no systemd-analyze: the unit was compared with our own expectations only");
        return;
    }
    let folder = Folder::new();
    let unit = read("deploy/tidemill.service").replace("/usr/local/bin/tidemill", env!("CARGO_BIN_EXE_tidemill"));
    folder.write("tidemill.service", unit);
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(folder.path("tidemill.service"));
    let ended = run(command);
    assert!(ended.code == 0 && !ended.stderr.contains("tidemill.service"), "{ended:?}");
}
