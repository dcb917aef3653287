//! JSON on several lines.

/// Appends `text`, a JSON text without spaces between its values, with a line per member of its objects and spaces in its arrays, as
/// Spark writes with the option `pretty`.
pub fn indent(text: &str, out: &mut String) {
    let mut depth = 0;
    let (mut quoted, mut escaped) = (false, false);
    let mut chars = text.chars().peekable();
    // Whether each open bracket is an object's.
    let mut objects = Vec::new();
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(char) = chars.next() {
        if quoted {
            quoted = char != '"' || escaped;
            escaped = char == '\\' && !escaped;
            out.push(char);
            continue;
        }
        match char {
            '{' | '[' if chars.next_if(|next| matches!(next, '}' | ']')).is_some() => {
                out.push_str(if char == '{' { "{ }" } else { "[ ]" });
            }
            '{' => {
                objects.push(true);
                depth += 1;
                out.push(char);
                line(depth, out);
            }
            '[' => {
                objects.push(false);
                out.push_str("[ ");
            }
            '}' => {
                objects.pop();
                depth = depth.saturating_sub(1);
                line(depth, out);
                out.push(char);
            }
            ']' => {
                objects.pop();
                out.push_str(" ]");
            }
            ',' if objects.last() == Some(&true) => {
                out.push(char);
                line(depth, out);
            }
            ',' => out.push_str(", "),
            ':' => out.push_str(" : "),
            _ => {
                quoted = char == '"';
                out.push(char);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn objects_take_lines_and_arrays_one() {
        let mut text = String::new();
        super::indent(r#"{"a":[1,{"b":"x\",y:{"}],"c":{},"d":[]}"#, &mut text);
        assert_eq!(text, "{\n  \"a\" : [ 1, {\n    \"b\" : \"x\\\",y:{\"\n  } ],\n  \"c\" : { },\n  \"d\" : [ ]\n}");
    }
}
