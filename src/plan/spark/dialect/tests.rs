use super::{parse, parse_expression};

fn check(sql: &str, expected: &str) {
    let shown = match parse_expression(sql) {
        Ok(expr) => expr.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected, "{sql}");
}

#[test]
fn literals_and_operators_are_sparks() {
    check(r#""it's" 'x' "a""b""#, "'it''sxa\"b'");
    check(r"'tab\tend\u0041\101\%'", "'tab\tendAA\\%'");
    check(r"r'raw\n'", r"'raw\n'");
    check("1.5BD + 2Y - .5", "1.5BD + 2Y - .5");
    check("`a``b`.c", "`a``b`.c");
    check("a || b + c", "a || b + c");
    check("date", "date");
    check("exists(a)", "exists(a)");
    check("cast(a as decimal(10, 2))::array<map<string,int>>", "CAST(a AS decimal ( 10 , 2 ))::array < map < string , int >>");
}

#[test]
fn a_syntax_error_names_the_place() {
    check("1 +* 2", "[PARSE_SYNTAX_ERROR] expected an expression, found: * (line 1, column 4)");
    check("'abc", "[PARSE_SYNTAX_ERROR] a string is never closed (line 1, column 1)");
    check("1 /* a", "[UNCLOSED_BRACKETED_COMMENT] a comment is never closed (line 1, column 3)");
    assert_eq!(
        parse("SELECT a\nFROM t WHERE").unwrap_err().to_string(),
        "[PARSE_SYNTAX_ERROR] expected an expression, found: EOF"
    );
}

#[test]
fn deep_expressions_are_read_or_refused_but_never_overflow_the_stack() {
    assert!(parse_expression(&format!("1{}", " + 1".repeat(1_900))).is_ok());
    for deep in ["(".repeat(100_000), "1 + ".repeat(100_000), "not ".repeat(1_000), "f(".repeat(10_000), "a[".repeat(10_000)] {
        assert_eq!(parse_expression(&deep).unwrap_err().condition(), Some("PARSE_SYNTAX_ERROR"));
    }
}
