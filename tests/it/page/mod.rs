//! The live page in a real browser: what it shows, what it lets a person do, and what it never does.

mod browser;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use self::browser::Browser;
use super::binary::{Folder, Running};

/// Two queries over a socket; their names and rows are what a page finds hard.
const PIPELINE: &str = r#"
version: 1
name: page
checkpoint: checkpoint
sources:
  payments:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "name STRING, amount DOUBLE, n BIGINT" } }
    on_malformed: drop
queries:
  per_name:
    sql: SELECT name, count(*) AS payments, sum(amount) AS total FROM payments GROUP BY name
    output_mode: update
    to: { discard: {} }
  large-payments-with-a-name-that-is-longer-than-a-phone-is-wide:
    sql: SELECT name, amount, n FROM payments WHERE amount > 10
    to: { discard: {} }
"#;

const LONG: &str = "large-payments-with-a-name-that-is-longer-than-a-phone-is-wide";

fn start() -> (Folder, Running, Browser) {
    let folder = Folder::with(PIPELINE);
    let running = folder.start_pipeline(&[]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    let mut browser = Browser::open(1200, 900);
    browser.goes_to(&format!("http://{}/", running.http()));
    browser.until("document.querySelector('#link').textContent === 'live'");
    (folder, running, browser)
}

fn line(name: &str, amount: f64, n: i64) -> String {
    format!("{}\n", serde_json::json!({ "name": name, "amount": amount, "n": n }))
}

#[test]
fn it_shows_batches_rows_losses_and_the_plan() {
    let (_folder, running, mut browser) = start();
    browser.until("document.querySelector('#name').textContent === 'per_name'");
    browser.until("document.querySelector('#state').textContent === 'running'");
    let mut client = running.client();
    // How long a batch's end is on its way to the page, by the clock that both share; the best of some, as the machine is busy.
    let mut fastest = f64::MAX;
    for n in 0..5 {
        client.write_all(line("ann", 2.5, n).as_bytes()).unwrap();
        let count = n + 1;
        browser.until(&format!("document.querySelector('#results td:nth-child(3)').textContent === '{count}'"));
        let shown = browser.evaluate(
            "(() => { const batch = queries.get('per_name').batches.findLast((batch) => batch.in); \
             return Date.now() - (Date.parse(batch.at) + batch.ms); })()",
        );
        fastest = fastest.min(shown.as_f64().unwrap());
    }
    assert!(fastest < 1000.0, "a batch is shown {fastest} ms after its end");
    client.write_all(b"no JSON\n{\"name\":\"bob\",\"amount\":\"much\"}\n").unwrap();
    browser.until("document.querySelectorAll('#malformed li').length === 2");
    let malformed = browser.evaluate("document.querySelector('#malformed').innerText");
    for part in ["not valid JSON", "amount", "no JSON", "payments, batch", "127.0.0.1:"] {
        assert!(malformed.as_str().unwrap().contains(part), "no {part:?} in {malformed}");
    }
    let ledger = browser.evaluate("document.querySelector('#ledger').innerText");
    for part in ["read\n7", "dropped, malformed\n2", "decoded\n5", "emitted\n5"] {
        assert!(ledger.as_str().unwrap().contains(part), "no {part:?} in {ledger}");
    }
    browser.until("document.querySelectorAll('#strip .column .run-us').length > 4");
    browser.until("document.querySelector('#plan').textContent.includes('Stateful aggregate')");
    let plan = browser.evaluate("document.querySelector('#plan').textContent");
    for part in ["Source", "payments", "Sinks", "discard"] {
        assert!(plan.as_str().unwrap().contains(part), "no {part:?} in {plan}");
    }
    let figures = browser.evaluate("document.querySelector('#figures').innerText").as_str().unwrap().to_owned();
    for part in ["Rows in", "Rows out", "Batch time", "State\n1rows"] {
        assert!(figures.contains(part), "no {part:?} in {figures:?}");
    }
    running.stop();
    browser.until("document.querySelector('#link').dataset.state === 'lost'");
}

#[test]
fn hostile_rows_stay_text_and_nothing_is_loaded_from_elsewhere() {
    let (_folder, running, mut browser) = start();
    let hostile = [
        "<img src=x onerror=\"window.hacked=1\">",
        "</script><script>window.hacked=1</script>",
        "<svg onload=window.hacked=1>",
        "javascript:window.hacked=1",
        "{{constructor.constructor('window.hacked=1')()}}",
        "\u{202e}evil\u{0}\u{1b}[31m",
    ];
    let mut client = running.client();
    for text in hostile {
        client.write_all(line(text, 1.0, 1).as_bytes()).unwrap();
    }
    client.write_all(b"<img src=http://192.0.2.1/x onerror=window.hacked=1>\n").unwrap();
    browser.until("document.querySelectorAll('#results tbody tr').length === 6");
    browser.until("document.querySelectorAll('#malformed li').length === 1");
    let shown = browser.evaluate("document.querySelector('#results').textContent");
    for text in &hostile[..5] {
        assert!(shown.as_str().unwrap().contains(text), "no {text:?} in {shown}");
    }
    assert!(shown.as_str().unwrap().contains("\\u{202e}evil\\u{0}\\u{1b}[31m"), "{shown}");
    let line = browser.evaluate("document.querySelector('#malformed code').textContent");
    assert_eq!(line, "<img src=http://192.0.2.1/x onerror=window.hacked=1>");
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main script, main iframe, main [onerror]').length"), 0);
    assert_eq!(browser.evaluate("typeof window.hacked"), "undefined");
    // Markup that a mistake would make of text runs nothing: the page itself forbids it.
    let forbidden = "(() => { try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.hacked=1>'); \
                     return 'taken'; } catch (error) { return error.name; } })()";
    assert_eq!(browser.evaluate(forbidden), "TypeError");
    assert_eq!(browser.evaluate("typeof window.hacked"), "undefined");

    let own = format!("http://{}/", running.http());
    let requested = browser.events("Network.requestWillBeSent");
    assert!(requested.len() >= 6, "{requested:?}");
    for request in requested {
        let address = request["request"]["url"].as_str().unwrap();
        assert!(address.starts_with(&own), "{address} is elsewhere");
    }
    assert_eq!(browser.events("Runtime.exceptionThrown"), Vec::<serde_json::Value>::new());
    running.stop();
}

#[test]
fn a_query_is_paused_resumed_stopped_and_restarted_by_keyboard_while_the_other_goes_on() {
    let (_folder, running, mut browser) = start();
    let mut client = running.client();
    client.write_all(line("ann", 20.0, 1).as_bytes()).unwrap();
    browser.until("document.querySelector('#results td:nth-child(3)').textContent === '1'");
    // The skip link, the two queries, then the buttons.
    for _ in 0..4 {
        browser.press("Tab");
    }
    assert_eq!(browser.evaluate("document.activeElement.id"), "pause");
    browser.press("Enter");
    browser.until("document.querySelector('#state').textContent === 'paused'");
    assert_eq!(running.state_of("per_name"), "paused");
    assert_eq!(browser.evaluate("document.activeElement.id"), "resume");
    client.write_all(line("ann", 20.0, 2).as_bytes()).unwrap();
    running.until("the other query goes on", || emitted(&running, LONG).eq(&2).then_some(()));
    assert_eq!(emitted(&running, "per_name"), 1);
    browser.press("Enter");
    browser.until("document.querySelector('#results td:nth-child(3)').textContent === '2'");
    browser.until("document.querySelector('#state').textContent === 'running'");

    browser.evaluate("document.querySelector('#stop').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('#confirm').open && document.activeElement.id === 'confirm-no'");
    browser.press("Tab");
    browser.press("Enter");
    browser.until("document.querySelector('#state').textContent === 'stopped'");
    client.write_all(line("ann", 20.0, 3).as_bytes()).unwrap();
    running.until("the other query goes on", || emitted(&running, LONG).eq(&3).then_some(()));
    browser.evaluate("document.querySelector('#restart').focus()");
    browser.press("Enter");
    // It goes on from its checkpoint: what was counted is, and what came meanwhile was kept.
    browser.until("document.querySelector('#results td:nth-child(3)').textContent === '3'");
    browser.until("document.querySelector('#state').textContent === 'running'");
    running.stop();
}

fn emitted(running: &Running, query: &str) -> u64 {
    let progress = running.get_json(&format!("/queries/{query}/progress"));
    progress.as_array().unwrap().iter().map(|one| one["ledger"]["rows_emitted"].as_u64().unwrap()).sum()
}

#[test]
fn it_fits_a_phone_and_the_dark() {
    let (_folder, running, mut browser) = start();
    let mut client = running.client();
    let wide = "a-word-without-any-place-to-break-it-".repeat(8);
    client.write_all(line(&wide, 20.0, i64::MAX).as_bytes()).unwrap();
    client.write_all(format!("{wide}\n").as_bytes()).unwrap();
    browser.until("document.querySelectorAll('#malformed li').length === 1");
    for (query, width) in [(0, 320), (0, 390), (1, 320), (1, 390), (1, 1200)] {
        browser.resize(width, 800);
        browser.evaluate(&format!("document.querySelectorAll('#queries button')[{query}].click()"));
        let name = ["per_name", LONG][query];
        browser.until(&format!("document.querySelector('#name').textContent === '{name}'"));
        browser
            .until("document.querySelectorAll('#results td').length > 0 && document.querySelectorAll('#plan .node').length > 2");
        let over = browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(over, 0, "{name} at {width} pixels");
    }
    // The digits of a long number are all there.
    browser.until("document.querySelector('#results').textContent.includes('9223372036854775807')");
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        grounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        let worst = browser.evaluate(CONTRAST);
        assert!(worst["ratio"].as_f64().unwrap() >= 4.5, "{scheme}: {worst}");
    }
    assert_ne!(grounds[0], grounds[1]);
    running.stop();
}

/// The text that is hardest to read: WCAG's ratio of its colour and that of the nearest ground that has one.
const CONTRAST: &str = r#"
(() => {
  const channels = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  let worst = { ratio: 99 };
  for (const element of document.querySelectorAll('h1, h2, h3, p, small, strong, b, button, td, th, code, li, .pill, .muted')) {
    if (!element.checkVisibility() || element.matches('.hidden, :disabled') || !element.textContent.trim()) continue;
    let ground = element;
    let colour;
    while ((colour = channels(getComputedStyle(ground).backgroundColor))[3] === 0) ground = ground.parentElement;
    const [one, other] = [light(channels(getComputedStyle(element).color)), light(colour)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: element.textContent.slice(0, 40) };
  }
  return worst;
})()
"#;

#[test]
fn it_asks_for_the_token_and_keeps_it_in_memory() {
    const TOKEN: &str = "canary-7Jq2mXv0ZkT4bWc9";
    let folder = Folder::with(PIPELINE);
    folder.write("token", format!("{TOKEN}\n"));
    let running = folder.start_pipeline(&["--http-token-file", "token"]);
    let mut browser = Browser::open(1200, 900);
    browser.goes_to(&format!("http://{}/", running.http()));
    browser.until("!document.querySelector('#login').hidden && document.activeElement.id === 'token'");
    assert_eq!(browser.evaluate("document.querySelector('main').hidden"), true);
    let enter = |browser: &mut Browser, token: &str| {
        browser
            .evaluate(&format!("document.querySelector('#token').value = '{token}'; document.querySelector('#token').focus()"));
        browser.press("Enter");
    };
    enter(&mut browser, "not-the-token-but-long-enough");
    browser.until("document.querySelector('#login-note').textContent === 'That is not the token.'");
    enter(&mut browser, TOKEN);
    browser.until("document.querySelector('#state').textContent === 'running'");
    let kept = browser.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href])");
    assert!(!kept.as_str().unwrap().contains(TOKEN), "{kept}");
    assert!(!running.so_far().contains(TOKEN));
    running.stop();
}

/// `UPDATE_DOCS=1` takes them anew, of the demo.
#[test]
fn the_guide_has_its_pictures() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let folder = Folder::new();
        let running = folder.start(&["demo", "--quiet", "--rate", "200", "--http", "127.0.0.1:0"]);
        let mut browser = Browser::open(1200, 900);
        browser.goes_to(&format!("http://{}/", running.http()));
        browser.until("queries.get('suspicious').batches.filter((batch) => batch.phases).length > 24");
        fs::write(docs.join("page.png"), browser.picture(2000)).unwrap();
        browser.prefer("dark");
        browser.resize(390, 800);
        browser.until("document.querySelector('#strip svg').viewBox.baseVal.width < 390");
        fs::write(docs.join("page-phone.png"), browser.picture(1000)).unwrap();
        running.stop();
    }
    for name in ["page.png", "page-phone.png"] {
        let size = fs::metadata(docs.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).len();
        assert!((1..=200 << 10).contains(&size), "{name} has {size} bytes");
    }
}
