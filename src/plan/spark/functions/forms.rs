//! What is called like a function and is none of the families': generators and operators by name.

/// Something of Spark's grammar that is called by name.
pub struct Form {
    /// The name with its arguments: `[…]` may be left out, `…` repeats.
    pub signature: &'static str,
    /// What it gives.
    pub doc: &'static str,
}

/// Forms under one heading.
pub struct FormFamily {
    /// The heading.
    pub title: &'static str,
    /// What they have in common.
    pub note: &'static str,
    /// Its forms.
    pub forms: &'static [Form],
}

const fn form(signature: &'static str, doc: &'static str) -> Form {
    Form { signature, doc }
}

/// All of them.
pub static FORMS: &[FormFamily] = &[
    FormFamily {
        title: "Rows out of lists",
        note: "generators: they stand in the select list, in LATERAL VIEW or in FROM",
        forms: &[
            form("explode(array or map)", "A row per element, or per entry"),
            form("explode_outer(array or map)", "As `explode`, and a row of nulls where there is nothing in it"),
            form("posexplode(array or map)", "As `explode`, with the position, from 0 on"),
            form("posexplode_outer(array or map)", "As `posexplode`, and a row of nulls where there is nothing in it"),
            form("inline(array)", "A row per struct, a column per field"),
            form("inline_outer(array)", "As `inline`, and a row of nulls where there is nothing in it"),
            form("stack(n, value, …)", "The values in so many rows"),
            form("json_tuple(text, name, …)", "One row with the members of a JSON object as texts"),
        ],
    },
    FormFamily {
        title: "Operators by name",
        note: "as they are written elsewhere",
        forms: &[
            form(
                "like(text, pattern[, escape])",
                "As `text LIKE pattern ESCAPE escape`: `%` stands for any text, `_` for a character",
            ),
            form("ilike(text, pattern[, escape])", "As `like`, without regard to case"),
        ],
    },
];

impl Form {
    /// What stands before the parenthesis.
    pub fn name(&self) -> &'static str {
        super::name_of(self.signature)
    }
}

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    FORMS.iter().flat_map(|family| family.forms).map(Form::name)
}

/// The form called `name` (any case), and what it is like.
pub fn find(name: &str) -> Option<(&'static Form, &'static FormFamily)> {
    let mut all = FORMS.iter().flat_map(|family| family.forms.iter().map(move |form| (form, family)));
    all.find(|(form, _)| name.eq_ignore_ascii_case(form.name()))
}

#[cfg(test)]
mod tests {
    use super::super::super::expression::call::is_built_in;
    use super::*;

    #[test]
    fn what_is_listed_is_there_and_on_no_other_list() {
        assert!(names().all(|name| is_built_in(name) && super::super::find(name).is_none()));
        assert_eq!(find("EXPLODE").map(|(form, _)| form.name()), Some("explode"));
    }
}
