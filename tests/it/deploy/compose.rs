//! compose.yaml: what it mounts and waits for is there, what it runs is understood, and nobody but this machine reaches it.

use std::process::Command;

use serde_json::Value;

use super::super::binary::{Folder, get};
use super::yaml::{texts, yaml};
use super::{producer, read, root, run};

fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

/// What a service mounts: the source, and where.
fn mounts(service: &Value) -> Vec<(&str, &str)> {
    texts(&service["volumes"]).into_iter().map(|volume| volume.trim_end_matches(":ro").split_once(':').unwrap()).collect()
}

/// A path inside of a service, as it is here.
fn here(service: &Value, path: &str) -> String {
    let found = mounts(service).into_iter().find_map(|(from, to)| {
        let rest = path.strip_prefix(to).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{}{rest}", from.strip_prefix("./")?))
    });
    found.unwrap_or_else(|| panic!("{path} is not mounted: {:?}", mounts(service)))
}

/// The command of Tidemill, with the file and the checkpoint as they are here.
fn words(compose: &Value, service: &Value, checkpoint: &str) -> Vec<String> {
    let command = texts(&service["command"]);
    let mounted = &compose["services"]["tidemill"];
    let word = |word: &str| match word {
        path if path.ends_with(".yaml") => root().join(here(mounted, path)).display().to_string(),
        set if set.starts_with("checkpoint=/var/lib/tidemill/") => format!("checkpoint={checkpoint}"),
        other => other.replace("$$", "$"),
    };
    command.into_iter().map(word).collect()
}

#[test]
fn every_service_is_confined_and_reached_from_this_machine_only() {
    let compose = yaml("compose.yaml");
    for (name, service) in services(&compose) {
        // Kafka's own start writes its settings beside its programs.
        assert_eq!(service["read_only"], if name == "kafka" { "false" } else { "true" }, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for setting in ["mem_limit", "restart", "logging", "networks"] {
            assert!(!service[setting].is_null(), "{name} has no {setting}");
        }
        assert!(texts(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "{name}");
    }
    let page = yaml("deploy/compose.page.yaml");
    assert_eq!(texts(&page["services"]["tidemill"]["ports"]), ["127.0.0.1:4040:4040"]);
}

#[test]
fn what_services_mount_build_and_wait_for_is_there() {
    let compose = yaml("compose.yaml");
    let dockerfile = read("Dockerfile");
    for (name, service) in services(&compose) {
        for (from, _) in mounts(service) {
            match from.strip_prefix("./") {
                Some(path) => assert!(root().join(path).exists(), "{name}: {path}"),
                None => assert!(compose["volumes"].as_object().unwrap().contains_key(from), "{name}: {from}"),
            }
        }
        for network in texts(&service["networks"]) {
            assert!(compose["networks"].as_object().unwrap().contains_key(network), "{name}: {network}");
        }
        let image = service["image"].as_str().unwrap();
        match service["build"]["target"].as_str() {
            Some(target) => assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name}: {target}"),
            None => assert!(image.split_once(':').is_some_and(|(_, tag)| tag.contains('.')), "{name}: {image} has no version"),
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &compose["services"][other];
            assert!(other.is_object(), "{name}");
            match how["condition"].as_str() {
                // That of Tidemill is its image's.
                Some("service_healthy") => assert!(other["healthcheck"].is_object() || other["image"] == "tidemill", "{name}"),
                Some("service_completed_successfully") => assert_eq!(other["restart"], "on-failure", "{name}"),
                condition => panic!("{name}: {condition:?}"),
            }
        }
    }
    let script = read("scripts/kafka");
    let version = script.lines().find_map(|line| line.strip_prefix("version=")).unwrap().split(' ').next().unwrap();
    assert_eq!(compose["services"]["kafka"]["image"], format!("apache/kafka:{version}"));
}

#[test]
fn its_commands_are_understood() {
    let compose = yaml("compose.yaml");
    let folder = Folder::new();
    let tidemill = &compose["services"]["tidemill"];
    let words = words(&compose, tidemill, &folder.path("checkpoint").display().to_string());
    let broker = tidemill["environment"]["KAFKA_BOOTSTRAP"].as_str().unwrap();
    assert_eq!((words[0].as_str(), words[2].as_str()), ("run", "--set"));
    let ended = folder.start_with(&["check", &words[1], &words[2], &words[3]], &[("KAFKA_BOOTSTRAP", broker)]).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let understood = |mut command: Command, words: &[&str]| {
        command.args(words).arg("--help");
        let ended = run(command);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    understood(Command::new(env!("CARGO_BIN_EXE_tidemill")), &words);
    let produced = texts(&compose["services"]["producer"]["command"]);
    understood(Command::new(producer()), &produced);
    assert_eq!(produced[..2], ["--kafka", broker]);
    let kafka = &compose["services"]["kafka"]["environment"];
    let address = format!("INSIDE://{broker},");
    assert!(kafka["KAFKA_ADVERTISED_LISTENERS"].as_str().unwrap().starts_with(&address), "{kafka}");
    // The topics that the pipeline and the producer name are made.
    let made = texts(&compose["services"]["topics"]["command"]).concat();
    let pipeline = read("examples/fraud-kafka.yaml");
    for topic in ["transactions", "suspicious"] {
        assert!(made.contains(topic) && pipeline.contains(topic), "{topic}");
    }
    assert!(produced.contains(&"transactions"));
}

#[test]
fn the_page_is_for_whoever_has_the_token() {
    let (compose, page) = (yaml("compose.yaml"), yaml("deploy/compose.page.yaml"));
    let folder = Folder::new();
    let [plain, with_page] = [&compose, &page]
        .map(|file| words(&compose, &file["services"]["tidemill"], &folder.path("checkpoint").display().to_string()));
    assert_eq!(with_page[..plain.len()], plain, "the page's command is the other one with more");
    let free: Vec<&str> = with_page.iter().map(|word| if word.starts_with("0.0.0.0:") { "0.0.0.0:0" } else { word }).collect();
    let refused = folder.start_with(&free, &[("TIDEMILL_TOKEN", "short")]).end();
    refused.failed(2, &["22 characters"]);
    let running = folder.start_with(&free, &[("TIDEMILL_TOKEN", "0123456789abcdefghijkl"), ("KAFKA_BOOTSTRAP", "127.0.0.1:9")]);
    running.says("live page at http://0.0.0.0:");
    let address = running.http();
    let (status, _) = get(([127, 0, 0, 1], address.port()).into(), "/queries");
    assert_eq!(status, 401);
}

#[test]
fn prometheus_and_grafana_find_what_they_look_for() {
    let compose = yaml("compose.yaml");
    let (prometheus, grafana) = (&compose["services"]["prometheus"], &compose["services"]["grafana"]);
    let file = texts(&prometheus["command"]).into_iter().find_map(|word| word.strip_prefix("--config.file=")).unwrap();
    let config_path = here(prometheus, file);
    let config = yaml(&config_path);
    // The name that alerts and dashboards know.
    assert_eq!(config["scrape_configs"][0]["job_name"], "tidemill");
    let target = texts(&config["scrape_configs"][0]["static_configs"][0]["targets"])[0];
    let served = texts(&compose["services"]["tidemill"]["command"]);
    let served = served[served.iter().position(|word| *word == "--metrics").unwrap() + 1];
    assert_eq!(target, served.replace("0.0.0.0", "tidemill"));
    let checked = |arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts/prometheus"));
        command.arg("promtool").args(arguments).current_dir(root());
        let ended = run(command);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    };
    checked(&["check", "config", &config_path]);

    // The database keeps what its volume holds.
    assert!(texts(&prometheus["command"]).contains(&"--storage.tsdb.path=/prometheus"));
    assert!(mounts(prometheus).contains(&("prometheus-data", "/prometheus")));

    let provisioning = here(grafana, "/etc/grafana/provisioning");
    let source = yaml(&format!("{provisioning}/datasources/prometheus.yaml"));
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let provider = yaml(&format!("{provisioning}/dashboards/tidemill.yaml"));
    let dashboards = here(grafana, provider["providers"][0]["options"]["path"].as_str().unwrap());
    assert_eq!(dashboards, "dashboards");
    let environment = &grafana["environment"];
    let home = here(grafana, environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().unwrap());
    serde_json::from_str::<Value>(&read(&home)).unwrap();
    assert_eq!(
        (&environment["GF_AUTH_ANONYMOUS_ORG_ROLE"], &environment["GF_AUTH_BASIC_ENABLED"]),
        (&"Viewer".into(), &"false".into())
    );
}
