//! Functions that Spark has and Tidemill has not, each with the reason.

/// Functions that are missing for one reason.
pub struct Missing {
    /// What they have in common.
    pub title: &'static str,
    /// Why they are missing and what helps, as a phrase of Markdown.
    pub reason: &'static str,
    /// Their names.
    pub names: &'static [&'static str],
}

/// All of them. A function that comes to one of the families leaves this table.
#[rustfmt::skip]
pub const MISSING: &[Missing] = &[
    Missing {
        title: "VARIANT",
        reason: "the type VARIANT is not supported; `from_json` and `get_json_object` read JSON",
        names: &[
            "is_valid_variant", "is_variant_null", "parse_json", "schema_of_variant", "schema_of_variant_agg",
            "to_variant_object", "try_parse_json", "try_variant_array_append", "try_variant_get", "try_variant_insert",
            "try_variant_set", "variant_array_append", "variant_delete", "variant_explode", "variant_explode_outer",
            "variant_get", "variant_insert", "variant_set", "variant_strip_nulls",
        ],
    },
    Missing {
        title: "TIME",
        reason: "the type TIME is not supported; a TIMESTAMP holds a time of a day",
        names: &[
            "current_time", "make_time", "time", "time_diff", "time_from_micros", "time_from_millis", "time_from_seconds",
            "time_to_micros", "time_to_millis", "time_to_seconds", "time_trunc", "to_time", "try_to_time",
        ],
    },
    Missing {
        title: "Sketches",
        reason: "sketches are bytes in the formats of other programs' libraries; `approx_count_distinct` and `percentile_approx` aggregate directly",
        names: &[
            "approx_top_k_accumulate", "approx_top_k_combine", "approx_top_k_estimate",
            "hll_sketch_agg", "hll_sketch_estimate", "hll_union", "hll_union_agg", "kll_merge_agg_bigint",
            "kll_merge_agg_double", "kll_merge_agg_float", "kll_sketch_agg_bigint", "kll_sketch_agg_double",
            "kll_sketch_agg_float", "kll_sketch_get_n_bigint", "kll_sketch_get_n_double", "kll_sketch_get_n_float",
            "kll_sketch_get_quantile_bigint", "kll_sketch_get_quantile_double", "kll_sketch_get_quantile_float",
            "kll_sketch_get_rank_bigint", "kll_sketch_get_rank_double", "kll_sketch_get_rank_float",
            "kll_sketch_merge_bigint", "kll_sketch_merge_double", "kll_sketch_merge_float", "kll_sketch_to_string_bigint",
            "kll_sketch_to_string_double", "kll_sketch_to_string_float", "theta_difference", "theta_intersection",
            "theta_intersection_agg", "theta_sketch_agg", "theta_sketch_estimate", "theta_union", "theta_union_agg",
            "tuple_difference_double", "tuple_difference_integer", "tuple_difference_theta_double",
            "tuple_difference_theta_integer", "tuple_intersection_agg_double", "tuple_intersection_agg_integer",
            "tuple_intersection_double", "tuple_intersection_integer", "tuple_intersection_theta_double",
            "tuple_intersection_theta_integer", "tuple_sketch_agg_double", "tuple_sketch_agg_integer",
            "tuple_sketch_estimate_double", "tuple_sketch_estimate_integer", "tuple_sketch_summary_double",
            "tuple_sketch_summary_integer", "tuple_sketch_theta_double", "tuple_sketch_theta_integer",
            "tuple_union_agg_double", "tuple_union_agg_integer", "tuple_union_double", "tuple_union_integer",
            "tuple_union_theta_double", "tuple_union_theta_integer",
        ],
    },
    Missing {
        title: "Collations",
        reason: "texts have the one collation UTF8_BINARY; `lower` and `upper` help where case does not matter",
        names: &[
            "collate", "collation", "collations",
        ],
    },
    Missing {
        title: "XML",
        reason: "XML is not read or written; `regexp_extract` picks out what is simple",
        names: &[
            "from_xml", "schema_of_xml", "to_xml", "xpath", "xpath_boolean", "xpath_double", "xpath_float", "xpath_int",
            "xpath_long", "xpath_number", "xpath_short", "xpath_string",
        ],
    },
    Missing {
        title: "Avro, Protobuf",
        reason: "only JSON and CSV are read from values; a source may decode a topic's records",
        names: &[
            "from_avro", "from_protobuf", "schema_of_avro", "to_avro", "to_protobuf",
        ],
    },
    Missing {
        title: "Geography",
        reason: "geometries are not supported",
        names: &[
            "st_asbinary", "st_geogfromwkb", "st_geomfromwkb", "st_setsrid", "st_srid",
        ],
    },
    Missing {
        title: "Windows over rows",
        reason: "Spark does not have them over streams either; time windows are",
        names: &[
            "cume_dist", "dense_rank", "lag", "lead", "nth_value", "ntile", "percent_rank", "rank", "row_number",
        ],
    },
    Missing {
        title: "Encryption",
        reason: "keys do not belong into a query's text",
        names: &[
            "aes_decrypt", "aes_encrypt", "try_aes_decrypt",
        ],
    },
    Missing {
        title: "Java",
        reason: "there is no Java here; an async function calls a program of yours",
        names: &[
            "java_method", "reflect", "try_reflect",
        ],
    },
    Missing {
        title: "Where a row lies",
        reason: "rows of a batch come from several files, or from none; a source's metadata columns tell what is known",
        names: &[
            "input_file_block_length", "input_file_block_start", "input_file_name",
        ],
    },
    Missing {
        title: "Numbers of rows",
        reason: "Spark refuses it over streams too; `uuid` makes keys",
        names: &[
            "monotonically_increasing_id",
        ],
    },
    Missing {
        title: "Spark's session",
        reason: "there is no session or metric view to ask",
        names: &[
            "current_path", "measure", "python_worker_logs", "sql_keywords",
        ],
    },
    Missing {
        title: "New in Spark 4.3",
        reason: "not there yet",
        names: &[
            "counter_diff",
        ],
    },
    Missing {
        title: "Nanoseconds",
        reason: "Spark has timestamps of nanoseconds switched off; `unix_micros` and `timestamp_micros` count microseconds",
        names: &[
            "timestamp_nanos", "unix_nanos",
        ],
    },
];

/// Why the function called `name` (lower case) is missing, if it is one of Spark's.
pub fn reason(name: &str) -> Option<&'static str> {
    MISSING.iter().find(|missing| missing.names.contains(&name)).map(|missing| missing.reason)
}

/// Spark's condition: functions of the type TIME are switched off there, but for the one that gives the time.
pub(in super::super) fn condition(name: &str) -> &'static str {
    let is_time = MISSING.iter().any(|missing| missing.title == "TIME" && missing.names.contains(&name));
    if is_time && name != "current_time" { "UNSUPPORTED_TIME_TYPE" } else { "UNRESOLVED_ROUTINE" }
}
