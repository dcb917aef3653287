//! Watermarks and deduplications that cannot be.

use expect_test::{Expect, expect};

use super::check_source;

/// A source of JSON with the given settings beside it.
fn with(settings: &str, expected: Expect) {
    let schema = "ts TIMESTAMP, at TIMESTAMP_NTZ, name STRING, inner STRUCT<ts: TIMESTAMP>";
    check_source(
        &format!("    from: {{ file: {{ path: in }} }}\n    format: {{ json: {{ schema: \"{schema}\" }} }}\n    {settings}"),
        expected,
    );
}

#[test]
fn a_watermark_stands_on_a_timestamp_that_is_there() {
    with(
        "watermark: { column: tsx, delay: 1s }",
        expect![[
            r#"p.yaml:5:18: [UNRESOLVED_COLUMN.WITH_SUGGESTION] sources.s.watermark.column: a column with name `tsx` cannot be resolved, which a watermark needs; did you mean "ts"?"#
        ]],
    );
    with(
        "watermark: { column: zebra, delay: 1s }",
        expect![
            "p.yaml:5:18: [UNRESOLVED_COLUMN.WITH_SUGGESTION] sources.s.watermark.column: a column with name `zebra` cannot be resolved, which a watermark needs; its columns are ts, at, name, inner"
        ],
    );
    with(
        "watermark: { column: name, delay: 1s }",
        expect![[
            r#"p.yaml:5:18: [EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE] sources.s.watermark.column: the event time `name` has the invalid type "STRING", but expected "TIMESTAMP""#
        ]],
    );
    with(
        "watermark: { column: at, delay: 1s }",
        expect![[
            r#"p.yaml:5:18: [EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE] sources.s.watermark.column: the event time `at` has the invalid type "TIMESTAMP_NTZ", but expected "TIMESTAMP""#
        ]],
    );
    with(
        "watermark: { column: inner, delay: 1s }",
        expect![[
            r#"p.yaml:5:18: [EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE] sources.s.watermark.column: the event time `inner` has the invalid type "STRUCT<ts: TIMESTAMP>", but expected "TIMESTAMP""#
        ]],
    );
    with(
        "watermark: { column: inner.ts, delay: 1s }",
        expect![[
            r#"p.yaml:5:18: [EVENT_TIME_MUST_BE_TOP_LEVEL_COLUMN] sources.s.watermark.column: the event time of a watermark must be a top-level column, but "inner.ts" is a nested field: give it a name in a view; its columns are ts, at, name, inner"#
        ]],
    );
}

#[test]
fn settings_of_a_watermark_have_types() {
    with(
        "watermark: { column: ts, delay: -5 minutes }",
        expect![[r#"p.yaml:5:37: sources.s.watermark.delay: expected a duration that is not negative, found "-5 minutes""#]],
    );
    with(
        "watermark: { column: ts, delay: soon }",
        expect![[
            r#"p.yaml:5:37: sources.s.watermark.delay: expected a duration such as 2s, 500ms, 5 minutes or 1h 30m, found "soon""#
        ]],
    );
    with(
        "watermark: { column: ts, delay: 1 month }",
        expect![[r#"p.yaml:5:37: sources.s.watermark.delay: doesn't support month or year interval, found "1 month""#]],
    );
    with(
        "watermark: { column: ts, delay: 5 }",
        expect![[
            r#"p.yaml:5:37: sources.s.watermark.delay: expected a duration such as 2s, 500ms, 5 minutes or 1h 30m, found "5""#
        ]],
    );
    with(
        "watermark: { column: [ts], delay: 1s }",
        expect!["p.yaml:5:26: sources.s.watermark.column: expected a column, found a list"],
    );
    with(
        "watermark: { column: ts, delay: 1s, max_future: true }",
        expect![[
            r#"p.yaml:5:53: sources.s.watermark.max_future: expected a duration such as 2s, 500ms, 5 minutes or 1h 30m, found "true""#
        ]],
    );
    with(
        "watermark: { column: ts, delay: 1s, idle_after: 0s }",
        expect![[r#"p.yaml:5:53: sources.s.watermark.idle_after: expected a duration of at least 1ms, found "0s""#]],
    );
    with(
        "watermark: { column: ts, dealy: 1s }",
        expect![[r#"
        p.yaml:5:5: sources.s.watermark: expected delay: a duration such as 2s, 500ms or 7 days
        p.yaml:5:30: sources.s.watermark: unknown setting "dealy"; known here: column, delay, max_future, idle_after"#]],
    );
    with(
        "watermark: { columnn: ts }",
        expect![[r#"
        p.yaml:5:5: sources.s.watermark: expected column: a column
        p.yaml:5:5: sources.s.watermark: expected delay: a duration such as 2s, 500ms or 7 days
        p.yaml:5:18: sources.s.watermark: unknown setting "columnn"; did you mean column?"#]],
    );
    with("watermark: ts", expect![[r#"p.yaml:5:16: sources.s.watermark: expected a map of settings, found "ts""#]]);
    with(
        "watermark:\n      - { column: ts, delay: 1s }\n      - { column: ts, delay: 2s }",
        expect!["p.yaml:6:7: sources.s.watermark: expected a map of settings, found a list"],
    );
    with(
        "watermark: { column: ts, delay: 1s }\n    watermark: { column: ts, delay: 2s }",
        expect![[r#"p.yaml:6:5: "watermark" is given twice, first on line 5"#]],
    );
}

#[test]
fn a_deduplication_goes_by_columns_that_are_there() {
    with(
        "deduplicate: { by: nam }",
        expect![[
            r#"p.yaml:5:20: [UNRESOLVED_COLUMN_AMONG_FIELD_NAMES] sources.s.deduplicate.by: there is no column "nam"; did you mean "name"?"#
        ]],
    );
    with(
        "deduplicate: { by: [name, zebra, inner.ts] }",
        expect![[r#"
        p.yaml:5:20: [UNRESOLVED_COLUMN_AMONG_FIELD_NAMES] sources.s.deduplicate.by: there is no column "zebra"; its columns are ts, at, name, inner
        p.yaml:5:20: [UNRESOLVED_COLUMN_AMONG_FIELD_NAMES] sources.s.deduplicate.by: there is no column "inner.ts"; its columns are ts, at, name, inner"#]],
    );
    with("deduplicate: { by: [] }", expect!["p.yaml:5:20: sources.s.deduplicate.by: expected at least one column"]);
    with(
        "deduplicate: { by: 5 }",
        expect![[
            r#"p.yaml:5:20: [UNRESOLVED_COLUMN_AMONG_FIELD_NAMES] sources.s.deduplicate.by: there is no column "5"; its columns are ts, at, name, inner"#
        ]],
    );
    with("deduplicate: {}", expect!["p.yaml:5:5: sources.s.deduplicate: expected by: a column or a list of columns"]);
    with(
        "deduplicate: { by: name, within_watermark: yes please }",
        expect![[r#"p.yaml:5:48: sources.s.deduplicate.within_watermark: expected true or false, found "yes please""#]],
    );
    with(
        "deduplicate: { by: name, within_watermark: true }",
        expect![
            "p.yaml:5:30: [_LEGACY_ERROR_TEMP_3102] sources.s.deduplicate.within_watermark: dropDuplicatesWithinWatermark is not supported without watermark: give the source one"
        ],
    );
}
