//! What can be said of rules, dashboards and the guide by reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use serde_json::Value;

use super::{dashboards, in_seconds, panels, promtool, root, rules, without_comparison};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The names of series in a text; those of a histogram by the histogram's name.
fn series(text: &str) -> BTreeSet<String> {
    let declared = declared();
    let names = Regex::new(r"\b(tidemill|process)_[a-z_]+\b").unwrap();
    let base = |name: &str| {
        let cut = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        cut.filter(|cut| declared.contains(*cut)).unwrap_or(name).to_owned()
    };
    names.find_iter(text).map(|found| base(found.as_str())).collect()
}

/// The series that there are.
fn declared() -> BTreeSet<String> {
    let text = read("src/metrics.rs");
    let names = Regex::new("\"((?:tidemill|process)_[a-z_]+)\"").unwrap();
    names.captures_iter(&text).map(|found| found[1].to_owned()).collect()
}

/// Each alert with what stands below it.
fn alerts() -> BTreeMap<String, String> {
    let rules = rules();
    let parts = rules.split("      - alert: ").skip(1).map(|part| part.split_once('\n').unwrap());
    parts.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

#[test]
fn each_series_of_a_panel_or_an_alert_is_declared() {
    let declared = declared();
    assert!(declared.len() > 60, "{declared:?}");
    for (file, title, expressions) in panels() {
        for expression in expressions {
            let named = series(&expression);
            assert!(!named.is_empty() && named.is_subset(&declared), "{file}, {title}: {named:?}");
        }
    }
    for (alert, rest) in alerts() {
        let named = series(&rest);
        // Whether the process can be scraped Prometheus itself says.
        assert!(named.is_subset(&declared) && (!named.is_empty() || rest.contains("up{")), "{alert}: {named:?}");
    }
}

#[test]
fn the_guide_has_every_series_and_no_other() {
    let page = read("docs/observing.md");
    let (_, tables) = page.split_once("## Metrics\n").unwrap();
    let tables: String =
        tables.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").next().unwrap()).collect();
    assert_eq!(series(&tables), declared());
}

#[test]
fn each_alert_says_what_it_is_and_where_help_is() {
    let (alerts, page, tested) = (alerts(), read("docs/monitoring.md"), read("tests/it/monitoring/alerts_test.yml"));
    for (name, rest) in &alerts {
        for needed in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
            assert!(rest.contains(needed), "{name} has no {needed}");
        }
        assert!(rest.contains("severity: critical") || rest.contains("severity: warning"), "{name}");
        let anchor = name.to_lowercase();
        assert!(rest.contains(&format!("runbook_url: docs/monitoring.md#{anchor}\n")), "{name}");
        assert!(page.contains(&format!("\n### {name}\n")), "the guide has no section on {name}");
        let row = page.lines().find(|line| line.starts_with(&format!("| [{name}](#{anchor})")));
        let severity = if rest.contains("severity: critical") { "critical |" } else { "warning |" };
        assert!(row.is_some_and(|row| row.ends_with(severity)), "{name}: {row:?}");
        assert!(tested.contains(&format!("alertname: {name}\n")), "no test with made-up series fires {name}");
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(sections.collect::<Vec<_>>().len(), alerts.len(), "a section for each alert");
    // What panels say of alerts is true.
    let names = Regex::new(r"\bTidemill[A-Z]\w+").unwrap();
    for (_, dashboard) in dashboards() {
        let text = dashboard.to_string();
        names.find_iter(&text).for_each(|found| assert!(alerts.contains_key(found.as_str()), "{}", found.as_str()));
    }
}

#[test]
fn promtool_finds_nothing_wrong_and_alerts_fire_on_made_up_series() {
    let rules = root().join("deploy/prometheus/alerts.yml").display().to_string();
    let (is_fine, said) = promtool(&["check", "rules", &rules], "");
    assert!(is_fine && said.contains(&format!("{} rules found", alerts().len())), "{said}");
    let config = root().join("deploy/prometheus/prometheus.yml").display().to_string();
    let (is_fine, said) = promtool(&["check", "config", &config], "");
    assert!(is_fine && said.contains("1 rule files found"), "{said}");
    let tests = root().join("tests/it/monitoring/alerts_test.yml").display().to_string();
    let (is_fine, said) = promtool(&["test", "rules", &tests], "");
    assert!(is_fine, "{said}");
}

#[test]
fn the_tests_shorten_every_wait_and_leave_the_rest() {
    let times = Regex::new(r"\[\w+\]|for: \w+").unwrap();
    let (shipped, short) = (rules(), in_seconds(&rules()));
    assert_eq!(times.replace_all(&shipped, ""), times.replace_all(&short, ""));
    let left: Vec<&str> = times.find_iter(&short).map(|time| time.as_str()).filter(|time| time.contains('m')).collect();
    assert!(left.iter().all(|time| *time == "for: 0m"), "{left:?}");
    assert_eq!(without_comparison("(delta(a[15m]) == 0) and (b > bool 0) < 0.1"), "(delta(a[15m])) and (b > bool 0)");
}

/// Grafana cannot be run here: what it refuses or draws wrongly is looked for in the file.
#[test]
fn dashboards_are_put_together_rightly() {
    for (file, dashboard) in dashboards() {
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "{file}");
        for text in ["title", "uid", "description"] {
            assert!(!dashboard[text].as_str().unwrap().is_empty(), "{file}: {text}");
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "pipeline", "query"], "{file}");
        assert_eq!(variables[0]["type"], "datasource");
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        let titles: BTreeSet<_> = panels.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
        assert!(ids.len() == panels.len() && titles.len() == panels.len(), "{file}: an id or a title is there twice");
        let mut taken = BTreeSet::new();
        for panel in panels {
            let title = &panel["title"];
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|at| panel["gridPos"][at].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{file}: {title} is outside");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}: {title} lies over another panel at {cell:?}");
            }
            if panel["type"] != "row" {
                check_panel(&file, panel);
            }
        }
    }
}

fn check_panel(file: &str, panel: &Value) {
    let (title, source) = (&panel["title"], "${datasource}");
    assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{file}: {title} says not what it shows");
    assert_eq!(panel["datasource"]["uid"], source, "{file}: {title}");
    let defaults = &panel["fieldConfig"]["defaults"];
    let units = ["none", "short", "s", "bytes", "Bps", "percentunit", "rowsps", "reqps", "ops"];
    assert!(defaults["unit"].as_str().is_some_and(|unit| units.contains(&unit)), "{file}: {title}");
    assert!(!defaults["thresholds"]["steps"].as_array().unwrap().is_empty(), "{file}: {title}");
    let targets = panel["targets"].as_array().unwrap();
    let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
    assert!(!targets.is_empty() && refs.len() == targets.len(), "{file}: {title}");
    let ranges = Regex::new(r"\[([^\]]+)\]").unwrap();
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        assert_eq!(target["datasource"]["uid"], source, "{file}: {title}");
        assert!(expression.contains("$pipeline"), "{file}: {title} shows every pipeline's");
        let is_grafanas = |range: &str| ["$__rate_interval", "$__range"].contains(&range);
        assert!(ranges.captures_iter(expression).all(|range| is_grafanas(&range[1])), "{file}: {title}: {expression}");
        // A unit of time or of bytes does not stand on a count, nor the other way round.
        let unit = defaults["unit"].as_str().unwrap();
        if unit == "bytes" {
            assert!(expression.contains("_bytes"), "{file}: {title}");
        }
        if unit == "s" {
            assert!(expression.contains("_seconds"), "{file}: {title}");
        }
    }
}
