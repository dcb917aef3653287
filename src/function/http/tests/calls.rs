use super::*;

fn echo(seen: server::Seen) -> server::Reply {
    let body = serde_json::json!({
        "method": seen.method, "path": seen.path, "query": seen.query, "body": seen.body,
        "x": seen.header("x-user"), "type": seen.header("content-type"), "agent": seen.header("user-agent"),
    });
    reply(200, body.to_string())
}

const ECHO: &str = "method STRING, path STRING, query STRING, body STRING, x STRING, type STRING";

#[tokio::test]
async fn s3_8_what_is_sent_comes_back() {
    let server = Server::start(|seen| async { echo(seen) }).await;
    let mut settings = local(&server.url("/u/{User}/risk?a={amount}"));
    settings.query = vec![("q".to_owned(), template("{user}&x")), ("none".to_owned(), template("{nothing}"))];
    settings.headers = vec![("X-User".to_owned(), template("<{user}>")), ("X-None".to_owned(), template("{nothing}"))];
    settings.body = Some(BodyTree::Object(vec![
        ("amount".to_owned(), BodyTree::Text(template("{amount}"))),
        ("text".to_owned(), BodyTree::Text(template("{user} paid {amount}"))),
        ("list".to_owned(), BodyTree::List(vec![BodyTree::Plain(1.into()), BodyTree::Text(template("{nothing}"))])),
        ("empty".to_owned(), BodyTree::Object(Vec::new())),
    ]));
    let function = Fixture::new("user STRING, amount DOUBLE, nothing STRING", ECHO, &settings);
    let answer = function.answer(vec![text("a/b ?\"é"), double(12.0), null(&DataType::Utf8)]).await;
    let value: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(value["method"], "POST");
    assert_eq!(value["path"], "/u/a%2Fb%20%3F%22%C3%A9/risk");
    assert_eq!(value["query"], "a=12.0&q=a%2Fb%20%3F%22%C3%A9%26x");
    assert_eq!(value["body"], r#"{"amount":12.0,"text":"a/b ?\"é paid 12.0","list":[1,null],"empty":{}}"#);
    assert_eq!(value["type"], "application/json");
    let seen = &server.seen()[0];
    assert_eq!(seen.headers["x-user"].as_bytes(), "<a/b ?\"é>".as_bytes());
    assert!(!seen.headers.contains_key("x-none"));
    assert_eq!(seen.header("accept"), "application/json");
}

#[tokio::test]
async fn arguments_of_any_type_are_written_as_to_json_does() {
    let server = Server::start(|seen| async { echo(seen) }).await;
    let mut settings = local(&server.url("/?d={d}&t={t}&s={s}"));
    settings.body =
        Some(BodyTree::List(["{d}", "{t}", "{s}", "{n}", "at {t}, {d}"].map(|text| BodyTree::Text(template(text))).into()));
    let function =
        Fixture::new("d DATE, t TIMESTAMP, s STRUCT<a: INT, b: STRING>, n DECIMAL(10,2)", "query STRING, body STRING", &settings);
    let fields = parse_schema("a INT, b STRING").unwrap().fields().clone();
    let values = StructArray::new(fields, vec![Arc::new(arrow::array::Int32Array::from(vec![5])), text("x")], None);
    let row: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::Date32Array::from(vec![20_455])),
        Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![NOW_US]).with_timezone("UTC")),
        Arc::new(values),
        Arc::new(Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap()),
    ];
    function.answer(row).await;
    let seen = &server.seen()[0];
    assert_eq!(
        seen.body,
        r#"["2026-01-02","2026-01-02T04:04:05.678+01:00",{"a":5,"b":"x"},12.50,"at 2026-01-02T04:04:05.678+01:00, 2026-01-02"]"#
    );
    assert_eq!(seen.query, "d=2026-01-02&t=2026-01-02T04%3A04%3A05.678%2B01%3A00&s=%7B%22a%22%3A5%2C%22b%22%3A%22x%22%7D");
}

#[tokio::test]
async fn s3_1_2_rows_are_asked_few_at_a_time_and_answered_in_order() {
    let server = Server::start(|seen| async move { reply(200, seen.path.trim_start_matches('/').to_owned()) }).await;
    let settings = local(&server.url("/{n}"));
    let function = Fixture::with("n BIGINT", "BIGINT", &settings, CallSettings { max_in_flight: 3, ..calls() });
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(0..15)) as ArrayRef)]).unwrap();
    server.close_gate();
    let release = async {
        server.until_in_flight(3).await;
        server.open_gate();
    };
    let (all, ()) = tokio::join!(function.all(batch), release);
    assert_eq!(all.unwrap(), (0..15).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((server.seen().len(), server.in_flight_max()), (15, 3));
}

#[tokio::test]
async fn s3_3_no_row_is_no_request() {
    let server = Server::scripted(&[]).await;
    let function = Fixture::new("n BIGINT", "BIGINT", &local(&server.url("/{n}")));
    let empty = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(Vec::<i64>::new())) as ArrayRef)]).unwrap();
    assert_eq!(function.all(empty).await, Ok(Vec::new()));
    assert!(server.seen().is_empty());
}

/// A value that would lead elsewhere is not sent at all.
#[tokio::test]
async fn an_argument_never_changes_where_a_call_goes() {
    let server = Server::start(|seen| async { echo(seen) }).await;
    let function = Fixture::new("user STRING", "path STRING", &local(&server.url("/u/{user}")));
    for value in ["..", "."] {
        let expected = "expected a URL without . and .. in its path".to_owned();
        assert_eq!(function.error(vec![text(value)]).await, (CallErrorKind::Rejected, expected), "{value}");
    }
    let (kind, message) = function.error(vec![text("")]).await;
    assert_eq!(
        (kind, message.as_str()),
        (CallErrorKind::Rejected, "argument user is empty, which would be another path of the URL")
    );
    let (_, message) = function.error(vec![null(&DataType::Utf8)]).await;
    assert_eq!(message, "argument user is null, which has no place in the text of the URL");
    assert!(server.seen().is_empty());
    for (value, path) in [
        ("../../admin", "/u/..%2F..%2Fadmin"),
        ("@evil.example/", "/u/%40evil.example%2F"),
        ("x\r\nHost: evil", "/u/x%0D%0AHost%3A%20evil"),
        ("%2e%2e", "/u/%252e%252e"),
        ("a#b?c", "/u/a%23b%3Fc"),
    ] {
        assert_eq!(function.answer(vec![text(value)]).await, format!("{{\"path\":\"{path}\"}}"));
    }
}

#[tokio::test]
async fn a_header_takes_no_line_end() {
    let server = Server::scripted(&[]).await;
    let mut settings = local(&server.url("/"));
    settings.headers = vec![("x-user".to_owned(), template("{user}"))];
    let function = Fixture::new("user STRING", "STRING", &settings);
    let (kind, message) = function.error(vec![text("a\r\nX-Admin: 1")]).await;
    assert_eq!(
        (kind, message.as_str()),
        (CallErrorKind::Rejected, "the value of header x-user has a character that no header can hold")
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_table_form_has_a_row_for_each_item() {
    let server =
        Server::start(|_| async { reply(200, r#"{"items": [{"a": 1, "b": {"c": "x"}}, {"a": null}, {"b": 5}], "next": 2}"#) })
            .await;
    let mut settings = local(&server.url("/"));
    settings.rows = Some("/items".to_owned());
    settings.answer = AnswerSettings::Fields(vec![("a".to_owned(), "/a".to_owned()), ("c".to_owned(), "/b/c".to_owned())]);
    let function = Fixture::new("x STRING", "TABLE a INT, c STRING", &settings);
    assert_eq!(function.answer(vec![text("x")]).await, r#"{"a":1,"c":"x"} {"a":null,"c":null} {"a":null,"c":null}"#);
    settings.rows = Some("/nothing".to_owned());
    assert_eq!(Fixture::new("x STRING", "TABLE a INT, c STRING", &settings).answer(vec![text("x")]).await, "");
    settings.rows = Some("/next".to_owned());
    let (kind, message) = Fixture::new("x STRING", "TABLE a INT, c STRING", &settings).error(vec![text("x")]).await;
    assert_eq!((kind, message.as_str()), (CallErrorKind::BadAnswer, "the answer's /next is no array"));
}

#[tokio::test]
async fn one_client_serves_all_functions_that_connect_alike() {
    let server = Server::scripted(&[]).await;
    let shared = shared();
    let settings = local(&server.url("/"));
    let one = Fixture::sharing("x STRING", "n INT", &settings, calls(), &shared);
    let two = Fixture::sharing("x STRING", "n INT", &settings, calls(), &shared);
    assert_eq!(one.answer(vec![text("x")]).await, "{\"n\":1}");
    assert_eq!(two.answer(vec![text("x")]).await, "{\"n\":2}");
    assert_eq!(shared.clients.len(), 1);
    let mut other = local(&server.url("/"));
    other.connection.connect_timeout = Some(Duration::from_secs(1));
    Fixture::sharing("x STRING", "n INT", &other, calls(), &shared);
    assert_eq!(shared.clients.len(), 2);
}
