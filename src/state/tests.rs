use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use proptest::prelude::*;

use super::memory::MemoryStore;
use super::*;

type Key = (Option<String>, Option<i64>);
type Model = HashMap<Key, i64>;

fn schema() -> StateSchema {
    StateSchema::new(
        vec![Arc::new(Field::new("k", DataType::Utf8, true)), Arc::new(Field::new("j", DataType::Int64, true))],
        vec![Arc::new(Field::new("v", DataType::Int64, false)), Arc::new(Field::new("t", DataType::Utf8, true))],
    )
}

fn memory_state(memory: &Arc<StateMemory>) -> OperatorState {
    let store = MemoryStore::new(schema(), memory.account("aggregate-0")).unwrap();
    OperatorState::new(schema(), Box::new(store))
}

fn keys(keys: &[Key]) -> Vec<ArrayRef> {
    vec![
        Arc::new(keys.iter().map(|k| k.0.clone()).collect::<StringArray>()),
        Arc::new(keys.iter().map(|k| k.1).collect::<Int64Array>()),
    ]
}

fn rows(entries: &[(Key, i64)]) -> RecordBatch {
    let mut columns = keys(&entries.iter().map(|e| e.0.clone()).collect::<Vec<_>>());
    columns.push(Arc::new(entries.iter().map(|e| e.1).collect::<Int64Array>()));
    columns.push(Arc::new(entries.iter().map(|e| (e.1 % 3 != 0).then(|| format!("text {}", e.1))).collect::<StringArray>()));
    RecordBatch::try_new(schema().columns().clone(), columns).unwrap()
}

fn entries(batches: &[RecordBatch]) -> Model {
    let all = concat_batches(schema().columns(), batches).unwrap();
    let text = all.column(0).as_any().downcast_ref::<StringArray>().unwrap();
    let number = all.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    let value = all.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
    let shown = all.column(3).as_any().downcast_ref::<StringArray>().unwrap();
    let mut model = Model::new();
    for row in 0..all.num_rows() {
        let key = (text.is_valid(row).then(|| text.value(row).to_owned()), number.is_valid(row).then(|| number.value(row)));
        let value = value.value(row);
        assert_eq!(shown.is_valid(row).then(|| shown.value(row).to_owned()), (value % 3 != 0).then(|| format!("text {value}")));
        assert_eq!(model.insert(key, value), None, "a key is there once");
    }
    model
}

fn held(state: &OperatorState) -> Vec<RecordBatch> {
    state.freeze().collect::<Result<_>>().unwrap()
}

fn check(state: &OperatorState, model: &Model) {
    assert_eq!(&entries(&held(state)), model);
    assert_eq!(state.size().rows, model.len());
    let mut asked: Vec<Key> = model.keys().cloned().collect();
    asked.insert(asked.len() / 2, (Some("never put".into()), None));
    let found = state.get(&keys(&asked), asked.len()).unwrap();
    let values = found.state[0].as_any().downcast_ref::<Int64Array>().unwrap();
    let order = order_of(&found, asked.len());
    let got: Vec<_> = order.iter().zip(values.values()).map(|(p, v)| (asked[*p].clone(), *v)).collect();
    assert_eq!((got.len(), found.held), (model.len(), model.len()));
    assert!(got.iter().all(|(key, value)| model.get(key) == Some(value)));
}

/// The keys asked for by number, those that are held first.
fn order_of(found: &Found, asked: usize) -> Vec<usize> {
    found.order.as_ref().map_or_else(|| (0..asked).collect(), |order| order.values().iter().map(|p| *p as usize).collect())
}

/// Puts `entries` where a get found them.
fn put_found(state: &mut OperatorState, entries: &[(Key, i64)]) {
    let asked: Vec<Key> = entries.iter().map(|entry| entry.0.clone()).collect();
    let found = state.get(&keys(&asked), asked.len()).unwrap();
    let ordered: Vec<_> = order_of(&found, asked.len()).into_iter().map(|p| entries[p].clone()).collect();
    state.put(rows(&ordered), Some(found.lookup)).unwrap();
}

/// Puts those of `entries` whose key is new, the first of each; which these are.
fn put_new(state: &mut OperatorState, entries: &[(Key, i64)]) -> Vec<(Key, i64)> {
    let asked: Vec<Key> = entries.iter().map(|entry| entry.0.clone()).collect();
    let new = state.find_new(&keys(&asked), asked.len()).unwrap();
    let first: Vec<_> = new.rows.values().iter().map(|row| entries[*row as usize].clone()).collect();
    state.put(rows(&first), Some(new.lookup)).unwrap();
    first
}

fn k(text: &str, number: i64) -> Key {
    (Some(text.to_owned()), Some(number))
}

/// What every backend keeps to.
fn contract(make: impl Fn(&Arc<StateMemory>) -> OperatorState) {
    let memory = StateMemory::new(1 << 20);
    let mut state = make(&memory);
    check(&state, &Model::new());

    state.put(rows(&[(k("a", 1), 1), ((None, None), 2), (k("a", 1), 3)]), None).unwrap();
    let first = Model::from([(k("a", 1), 3), ((None, None), 2)]);
    check(&state, &first);
    state.end(BatchEnd::Commit).unwrap();
    check(&state, &first);

    state.put(rows(&[(k("a", 1), 4), (k("b", 0), 5)]), None).unwrap();
    assert_eq!(state.remove(&keys(&[(None, None), k("z", 9)]), 2).unwrap(), 1);
    check(&state, &Model::from([(k("a", 1), 4), (k("b", 0), 5)]));
    state.put(rows(&[((None, None), 6)]), None).unwrap();
    check(&state, &Model::from([(k("a", 1), 4), (k("b", 0), 5), ((None, None), 6)]));
    state.end(BatchEnd::Abort).unwrap();
    check(&state, &first);
    assert!(state.changelog().unwrap().is_none());

    let before = memory.used();
    let many: Vec<_> = (0..100_000).map(|i| (k("wide key of some length", i), i)).collect();
    let error = state.put(rows(&many), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.message().contains("aggregate-0") && error.message().contains("limits.state_memory"), "{error}");
    state.end(BatchEnd::Abort).unwrap();
    check(&state, &first);
    assert!(memory.used() <= before + 64 * 1024, "{} after {before}", memory.used());
    drop(state);
    assert_eq!(memory.used(), 0);
}

#[test]
fn the_memory_backend_keeps_the_contract() {
    contract(memory_state);
}

#[test]
fn a_state_without_keys_has_one_row() {
    let schema = StateSchema::new(vec![], vec![Arc::new(Field::new("n", DataType::Int64, true))]);
    let memory = StateMemory::new(1 << 20);
    let make =
        || OperatorState::new(schema.clone(), Box::new(MemoryStore::new(schema.clone(), memory.account("limit-0")).unwrap()));
    let mut state = make();
    assert_eq!(state.get(&[], 1).unwrap().held, 0);
    let mut logs = Vec::new();
    for n in 0..3 {
        let rows = RecordBatch::try_new(schema.columns().clone(), vec![Arc::new(Int64Array::from(vec![n]))]).unwrap();
        state.put(rows, None).unwrap();
        logs.push(state.changelog().unwrap().unwrap());
        state.end(BatchEnd::Commit).unwrap();
    }
    let mut restored = make();
    restored.restore(&logs).unwrap();
    for state in [state, restored] {
        assert_eq!(state.size().rows, 1);
        let found = state.get(&[], 1).unwrap();
        assert_eq!(found.state[0].as_any().downcast_ref::<Int64Array>().unwrap().values(), &[2]);
    }
}

#[test]
fn nan_and_null_are_keys_like_others() {
    let schema = StateSchema::new(vec![Arc::new(Field::new("d", DataType::Float64, true))], vec![]);
    let memory = StateMemory::new(1 << 20);
    let mut store = MemoryStore::new(schema.clone(), memory.account("aggregate-0")).unwrap();
    let d: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(0.5), Some(f64::NAN), None]));
    store.put(&RecordBatch::try_new(schema.columns().clone(), vec![d.clone()]).unwrap(), None).unwrap();
    assert_eq!(store.size().rows, 3);
    assert_eq!(store.get(&[d], 5).unwrap().held, 5);
}

#[test]
fn null_is_a_text_like_others() {
    let schema = StateSchema::new(
        vec![Arc::new(Field::new("k", DataType::Utf8, true))],
        vec![Arc::new(Field::new("v", DataType::Int64, true))],
    );
    let memory = StateMemory::new(1 << 20);
    let mut store = MemoryStore::new(schema.clone(), memory.account("aggregate-0")).unwrap();
    let keys: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("\u{ff}"), Some("null")]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]));
    let rows = RecordBatch::try_new(schema.columns().clone(), vec![keys.clone(), values]).unwrap();
    store.put(&rows, None).unwrap();
    assert_eq!(store.freeze().next().unwrap().unwrap(), rows);
    assert_eq!(store.get(&[keys], 4).unwrap().state, rows.columns()[1..]);
}

#[test]
fn rewritten_keys_do_not_pile_up() {
    let memory = StateMemory::new(64 << 20);
    let mut state = memory_state(&memory);
    let all: Vec<_> = (0..2_000).map(|i| (k("key", i), i)).collect();
    state.put(rows(&all), None).unwrap();
    state.end(BatchEnd::Commit).unwrap();
    let once = state.size().bytes;
    for round in 0..300 {
        let some: Vec<_> = (0..100).map(|i| (k("key", (round * 37 + i * 13) % 2_000), round)).collect();
        state.put(rows(&some), None).unwrap();
        state.end(BatchEnd::Commit).unwrap();
        state.end(BatchEnd::Closed).unwrap();
    }
    assert_eq!(state.size().rows, 2_000);
    assert!(state.size().bytes < 3 * once, "{} bytes, {once} at first", state.size().bytes);
    assert!(held(&state).len() < 64, "{} pages", held(&state).len());
}

#[test]
fn single_rows_are_gathered_into_pages() {
    let memory = StateMemory::new(64 << 20);
    let mut state = memory_state(&memory);
    for i in 0..5_000 {
        state.put(rows(&[(k("key", i), i)]), None).unwrap();
        state.end(BatchEnd::Commit).unwrap();
        state.end(BatchEnd::Closed).unwrap();
    }
    assert_eq!(state.size().rows, 5_000);
    assert!(held(&state).len() < 60, "{} pages", held(&state).len());
    assert!(state.size().bytes < 5_000 * 256, "{} bytes", state.size().bytes);
}

#[test]
fn one_large_row_among_small_ones_is_not_kept_for_them() {
    let memory = StateMemory::new(1 << 30);
    let mut state = memory_state(&memory);
    let large = "x".repeat(1 << 20);
    for batch in 0..200 {
        let keys = keys(&[k("large", 0), k("small", batch)]);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![batch, batch]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![large.as_str(), "little"]));
        let rows = [keys, vec![values, texts]].concat();
        state.put(RecordBatch::try_new(schema().columns().clone(), rows).unwrap(), None).unwrap();
        state.end(BatchEnd::Commit).unwrap();
        state.end(BatchEnd::Closed).unwrap();
        let bytes = state.size().bytes;
        assert!(bytes < 8 << 20, "batch {batch}: {bytes} bytes are held");
    }
}

#[test]
fn damaged_bytes_are_corrupt_and_never_panic() {
    let memory = StateMemory::new(1 << 20);
    let mut state = memory_state(&memory);
    state.put(rows(&[(k("a", 1), 1), (k("b", 2), 2)]), None).unwrap();
    state.remove(&keys(&[k("a", 1)]), 1).unwrap();
    let good = state.changelog().unwrap().unwrap();
    assert_eq!(changelog::decode(&good, &schema()).unwrap().len(), 2);
    for length in 0..good.len() {
        let error = changelog::decode(&good.slice(..length), &schema()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for position in 0..good.len() {
        let mut bad = good.to_vec();
        bad[position] ^= 0x41;
        let error = changelog::decode(&Bytes::from(bad), &schema()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {position}");
    }
    let other = StateSchema::new(schema().keys().to_vec(), vec![Arc::new(Field::new("v", DataType::Float64, true))]);
    assert_eq!(changelog::decode(&good, &other).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn keys_without_an_order_are_refused() {
    let entries = Field::new(
        "entries",
        DataType::Struct(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into()),
        false,
    );
    let map = DataType::Map(Arc::new(entries), false);
    let memory = StateMemory::new(1 << 20);
    let schema = StateSchema::new(vec![Arc::new(Field::new("m", map.clone(), true))], vec![]);
    let made = MemoryStore::new(schema, memory.account("aggregate-0"));
    assert_eq!(made.is_ok(), RowConverter::supports_fields(&[SortField::new(map)]));
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<(Key, i64)>),
    PutFound(Vec<(Key, i64)>),
    PutNew(Vec<(Key, i64)>),
    Remove(Vec<Key>),
    Commit,
    Abort,
    Restart,
    Freeze,
}

fn key() -> impl Strategy<Value = Key> {
    (proptest::option::of("[ab]{0,2}|long keys that take more than one block of bytes"), proptest::option::of(0i64..4))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec((key(), any::<i64>()), 0..20).prop_map(Step::Put),
        4 => proptest::collection::hash_map(key(), any::<i64>(), 0..20).prop_map(|m| Step::PutFound(m.into_iter().collect())),
        3 => proptest::collection::vec((key(), any::<i64>()), 0..20).prop_map(Step::PutNew),
        2 => proptest::collection::vec(key(), 0..10).prop_map(Step::Remove),
        1 => Just(Step::Freeze),
        4 => Just(Step::Commit),
        2 => Just(Step::Abort),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_store_behaves_like_a_map(steps in proptest::collection::vec(step(), 1..60), snapshot_at in 0usize..40) {
        let memory = StateMemory::new(64 << 20);
        let mut state = memory_state(&memory);
        let (mut committed, mut current) = (Model::new(), Model::new());
        let mut logs = Vec::new();
        let mut frozen = None;
        for step in steps {
            match step {
                Step::PutFound(entries) => {
                    put_found(&mut state, &entries);
                    current.extend(entries);
                }
                Step::PutNew(entries) => {
                    let mut new = Vec::new();
                    for (key, value) in &entries {
                        if !current.contains_key(key) {
                            current.insert(key.clone(), *value);
                            new.push((key.clone(), *value));
                        }
                    }
                    prop_assert_eq!(put_new(&mut state, &entries), new);
                }
                Step::Freeze => {
                    if let Some((rows, model)) = frozen.replace((state.freeze(), current.clone())) {
                        prop_assert_eq!(entries(&rows.collect::<Result<Vec<_>>>().unwrap()), model);
                    }
                }
                Step::Put(entries) => {
                    state.put(rows(&entries), None).unwrap();
                    current.extend(entries);
                }
                Step::Remove(removed) => {
                    let count = state.remove(&keys(&removed), removed.len()).unwrap();
                    prop_assert_eq!(count, removed.iter().filter(|key| current.remove(*key).is_some()).count());
                }
                Step::Commit => {
                    logs.extend(state.changelog().unwrap());
                    state.end(BatchEnd::Commit).unwrap();
                    check(&state, &current);
                    state.end(BatchEnd::Closed).unwrap();
                    committed = current.clone();
                    if logs.len() == snapshot_at {
                        logs = vec![state.snapshot().encode().unwrap()];
                    }
                }
                Step::Abort => {
                    state.end(BatchEnd::Abort).unwrap();
                    current = committed.clone();
                }
                Step::Restart => {
                    state = memory_state(&memory);
                    state.restore(&logs).unwrap();
                    current = committed.clone();
                }
            }
            check(&state, &current);
        }
    }
}
