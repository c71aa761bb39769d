//! `formledger rules`: a form definition checked, or expressions evaluated, without a server.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use formledger_domain::{FormDefinition, parse_exact};
use formledger_rules::dynamic::eval_ndjson_case;
use formledger_rules::exchange::{self, Format};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{ConfigError, RulesCommand, TableFormat};

/// Runs one of the tools.
pub fn rules(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Check { form } => check(form),
        RulesCommand::Import { format, file } => import(*format, file),
        RulesCommand::Export { format, form } => export(*format, form),
        RulesCommand::Eval => eval(std::io::stdin().lock(), std::io::stdout().lock()),
    }
}

/// Prints each problem as a line of JSON; exit 1 when one of them stands in the way of publishing.
fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let named = || format!("`{}`", path.display());
    let definition =
        std::fs::read(path).map_err(|error| ConfigError(format!("`{}`: {error}", path.display())))?;
    let definition = parse_exact(&definition).with_context(named)?;
    // Problems do not depend on the id that the form will have.
    let problems = FormDefinition::problems(&definition, &"checked".parse()?);
    for problem in &problems {
        print_line!("{}", serde_json::to_string(problem)?)?;
    }
    Ok(if problems.iter().any(|problem| problem.is_error()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints the tables of a document as rules; what did not carry over goes to standard error, a line each.
fn import(format: TableFormat, path: &Path) -> anyhow::Result<ExitCode> {
    let wrong = |reason: String| ConfigError(format!("`{}`: {reason}", path.display()));
    let document = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let imported = exchange::import(named(format), &document).map_err(|error| wrong(error.to_string()))?;
    remark(&imported.remarks);
    print_line!("{:#}", json!({"rules": imported.rules}))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a definition's tables in another engine's format; what did not carry over goes to standard error, a line each.
fn export(format: TableFormat, path: &Path) -> anyhow::Result<ExitCode> {
    let wrong = |reason: String| ConfigError(format!("`{}`: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let definition = parse_exact(&text).map_err(|error| wrong(error.to_string()))?;
    let rules = definition.get("rules").unwrap_or(&definition);
    let exported = exchange::export(named(format), rules).map_err(|error| wrong(error.to_string()))?;
    remark(&exported.remarks);
    std::io::stdout().write_all(exported.text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn named(format: TableFormat) -> Format {
    match format {
        TableFormat::Dmn => Format::Dmn,
        TableFormat::Jdm => Format::Jdm,
    }
}

fn remark(remarks: &[String]) {
    remarks.iter().for_each(|remark| eprintln!("{remark}"));
}

/// One line of input.
#[derive(Deserialize)]
struct Case {
    expr: String,
    #[serde(default)]
    bindings: Value,
}

/// Answers each line with a line: `{"value":…}` or `{"error":…}`.
fn eval(input: impl BufRead, mut output: impl Write) -> anyhow::Result<ExitCode> {
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str::<Case>(&line) {
            Ok(case) => match eval_ndjson_case(&case.expr, &case.bindings) {
                Ok(value) => json!({"value": value}),
                Err(error) => json!({"error": error}),
            },
            Err(error) => json!({"error": format!("the line is not a case: {error}")}),
        };
        writeln!(output, "{answer}")?;
        // Each answer at once: the other side may be waiting for it before it sends the next case.
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_its_answer_in_order() {
        let input = concat!(
            "{\"expr\": \"a + 1\", \"bindings\": {\"a\": {\"int64Value\": \"2\"}}}\n",
            "{\"expr\": \"1 / 0\"}\n",
            "not json\n",
        );
        let mut output = Vec::new();
        eval(input.as_bytes(), &mut output).expect("runs");
        let text = String::from_utf8(output).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0], json!({"value": {"int64Value": "3"}}));
        assert!(lines[1]["error"].is_string() && lines[2]["error"].is_string());
        assert_eq!(lines.len(), 3);
    }
}
