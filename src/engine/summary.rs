//! What a decided batch notes beside its output: for the next start, and for whoever looks into the checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::progress::Ledger;
use crate::operator::ending::Ending;
use crate::plan::OperatorProgress;
use crate::watermark::Reached;

/// The part of it that is about event time. Checkpoints of earlier versions lack some of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventTimeSummary {
    /// How far each watermark has come; `None` if the query has none.
    pub watermarks: Option<Reached>,
    /// How the state of those operators ends that forget.
    pub endings: BTreeMap<String, Ending>,
}

impl EventTimeSummary {
    /// What the summary of a prepared batch says.
    pub fn of(summary: &Value) -> Self {
        Self::deserialize(summary).unwrap_or_default()
    }
}

/// The summary of a batch.
pub(super) fn summary(ledger: &Ledger, operators: &[OperatorProgress], event_time: EventTimeSummary) -> Value {
    let mut summary = json!({ "ledger": ledger, "operators": operators });
    if event_time.watermarks.is_some() {
        summary["watermarks"] = json!(event_time.watermarks);
        summary["endings"] = json!(event_time.endings);
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::WatermarkPolicy;

    #[test]
    fn what_an_earlier_version_noted_is_understood() {
        let before = json!({ "ledger": {}, "operators": [], "watermarks": { "policy": "max", "nodes": { "a": 5 } } });
        let read = EventTimeSummary::of(&before);
        let reached = read.watermarks.unwrap();
        assert_eq!((reached.policy, reached.nodes["a"], reached.silent.len()), (WatermarkPolicy::Max, 5, 0));
        assert!(read.endings.is_empty());
        assert_eq!(EventTimeSummary::of(&json!({ "ledger": {} })), EventTimeSummary::default());
    }
}
