//! A real Prometheus, which `scripts/prometheus` starts, scrapes pipelines that run: dashboards find their data there, and alerts fire and clear.
//!
//! The rules are the ones in `deploy/prometheus`, the panels those in `dashboards`; the tests make every range and wait of theirs short, and
//! nothing else.

mod data;
mod faults;
mod files;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use regex::{Captures, Regex};
use serde_json::Value;

use super::binary::{self, Folder, PATIENCE, Running};

/// What every range becomes: a dozen scrapes, so that a rate is one even while the machine is busy.
const RANGE: &str = "6s";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn script() -> Command {
    Command::new(root().join("scripts/prometheus"))
}

/// What `promtool` says, and whether all is well.
fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = script();
    command.arg("promtool").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    (ended.status.success(), said)
}

/// The rules as they are shipped.
fn rules() -> String {
    fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap()
}

/// The same with every range as short as can be told, and every wait one second.
fn in_seconds(rules: &str) -> String {
    let ranges = Regex::new(r"\[[0-9]+[smhd]\]").unwrap().replace_all(rules, format!("[{RANGE}]").as_str());
    Regex::new(r"for: [1-9][0-9]*[smhd]").unwrap().replace_all(&ranges, "for: 1s").into_owned()
}

/// An expression of an alert without what it compares with: what is left has a value whether the alert fires or not.
fn without_comparison(expression: &str) -> String {
    Regex::new(r" (==|>|<) -?[0-9.]+").unwrap().replace_all(expression, "").into_owned()
}

/// Where `running` serves what may be seen anywhere.
fn public(running: &Running) -> SocketAddr {
    let control = running.http();
    running.until("both addresses are known", || {
        let lines = running.stderr.all();
        let addresses = lines.iter().filter_map(|line| line.split_once("metrics at http://")?.1.split('/').next()?.parse().ok());
        addresses.into_iter().find(|address| *address != control)
    })
}

/// Starts the pipeline of a folder with `--metrics`.
fn start(folder: &Folder) -> (Running, SocketAddr) {
    let running = folder.start_pipeline(&["--metrics", "127.0.0.1:0"]);
    let address = public(&running);
    (running, address)
}

/// A server that scrapes one address and has the shipped rules, in seconds. It ends with the test, however that ends.
struct Prometheus {
    address: SocketAddr,
    serving: Child,
    folder: Folder,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.serving.stdin.take());
        let _ = self.serving.wait();
    }
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Self {
        let folder = Folder::new();
        folder.write("alerts.yml", in_seconds(&rules()));
        // What the guide says, only sooner.
        let guide = fs::read_to_string(root().join("docs/monitoring.md")).unwrap();
        let (_, config) = guide.split_once("```\nscrape_configs:").unwrap();
        let (config, _) = config.split_once("```").unwrap();
        let config =
            config.replace("scrape_interval: 15s", "scrape_interval: 500ms").replace("127.0.0.1:9464", &target.to_string());
        let sooner = "global: { scrape_timeout: 500ms, scrape_interval: 500ms, evaluation_interval: 500ms }";
        folder.write("prometheus.yml", format!("{sooner}\nscrape_configs:{config}"));
        let mut command = script();
        command
            .args(["serve", "--port", "0", "--data"])
            .arg(folder.path("data"))
            .arg("--config")
            .arg(folder.path("prometheus.yml"));
        let mut serving = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        // The script waits for the server within a limit, and says nothing if it does not start.
        BufReader::new(serving.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().parse();
        let address = address
            .unwrap_or_else(|_| panic!("scripts/prometheus could not start a server; try it: scripts/prometheus start --port 0"));
        Self { address, serving, folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path("prometheus.yml")
    }

    /// `data` of an answer of the API.
    fn api(&self, path: &str, query: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if query.is_empty() {
            write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
        } else {
            let body = format!("query={}", encoded(query));
            let head = "Content-Type: application/x-www-form-urlencoded";
            write!(stream, "POST /api/v1/{path} HTTP/1.0\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, json) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path} answers {answer:?}"));
        let mut json: Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["status"], "success", "{query}: {json}");
        json["data"].take()
    }

    /// The samples of an expression: labels and value.
    fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let data = self.api("query", expression);
        let samples = data["result"].as_array().unwrap_or_else(|| panic!("{expression}: {data}"));
        let value = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        samples.iter().map(|sample| (sample["metric"].clone(), value(sample))).collect()
    }

    /// The names of the alerts that fire. How full the disk of this machine is says nothing of us.
    fn firing(&self) -> BTreeSet<String> {
        let samples = self.query("ALERTS{alertstate=\"firing\", alertname!=\"TidemillDiskFilling\"}");
        samples.iter().map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until exactly these alerts fire; `meanwhile` is done between looks.
    fn until_firing(&self, expected: &[&str], mut meanwhile: impl FnMut()) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let found = std::cell::RefCell::new(BTreeSet::new());
        binary::until(|| format!("waited in vain until {expected:?} fire: {:?} do", found.borrow()), &mut || {
            meanwhile();
            *found.borrow_mut() = self.firing();
            (*found.borrow() == expected).then_some(())
        });
    }

    /// Waits for a sample of `expression` for which `holds`; `meanwhile` is done between looks.
    fn until_value(&self, expression: &str, holds: impl Fn(f64) -> bool, mut meanwhile: impl FnMut()) {
        let found = std::cell::RefCell::new(Vec::new());
        binary::until(|| format!("waited in vain for {expression}: {:?}", found.borrow()), &mut || {
            meanwhile();
            *found.borrow_mut() = self.query(expression);
            found.borrow().iter().any(|(_, value)| holds(*value)).then_some(())
        });
    }
}

/// As a value in a form.
fn encoded(text: &str) -> String {
    let escaped = |found: &Captures<'_>| found[0].bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    Regex::new("[^A-Za-z0-9]").unwrap().replace_all(text, escaped).into_owned()
}

/// The panels of every dashboard: file, title, and the expression of each target.
fn panels() -> Vec<(String, String, Vec<String>)> {
    let mut panels = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let targets = panel["targets"].as_array().unwrap();
            let expressions = targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned());
            panels.push((name.clone(), panel["title"].as_str().unwrap().to_owned(), expressions.collect()));
        }
    }
    panels
}

/// The dashboards by file name.
fn dashboards() -> Vec<(String, Value)> {
    let paths = fs::read_dir(root().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let read = |path: &Path| {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    json.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path))).collect()
}
