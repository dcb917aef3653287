//! A headless Chromium, driven by its DevTools protocol over a websocket.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::pause;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser of the system, which is installed where there is none and we may.
fn chromium() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        find().unwrap_or_else(|| {
            let install = "apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium";
            let installed = Command::new("sh").args(["-c", install]).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&installed.stderr).into_owned();
            find().unwrap_or_else(|| panic!("these tests need Chromium: install it, or name it in CHROMIUM\n{said}"))
        })
    })
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

/// A browser with one page; it is ended with it.
pub(crate) struct Browser {
    child: Child,
    _profile: TempDir,
    page: Socket,
    last_id: u64,
    /// Events that came while an answer was waited for.
    events: VecDeque<Value>,
}

impl Browser {
    /// A browser with a blank page of so many pixels.
    pub(crate) fn open(width: u32, height: u32) -> Self {
        let profile = TempDir::new().unwrap();
        let child = Command::new(chromium())
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-extensions", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = profile.path().join("DevToolsActivePort");
        let port = until("Chromium listens", || fs::read_to_string(&port).ok()?.lines().next()?.parse::<u16>().ok());
        let (status, page) = request(port, "PUT", "/json/new?about:blank");
        assert!(status.contains("200"), "{status}");
        let page: Value = serde_json::from_str(&page).unwrap();
        let address = page["webSocketDebuggerUrl"].as_str().unwrap();
        let path = &address[address.find("/devtools").unwrap()..];
        let page = Socket::connect(port, path);
        let mut browser = Self { child, _profile: profile, page, last_id: 0, events: VecDeque::new() };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        browser
    }

    /// Changes the size of the page; up to 500 pixels it is a phone's.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width <= 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Light or dark.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Goes to an address.
    pub(crate) fn goes_to(&mut self, address: &str) {
        let gone = self.call("Page.navigate", json!({ "url": address }));
        assert!(gone["errorText"].is_null(), "{address}: {gone}");
    }

    /// What an expression gives in the page; promises are waited for.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&mut self, expression: &str) {
        let guarded = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        let deadline = Instant::now() + PATIENCE;
        while self.evaluate(&guarded) != true {
            if Instant::now() >= deadline {
                let text = self.evaluate("document.body.innerText");
                panic!("waited in vain until {expression}; the page says:\n{}", text.as_str().unwrap_or("nothing"));
            }
            pause(Duration::from_millis(20));
        }
    }

    /// A key, as a person would press it.
    pub(crate) fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "End" => 35,
            "ArrowLeft" => 37,
            _ => panic!("which number has the key {key}?"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// A picture of the page from top to bottom, at most so many pixels high.
    pub(crate) fn picture(&mut self, height_max: u64) -> Vec<u8> {
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let height = (size["height"].as_f64().unwrap() as u64).min(height_max);
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1 });
        let asked = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        STANDARD.decode(self.call("Page.captureScreenshot", asked)["data"].as_str().unwrap()).unwrap()
    }

    /// The parameters of all events of a kind that have come so far.
    pub(crate) fn events(&mut self, method: &str) -> Vec<Value> {
        // What came before this answer has been read by then.
        self.evaluate("0");
        self.events.iter().filter(|event| event["method"] == method).map(|event| event["params"].clone()).collect()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        self.page.send(&json!({ "id": id, "method": method, "params": parameters }).to_string());
        loop {
            let message: Value = serde_json::from_str(&self.page.receive()).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        pause(Duration::from_millis(10));
    }
}

/// The status line and the body of a plain request.
fn request(port: u16, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let head = head(&mut reader);
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap())
}

fn head(reader: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        reader.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The client's side of a websocket, as much of it as this needs: texts, whole or in pieces.
struct Socket(BufReader<TcpStream>);

impl Socket {
    fn connect(port: u16, path: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let answer = head(&mut reader);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Self(reader)
    }

    fn send(&mut self, text: &str) {
        // Final, text; masked, with a mask of zeros.
        let mut frame = vec![0x81];
        match text.len() {
            length if length < 126 => frame.push(0x80 | length as u8),
            length if length < 1 << 16 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.get_mut().write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let mut start = [0; 2];
            self.0.read_exact(&mut start).unwrap();
            let length = match start[1] {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                length => u64::from(length),
            };
            let mut part = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut part).unwrap();
            let (is_final, kind) = (start[0] & 0x80 != 0, start[0] & 0x0f);
            assert!(kind < 8, "the browser closed the connection or wants a sign of life: {kind}");
            text.append(&mut part);
            if is_final {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}
