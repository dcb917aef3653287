//! The program: its arguments, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn a_signal_ends_the_stream_behind_a_whole_line() {
    for signal in ["-INT", "-TERM"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidemill-producer"))
            .args(["--output", "-", "--rate", "1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        reader.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{signal}");
        assert!(text.ends_with("}\n") && text.lines().all(|line| line.starts_with('{')), "{text}");
    }
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let refused = |arguments: &str, expected: &str| {
        let words = arguments.split(' ');
        let output = Command::new(env!("CARGO_BIN_EXE_tidemill-producer")).args(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{arguments}: {said}");
    };
    refused("--kafka b:1", "--topic <NAME>");
    refused("--topic t", "--kafka <SERVERS>");
    refused("--partitions 4", "--kafka <SERVERS>");
    refused("--kafka b:1 --topic t --output f", "cannot be used with");
    refused("--kafka b:1 --topic t --connect c:1", "cannot be used with");
    refused("--kafka b:1 --topic t --port 1", "cannot be used with");
    refused("--kafka b:1 --topic t --property linger.m=1", "librdkafka has no property \"linger.m\"");
    refused("--late 0.1", "--event-time");
    refused("--late-by-ms 10", "--late <LATE>");
    refused("--malformed 1.1", "1.1 is not between 0 and 1");
}
