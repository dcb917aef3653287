//! SQL functions that read.

use serde_json::{Value, json};

use super::super::binary::Folder;
use super::super::kafka::{batches, run};
use super::{Server, prefix, printing};

fn rows(folder: &Folder) -> Vec<Value> {
    batches(&run(folder).stdout).into_iter().flatten().collect()
}

#[test]
fn rows_get_what_is_under_their_keys_with_one_round_trip_for_a_chunk() {
    let server = Server::own(&[]);
    let p = prefix();
    let name = |id: &str| format!("{p}:{id}");
    server.set(&[(&name("1"), "7"), (&name("2"), "none"), (&name("4"), r#"{"name":"Ann","level":3}"#)]);
    server.tell::<i64>(&["HSET", &name("h1"), "name", "Bob", "level", "5", "other", "x"]);
    server.tell::<i64>(&["SADD", &name("s1"), "b", "c", "a"]);
    let functions = format!(
        "  score:\n    args: \"id STRING\"\n    returns: INT\n    on_error: return_null\n    redis: {{ connection: store, get: \"{p}:{{id}}\" }}\n  \
           who:\n    args: \"id STRING\"\n    returns: \"name STRING, level INT\"\n    on_error: return_null\n    redis: {{ connection: store, get: \
         \"{p}:{{id}}\" }}\n  \
           card:\n    args: \"id STRING\"\n    returns: \"name STRING, level BIGINT, missing DOUBLE\"\n    on_error: return_null\n    redis: {{ \
         connection: store, hash: \"{p}:h{{id}}\" }}\n  \
           level:\n    args: \"id STRING, f STRING\"\n    returns: INT\n    redis: {{ connection: store, hash: \"{p}:h{{id}}\", field: \"{{f}}\" }}\n  \
           all:\n    args: \"id STRING\"\n    returns: MAP<STRING, STRING>\n    redis: {{ connection: store, hash: \"{p}:h{{id}}\" }}\n  \
           friends:\n    args: \"id STRING\"\n    returns: ARRAY<STRING>\n    redis: {{ connection: store, members: \"{p}:s{{id}}\" }}\n"
    );
    let sql = "SELECT id, score(id) AS score, who(id) AS who, card(id) AS card, level(id, 'level') AS level, all(id) AS everything, friends(id) AS \
               friends FROM t";
    let folder = printing(&server, "id STRING", &functions, sql, "");
    folder.write("in/a.json", "{\"id\":\"1\"}\n{\"id\":\"2\"}\n{\"id\":\"3\"}\n{\"id\":\"4\"}\n{}\n");
    let card = json!({"name": "Bob", "level": 5});
    let everything = json!({"level": "5", "name": "Bob", "other": "x"});
    assert_eq!(
        rows(&folder),
        [
            json!({"id": "1", "score": 7, "card": card, "level": 5, "everything": everything, "friends": ["a", "b", "c"]}),
            json!({"id": "2"}),
            json!({"id": "3"}),
            json!({"id": "4", "who": {"name": "Ann", "level": 3}}),
            json!({}),
        ]
    );
    let stats: String = server.tell(&["INFO", "commandstats"]);
    let calls = |command: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    // One for all rows of each of the two functions, and nothing for a null.
    assert_eq!((calls("mget"), calls("hmget"), calls("smembers"), calls("hget")), (2, 4, 4, 4), "{stats}");
}
