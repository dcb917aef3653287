//! The Dockerfile, as far as a machine without a container engine can tell: what it copies is there, and what it makes runs alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::super::binary::{Folder, Running};
use super::{read, root, run};

/// An instruction with its arguments.
type Instruction = (String, String);

/// What is built on a base, under a name.
struct Stage {
    base: String,
    name: String,
    instructions: Vec<Instruction>,
}

/// All of them, continued lines joined.
fn instructions() -> Vec<Instruction> {
    let text = read("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    joined.lines().filter(|line| !line.trim().is_empty()).map(|line| split(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (name, rest) in instructions() {
        if name == "FROM" {
            let (base, stage) = rest.split_once(" AS ").unwrap();
            stages.push(Stage { base: base.to_owned(), name: stage.to_owned(), instructions: Vec::new() });
        } else {
            stages.last_mut().unwrap().instructions.push((name, rest));
        }
    }
    stages
}

impl Stage {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.instructions.iter().filter(move |(one, _)| one == name).map(|(_, rest)| rest.as_str())
    }

    fn first(&self, name: &str) -> &str {
        let found = self.instructions.iter().find(|(one, _)| one == name);
        found.map(|(_, rest)| rest.as_str()).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }
}

/// What the build sees of the repository.
fn context() -> Vec<String> {
    let text = read(".dockerignore");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "everything is left out first");
    lines.map(|line| line.strip_prefix('!').unwrap().to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn the_build_has_what_it_needs_and_nothing_more() {
    let stages = stages();
    let build = &stages[0];
    let context = context();
    let copied: BTreeSet<String> = build
        .all("COPY")
        .flat_map(|rest| {
            let words: Vec<&str> = rest.split(' ').collect();
            words[..words.len() - 1].iter().map(|&word| word.to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(copied, context.iter().cloned().collect(), ".dockerignore lets in what is copied");

    // Cargo finds every crate and target of the workspace among it, and the compiler is new enough.
    let folder = Folder::new();
    for name in &context {
        copy(&root().join(name), &folder.path(name));
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]).current_dir(folder.path("."));
    let ended = run(cargo);
    assert_eq!(ended.code, 0, "{ended:?}");
    let metadata: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let least = metadata["packages"][0]["rust_version"].as_str().unwrap().to_owned();
    let number = |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>();
    let version =
        build.base.strip_prefix("rust:").and_then(|tag| tag.split_once('-')).unwrap_or_else(|| panic!("{}", build.base)).0;
    assert!(number(version) >= number(&least), "{version} is older than {least}");
    for stage in &stages[1..] {
        let stated = stage.all("ARG").find_map(|rest| rest.strip_prefix("VERSION="));
        assert_eq!(stated, metadata["packages"][0]["version"].as_str(), "{}", stage.name);
    }
}

#[test]
fn images_hold_a_program_and_no_user_but_their_own() {
    let stages = stages();
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["build", "producer", "tidemill"], "the last one is what is built without --target");
    for stage in &stages[1..] {
        let name = &stage.name;
        assert_eq!(stage.base, "scratch", "{name}");
        assert_eq!(stage.all("USER").collect::<Vec<_>>(), ["65532:65532"], "{name}");
        assert!(stage.all("RUN").next().is_none(), "{name}: nothing is there to run");
        assert!(stage.all("COPY").all(|rest| rest.starts_with("--from=build ")), "{name}");
        assert_eq!(stage.all("HEALTHCHECK").count(), 1, "{name}");
        // Without a shell only the form of lists works.
        for list in ["ENTRYPOINT", "CMD"] {
            let given = stage.first(list);
            serde_json::from_str::<Vec<String>>(given).unwrap_or_else(|error| panic!("{name}: {list} {given}: {error}"));
        }
    }
    let stage = &stages[2];
    let health = stage.first("HEALTHCHECK");
    let command: Vec<String> = serde_json::from_str(health.split_once("CMD ").unwrap().1).unwrap();
    let served: Vec<String> = serde_json::from_str(stage.first("CMD")).unwrap();
    assert_eq!(command[..2], ["/usr/bin/tidemill", "health"]);
    let port = stage.first("EXPOSE");
    assert_eq!(command[2], format!("http://127.0.0.1:{port}/healthz"));
    assert_eq!(served[2..], ["--metrics".to_owned(), format!("0.0.0.0:{port}")]);
    assert_eq!(stage.first("VOLUME"), stage.first("WORKDIR"));
}

/// Runs a command in `image` as the image's user, who is only there for root.
fn inside(image: &Path, arguments: &[&str]) -> Command {
    let mut command;
    if rustix::process::getuid().is_root() {
        command = Command::new("chroot");
        command.arg("--userspec=65532:65532");
    } else {
        command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
    }
    command.arg(image).arg("/usr/bin/tidemill").args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

const PIPELINE: &str = r#"
version: 1
name: inside
checkpoint: checkpoint
sources:
  numbers: { from: { rate: { rows_per_second: 10 } } }
queries:
  pass:
    sql: SELECT value FROM numbers
    to: { file: { path: /var/lib/tidemill/out }, format: parquet }
"#;

#[test]
fn what_the_image_holds_runs_alone() {
    let folder = Folder::new();
    let image = folder.path("image");
    let mut script = Command::new(root().join("deploy/image-root"));
    script.arg(env!("CARGO_BIN_EXE_tidemill")).arg(&image);
    assert_eq!(run(script).code, 0);
    let names = folder.names();
    let programs: Vec<_> = names.iter().filter(|name| is_program(&folder.path(name))).collect();
    assert_eq!(programs, ["image/usr/bin/tidemill"], "{names:?}");

    folder.write("image/etc/tidemill/pipeline.yaml", PIPELINE.replace(": checkpoint", ": /var/lib/tidemill/checkpoint"));
    let state = folder.path("image/var/lib/tidemill");
    fs::create_dir_all(&state).unwrap();
    // The test's folder itself is for whoever runs the test.
    fs::set_permissions(folder.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::getuid().is_root() {
        chown(&state, Some(65532), Some(65532)).unwrap();
    }
    let arguments = ["run", "/etc/tidemill/pipeline.yaml", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let running = Running::of(inside(&image, &arguments));
    let address = running.http().to_string();
    let health = |path: &str| run(inside(&image, &["health", &format!("http://{address}{path}")]));
    running.until("it is ready", || (health("/readyz").code == 0).then_some(()));
    let well = health("");
    assert_eq!((well.code, well.stdout.as_str()), (0, "ok\n"), "{well:?}");
    running.until("there is output", || (!outputs(&state).is_empty()).then_some(()));
    running.stop();
    health("").failed(1, &["could not ask http://", "refused"]);
}

/// The files that queries have written.
fn outputs(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state.join("out")).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("part-"))
        .collect()
}

/// Whether a file can be run by itself; the loader and libraries can, in a way, but do nothing.
fn is_program(path: &Path) -> bool {
    let is_library = path.file_name().unwrap().to_string_lossy().contains(".so");
    !is_library && fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}
