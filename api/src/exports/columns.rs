//! The columns of a form's fields in an export as CSV: which there are, and what stands in a row's cells.
//! Made by `exports` for an export of one form. Which cells have to be guarded is said in `exports`, once for all.

use std::fmt::Write;

use formledger_domain::{CompiledForm, Field, FieldKind};
use serde_json::Value;

use super::quoted;

/// The most columns of fields, in the order of their names; what further fields hold stands in the column `data` as everything does.
pub const FIELD_COLUMNS_MAX: usize = 1_000;

/// The pointers of the fields that have a column.
#[derive(Debug, Default, PartialEq)]
pub struct Columns(Vec<String>);

impl Columns {
    /// A column for each field of a form that holds no fields itself, and for each that its rules compute. A list is one field: its items
    /// would be rows.
    pub fn of(form: &CompiledForm) -> Self {
        let mut pointers = Vec::new();
        collect(form.fields(), &mut pointers);
        for computed in form.computed() {
            if !pointers.iter().any(|pointer| **pointer == **computed) {
                pointers.push(computed.to_string());
            }
        }
        pointers.truncate(FIELD_COLUMNS_MAX);
        Self(pointers)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the names of the columns, each behind a comma: the fields' pointers, as `where` and `sort` name them.
    pub fn write_names(&self, out: &mut String) {
        for pointer in &self.0 {
            out.push(',');
            quoted(pointer, out);
        }
    }

    /// Appends the cells of a submission, each behind a comma.
    pub fn write_cells(&self, data: &Value, out: &mut String) {
        for pointer in &self.0 {
            out.push(',');
            cell(data.pointer(pointer), out);
        }
    }
}

fn collect(field: &Field, pointers: &mut Vec<String>) {
    match field.kind {
        FieldKind::Object | FieldKind::Open if !field.children.is_empty() => {
            field.children.iter().for_each(|child| collect(child, pointers));
        }
        _ if field.pointer.is_empty() => {}
        _ => pointers.push(field.pointer.to_string()),
    }
}

/// What a spreadsheet shows: a text as it is, a number as one, nothing for what is missing or null, JSON for lists and objects.
fn cell(value: Option<&Value>, out: &mut String) {
    match value {
        None | Some(Value::Null) => {}
        // It computes nothing, whatever its sign: a decimal below zero stays a number.
        Some(Value::String(text)) if is_number(text) => {
            write!(out, "\"{text}\"").expect("a string takes all text");
        }
        Some(Value::String(text)) => quoted(text, out),
        Some(Value::Bool(_) | Value::Number(_)) => {
            write!(out, "{}", value.unwrap_or(&Value::Null)).expect("a string takes all text");
        }
        Some(list_or_object) => quoted(&list_or_object.to_string(), out),
    }
}

/// Whether a text is a number in digits, below zero or not, with a fraction or not.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let size = text.strip_prefix('-').unwrap_or(text);
    match size.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(size),
    }
}

#[cfg(test)]
mod tests {
    use formledger_domain::{FormDefinition, FormVersion};
    use serde_json::json;

    use super::*;

    fn columns(definition: &Value) -> Columns {
        let definition = FormDefinition::parse(definition).expect("a definition");
        let form = CompiledForm::compile(&definition, &"claim".parse().expect("an id"), FormVersion::FIRST);
        Columns::of(&form.expect("compiles"))
    }

    #[test]
    fn a_field_has_a_column_unless_it_holds_fields_and_a_computed_one_has_one_too() {
        let definition = json!({
            "title": "Claim",
            "schema": {"type": "object", "properties": {
                "amount": {"type": "number"}, "a/b": {"type": "string"},
                "applicant": {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string"}}},
                "lines": {"type": "array", "items": {"type": "object", "properties": {"qty": {"type": "integer"}}}},
                "more": {"type": "object"}}},
            "rules": [{"id": "a", "kind": "compute", "value": "double(lines.size())", "into": "/amount"},
                      {"id": "t", "kind": "compute", "value": "amount * 2.0", "into": "/applicant/total"}]
        });
        let expected =
            ["/a~1b", "/amount", "/applicant/age", "/applicant/name", "/lines", "/more", "/applicant/total"];
        assert_eq!(columns(&definition), Columns(expected.map(str::to_owned).to_vec()));
        assert!(columns(&json!({"title": "Anything", "schema": {}})).is_empty());
    }

    #[test]
    fn a_cell_is_what_a_spreadsheet_shows_and_never_a_formula() {
        let shown = |value: Value| {
            let mut out = String::new();
            cell(Some(&value), &mut out);
            out
        };
        for (value, text) in [
            (json!(null), ""),
            (json!(-1.5), "-1.5"),
            (json!(true), "true"),
            (json!("-12.50"), "\"-12.50\""),
            (json!("+7"), "\"'+7\""),
            (json!("-1+1"), "\"'-1+1\""),
            (json!("-1."), "\"'-1.\""),
            (json!("-"), "\"'-\""),
            (json!("=1"), "\"'=1\""),
            (json!("a \"b\""), "\"a \"\"b\"\"\""),
            (json!(["=1", {"a": 1}]), "\"[\"\"=1\"\",{\"\"a\"\":1}]\""),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
