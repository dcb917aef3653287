//! `tidemill functions [NAME]`: what SQL may call.

use std::fmt::Write;

use clap::Args;
use tidemill::plan::spark::functions::forms::{self, FORMS, Form, FormFamily};
use tidemill::plan::spark::functions::missing::{self, MISSING};
use tidemill::plan::spark::functions::{FAMILIES, FUNCTIONS, FunctionKind, FunctionSpec, Origin, find};
use tidemill::plan::spark::suggest::nearest;
use tidemill::{Error, Result};

#[derive(Debug, Args)]
pub(super) struct Functions {
    /// A function; all of them are listed without it.
    name: Option<String>,
}

impl Functions {
    pub(super) fn execute(&self) -> Result<()> {
        super::print(&match &self.name {
            None => all(),
            Some(name) => match (find(name), forms::find(name)) {
                (Some(spec), _) => about(spec),
                (None, Some((form, family))) => about_form(form, family),
                (None, None) => return Err(unknown(name)),
            },
        })
    }
}

fn all() -> String {
    let mut text = String::new();
    for family in FAMILIES {
        let _ = writeln!(text, "{}", family.title);
        for spec in family.functions {
            let _ = writeln!(text, "  {}: {}", spec.signature, spec.doc);
        }
        text.push('\n');
    }
    for FormFamily { title, note, forms } in FORMS {
        let _ = writeln!(text, "{title} ({note})");
        for form in *forms {
            let _ = writeln!(text, "  {}: {}", form.signature, form.doc);
        }
        text.push('\n');
    }
    text.push_str("Functions of Spark that are missing\n");
    for missing in MISSING {
        let _ = writeln!(text, "  {}: {}", missing.names.join(", "), missing.reason);
    }
    text.push('\n');
    text.push_str("`tidemill functions NAME` tells more of one.\n");
    text
}

fn about(spec: &FunctionSpec) -> String {
    let mut text = format!("{}\n  {}\n", spec.signature, spec.doc);
    if !spec.example.is_empty() {
        let _ = writeln!(text, "  {}", spec.example);
    }
    if spec.kind == FunctionKind::Aggregate {
        text.push_str("  an aggregate: one value per group; takes FILTER (WHERE …)\n");
    }
    if spec.origin == Origin::DataFusion {
        text.push_str("  computed by DataFusion\n");
    }
    text
}

fn about_form(form: &Form, family: &FormFamily) -> String {
    format!("{}\n  {}\n  {}\n", form.signature, form.doc, family.note)
}

fn unknown(name: &str) -> Error {
    if let Some(reason) = missing::reason(&name.to_lowercase()) {
        return Error::config(format!("the function {name:?} of Spark is missing: {reason}"));
    }
    let near = nearest(name, FUNCTIONS.iter().map(|spec| spec.name).chain(forms::names()), 3);
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    Error::config(format!("there is no function {name:?}{hint}"))
}
