use super::*;

fn check(ddl: &str, expected: &str) {
    let shown = match parse_ddl(ddl) {
        Ok(data_type) => spark_name(&data_type),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected, "{ddl}");
}

#[test]
fn every_name_and_alias_is_read() {
    check("BOOLEAN", "boolean");
    check("byte", "tinyint");
    check("a TINYINT, b SHORT, c Integer, d LONG", "struct<a:tinyint,b:smallint,c:int,d:bigint>");
    check("real", "float");
    check("struct<a: real, b double>", "struct<a:float,b:double>");
    check("dec(5)", "decimal(5,0)");
    check("numeric", "decimal(10,0)");
    check("a VARCHAR(10), b CHAR(3)", "struct<a:string,b:string>");
    check("timestamp_ltz", "timestamp");
    check("INTERVAL DAY TO SECOND", "interval day to second");
    check("interval year", "interval year");
    check("interval hour to second", "interval hour to second");
    check("interval", "interval");
    check("MAP<STRING, ARRAY<STRUCT<`a b`: DECIMAL(10,2)>>>", "map<string,array<struct<a b:decimal(10,2)>>>");
    check("struct<>", "struct<>");
}

#[test]
fn nullability_and_comments_are_kept() {
    let schema = parse_schema("a INT NOT NULL COMMENT 'it''s', n STRUCT<p: INT NOT NULL>").unwrap();
    assert!(!schema.field(0).is_nullable());
    assert_eq!(schema.field(0).metadata()["comment"], "it's");
    let DataType::Struct(fields) = schema.field(1).data_type() else { panic!("not a struct") };
    assert!(!fields[0].is_nullable());
}

#[test]
fn what_is_wrong_is_named_with_its_column() {
    check("a INTT", "[UNSUPPORTED_DATATYPE] unknown data type \"intt\" at column 3, did you mean int?");
    check("a INT,", "[PARSE_SYNTAX_ERROR] expected a column name in type or schema at column 7, found the end of the text");
    check("array<int", "[PARSE_SYNTAX_ERROR] expected `>` in type or schema at column 10, found the end of the text");
    check("decimal(39,2)", "[DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION] decimal precision 39 at column 8 exceeds 38");
    check("a `INT", "[PARSE_SYNTAX_ERROR] the quote at column 3 is never closed");
    assert!(parse_type(&"array<".repeat(100_000)).is_err());
}
