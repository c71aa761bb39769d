//! Writing DMN 1.3. Cells that FEEL cannot say stand as they are, under their own `expressionLanguage`.
//!
//! Part of [`super`].

use std::fmt::Write;

use serde_json::Value as Json;

use super::dmn::CEL;
use super::feel;
use super::sheet::{Sheet, SheetRow, by_priority};

const NAMESPACE: &str = "https://www.omg.org/spec/DMN/20191111/MODEL/";

pub(super) fn write(sheets: &[Sheet], remarks: &mut Vec<String>) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    line(
        &mut text,
        0,
        &format!(
            "<definitions xmlns=\"{NAMESPACE}\" id=\"formledger\" name=\"Formledger\" namespace=\"urn:formledger\">"
        ),
    );
    for sheet in sheets {
        decision(&mut text, sheet, remarks);
    }
    line(&mut text, 0, "</definitions>");
    text
}

fn line(text: &mut String, depth: usize, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:indent$}{content}", "", indent = depth * 2);
}

fn decision(text: &mut String, sheet: &Sheet, remarks: &mut Vec<String>) {
    let id = escaped(&sheet.id);
    line(text, 1, &format!("<decision id=\"{id}\" name=\"{id}\">"));
    line(text, 2, &format!("<variable name=\"{id}\"/>"));
    line(text, 2, &format!("<decisionTable id=\"{id}.table\"{}>", policy(sheet, remarks)));
    for (at, input) in sheet.inputs.iter().enumerate() {
        line(text, 3, &format!("<input id=\"{id}.input.{at}\">"));
        expression(text, "inputExpression", input, feel::is_name(input).then(|| input.clone()), remarks);
        line(text, 3, "</input>");
    }
    match sheet.outputs.as_slice() {
        [] => output(text, &id, 0, "", sheet.otherwise.as_ref()),
        several => {
            for (at, name) in several.iter().enumerate() {
                let default = sheet.otherwise.as_ref().and_then(|otherwise| otherwise.get(name));
                output(text, &id, at, &format!(" name=\"{}\"", escaped(name)), default);
            }
        }
    }
    for (at, row) in by_priority(sheet).into_iter().enumerate() {
        rule(text, &format!("{id}.rule.{at}"), row, sheet.outputs.len().max(1), remarks);
    }
    line(text, 2, "</decisionTable>");
    line(text, 1, "</decision>");
}

fn policy(sheet: &Sheet, remarks: &mut Vec<String>) -> String {
    match sheet.hit.as_str() {
        "priority" => {
            remarks.push(format!("`{}`: rows stand in the order of their priority, under FIRST", sheet.id));
            " hitPolicy=\"FIRST\"".to_owned()
        }
        "collect list" => " hitPolicy=\"COLLECT\"".to_owned(),
        other => match other.split_once(' ') {
            Some((policy, aggregate)) => {
                format!(
                    " hitPolicy=\"{}\" aggregation=\"{}\"",
                    policy.to_uppercase(),
                    aggregate.to_uppercase()
                )
            }
            None => format!(" hitPolicy=\"{}\"", other.to_uppercase()),
        },
    }
}

fn output(text: &mut String, id: &str, at: usize, name: &str, default: Option<&Json>) {
    match default {
        None => line(text, 3, &format!("<output id=\"{id}.output.{at}\"{name}/>")),
        Some(default) => {
            line(text, 3, &format!("<output id=\"{id}.output.{at}\"{name}>"));
            let value = escaped(&feel::value(default));
            line(text, 4, &format!("<defaultOutputEntry><text>{value}</text></defaultOutputEntry>"));
            line(text, 3, "</output>");
        }
    }
}

fn rule(text: &mut String, id: &str, row: &SheetRow, outputs: usize, remarks: &mut Vec<String>) {
    line(text, 3, &format!("<rule id=\"{id}\">"));
    if let Some(description) = &row.description {
        line(text, 4, &format!("<description>{}</description>", escaped(description)));
    }
    for cell in &row.when {
        expression(text, "inputEntry", cell, feel::plain_cell(cell), remarks);
    }
    for at in 0..outputs {
        let value = row.then.get(at).and_then(Option::as_ref).map_or_else(String::new, feel::value);
        line(text, 4, &format!("<outputEntry><text>{}</text></outputEntry>", escaped(&value)));
    }
    line(text, 3, "</rule>");
}

/// An expression: in FEEL where it can be said so, else in our language and marked as that.
fn expression(text: &mut String, element: &str, ours: &str, feel: Option<String>, remarks: &mut Vec<String>) {
    let (language, shown) = match feel {
        Some(feel) => (String::new(), feel),
        None => {
            remarks.push(format!("`{ours}` is written in CEL; another engine must be told what it means"));
            (format!(" expressionLanguage=\"{CEL}\""), ours.to_owned())
        }
    };
    line(text, 4, &format!("<{element}{language}><text>{}</text></{element}>", escaped(&shown)));
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            control if control.is_control() && !matches!(control, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
