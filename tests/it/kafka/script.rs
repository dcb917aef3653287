//! `scripts/kafka` with Docker, as far as a machine without it can tell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::super::binary::Folder;

/// Does with the programs of this machine what Docker does with those of its images.
const DOCKER: &str = r#"#!/usr/bin/env bash
set -eu
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case $1 in
  create) echo the-container ;;
  cp) [ "$2" = the-container:/opt/kafka/libs ] && ln -s "$(echo "$HOME_OF_JARS"/tidemill/kafka-*/libs)" "$3" ;;
  rm) ;;
  kill) kill "-$3" "$(cat "$here/$4")" ;;
  run)
    shift
    while [ "${1#-}" != "$1" ]; do
      case $1 in
        --rm | -i) shift ;;
        --name) echo $$ >"$here/$2"; shift 2 ;;
        *) shift 2 ;;
      esac
    done
    shift # the image
    exec "$@"
    ;;
  *) exit 1 ;;
esac
"#;

#[test]
fn the_script_runs_everything_in_containers_where_it_should() {
    let folder = Folder::new();
    folder.write("bin/docker", DOCKER);
    fs::set_permissions(folder.path("bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    let jars = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    assert!(Command::new(&script).arg("install").status().unwrap().success());
    let kafka = |words: &[&str]| {
        let path = format!("{}:{}", folder.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(&script);
        command.arg(words[0]).arg("--data").arg(folder.path("data")).args(&words[1..]);
        command.env("PATH", path).env("HOME_OF_JARS", &jars).env("XDG_CACHE_HOME", folder.path("cache"));
        // A broker in the background holds what it inherits: no pipes.
        let (out, status) = (fs::File::create(folder.path("out")).unwrap(), folder.path("out"));
        let ended = command.stdout(out).stderr(fs::File::create(folder.path("err")).unwrap()).status().unwrap();
        let errors = || fs::read_to_string(folder.path("err")).unwrap();
        assert!(ended.success() || words[0] == "status", "{words:?}: {}", errors());
        fs::read_to_string(status).unwrap().trim().to_owned()
    };
    let address = kafka(&["start", "--docker", "--port", "0"]);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    // Later commands know without being told.
    kafka(&["topics", "--create", "--topic", "kept", "--partitions", "2"]);
    assert!(kafka(&["status"]).starts_with(&address));
    kafka(&["kill"]);
    assert_eq!(kafka(&["status"]), "down");
    assert_eq!(kafka(&["start"]), address);
    assert!(kafka(&["topics", "--list"]).contains("kept"));
    kafka(&["stop"]);
    assert_eq!(kafka(&["status"]), "down");
    kafka(&["wipe"]);
    assert!(!folder.path("data").exists());
    let calls = fs::read_to_string(folder.path("bin/calls")).unwrap();
    let begins = |begin: &str| calls.lines().filter(|call| call.starts_with(begin)).count();
    // Twice the broker, once to format its log, twice a tool; and the jars once.
    assert_eq!((begins("run --name tidemill-kafka-"), begins("run --rm"), begins("create apache/kafka:")), (2, 3, 1), "{calls}");
    assert_eq!((begins("kill --signal KILL"), begins("kill --signal TERM")), (1, 1), "{calls}");
}
